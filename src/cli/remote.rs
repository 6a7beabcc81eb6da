//! A running server, asked over HTTP by the commands that count and read.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use clap::{Args, ValueHint};
use serde_json::Value;
use ureq::http::{Method, Request, Response, StatusCode};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::usage;

/// The first pause between two tries; each next one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause, unless the server asks for a longer one.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The longest answer that is read, in bytes: a page of 1,000 counters has some hundred KiB.
const MAX_ANSWER: u64 = 16 << 20;

/// The variables in which a server has its tokens, the mightiest first.
const TOKEN_VARIABLES: [&str; 3] = [
    "COUNTERD_AUTH__ADMIN_TOKEN",
    "COUNTERD_AUTH__WRITE_TOKEN",
    "COUNTERD_AUTH__READ_TOKEN",
];

/// Which server is asked, and how.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Server")]
pub struct ServerArgs {
    /// Where the server is (COUNTERD_URL)
    #[arg(
        long,
        value_name = "URL",
        env = "COUNTERD_URL",
        hide_env = true,
        default_value = "http://127.0.0.1:8080",
        value_hint = ValueHint::Url
    )]
    pub url: String,

    /// File with the token to send (COUNTERD_TOKEN_FILE)
    #[arg(long, value_name = "FILE", env = "COUNTERD_TOKEN_FILE", hide_env = true, value_hint = ValueHint::FilePath)]
    pub token_file: Option<PathBuf>,

    /// How long to try again where nobody answers or the server asks for patience
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    pub patience: Duration,

    /// Print the answer of the server as it is, in JSON
    #[arg(long)]
    pub json: bool,
}

/// A server that is asked.
pub(super) struct Remote {
    agent: Agent,
    base: String,
    token: Option<String>,
    patience: Duration,
}

/// One call.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    /// Below `/api/v1`, with the query.
    pub(super) path: &'a str,
    pub(super) body: Option<Value>,
    /// The idempotency key of a call that changes something; `None` for one that reads.
    pub(super) key: Option<&'a str>,
}

impl Remote {
    /// Prepares calls to the server that the arguments name.
    ///
    /// # Errors
    /// When the URL is none, or the token cannot be read.
    pub(super) fn new(args: &ServerArgs) -> anyhow::Result<Self> {
        let wanted = "want http://HOST:PORT or https://HOST:PORT";
        let url = url::Url::parse(&args.url).ok();
        let is_usable =
            |url: &url::Url| ["http", "https"].contains(&url.scheme()) && url.host().is_some();
        let Some(url) = url.filter(is_usable) else {
            return Err(usage(&format!("--url: {wanted}")));
        };
        if !url.username().is_empty() || url.password().is_some() {
            let text = "a token belongs into a file that --token-file names";
            return Err(usage(&format!("--url: {wanted}; {text}")));
        }
        let token = match &args.token_file {
            Some(file) => {
                let text = std::fs::read_to_string(file);
                let text = text.with_context(|| format!("cannot read {}", file.display()))?;
                let token = first_token(&text);
                Some(token.with_context(|| format!("{} holds no token", file.display()))?)
            }
            None => TOKEN_VARIABLES
                .iter()
                .find_map(|name| first_token(&std::env::var(name).ok()?)),
        };
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            // A proxy would read the token.
            .proxy(None)
            .timeout_global(Some(args.patience.max(Duration::from_secs(1))));
        if url.scheme() == "https" {
            config = config.tls_config(TlsConfig::builder().root_certs(machines_roots()).build());
        }
        Ok(Self {
            agent: Agent::new_with_config(config.build()),
            base: url.as_str().trim_end_matches('/').to_owned(),
            token,
            patience: args.patience,
        })
    }

