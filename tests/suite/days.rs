//! Days with the real binary: closed at midnight under a moved wall clock, read back over HTTP and by
//! the commands, exact whatever kills the server around midnight.

use std::os::unix::fs::FileTypeExt as _;
use std::process::Output;

use serde_json::{Value, json};

use crate::checker::{Answer, Done, History, Intent, Step, Try};
use crate::harness::{Client, Dice, PATIENCE, Setup, at_once, eventually, setup};
use crate::midnight::{ShiftedClock, claim_days_only_advance, closing_values_of};
use crate::traffic::Control;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// 2026-11-25T00:00:00Z.
const MIDNIGHT: i64 = 1_795_564_800_000;

fn run(setup: &Setup, name: &str, arguments: &[&str]) -> Output {
    setup.command(name).args(arguments).output().unwrap()
}

#[track_caller]
fn prints(setup: &Setup, name: &str, arguments: &[&str]) -> String {
    let ran = run(setup, name, arguments);
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{name} {arguments:?}: {errors}");
    String::from_utf8(ran.stdout).unwrap()
}

/// Waits until the newest day but today's is closed.
fn wait_closed(client: &mut Client, counter: &str, date: &str) -> Value {
    let path = format!("/api/v1/counter/{counter}/history");
    eventually("the day is closed", PATIENCE, || {
        let days = client.get(&path).ok()["days"].clone();
        let day = days
            .as_array()
            .unwrap()
            .iter()
            .find(|day| day["date"] == date)?;
        (day["closed"] == true).then(|| day.clone())
    })
}

#[test]
fn a_day_is_closed_at_midnight_and_read_back_by_calls_commands_and_files() {
    let home = tempfile::tempdir().unwrap();
    let Some((setup, clock)) = ShiftedClock::for_server(
        "a_day_is_closed_at_midnight_and_read_back_by_calls_commands_and_files",
        setup!(home.path()),
        home.path(),
    ) else {
        return;
    };
    clock.set(MIDNIGHT - 2 * HOUR);
    let server = setup.start();
    let mut client = server.client();
    for user in ["u1", "=2+3", "u,3"] {
        let path = "/api/v1/counter/daily_active_users/increment";
        client.post(path, &json!({"user_id": user})).ok();
    }
    client
        .post(
            "/api/v1/counter/total_games_played/increment",
            &json!({"value": 5}),
        )
        .ok();
    clock.set(MIDNIGHT + MINUTE);
    let day = wait_closed(&mut client, "total_games_played", "2026-11-24");
    assert_eq!(
        (&day["final_value"], &day["operations"], &day["ends_at"]),
        (&json!(5), &json!(1), &json!("2026-11-25T00:00:00.000Z"))
    );
    wait_closed(&mut client, "daily_active_users", "2026-11-24");
    let series = client
        .get("/api/v1/counter/total_games_played/series?range=3h&step=1h")
        .ok();
    let points = series["points"].as_array().unwrap().clone();
    let last: Vec<&Value> = points.iter().map(|point| &point["last"]).collect();
    assert_eq!(
        last,
        [&Value::Null, &json!(5), &Value::Null, &json!(0)],
        "{series}"
    );

    claim_files(&setup, home.path());
    server.stop();
    claim_files(&setup, home.path());
}

