//! One rotten block in a table, of each family, met in every way: what is served, what is refused, what is
//! told. The table at the end of this file is that of docs/guarantees.md, "A rotten table".

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::OnceLock;

use counterd::calendar::Calendar;
use counterd::clock::{Clock as _, SystemClock};
use counterd::counter::{Action, Definition, Kind, Operation, RequestId, Seconds};
use counterd::storage::{DataDirLock, Family, read_through};
use counterd::writer::{Command, IdempotencyKey, Request};
use serde_json::{Value, json};

use crate::harness::{Client, PATIENCE, Server, Setup, at_once, eventually};
use crate::house::{DAY, HOUR, House, name};
use crate::midnight::storage;

const COUNTERS: usize = 1000;
const USERS: usize = 4000;
const USERS_OF_A_DAY: usize = 2500;
const KEYS: usize = 400;
/// Of each day, with a sample.
const MINUTES: i64 = 150;
const AT_A_TIME: usize = 8;

fn counter(number: usize) -> String {
    format!("counter-{number:04}-of-a-game-with-a-long-name")
}

fn user(number: usize) -> String {
    format!(
        "user-{:016x}",
        (number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    )
}

fn key(number: usize) -> String {
    format!(
        "key-{:032x}",
        (number as u128).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)
    )
}

/// A sound store with records in every family that has any, and where in it a byte is to be flipped so that
/// a block of that family is rotten.
struct Template {
    dir: tempfile::TempDir,
    places: BTreeMap<Family, (PathBuf, u64)>,
}

/// Two days, the first closed, the second as it was left: it ends `before` days before today.
fn filled(dir: &Path, before: i64) {
    let now = SystemClock.wall_ms();
    let house = House::open(dir, now - now.rem_euclid(DAY) - (1 + before) * DAY + HOUR);
    for day in 0..2 {
        house.create((0..COUNTERS).map(counter));
        house.users("dau", (0..USERS_OF_A_DAY).map(user));
        for _ in 0..MINUTES {
            house.pass(60_000);
            house.up("games", 1);
        }
        if day == 0 {
            house.pass(DAY - MINUTES * 60_000);
            house.archive();
        }
    }
    house.users("ever", (0..USERS).map(user));
    let month = Definition {
        kind: Kind::Unique,
        window: Some(Seconds(31 * 86_400)),
        ..Definition::default()
    };
    let define = Command::Define {
        counter: name("month"),
        definition: Box::new(month.complete().unwrap()),
    };
    let request = Request {
        command: define,
        key: None,
        request_id: RequestId::Made(1),
    };
    house.running.intake.call(request).unwrap();
    house.users("month", (0..USERS).map(user));
    for number in 0..KEYS {
        let request = Request {
            command: Command::Apply(Operation {
                counter: name("games"),
                action: Action::Increment,
                amount: 1,
                user_id: None,
                session: None,
            }),
            key: Some(Box::new(IdempotencyKey {
                key: key(number).into(),
                fingerprint: 7,
            })),
            request_id: RequestId::Made(1),
        };
        house.running.intake.call(request).unwrap();
    }
    house.stop();
}

fn flip(file: &Path, at: u64) {
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(file)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

/// Of which the last day is over, and not closed.
fn template() -> &'static Template {
    static MADE: OnceLock<Template> = OnceLock::new();
    MADE.get_or_init(|| Template::new(1))
}

impl Template {
    fn new(before: i64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        filled(&data, before);
        let last = Calendar::new("UTC", "00:00".parse().unwrap())
            .unwrap()
            .day_of(SystemClock.wall_ms() - before * DAY)
            .to_string();
        let mut tables: Vec<(u64, PathBuf)> = fs::read_dir(data.join("store/db"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|end| end == "sst"))
            .map(|path| (fs::metadata(&path).unwrap().len(), path))
            .collect();
        tables.sort_unstable();
        let mut places = BTreeMap::new();
        for (length, table) in tables {
            for at in [length / 2, length / 4, length / 8, 60] {
                flip(&table, at);
                let lock = DataDirLock::take(&data).unwrap();
                let rotten = read_through(&lock, &storage(&data)).unwrap_or_default();
                drop(lock);
                flip(&table, at);
                if let [rotten] = &rotten[..] {
                    // The largest of each family is the last; of day records that of the last day.
                    let table = table.strip_prefix(&data).unwrap().to_owned();
                    if rotten.family != Family::Days || rotten.span().contains(&last) {
                        places.insert(rotten.family, (table, at));
                    }
                    break;
                }
            }
        }
        Self { dir, places }
    }
}

