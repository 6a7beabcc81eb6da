//! What time is to several instances over one log: minutes, days, absences, clocks that are wrong.

use serde_json::json;

use super::{agrees, count, log, patient, program, value};
use crate::harness::{PATIENCE, Redis, Server, Setup, eventually, skipped};
use crate::midnight::ShiftedClock;

/// 2026-11-25T00:00:00Z.
const MIDNIGHT: i64 = 1_795_564_800_000;
const MINUTE: i64 = 60_000;

/// A Redis under a clock that the test moves, in `home`; `None` where one of both cannot be had.
fn log_under_a_clock(test: &str, home: &tempfile::TempDir) -> Option<(Redis, ShiftedClock)> {
    let clock = ShiftedClock::in_home(test, home.path())?;
    let arguments = ["--appendonly", "yes", "--appendfsync", "always"];
    let redis = program()
        .and_then(|program| Redis::in_environment(&program, clock.environment(), &arguments));
    let redis = redis.map_err(|reason| skipped(test, &reason)).ok()?;
    Some((redis, clock))
}

/// Counts once, as soon as that is taken.
fn counts(server: &Server, name: &str) {
    let mut client = server.client();
    eventually("it counts", PATIENCE, || {
        let counted = count(&mut client, name);
        counted.expect("somebody knows").then_some(())
    });
}

#[test]
fn a_series_has_the_value_at_the_end_of_each_minute_whichever_instance_ended_it() {
    let test = "a_series_has_the_value_at_the_end_of_each_minute_whichever_instance_ended_it";
    let homes: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let Some((redis, clock)) = log_under_a_clock(test, &homes[0]) else {
        return;
    };
    clock.set(MIDNIGHT - 2 * MINUTE + MINUTE / 2);
    let start = |home| clock.given_to(patient(home, &redis)).start();
    let (one, two) = (start(&homes[0]), start(&homes[1]));
    let names = ["players", "total_games_played"];
    for name in names {
        counts(&one, name);
        agrees(&[&one, &two], name, 1);
    }
    // In each minute the one is first, and the other counts when it knows that.
    for (minute, [players, games]) in [(-1, [3, 3]), (0, [5, 2]), (1, [7, 4])] {
        clock.set(MIDNIGHT + minute * MINUTE + MINUTE / 2);
        for (name, want) in names.into_iter().zip([players, games]) {
            counts(&one, name);
            agrees(&[&one, &two], name, want - 1);
            counts(&two, name);
            agrees(&[&one, &two], name, want);
        }
    }
    for server in [&one, &two] {
        for (name, ends) in [("players", [1, 3, 5]), ("total_games_played", [1, 3, 2])] {
            let path = format!("/api/v1/counter/{name}/series?range=5m&step=1m");
            let series = server.client().get(&path).ok();
            let last = |minute: &str| {
                let at = format!("2026-11-{minute}:00.000Z");
                let mut points = series["points"].as_array().unwrap().iter();
                let point = points.find(|point| point["at"] == at.as_str());
                point.unwrap_or_else(|| panic!("{at}: {series}"))["last"].clone()
            };
            let found = ["24T23:58", "24T23:59", "25T00:00"].map(last);
            assert_eq!(found, ends.map(|end| json!(end)), "{name}: {series}");
        }
    }
}

/// For how long of the day nobody was up, as an instance says.
fn away(server: &Server) -> i64 {
    let history = server.client().get("/api/v1/counter/players/history").ok();
    let days = history["days"].as_array().unwrap();
    days.last().unwrap()["away_seconds"].as_i64().unwrap()
}

#[test]
fn an_absence_is_noted_once_and_only_where_no_instance_was_up() {
    let test = "an_absence_is_noted_once_and_only_where_no_instance_was_up";
    let homes: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let Some((redis, clock)) = log_under_a_clock(test, &homes[0]) else {
        return;
    };
    const NOON: i64 = MIDNIGHT - 720 * MINUTE;
    clock.set(NOON);
    let setups = [0, 1].map(|at| clock.given_to(patient(&homes[at], &redis)));
    let [one, two] = setups.each_ref().map(Setup::start);
    counts(&one, "players");
    agrees(&[&one, &two], "players", 1);
    // Nothing was counted for a while when one of them is restarted.
    clock.set(NOON + 40_000);
    eventually("they say that they are up", PATIENCE, || {
        let (now, _): (i64, i64) = redis.say("TIME");
        let since = (now - 5) * 1000;
        let up: u64 = redis.say(&format!("ZCOUNT {{counterd:0}}:up {since} +inf"));
        (up == 2).then_some(())
    });
    two.kill9();
    let two = setups[1].start();
    counts(&two, "players");
    agrees(&[&one, &two], "players", 2);
    assert_eq!([&one, &two].map(away), [0, 0]);
    // Both are down.
    one.stop();
    two.stop();
    clock.set(NOON + 11 * MINUTE);
    let [mut one, mut two] = setups.each_ref().map(Setup::spawn);
    one.wait_ready();
    two.wait_ready();
    for (server, players) in [(&one, 3), (&two, 4)] {
        counts(server, "players");
        agrees(&[&one, &two], "players", players);
    }
    let noted = away(&one);
    assert!((400..=900).contains(&noted), "{noted}");
    assert_eq!(away(&two), noted);
}

/// The cause for which an instance refuses a write; `None` where it counts.
fn refusal(server: &Server) -> Option<String> {
    let path = "/api/v1/counter/total_games_played/increment";
    let answer = server.client().post(path, &json!({}));
    if answer.status == 200 {
        return None;
    }
    let refused = answer.refused(503, "read_only");
    Some(refused["cause"].as_str().unwrap().to_owned())
}

#[test]
fn an_instance_whose_clock_is_wrong_takes_no_writes_and_moves_nobodys_day() {
    let test = "an_instance_whose_clock_is_wrong_takes_no_writes_and_moves_nobodys_day";
    let Some(redis) = log(test) else { return };
    let homes: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let wrong = patient(&homes[1], &redis);
    let Some((wrong, clock)) = ShiftedClock::for_server(test, wrong, homes[1].path()) else {
        return;
    };
    let now = || {
        let (seconds, _): (i64, i64) = redis.say("TIME");
        seconds * 1000
    };
    let right = patient(&homes[0], &redis).start();
    assert_eq!(refusal(&right), None);
    let period = |server: &Server| {
        let path = "/api/v1/counter/total_games_played";
        server.client().get(path).ok()["period"].clone()
    };
    let today = period(&right);
    // It starts with a wrong clock, and it goes wrong later: by a day, and by ten seconds.
    clock.set(now() + 25 * 60 * MINUTE);
    let wrong = wrong.start();
    for ahead in [25 * 60 * MINUTE, -10_000, 10_000] {
        clock.set(now() + ahead);
        eventually("it takes no writes", PATIENCE, || {
            (refusal(&wrong)? == "clock").then_some(())
        });
        assert_eq!(refusal(&right), None, "{ahead}");
        let counted = value(&right, "total_games_played");
        agrees(&[&wrong], "total_games_played", counted);
        assert_eq!([&right, &wrong].map(period), [today.clone(), today.clone()]);
        clock.set(now());
        eventually("it counts again", PATIENCE, || {
            refusal(&wrong).is_none().then_some(())
        });
        assert_eq!([&right, &wrong].map(period), [today.clone(), today.clone()]);
    }
}
