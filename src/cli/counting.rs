//! The commands that count and read at a running server, over HTTP.

use clap::Args;
use serde_json::{Map, Value, json};
use ureq::http::Method;

use super::remote::{Call, Remote, ServerArgs, field};
use super::{print, print_json, table, usage};
use crate::counter::CounterName;

/// Counters in one page of a list: as many as the server gives at once.
const PAGE: usize = 1000;

/// Arguments of `incr` and `decr`.
#[derive(Debug, Clone, Args)]
pub struct CountArgs {
    /// The counter
    #[arg(value_parser = CounterName::parse)]
    pub name: CounterName,

    /// By how much
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(i64).range(1..))]
    pub value: i64,

    /// Whom to count, for counters of users
    #[arg(long, value_name = "ID")]
    pub user: Option<String>,

    /// How the change is asked for.
    #[command(flatten)]
    pub write: WriteArgs,
}

/// What each command takes that changes something at a server.
#[derive(Debug, Clone, Args)]
pub struct WriteArgs {
    /// Idempotency key: what was done with it is not done again
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,

    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Arguments of `get`.
#[derive(Debug, Clone, Args)]
pub struct GetArgs {
    /// The counters
    #[arg(value_parser = CounterName::parse, required = true, value_name = "NAME")]
    pub names: Vec<CounterName>,

    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Arguments of `list`.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// What the names begin with
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub prefix: String,

    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Arguments of `define`.
#[derive(Debug, Clone, Args)]
pub struct DefineArgs {
    /// The counter
    #[arg(value_parser = CounterName::parse)]
    pub name: CounterName,

    /// gauge, sum, unique or presence
    #[arg(long, value_name = "KIND", default_value = "gauge")]
    pub kind: String,

    /// never, or daily: at each boundary of the local day
    #[arg(long, value_name = "WHEN")]
    pub reset: Option<String>,

    /// The lowest value
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub min: Option<i64>,

    /// The highest value
    #[arg(long, value_name = "NUMBER")]
    pub max: Option<i64>,

    /// What becomes of an operation that would pass a bound: refuse or clamp
    #[arg(long, value_name = "WHAT")]
    pub on_bound: Option<String>,

    /// How far back the counter looks, such as 1h
    #[arg(long, value_name = "TIME")]
    pub window: Option<String>,

    /// In what steps the window slides
    #[arg(long, value_name = "TIME")]
    pub grain: Option<String>,

    /// How long a lease lasts, such as 90s
    #[arg(long, value_name = "TIME")]
    pub ttl: Option<String>,

    /// When the counter ends, such as 2099-01-07T00:00:00Z
    #[arg(long, value_name = "INSTANT")]
    pub expires_at: Option<String>,

    /// What it counts, for people
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,

    /// How the change is asked for.
    #[command(flatten)]
    pub write: WriteArgs,
}

/// Arguments of `adjust`.
#[derive(Debug, Clone, Args)]
pub struct AdjustArgs {
    /// The counter
    #[arg(value_parser = CounterName::parse)]
    pub name: CounterName,

    /// The value it should have
    #[arg(
        long,
        value_name = "NUMBER",
        allow_negative_numbers = true,
        required_unless_present = "delta",
        conflicts_with = "delta"
    )]
    pub value: Option<i64>,

    /// By how much to move it
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub delta: Option<i64>,

    /// Why, for the audit line and the day's events
    #[arg(long, value_name = "TEXT", required = true)]
    pub reason: String,

    /// How the change is asked for.
    #[command(flatten)]
    pub write: WriteArgs,
}

/// Arguments of `reset`.
#[derive(Debug, Clone, Args)]
pub struct ResetArgs {
    /// The counter
    #[arg(value_parser = CounterName::parse)]
    pub name: CounterName,

    /// Do it; without it the value is only shown
    #[arg(long)]
    pub yes: bool,