/// A store with one rotten block of that family, and a server for it.
struct Bench {
    setup: Setup,
    file: String,
    family: Family,
    _home: tempfile::TempDir,
}

fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .args([from, to])
        .status();
    assert!(copied.unwrap().success());
}

impl Bench {
    fn new(template: &Template, family: Family) -> Self {
        let (table, at) = &template.places[&family];
        let home = tempfile::tempdir().unwrap();
        copy(&template.dir.path().join("data"), &home.path().join("data"));
        let setup = Setup::new(home.path());
        flip(&setup.data().join(table), *at);
        Self {
            setup,
            file: table.file_name().unwrap().to_str().unwrap().to_owned(),
            family,
            _home: home,
        }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.setup.command(arguments[0]);
        command.args(&arguments[1..]).output().unwrap()
    }

    fn says(&self, done: &Output) -> String {
        let said = [&done.stdout[..], &done.stderr[..]].concat();
        String::from_utf8_lossy(&said).into_owned()
    }

    /// What a command came to: `done`, or `refused`, and whether the table is named then.
    fn outcome(&self, arguments: &[&str]) -> &'static str {
        let done = self.run(arguments);
        let said = self.says(&done);
        println!(
            "{arguments:?}: {} {}",
            done.status,
            said.trim().lines().last().unwrap_or("")
        );
        match done.status.success() {
            true => "done",
            false if said.contains(&self.file) => "refused, table named",
            false => "refused",
        }
    }

    fn check(&self) -> &'static str {
        match self.run(&["check"]) {
            done if done.status.success() => "ok",
            done if self.says(&done).contains(&self.file) => "fault, table named",
            _ => "fault",
        }
    }
}

/// How many of the answers, by what `sort` says of each.
fn tally(
    server: &Server,
    count: usize,
    sort: impl Fn(&mut Client, usize) -> String + Sync,
) -> BTreeMap<String, usize> {
    let parts = at_once(AT_A_TIME, |part| {
        let mut client = server.client();
        let mine = (0..count).filter(|number| number % AT_A_TIME == part);
        mine.map(|number| sort(&mut client, number))
            .collect::<Vec<_>>()
    });
    let mut tally = BTreeMap::new();
    for word in parts.into_iter().flatten() {
        *tally.entry(word).or_default() += 1;
    }
    tally
}

/// Which words there were; of those that are refused only a block's worth may be.
fn words(what: &str, tally: &BTreeMap<String, usize>) -> String {
    println!("{what}: {tally:?}");
    let all: usize = tally.values().sum();
    for (word, count) in tally {
        let some = word.starts_with("500") || word.starts_with("corrupt");
        assert!(!some || *count < all / 2, "{what}: {tally:?}");
    }
    tally.keys().cloned().collect::<Vec<_>>().join(", ")
}

fn word(status: u16, code: &str) -> String {
    format!("{status} {code}").trim().to_owned()
}

/// Those who have a seat in a window, all in an earlier grain than now.
fn seats(server: &Server) -> String {
    let tally = tally(server, USERS, |client, number| {
        let seen = json!({"user_id": user(number)});
        let answer = client.post("/api/v1/counter/month/increment", &seen);
        match answer.status {
            200 if answer.json()["applied"] == 1 => "counted twice".to_owned(),
            200 => "known".to_owned(),
            status => word(status, &answer.code()),
        }
    });
    words("seats", &tally)
}

fn users(server: &Server) -> String {
    let tally = tally(server, USERS, |client, number| {
        let answer = client.post(
            "/api/v1/counter/ever/increment",
            &json!({"user_id": user(number)}),
        );
        match answer.status {
            200 if answer.json()["counted"] == true => "counted twice".to_owned(),
            200 => "known".to_owned(),
            status => word(status, &answer.code()),
        }
    });
    words("users", &tally)
}

fn keys(server: &Server) -> String {
    let tally = tally(server, KEYS, |client, number| {
        let answer = client.post_keyed("/api/v1/counter/games/increment", &key(number), &json!({}));
        match answer.status {
            200 => "counted twice".to_owned(),
            422 => "known".to_owned(),
            status => word(status, &answer.code()),
        }
    });
    words("keys", &tally)
}

