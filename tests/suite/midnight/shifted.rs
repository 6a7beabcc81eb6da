//! The real binary under a wall clock that the test moves, by a small preload of our own.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use counterd::calendar::Calendar;
use serde_json::json;

use super::{claim_days_only_advance, closing_values, storage};
use crate::checker::{Done, History, Intent, Step};
use crate::harness::{Client, Dice, PATIENCE, Setup, at_once, counterd, eventually, skipped};
use crate::traffic::{Control, parts, request};

/// Moves the wall clock of the processes that were set up with it.
pub struct ShiftedClock {
    shift: File,
    /// A server that compares its clock with that of Redis.
    compares: Option<SocketAddr>,
    environment: [(&'static str, String); 2],
}

impl ShiftedClock {
    /// Gives `setup` a wall clock of its own; where that cannot be done, says that the test is skipped.
    pub fn for_server(test: &str, setup: Setup, home: &Path) -> Option<(Setup, Self)> {
        let mut clock = Self::in_home(test, home)?;
        clock.compares = setup.is_on_shared_log().then(|| setup.address());
        Some((clock.given_to(setup), clock))
    }

    /// Makes a clock with its files in `home`; where that cannot be done, says that the test is skipped.
    pub fn in_home(test: &str, home: &Path) -> Option<Self> {
        Self::preloaded(home)
            .map_err(|reason| skipped(test, &reason))
            .ok()
    }

    /// Gives it to one more server.
    pub fn given_to(&self, setup: Setup) -> Setup {
        let environment = self.environment.iter();
        environment.fold(setup, |setup, (name, value)| setup.env(name, value))
    }

    /// The environment of another program that is to have it.
    pub fn environment(&self) -> &[(&'static str, String)] {
        &self.environment
    }

    fn preloaded(home: &Path) -> Result<Self, String> {
        if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
            return Err("the preload is for x86-64 Linux".to_owned());
        }
        let (source, library, shift) = (
            home.join("clock.c"),
            home.join("clock.so"),
            home.join("shift"),
        );
        std::fs::write(&source, include_str!("shift_clock.c")).unwrap();
        let mut compiler = Command::new("cc");
        compiler
            .args(["-shared", "-fPIC", "-O2", "-o"])
            .arg(&library)
            .arg(&source);
        let compiled = compiler.output().map_err(|error| format!("cc: {error}"))?;
        if !compiled.status.success() {
            return Err(format!("cc: {}", String::from_utf8_lossy(&compiled.stderr)));
        }
        std::fs::write(&shift, [0; 8]).unwrap();
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let environment = [
            ("LD_PRELOAD", text(&library)),
            ("TEST_CLOCK_SHIFT", text(&shift)),
        ];
        let probe = counterd()
            .arg("version")
            .envs(environment.clone())
            .output()
            .unwrap();
        if matches!(probe.status.code(), Some(97 | 98)) {
            return Err("the kernel does not let the vDSO be changed".to_owned());
        }
        let shift = File::options().write(true).open(shift).unwrap();
        Ok(Self {
            shift,
            compares: None,
            environment,
        })
    }

    /// From now on the wall clock goes on from there, in milliseconds since 1970.
    pub fn set(&self, wall_ms: i64) {
        let real = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        let shift = wall_ms - i64::try_from(real.as_millis()).unwrap();
        self.shift.write_all_at(&shift.to_ne_bytes(), 0).unwrap();
        if let Some(address) = self.compares {
            eventually("the clocks agree again", PATIENCE, || {
                agrees(address).then_some(())
            });
        }
    }
}

/// Whether a server knows that its clock is that of Redis; one that does not answer will know it at its start.
fn agrees(address: SocketAddr) -> bool {
    let page = Client::new(address).request("GET", "/metrics", &[], b"");
    let ahead = page.ok().and_then(|page| {
        let text = page.text();
        let of_clock = "counterd_shared_log_clock_ahead_seconds ";
        let ahead = text.lines().find_map(|line| line.strip_prefix(of_clock));
        ahead?.parse::<f64>().ok()
    });
    ahead.is_none_or(|ahead| ahead.abs() < 1.0)
}

#[test]
fn midnight_under_load_with_the_real_binary_loses_nothing() {
    let home = tempfile::tempdir().unwrap();
    let logs = home.path().join("logs");
    let setup = Setup::new(home.path())
        .set("calendar.timezone", "Europe/Berlin")
        .set("log.access", "all")
        .set("log.dir", logs.to_str().unwrap());
    let Some((setup, clock)) = ShiftedClock::for_server(
        "midnight_under_load_with_the_real_binary_loses_nothing",
        setup,
        home.path(),
    ) else {
        return;
    };
    let berlin = Calendar::new("Europe/Berlin", "00:00".parse().unwrap()).unwrap();
    clock.set(super::MIDNIGHT - 60_000);
    let server = setup.start();
    let control = Control::new();
    let tomorrow = berlin.day_of(super::MIDNIGHT).to_string();
    let today = berlin.day_of(super::MIDNIGHT - 1).to_string();
    let histories = std::thread::scope(|scope| {
        let load = scope.spawn(|| at_once(16, |number| count_daily(&setup, number, &control)));
        control.wait_for(2000);
        clock.set(super::MIDNIGHT - 300);
        control.wait_for(200);
        eventually("the next day begins", PATIENCE, || {
            let answer = server
                .client()
                .get("/api/v1/counter/total_games_played")
                .ok();
            (answer["period"] == tomorrow.as_str()).then_some(())
        });
        control.wait_for(2000);
        control.stop();
        load.join().unwrap()
    });
    let mut history = History::default();
    history
        .intents
        .extend(histories.into_iter().flat_map(|one| one.intents));
    let now = server.client().value("total_games_played");
    server.stop();
    let mut finals = closing_values(
        &home.path().join("data"),
        storage(&home.path().join("data")),
    );
    finals.retain(|(name, _), _| name != "online_players");
    assert_eq!(
        finals[&("total_games_played".to_owned(), Some(tomorrow.clone()))],
        now
    );
    claim_days_only_advance(&history);
    assert_eq!(history.check(&finals), []);
    // Each day's requests went into that day's file.
    for day in [today, tomorrow] {
        assert!(logs.join(format!("counterd-{day}.log")).exists(), "{day}");
    }
}

/// Counts games and users until the run is over.
fn count_daily(setup: &Setup, number: usize, control: &Control) -> History {
    let mut client = crate::harness::Client::new(setup.address());
    let mut dice = Dice::new(number as u64);
    let mut history = History::default();
    while !control.is_over() {
        let user = (dice.below(2) == 0).then(|| format!("user-{}", dice.below(500)));
        let counter = if user.is_some() {
            "daily_active_users"
        } else {
            "total_games_played"
        };
        let steps = vec![Step {
            counter: counter.to_owned(),
            delta: 1,
            user,
        }];
        let (path, body) = request(&steps);
        let begun = control.now();
        let done: Vec<Done> = parts(&client.post(&path, &body).ok());
        let intent = Intent::counted(steps, begun, control.now(), done);
        history.intents.push(intent);
        control.count(1);
    }
    history
}

#[test]
fn a_clock_jump_refuses_writes_until_it_is_back_or_accepted() {
    let home = tempfile::tempdir().unwrap();
    let Some((setup, clock)) = ShiftedClock::for_server(
        "a_clock_jump_refuses_writes_until_it_is_back_or_accepted",
        Setup::new(home.path()),
        home.path(),
    ) else {
        return;
    };
    const HOUR: i64 = 3_600_000;
    let noon = super::MIDNIGHT - 11 * HOUR;
    clock.set(noon);
    let server = setup.start();
    let mut client = server.client();
    let path = "/api/v1/counter/total_games_played/increment";
    assert_eq!(client.post(path, &json!({})).ok()["period"], "2026-11-24");
    let mode = |arguments: &[&str]| {
        let ran = setup.command("mode").args(arguments).output().unwrap();
        assert!(
            ran.status.success(),
            "{}",
            String::from_utf8_lossy(&ran.stderr)
        );
        String::from_utf8(ran.stdout).unwrap()
    };

    clock.set(noon + 100 * HOUR);
    let refused = client.post(path, &json!({}));
    refused.refused(503, "read_only");
    assert!(refused.header("retry-after").is_some());
    let reading = client.get("/api/v1/counter/total_games_played").ok();
    assert_eq!(
        (&reading["value"], &reading["period"]),
        (&json!(1), &json!("2026-11-24")),
        "no day advances"
    );
    assert_eq!(client.get("/readyz").status, 200);
    assert_eq!(client.get("/readyz?writes").status, 503);
    assert_eq!(client.get("/readyz?verbose").json()["cause"], "clock");

    // Set right again: by itself.
    clock.set(noon);
    let counted = eventually("writes are served", PATIENCE, || {
        let answer = client.post(path, &json!({}));
        (answer.status == 200).then(|| answer.ok())
    });
    assert_eq!(
        (&counted["current_value"], &counted["period"]),
        (&json!(2), &json!("2026-11-24"))
    );

    // Right although it jumped: an operator says so.
    clock.set(noon + 100 * HOUR);
    client.post(path, &json!({})).refused(503, "read_only");
    assert!(mode(&[]).contains("clock"));
    mode(&["normal", "--accept-clock"]);
    let counted = client.post(path, &json!({})).ok();
    assert_eq!(
        (&counted["current_value"], &counted["period"]),
        (&json!(1), &json!("2026-11-28"))
    );
    server.stop();
}