    /// How the change is asked for.
    #[command(flatten)]
    pub write: WriteArgs,
}

/// Increments a counter.
pub(super) fn incr(args: CountArgs) -> anyhow::Result<()> {
    count("increment", args)
}

/// Decrements a counter.
pub(super) fn decr(args: CountArgs) -> anyhow::Result<()> {
    count("decrement", args)
}

fn count(operation: &str, args: CountArgs) -> anyhow::Result<()> {
    let CountArgs {
        name,
        value,
        user,
        write,
    } = args;
    let body = match user {
        Some(user) => json!({ "value": value, "user_id": user }),
        None => json!({ "value": value }),
    };
    let path = format!("/counter/{name}/{operation}");
    let answer = write.call(Method::POST, &path, Some(body))?;
    if !write.server.json && field(&answer, "counted") == false {
        eprintln!("counted nothing: the user was counted already, or the value is at a bound");
    }
    write.show(&answer, "current_value")
}

/// Prints values: that of one counter alone, or a table.
pub(super) fn get(args: GetArgs) -> anyhow::Result<()> {
    let remote = Remote::new(&args.server)?;
    if let [name] = args.names.as_slice() {
        let answer = remote.read(&format!("/counter/{name}"))?;
        if !args.server.json {
            tell_stale(&answer);
        }
        return show(&answer, "value", args.server.json);
    }
    let names: Vec<String> = args.names.iter().map(ToString::to_string).collect();
    let answer = remote.read(&format!("/counters?names={}", names.join(",")))?;
    if args.server.json {
        print_json(&answer)?;
    } else {
        tell_stale(&answer);
        print(&values(listed(&answer, "counters")))?;
    }
    let absent = |list, why| {
        let names: Vec<&str> = listed(&answer, list).filter_map(Value::as_str).collect();
        anyhow::ensure!(names.is_empty(), "{why}: {}", names.join(", "));
        Ok(())
    };
    absent("missing", "no such counter")?;
    absent("unknown_here", "not known while values come from a copy")
}

/// Says that values are not those of now.
fn tell_stale(answer: &Value) {
    if field(answer, "stale") == true {
        eprintln!("stale: these are values of a while ago; with --json `as_of` says when");
    }
}

/// Returns what a list in an answer holds.
fn listed<'a>(answer: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    field(answer, list).as_array().into_iter().flatten()
}

/// Prints all counters: as a table, or each as a line of JSON.
pub(super) fn list(args: ListArgs) -> anyhow::Result<()> {
    let remote = Remote::new(&args.server)?;
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("prefix", &args.prefix);
    query.append_pair("limit", &PAGE.to_string());
    let first = query.finish();
    let mut path = format!("/counters/all?{first}");
    loop {
        let answer = remote.read(&path)?;
        let mut counters = listed(&answer, "counters");
        if args.server.json {
            counters.try_for_each(print_json)?;
        } else {
            tell_stale(&answer);
            print(&values(counters))?;
        }
        let Some(cursor) = field(&answer, "next_cursor").as_str() else {
            return Ok(());
        };
        let cursor: String = url::form_urlencoded::byte_serialize(cursor.as_bytes()).collect();
        path = format!("/counters/all?{first}&cursor={cursor}");
    }
}

/// Defines a counter, or changes its definition.
pub(super) fn define(args: DefineArgs) -> anyhow::Result<()> {
    let texts = [
        ("kind", Some(args.kind)),
        ("reset", args.reset),
        ("on_bound", args.on_bound),
        ("window", args.window),
        ("grain", args.grain),
        ("ttl", args.ttl),
        ("expires_at", args.expires_at),
        ("description", args.description),
    ];
    let texts = texts.map(|(field, text)| (field, text.map(Value::from)));
    let numbers = [("min", args.min), ("max", args.max)];
    let numbers = numbers.map(|(field, number)| (field, number.map(Value::from)));
    let given = texts.into_iter().chain(numbers);
    let body: Map<String, Value> = given
        .filter_map(|(field, value)| Some((field.to_owned(), value?)))
        .collect();
    let path = format!("/counter/{}", args.name);
    let answer = args.write.call(Method::PUT, &path, Some(body.into()))?;
    if args.write.server.json {
        return print_json(&answer);
    }
    print(&format!("{}\n", field(&answer, "definition")))
}

