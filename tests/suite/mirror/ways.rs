//! The ways to a Redis besides plain TCP: TLS, and a Unix socket.

use serde_json::json;

use crate::degraded::damage;
use crate::harness::{
    PATIENCE, REDIS_PASSWORD, Redis, Server, Setup, certificates, eventually, free_port, skipped,
};

fn count_once(server: &Server) {
    let mut client = server.client();
    client.post("/api/v1/counter/a/increment", &json!({})).ok();
}

/// The standing of the mirror, once it has tried.
fn standing(server: &Server) -> (bool, String) {
    let mut client = server.client();
    eventually("the mirror has tried", PATIENCE, || {
        let redis = client.get("/readyz?verbose").json()["lags"]["redis"].clone();
        let error = redis["error"].as_str().unwrap_or_default().to_owned();
        (redis["up"] == true || !error.starts_with("not tried"))
            .then(|| (redis["up"] == true, error))
    })
}

#[test]
fn over_tls_only_a_redis_that_a_root_vouches_for_is_spoken_to() {
    let test = "over_tls_only_a_redis_that_a_root_vouches_for_is_spoken_to";
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let port = free_port();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let redis = Redis::with(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &path("server.pem"),
        "--tls-key-file",
        &path("server.key"),
        "--tls-auth-clients",
        "no",
    ]);
    let redis = match redis {
        Ok(redis) => redis,
        Err(reason) => return skipped(test, &reason),
    };
    let url = format!("rediss://:{REDIS_PASSWORD}@127.0.0.1:{port}/0");
    let setup = |home: &tempfile::TempDir, root: &str| {
        Setup::new(home.path())
            .set("redis.mirror", "true")
            .set("redis.url", &url)
            .env("SSL_CERT_FILE", &path(root))
    };
    // A root that vouches for nothing here.
    let home = tempfile::tempdir().unwrap();
    let others = tempfile::tempdir().unwrap();
    certificates(others.path());
    std::fs::copy(others.path().join("root.pem"), dir.path().join("other.pem")).unwrap();
    let server = setup(&home, "other.pem").start();
    count_once(&server);
    let (up, error) = standing(&server);
    assert!(!up && error.contains("certificate"), "{error}");
    assert!(!error.contains(REDIS_PASSWORD), "{error}");
    assert_eq!(redis.say::<u64>("DBSIZE"), 0);
    server.stop();

    let setup = setup(&home, "root.pem").set("degraded.start", "true");
    let server = setup.start();
    eventually("it is mirrored", PATIENCE, || {
        (redis.say::<Option<i64>>("GET counter:a") == Some(1)).then_some(())
    });
    assert_eq!(standing(&server), (true, String::new()));
    server.kill9();
    damage(&setup);
    let server = setup.start();
    let reading = server.client().get("/api/v1/counter/a").ok();
    assert_eq!(
        (&reading["value"], &reading["source"]),
        (&json!(1), &json!("redis"))
    );
    server.stop();
}

#[test]
fn a_unix_socket_and_another_database_lead_to_it_too() {
    let test = "a_unix_socket_and_another_database_lead_to_it_too";
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("redis.sock").display().to_string();
    let redis = match Redis::with(&["--unixsocket", &socket]) {
        Ok(redis) => redis,
        Err(reason) => return skipped(test, &reason),
    };
    let home = tempfile::tempdir().unwrap();
    let server = Setup::new(home.path())
        .set("redis.mirror", "true")
        .set("redis.prefix", "game:")
        .set(
            "redis.url",
            &format!("unix://{socket}?db=3&pass={REDIS_PASSWORD}"),
        )
        .start();
    count_once(&server);
    let mut there = redis
        .connect_at(&redis.url_as("", REDIS_PASSWORD, 3))
        .unwrap();
    eventually("it is mirrored", PATIENCE, || {
        let value: Option<i64> = redis::cmd("GET")
            .arg("game:counter:a")
            .query(&mut there)
            .unwrap();
        (value == Some(1)).then_some(())
    });
    assert_eq!(redis.say::<u64>("DBSIZE"), 0);
    assert_eq!(standing(&server), (true, String::new()));
    server.stop();
}