fn days(server: &Server) -> String {
    let tally = tally(server, COUNTERS, |client, number| {
        let answer = client.get(&format!("/api/v1/counter/{}/history", counter(number)));
        if answer.status != 200 {
            return word(answer.status, &answer.code());
        }
        let body = answer.json();
        let days = body["days"].as_array().unwrap();
        match days.iter().filter(|day| day["corrupt"] == true).count() {
            0 => format!("{} days", days.len()),
            _ => "corrupt".to_owned(),
        }
    });
    words("history", &tally)
}

fn values(server: &Server) -> String {
    let tally = tally(server, COUNTERS, |client, number| {
        let answer = client.get(&format!("/api/v1/counter/{}", counter(number)));
        if answer.status != 200 {
            return word(answer.status, &answer.code());
        }
        "value".to_owned()
    });
    words("values", &tally)
}

/// How many points of the series are known; what it was refused with else.
fn known_points(server: &Server) -> Result<usize, String> {
    // The first sample is 47 to 71 hours old, by the time of day.
    let answer = server
        .client()
        .get("/api/v1/counter/games/series?range=72h&step=5m");
    if answer.status != 200 {
        return Err(word(answer.status, &answer.code()));
    }
    let body = answer.json();
    let points = body["points"].as_array().unwrap();
    Ok(points
        .iter()
        .filter(|point| !point["last"].is_null())
        .count())
}

/// How many points a sound store knows.
fn sound_points() -> usize {
    static POINTS: OnceLock<usize> = OnceLock::new();
    *POINTS.get_or_init(|| {
        let home = tempfile::tempdir().unwrap();
        copy(
            &template().dir.path().join("data"),
            &home.path().join("data"),
        );
        let server = Setup::new(home.path()).start();
        is_writing(&server);
        let points = known_points(&server).unwrap();
        server.stop();
        points
    })
}

fn series(server: &Server) -> String {
    let sound = sound_points();
    let known = known_points(server);
    println!("series: {known:?} of {sound} points");
    match known {
        Err(word) => word,
        // Time has passed between the two.
        Ok(known) if known + 2 >= sound => "whole".to_owned(),
        Ok(_) => "gaps".to_owned(),
    }
}

fn is_writing(server: &Server) {
    eventually("writes go on", PATIENCE, || {
        let path = "/api/v1/counter/after.rot/increment";
        (server.client().post(path, &json!({})).status == 200).then_some(())
    });
}

/// What is told of the table, by whom.
fn told(bench: &Bench, server: &Server) -> String {
    let ready: Value = server.client().get("/readyz?verbose").ok();
    let named = ready["rotten_tables"].as_array().unwrap();
    let by_readiness = named.iter().any(|table| {
        let text = table.as_str().unwrap();
        text.contains(&bench.file) && text.contains(bench.family.as_str())
    });
    let line = format!(
        "counterd_store_rotten_tables{{family=\"{}\"}} 1",
        bench.family.as_str()
    );
    let by_metrics = server.client().get("/metrics").text().contains(&line);
    // A backup tells of what it finds in its own copy.
    let output = server.output();
    let lines = output
        .lines()
        .filter(|line| line.contains("a table of the store cannot be read"))
        .filter(|line| line.contains("/store/db/"))
        .count();
    assert_eq!(by_readiness, by_metrics);
    assert_eq!(usize::from(by_readiness), lines, "{}", server.output());
    if by_readiness { "told" } else { "not met" }.to_owned()
}

/// Meets the block in every way there is, on one store, and gives what came of each.
fn meet(family: Family) -> Vec<(&'static str, String)> {
    let bench = Bench::new(template(), family);
    let mut seen = vec![("check", bench.check().to_owned())];
    let mut server = bench.setup.spawn();
    let refused = eventually("it serves or ends", PATIENCE, || {
        let ready = || server_is_ready(&server);
        if ready() { Some(false) } else { None }.or_else(|| server.try_exit().map(|_| true))
    });
    if refused {
        let named = server.output().contains(&bench.file);
        let word = if named {
            "refused, table named"
        } else {
            "refused"
        };
        seen.push(("start", word.to_owned()));
        drop(server);
    } else {
        seen.push(("start", "serves".to_owned()));
        is_writing(&server);
        seen.push(("users", users(&server)));
        seen.push(("seats", seats(&server)));
        seen.push(("keys", keys(&server)));
        seen.push(("values", values(&server)));
        eventually("yesterday is closed", PATIENCE, || {
            let line = server.output().contains("the day is closed");
            line.then_some(())
        });
        seen.push(("history", days(&server)));
        seen.push(("series", series(&server)));
        let out = bench.setup.data().with_file_name("out.csv");
        let out = out.to_str().unwrap();
        let from = [
            "export",
            "--from",
            "2020-01-01",
            "--to",
            "csv",
            "--output",
            out,
        ];
        seen.push(("export", bench.outcome(&from).to_owned()));
        let users = [&from[..], &["--users"]].concat();
        seen.push(("export --users", bench.outcome(&users).to_owned()));
        let backups = bench.setup.data().with_file_name("backups");
        seen.push((
            "backup",
            bench
                .outcome(&["backup", backups.to_str().unwrap()])
                .to_owned(),
        ));
        seen.push(("compact", bench.outcome(&["compact"]).to_owned()));
        is_writing(&server);
        seen.push(("told", told(&bench, &server)));
        let failures = server.output().matches("the store failed").count();
        seen.push(("failures", failures.to_string()));
        server.stop();
        let server = bench.setup.start();
        is_writing(&server);
        server.stop();
    }
    seen.push((
        "check --deep",
        bench.outcome(&["check", "--deep"]).to_owned(),
    ));
    let recovered = bench.outcome(&["recover"]);
    seen.push(("recover", recovered.to_owned()));
    if recovered == "done" {
        let server = bench.setup.start();
        is_writing(&server);
        server.stop();
        seen.push(("check after", bench.check().to_owned()));
    }
    seen
}