/// Sets a counter right.
pub(super) fn adjust(args: AdjustArgs) -> anyhow::Result<()> {
    let body = match args.delta {
        Some(delta) => json!({ "delta": delta, "reason": args.reason }),
        None => json!({ "value": args.value, "reason": args.reason }),
    };
    let path = format!("/counter/{}/adjust", args.name);
    let answer = args.write.call(Method::POST, &path, Some(body))?;
    args.write.show(&answer, "current_value")
}

/// Sets a counter to 0.
pub(super) fn reset(args: ResetArgs) -> anyhow::Result<()> {
    let ResetArgs { name, yes, write } = args;
    if !yes {
        return would(&name, &write.server, "be set to 0");
    }
    let path = format!("/counter/{name}/reset");
    let answer = write.call(Method::POST, &path, Some(json!({})))?;
    write.show(&answer, "current_value")
}

/// Deletes a counter.
pub(super) fn delete(name: &CounterName, yes: bool, write: &WriteArgs) -> anyhow::Result<()> {
    if !yes {
        return would(name, &write.server, "be deleted");
    }
    let answer = write.call(Method::DELETE, &format!("/counter/{name}"), None)?;
    write.show(&answer, "final_value")
}

/// Says what would be lost.
fn would(name: &CounterName, server: &ServerArgs, what: &str) -> anyhow::Result<()> {
    let answer = Remote::new(server)?.read(&format!("/counter/{name}"))?;
    let value = field(&answer, "value");
    print(&format!("{name} is {value} and would {what}: say --yes\n"))
}

impl Remote {
    fn read(&self, path: &str) -> anyhow::Result<Value> {
        self.call(&Call {
            method: Method::GET,
            path,
            body: None,
            key: None,
        })
    }
}

impl WriteArgs {
    /// Makes a call that changes something, once.
    fn call(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let key = match &self.key {
            Some(key)
                if matches!(key.len(), 1..=255)
                    && key.bytes().all(|byte| matches!(byte, 32..=126)) =>
            {
                key.clone()
            }
            Some(_) => return Err(usage("--key wants 1 to 255 printable characters of ASCII")),
            None => new_key()?,
        };
        Remote::new(&self.server)?.call(&Call {
            method,
            path,
            body,
            key: Some(&key),
        })
    }

    fn show(&self, answer: &Value, name: &str) -> anyhow::Result<()> {
        show(answer, name, self.server.json)
    }
}

/// Makes a key that nobody used.
fn new_key() -> anyhow::Result<String> {
    let number = getrandom::u64().and_then(|high| Ok((high, getrandom::u64()?)));
    let (high, low) = number.map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
    Ok(format!("{high:016x}{low:016x}"))
}

fn show(answer: &Value, name: &str, json: bool) -> anyhow::Result<()> {
    if json {
        return print_json(answer);
    }
    print(&format!("{}\n", field(answer, name)))
}

/// Returns a table of counters, or no text where there are none.
fn values<'a>(counters: impl Iterator<Item = &'a Value>) -> String {
    let mut table = table(&["NAME", "VALUE", "KIND", "PERIOD", "LAST UPDATED"], &[1]);
    for counter in counters {
        let text = |name: &str| field(counter, name).as_str().unwrap_or_default().to_owned();
        let value = field(counter, "value").to_string();
        table.add_row([
            text("name"),
            value,
            text("kind"),
            text("period"),
            text("last_updated"),
        ]);
    }
    if table.is_empty() {
        return String::new();
    }
    format!("{}\n", table.trim_fmt())
}
