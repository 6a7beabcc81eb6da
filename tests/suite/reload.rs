//! SIGHUP: the configuration is read again, what can change does, and nothing ends.

use std::io::ErrorKind;
use std::time::Duration;

use serde_json::json;

use super::harness::{Server, Setup, eventually};

const LIMIT: Duration = Duration::from_secs(30);

/// Sends SIGHUP and waits until the log says `told` once more.
fn reload(server: &Server, told: &str) {
    let before = server.output().matches(told).count();
    server.signal(libc::SIGHUP);
    eventually("the reload is told", LIMIT, || {
        (server.output().matches(told).count() > before).then_some(())
    });
}

#[test]
fn sighup_takes_over_limits() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("counterd.toml");
    let server = Setup::new(home.path()).start();
    let mut client = server.client();
    let body = json!({"metadata": {"text": "x".repeat(1500)}});
    let path = "/api/v1/counter/games/increment";
    client.post(path, &body).ok();
    let limits = [
        ("max_body", "\"1KiB\""),
        ("idle_timeout", "\"100ms\""),
        ("max_connections", "500"),
        ("max_batch_body", "\"2MiB\""),
        ("max_body_memory", "\"32MiB\""),
        ("header_timeout", "\"9s\""),
        ("body_timeout", "\"9s\""),
    ];
    let lines = limits.map(|(key, value)| format!("{key} = {value}\n"));
    std::fs::write(&file, format!("[server]\n{}", lines.concat())).unwrap();
    reload(&server, "configuration reloaded");
    let told = server.output();
    let line = told
        .lines()
        .rfind(|line| line.contains("configuration reloaded"));
    let (taken, restart) = line.unwrap().split_once("needs_a_restart=").unwrap();
    for (key, _) in limits {
        assert!(taken.contains(&format!("server.{key}")), "{key}: {line:?}");
    }
    assert!(restart.starts_with("\"nothing\""), "{line:?}");
    let mut fresh = server.client();
    fresh.post(path, &body).refused(413, "body_too_large");
    let mut resting = server.client();
    resting.connect().unwrap();
    let ended = resting.receive().unwrap_err();
    assert!(
        !matches!(ended.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "it is not closed: {ended}"
    );
    std::fs::write(&file, "").unwrap();
    reload(&server, "configuration reloaded");
    server.client().post(path, &body).ok();
    server.stop();
}

#[test]
fn sighup_takes_over_limits_of_rates() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("counterd.toml");
    let server = Setup::new(home.path()).start();
    let up = |source: &str| {
        let from = [("x-forwarded-for", source)];
        let path = "/api/v1/counter/games/increment";
        let answer = server.client().request("POST", path, &from, b"").unwrap();
        answer.status
    };
    assert_eq!((up("198.51.100.1"), up("198.51.100.1")), (200, 200));
    let keys = [
        "per_ip = \"1/h\"",
        "per_user = \"7/h\"",
        "burst = 1",
        "wrong_admin_tokens = \"off\"",
        "exempt = [\"203.0.113.0/24\"]",
        "trusted_proxies = [\"127.0.0.1\"]",
        "client_ip_header = \"x-FORWARDED-for\"",
    ];
    let text = format!("[limits]\n{}\nmax_keys = 2048\n", keys.join("\n"));
    std::fs::write(&file, text).unwrap();
    reload(&server, "configuration reloaded");
    let told = server.output();
    let line = told
        .lines()
        .rfind(|line| line.contains("configuration reloaded"));
    let (taken, restart) = line.unwrap().split_once("needs_a_restart=").unwrap();
    for key in keys.map(|key| key.split(' ').next().unwrap()) {
        assert!(taken.contains(&format!("limits.{key}")), "{key}: {line:?}");
    }
    assert!(restart.starts_with("\"limits.max_keys\""), "{line:?}");
    for _ in 0..2 {
        assert_eq!(up("203.0.113.7"), 200);
    }
    assert_eq!((up("198.51.100.1"), up("198.51.100.1")), (200, 429));
    std::fs::write(&file, "").unwrap();
    reload(&server, "configuration reloaded");
    assert_eq!(up("198.51.100.1"), 200);
    server.stop();
}

#[test]
fn sighup_takes_over_tokens_and_what_is_logged_and_never_ends_the_server() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("counterd.toml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    write("[auth]\nwrite_token = \"the-old-write-token\"\n");
    let mut server = Setup::new(home.path()).without("log.access").start();
    let count = |token: &str| {
        let mut client = server.client().with_token(token);
        let path = "/api/v1/counter/games/increment";
        client.post(path, &json!({})).status
    };
    assert_eq!(
        (count("the-old-write-token"), count("the-new-write-token")),
        (200, 401)
    );

    // Rotation: both, then the new one alone.
    write("[auth]\nwrite_token = [\"the-old-write-token\", \"the-new-write-token\"]\n");
    reload(&server, "configuration reloaded");
    assert_eq!(
        (count("the-old-write-token"), count("the-new-write-token")),
        (200, 200)
    );
    write(
        "[auth]\nwrite_token = \"the-new-write-token\"\n[log]\nlevel = \"debug\"\naccess = \"off\"\n\
         [writer]\nqueue = 1000\n",
    );
    reload(&server, "configuration reloaded");
    assert_eq!(
        (count("the-old-write-token"), count("the-new-write-token")),
        (401, 200)
    );
    let told = server.output();
    let line = told
        .lines()
        .rfind(|line| line.contains("configuration reloaded"));
    for part in [
        "log.level",
        "log.access",
        "auth.write_token",
        "needs_a_restart=\"writer.queue\"",
    ] {
        assert!(line.unwrap().contains(part), "{part} is not in {line:?}");
    }
    assert!(!told.contains("-write-token"), "{told}");

    // What is wrong changes nothing.
    write("[auth]\nwrite_token = \"\"\n[log]\nlevel = \"loud\"\n");
    reload(&server, "the configuration is wrong");
    assert_eq!(
        (count("the-old-write-token"), count("the-new-write-token")),
        (401, 200)
    );
    assert!(server.try_exit().is_none());
    server.stop();
}