    /// Makes a call until its outcome is known, and returns the answer. A call that changes something carries the same key
    /// each time, so it counts once.
    ///
    /// # Errors
    /// When the server refuses it, or says nothing within the time.
    pub(super) fn call(&self, call: &Call<'_>) -> anyhow::Result<Value> {
        let begun = Instant::now();
        let (mut pause, mut unknown) = (FIRST_PAUSE, false);
        loop {
            let mut wait = pause;
            let why = match self.once(call).map(|answer| (answer.status(), answer)) {
                Ok((status, answer)) if status.is_success() => match body(answer) {
                    Ok(body) => return Ok(body),
                    Err(error) => {
                        unknown = true;
                        format!("no answer from {}: {error:#}", self.base)
                    }
                },
                Ok((status, answer)) => {
                    wait = wait.max(patience_asked(&answer));
                    let said = body(answer).unwrap_or_default();
                    let refused = refusal(status, &said);
                    if !may_retry(status) {
                        return Err(failed(refused, call.key.filter(|_| unknown)));
                    }
                    // What stands between may have passed it on.
                    unknown |= status != StatusCode::TOO_MANY_REQUESTS
                        && (status != StatusCode::SERVICE_UNAVAILABLE
                            || field(&said, "code") == "outcome_unknown");
                    refused
                }
                Err(error) => {
                    unknown |= !is_unsent(&error);
                    format!("no answer from {}: {error}", self.base)
                }
            };
            let tried = begun.elapsed();
            if wait > self.patience.saturating_sub(tried) {
                let why = format!(
                    "{why}\ngave up after {:.1} s; the next try was due in {:.1} s (--patience)",
                    tried.as_secs_f64(),
                    wait.as_secs_f64()
                );
                return Err(match call.key {
                    Some(_) if !unknown => anyhow!("{why}\nnothing was changed"),
                    key => failed(why, key),
                });
            }
            // Nobody says when a server is back, and one that asks for patience says how long. The command has nothing else to do.
            std::thread::sleep(wait);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn once(&self, call: &Call<'_>) -> Result<Response<Body>, ureq::Error> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(format!("{}/api/v1{}", self.base, call.path));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(key) = call.key {
            request = request.header("idempotency-key", key);
        }
        match &call.body {
            Some(body) => {
                let request = request.header("content-type", "application/json");
                self.agent.run(request.body(body.to_string())?)
            }
            None => self.agent.run(request.body(())?),
        }
    }
}

/// Returns the failure of a call; `key` is that of one of which an earlier try may have counted.
fn failed(why: String, key: Option<&str>) -> anyhow::Error {
    match key {
        Some(key) => anyhow!(
            "{why}\nnobody knows whether it counted: the same command with `--key {key}` counts once"
        ),
        None => anyhow!(why),
    }
}

/// Returns the token to send, of those that a server takes while one gives way to another; `None` where there is none that
/// a header can hold.
fn first_token(text: &str) -> Option<String> {
    let token = text.split_whitespace().next()?;
    token
        .bytes()
        .all(|byte| byte.is_ascii_graphic())
        .then(|| token.to_owned())
}

/// Returns the roots of trust of this machine.
fn machines_roots() -> RootCerts {
    let found = rustls_native_certs::load_native_certs();
    let certificates = found.certs.iter();
    let certificates: Vec<_> = certificates
        .map(|der| Certificate::from_der(der).to_owned())
        .collect();
    RootCerts::new_with_certs(&certificates)
}

/// Whether the same call may succeed later.
fn may_retry(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

/// Whether nothing of the call can have reached the server.
fn is_unsent(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed | ureq::Error::BadUri(_) => true,
        ureq::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        _ => false,
    }
}

/// Returns how long the server asks to be left alone; no time where it does not say so in seconds.
fn patience_asked(answer: &Response<Body>) -> Duration {
    let asked = answer.headers().get("retry-after");
    let seconds = asked.and_then(|asked| asked.to_str().ok()?.trim().parse().ok());
    seconds.map_or(Duration::ZERO, Duration::from_secs)
}

fn body(answer: Response<Body>) -> anyhow::Result<Value> {
    let mut body = answer.into_body();
    let text = body.with_config().limit(MAX_ANSWER).read_to_vec();
    let text = text.context("the answer broke off")?;
    serde_json::from_slice(&text).context("the answer is no JSON: is that a counterd?")
}

/// Returns a field of an answer; null where it is not there.
pub(super) fn field<'a>(answer: &'a Value, name: &str) -> &'a Value {
    answer.get(name).unwrap_or(&Value::Null)
}

/// Says why the server refused a call, and what to do where the arguments can mend it.
fn refusal(status: StatusCode, answer: &Value) -> String {
    let text = |name: &str| field(answer, name).as_str().unwrap_or_default();
    let code = text("code");
    let what = match text("detail") {
        "" => format!("the server answers {status}"),
        detail => format!("{detail} ({code})"),
    };
    match code {
        "unauthorized" | "forbidden" => {
            format!("{what}\nname a file with a token that may do this: --token-file FILE")
        }
        _ => what,
    }
}
