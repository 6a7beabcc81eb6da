//! No system call that the server makes in a whole life is outside of the unit's filter.

use std::collections::BTreeSet;

use serde_json::json;

use super::{analyze, settings};
use crate::harness::{Database, PATIENCE, Redis, Setup, can_trace, eventually, skipped};

/// The calls of one of systemd's groups, those of the groups in it included.
fn group(name: &str) -> BTreeSet<String> {
    let done = analyze(&["syscall-filter", name]).unwrap();
    assert!(done.status.success(), "{name}: {done:?}");
    let text = String::from_utf8(done.stdout).unwrap();
    let mut calls = BTreeSet::new();
    for word in text.lines().skip(1).map(str::trim) {
        if word.starts_with('@') {
            calls.extend(group(word));
        } else if !word.starts_with('#') && !word.is_empty() {
            calls.insert(word.to_owned());
        }
    }
    calls
}

/// What the unit's filter lets through: each line adds to it, or takes away.
fn allowed() -> BTreeSet<String> {
    let mut allowed = group("@default");
    for line in settings("SystemCallFilter") {
        let (takes, names) = match line.strip_prefix('~') {
            Some(names) => (true, names),
            None => (false, line.as_str()),
        };
        for name in names.split(' ') {
            let calls = if name.starts_with('@') {
                group(name)
            } else {
                BTreeSet::from([name.to_owned()])
            };
            if takes {
                allowed.retain(|call| !calls.contains(call));
            } else {
                allowed.extend(calls);
            }
        }
    }
    allowed
}

/// The names in strace's table of counts.
fn counted(table: &str) -> BTreeSet<String> {
    let rows = table.lines().filter(|line| {
        let first = line.split_whitespace().next();
        first.is_some_and(|word| word.parse::<f64>().is_ok())
    });
    rows.filter_map(|row| row.split_whitespace().last())
        .filter(|name| *name != "total")
        .map(str::to_owned)
        .collect()
}

#[test]
fn no_system_call_of_a_whole_life_is_outside_of_the_filter() {
    let test = "no_system_call_of_a_whole_life_is_outside_of_the_filter";
    if analyze(&["--version"]).is_none() {
        return skipped(test, "systemd-analyze is not here");
    }
    let parts = can_trace().and_then(|()| Ok((Database::new()?, Redis::new()?)));
    let (database, redis) = match parts {
        Ok(parts) => parts,
        Err(reason) => return skipped(test, &reason),
    };
    let home = tempfile::tempdir().unwrap();
    let table = home.path().join("calls");
    let logs = home.path().join("logs");
    let setup = Setup::new(home.path())
        .set(
            "postgres.url",
            &database.url().replace("127.0.0.1", "localhost"),
        )
        .set("postgres.interval", "100ms")
        .set("redis.url", &redis.url().replace("127.0.0.1", "localhost"))
        .set("redis.mirror", "true")
        .set("log.access", "all")
        .set("log.dir", logs.to_str().unwrap())
        .under(&[
            "strace",
            "-D",
            "-f",
            "-qq",
            "-c",
            "-o",
            table.to_str().unwrap(),
        ]);
    let server = setup.start();
    live(&setup, &mut server.admin(), &home.path().join("backups"));
    let row = "SELECT current_value FROM counters WHERE name = 'a'";
    eventually("it is exported", PATIENCE, || {
        (database.try_sql(row).ok()? == "3").then_some(())
    });
    eventually("it is mirrored", PATIENCE, || {
        (redis.say::<Option<i64>>("GET counter:a") == Some(3)).then_some(())
    });
    server.stop();
    // strace writes it when all have ended.
    let text = eventually("the calls are counted", PATIENCE, || {
        let text = std::fs::read_to_string(&table).ok()?;
        text.lines()
            .any(|line| line.ends_with(" total"))
            .then_some(text)
    });
    let (used, allowed) = (counted(&text), allowed());
    for known in ["fdatasync", "execve", "setpriority", "linkat", "bind"] {
        // Else the life was none.
        let link = known == "linkat" && used.contains("link");
        assert!(link || used.contains(known), "{known} in\n{text}");
    }
    let outside: Vec<&String> = used.difference(&allowed).collect();
    assert!(outside.is_empty(), "{outside:?}");
    assert!(!allowed.contains("ptrace") && !allowed.contains("mount"));
}

/// Writes of each kind, reads, and the commands that the server does itself.
fn live(setup: &Setup, client: &mut crate::harness::Client, backups: &std::path::Path) {
    for _ in 0..3 {
        client.post("/api/v1/counter/a/increment", &json!({})).ok();
    }
    client
        .post(
            "/api/v1/counter/daily_active_users/increment",
            &json!({"user_id": "u1"}),
        )
        .ok();
    client.get("/api/v1/counters/all").ok();
    assert_eq!(client.get("/metrics").status, 200);
    let backups = backups.to_str().unwrap();
    for (command, arguments) in [
        ("backup", &[backups][..]),
        ("compact", &[]),
        ("inspect", &[]),
        ("mode", &["read_only"]),
        ("mode", &["normal"]),
        ("health", &["--writes"]),
    ] {
        let done = setup.command(command).args(arguments).output().unwrap();
        assert!(done.status.success(), "{command}: {done:?}");
    }
}