fn server_is_ready(server: &Server) -> bool {
    let answer = server.client().request("GET", "/readyz", &[], b"");
    answer.is_ok_and(|answer| answer.status == 200)
}

#[test]
fn a_rotten_block_of_each_family_met_in_every_way() {
    let found: Vec<Family> = template().places.keys().copied().collect();
    assert_eq!(found, Family::ALL);
    let mut wrong = String::new();
    for family in found {
        println!("--- {}", family.as_str());
        let seen: Vec<String> = meet(family)
            .into_iter()
            .map(|(way, what)| format!("{way}: {what}"))
            .collect();
        if seen != expected(family) {
            wrong.push_str(&format!("(\"{}\", &{seen:#?}),\n", family.as_str()));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_rotten_record_of_today_refuses_its_counters_and_no_other() {
    let bench = Bench::new(&Template::new(0), Family::Days);
    let server = bench.setup.start();
    is_writing(&server);
    assert_eq!(values(&server), "500 corrupt_record, value");
    assert_eq!(told(&bench, &server), "told");
    let path = |number| format!("/api/v1/counter/{}", counter(number));
    let refused = (0..COUNTERS)
        .find(|&number| server.client().get(&path(number)).status == 500)
        .unwrap();
    let increment = format!("{}/increment", path(refused));
    server
        .client()
        .post(&increment, &json!({}))
        .refused(500, "corrupt_record");
    let repaired = bench.run(&["repair", &counter(refused), "--value", "5"]);
    assert!(repaired.status.success(), "{}", bench.says(&repaired));
    server.client().post(&increment, &json!({})).ok();
    assert_eq!(server.client().value(&counter(refused)), 6);
    server.stop();
}

/// What comes of each way where a start needs all of the family.
const REFUSED: [&str; 5] = [
    "check: fault, table named",
    "start: refused, table named",
    "check --deep: refused, table named",
    "recover: done",
    "check after: ok",
];

/// What comes of each way in the other families,
const SERVED: [&str; 17] = [
    "check: ok",
    "start: serves",
    "users: known",
    "seats: known",
    "keys: known",
    "values: value",
    "history: 2 days",
    "series: whole",
    "export: done",
    "export --users: done",
    "backup: refused, table named",
    "compact: done",
    "told: told",
    "failures: 0",
    "check --deep: refused, table named",
    "recover: done",
    "check after: ok",
];

/// but for this one.
const DIFFERS: [(Family, &str); 6] = [
    (Family::Days, "history: 2 days, corrupt"),
    (Family::Dedup, "users: 500 unreadable_user, known"),
    (Family::Idempotency, "keys: 500 corrupt_key, known"),
    (Family::History, "history: 2 days, corrupt"),
    (Family::Samples, "series: gaps"),
    (Family::Windows, "seats: 500 unreadable_user, known"),
];

fn expected(family: Family) -> Vec<String> {
    let Some((_, differs)) = DIFFERS.iter().find(|(of, _)| *of == family) else {
        return REFUSED.map(str::to_owned).into();
    };
    let (way, _) = differs.split_once(':').unwrap();
    SERVED
        .map(|line| match line.split_once(':') {
            Some((of, _)) if of == way => (*differs).to_owned(),
            _ => line.to_owned(),
        })
        .into()
}