/// What the commands print and write of the closed day; with a server and without.
fn claim_files(setup: &Setup, home: &std::path::Path) {
    let table = prints(setup, "history", &["daily_active_users"]);
    let line = table
        .lines()
        .find(|line| line.contains("2026-11-24"))
        .unwrap();
    assert_eq!(line.split_whitespace().nth(1), Some("3"), "{table}");

    let csv = prints(setup, "export", &["--date", "2026-11-24", "--to", "csv"]);
    let games: Vec<&str> = csv
        .lines()
        .find(|line| line.contains("total_games_played"))
        .unwrap()
        .split(',')
        .collect();
    assert_eq!(
        games[..6],
        [
            "2026-11-24",
            "total_games_played",
            "true",
            "sum",
            "daily",
            "5"
        ]
    );

    let file = home.join("users.csv");
    let path = file.to_str().unwrap();
    let arguments = [
        "--date",
        "2026-11-24",
        "--users",
        "--to",
        "csv",
        "--output",
        path,
    ];
    for _ in 0..2 {
        prints(setup, "export", &arguments);
        let users = std::fs::read_to_string(&file).unwrap();
        assert_eq!(
            users,
            "date,counter,closed,user_id\r\n\
             2026-11-24,daily_active_users,true,'=2+3\r\n\
             2026-11-24,daily_active_users,true,\"u,3\"\r\n\
             2026-11-24,daily_active_users,true,u1\r\n"
        );
    }
    let lines = prints(
        setup,
        "export",
        &[
            "--from",
            "2026-11-24",
            "--to",
            "2026-11-24",
            "--to",
            "jsonl",
        ],
    );
    let days: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(days.len(), 4, "{lines}");
    assert!(
        days.iter()
            .all(|day| day["closed"] == true && day["date"] == "2026-11-24")
    );

    let nothing = run(
        setup,
        "export",
        &["--date", "2020-01-01", "--to", "csv", "--output", path],
    );
    assert_eq!(nothing.status.code(), Some(1));
    let says = String::from_utf8_lossy(&nothing.stderr).into_owned();
    assert!(
        says.contains("kept from 2026-11-24 to 2026-11-24"),
        "{says}"
    );
    assert!(
        std::fs::read_to_string(&file).unwrap().contains("u1"),
        "the old file stays"
    );
    let open = run(setup, "export", &["--date", "9999-01-01", "--to", "csv"]);
    assert_eq!(open.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&open.stderr).contains("--include-open"));
    // What is no file stays what it is.
    let pipe = home.join("pipe");
    let _ = std::fs::remove_file(&pipe);
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let from_pipe = {
        let pipe = pipe.clone();
        std::thread::spawn(move || std::fs::read_to_string(pipe).unwrap())
    };
    let piped = ["--date", "2026-11-24", "--to", "csv", "--output"];
    prints(
        setup,
        "export",
        &[&piped[..], &[pipe.to_str().unwrap()]].concat(),
    );
    assert_eq!(from_pipe.join().unwrap(), csv);
    assert!(pipe.metadata().unwrap().file_type().is_fifo());
    let left: Vec<_> = std::fs::read_dir(home)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("unfinished"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn an_export_never_passes_over_what_it_was_asked_for() {
    let test = "an_export_never_passes_over_what_it_was_asked_for";
    let home = tempfile::tempdir().unwrap();
    let setup = setup!(home.path());
    let Some((setup, clock)) = ShiftedClock::for_server(test, setup, home.path()) else {
        return;
    };
    clock.set(MIDNIGHT - HOUR);
    let server = setup.start();
    let mut client = server.client();
    let path = "/api/v1/counter/daily_active_users/increment";
    client.post(path, &json!({"user_id": "u1"})).ok();
    let refused = |arguments: &[&str]| {
        let ran = run(&setup, "export", arguments);
        assert_eq!(ran.status.code(), Some(1), "{arguments:?}");
        assert!(ran.stdout.is_empty(), "{arguments:?}");
        String::from_utf8_lossy(&ran.stderr).into_owned()
    };

    // Over, but not closed: nothing is closed while writes are refused.
    prints(&setup, "mode", &["read_only"]);
    clock.set(MIDNIGHT + HOUR);
    eventually("the next day begins", PATIENCE, || {
        let days = client.get("/api/v1/counter/daily_active_users").ok();
        (days["period"] == "2026-11-25").then_some(())
    });
    let says = refused(&["--from", "2026-11-24", "--to", "yesterday", "--to", "csv"]);
    assert!(says.contains("not closed yet"), "{says}");
    prints(&setup, "mode", &["normal"]);
    wait_closed(&mut client, "daily_active_users", "2026-11-24");
    let users = ["--date", "2026-11-24", "--users", "--to", "csv"];
    assert!(prints(&setup, "export", &users).contains("true,u1"));

    // Its users are no longer kept; in steps, since a jump of more than two days is not believed.
    for step in 1..=6 {
        clock.set(MIDNIGHT + HOUR + step * 40 * HOUR);
        eventually("the clock is followed", PATIENCE, || {
            let page = client.get("/metrics").text();
            let number = |name: &str| {
                let line = page
                    .lines()
                    .find_map(|line| line.strip_prefix(name))
                    .unwrap();
                line.trim().parse::<i64>().unwrap()
            };
            let closed = number("counterd_closed_day ") + 1 == number("counterd_day ");
            closed.then_some(())
        });
    }
    let says = eventually("the users' day has passed", PATIENCE, || {
        let ran = run(&setup, "export", &users);
        (ran.status.code() == Some(1)).then(|| String::from_utf8_lossy(&ran.stderr).into_owned())
    });
    assert!(says.contains("no longer kept"), "{says}");
    let days = prints(&setup, "export", &["--date", "2026-11-24", "--to", "csv"]);
    assert!(days.contains("daily_active_users"), "its record is kept");
    server.stop();
}

#[test]
fn killed_around_midnight_every_day_comes_out_exact() {
    let home = tempfile::tempdir().unwrap();
    let Some((setup, clock)) = ShiftedClock::for_server(
        "killed_around_midnight_every_day_comes_out_exact",
        setup!(home.path()),
        home.path(),
    ) else {
        return;
    };
    let rounds = crate::harness::rounds(6);
    let mut dice = Dice::new(crate::harness::seed(
        "killed_around_midnight_every_day_comes_out_exact",
    ));
    // Long before midnight: a start may take a while, and the first day must have counts.
    clock.set(MIDNIGHT - HOUR);
    let mut server = setup.start();
    let control = Control::new();
    let (histories, server) = std::thread::scope(|scope| {
        let load = scope.spawn(|| at_once(8, |number| count_with_keys(&setup, number, &control)));
        for round in 1..=rounds {
            control.wait_for(100);
            // Over midnight, and dead somewhere in the close of the day.
            clock.set(MIDNIGHT + DAY * (i64::from(round) - 1) - 5);
            control.wait_for(dice.below(6000));
            server.kill9();
            clock.set(MIDNIGHT + DAY * i64::from(round) - 2000);
            server = setup.start();
        }
        control.wait_for(100);
        control.stop();
        (load.join().unwrap(), server)
    });
    let mut client = server.client();
    let closed = Value::from("2026-11-24");
    wait_closed(&mut client, "total_games_played", closed.as_str().unwrap());
    server.stop();
    let mut history = History::default();
    history
        .intents
        .extend(histories.into_iter().flat_map(|one| one.intents));
    let mut finals = closing_values_of(&setup);
    finals.retain(|(name, _), value| name != "online_players" && *value != 0);
    claim_days_only_advance(&history);
    assert_eq!(history.check(&finals), []);
}

fn metric(client: &mut Client, name: &str) -> f64 {
    let page = client.get("/metrics").text();
    let value = page
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap().parse().unwrap()
}

#[test]
fn a_clock_set_back_over_midnight_counts_on_in_the_day_it_had_reached() {
    let test = "a_clock_set_back_over_midnight_counts_on_in_the_day_it_had_reached";
    let home = tempfile::tempdir().unwrap();
    let Some((setup, clock)) = ShiftedClock::for_server(test, setup!(home.path()), home.path())
    else {
        return;
    };
    clock.set(MIDNIGHT - HOUR);
    let server = setup.start();
    let mut client = server.client();
    let count = |client: &mut Client, key: &str| {
        let path = "/api/v1/counter/total_games_played/increment";
        let answer = client.request("POST", path, &[("idempotency-key", key)], b"{}");
        answer.unwrap().ok()
    };
    count(&mut client, "before");
    clock.set(MIDNIGHT + HOUR);
    assert_eq!(count(&mut client, "after")["period"], "2026-11-25");
    wait_closed(&mut client, "total_games_played", "2026-11-24");

    clock.set(MIDNIGHT - HOUR);
    let answer = count(&mut client, "again");
    assert_eq!(
        (&answer["period"], &answer["current_value"]),
        (&json!("2026-11-25"), &json!(2)),
        "nothing is counted in a closed day"
    );
    for (key, period, value) in [("before", "2026-11-24", 1), ("after", "2026-11-25", 1)] {
        let again = count(&mut client, key);
        assert_eq!(
            (&again["period"], &again["current_value"]),
            (&json!(period), &json!(value))
        );
    }
    let behind = metric(&mut client, "counterd_clock_behind_seconds");
    assert!((3590.0..=3600.0).contains(&behind), "{behind}");
    // The line is written by another thread than the answer.
    eventually("an error line about the clock", PATIENCE, || {
        server.output().contains("ERROR").then_some(())
    });

    // Forward by three days: refused until somebody says that it is right.
    let jumps = metric(&mut client, "counterd_clock_jumps_total");
    clock.set(MIDNIGHT + 2 * HOUR + 3 * DAY);
    let path = "/api/v1/counter/total_games_played/increment";
    let refused = client
        .request("POST", path, &[("idempotency-key", "jump")], b"{}")
        .unwrap();
    refused.refused(503, "read_only");
    assert!(metric(&mut client, "counterd_clock_jumps_total") > jumps);
    let days = client
        .get("/api/v1/counter/total_games_played/history")
        .ok();
    assert_eq!(
        days["days"][0]["date"], "2026-11-25",
        "no day is closed by a clock that jumped"
    );
    assert_eq!(days["days"][0]["closed"], false);
    prints(&setup, "mode", &["normal", "--accept-clock"]);
    let counted = count(&mut client, "jump");
    assert_eq!(
        (&counted["period"], &counted["current_value"]),
        (&json!("2026-11-28"), &json!(1))
    );
    assert_eq!(count(&mut client, "jump")["current_value"], 1);
    let day = wait_closed(&mut client, "total_games_played", "2026-11-25");
    assert_eq!(day["final_value"], 2);
    let all = client
        .get("/api/v1/counter/total_games_played/history")
        .ok();
    let dates: Vec<&Value> = all["days"]
        .as_array()
        .unwrap()
        .iter()
        .map(|day| &day["date"])
        .collect();
    assert_eq!(
        dates,
        ["2026-11-28", "2026-11-25", "2026-11-24"],
        "no day is invented"
    );
    server.stop();
}

/// The seeded ends of the process, one before and one after each step of a close: every name that
/// `src/lifecycle/archivist.rs` gives to `ends_here`.
#[cfg(feature = "mutants")]
const ENDS: [&str; 7] = [
    "ends_before_page",
    "ends_after_page",
    "ends_after_day",
    "ends_before_flush",
    "ends_after_flush",
    "ends_before_horizon",
    "ends_after_horizon",
];

/// Dies at each step of a close; the seeded ends are only in the build of script/mutants.
#[cfg(feature = "mutants")]
#[test]
fn killed_at_each_step_of_a_close_the_day_comes_out_exact() {
    for step in ENDS {
        let home = tempfile::tempdir().unwrap();
        let setup = setup!(home.path());
        let (setup, clock) = ShiftedClock::for_server(step, setup, home.path()).unwrap();
        clock.set(MIDNIGHT - HOUR);
        let server = setup.start();
        let mut client = server.client();
        for number in 0..600 {
            client
                .post(&format!("/api/v1/counter/c{number}/increment"), &json!({}))
                .ok();
        }
        client
            .post(
                "/api/v1/counter/daily_active_users/increment",
                &json!({"user_id": "u1"}),
            )
            .ok();
        server.stop();
        clock.set(MIDNIGHT + HOUR);
        let mut dying = setup.clone().env("COUNTERD_MUTANT", step).spawn();
        let status = dying.wait_exit(PATIENCE);
        assert!(!status.success(), "{step}: it did not die");
        drop(dying);
        let server = setup.start();
        let mut client = server.client();
        for counter in ["c0", "c599", "daily_active_users"] {
            let day = wait_closed(&mut client, counter, "2026-11-24");
            assert_eq!(
                (&day["final_value"], &day["operations"]),
                (&json!(1), &json!(1)),
                "{step}"
            );
        }
        let value = client.get("/api/v1/counter/c0").ok()["value"].clone();
        assert_eq!(value, 1, "{step}");
        server.stop();
        let finals = closing_values_of(&setup);
        let counted = finals.iter().filter(|(_, value)| **value == 1).count();
        assert_eq!(counted, 601, "{step}");
    }
}

/// Counts with keys, so that what a kill left open is known in the end.
fn count_with_keys(setup: &Setup, number: usize, control: &Control) -> History {
    let mut client = Client::new(setup.address());
    let mut dice = Dice::new(number as u64 + 1);
    let mut history = History::default();
    let mut serial = 0;
    while !control.is_over() {
        serial += 1;
        let user = (dice.below(2) == 0).then(|| format!("user-{}", dice.below(300)));
        let counter = if user.is_some() {
            "daily_active_users"
        } else {
            "total_games_played"
        };
        let key = format!("k-{number}-{serial}");
        let mut tries = Vec::new();
        let body = match &user {
            Some(user) => json!({"user_id": user}),
            None => json!({}),
        };
        let path = format!("/api/v1/counter/{counter}/increment");
        eventually("it is counted", 2 * PATIENCE, || {
            let begun = control.now();
            let headers = [("idempotency-key", key.as_str())];
            let answer = client.request("POST", &path, &headers, body.to_string().as_bytes());
            let counted = answer.ok().filter(|answer| answer.status == 200);
            let answer = match &counted {
                Some(answer) => Answer::Counted(vec![done(&answer.json())]),
                None => {
                    client = Client::new(setup.address());
                    Answer::Unknown
                }
            };
            tries.push(Try {
                begun,
                ended: control.now(),
                answer,
            });
            counted.map(drop)
        });
        history.intents.push(Intent {
            steps: vec![Step {
                counter: counter.to_owned(),
                delta: 1,
                user,
            }],
            key: Some(key),
            tries,
        });
        control.count(1);
    }
    history
}

fn done(answer: &Value) -> Done {
    Done {
        current_value: answer["current_value"].as_i64().unwrap(),
        counted: answer["counted"].as_bool().unwrap(),
        revision: answer["revision"].as_u64().unwrap(),
        period: answer["period"].as_str().map(ToOwned::to_owned),
    }
}
