//! SIGTERM under load: what was fully received is answered, what was answered is counted, the exit
//! code is 0, and nobody holds the end up for longer than `server.drain_timeout`.

use std::os::unix::process::ExitStatusExt as _;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::harness::{PATIENCE, Setup, at_once};
use crate::traffic::{self, Control, Mix};

const MIX: Mix = Mix {
    connections: 32,
    seed: 8,
    users: 5000,
    big_batches: 0,
    watchers: 2,
    daily: false,
};

#[test]
fn what_was_answered_before_sigterm_is_there_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path()).set("push.interval", "10ms");
    let server = setup.start();
    traffic::define(&mut server.admin());
    let control = Control::new();
    let (history, ()) = traffic::during(setup.address(), MIX, &control, || {
        control.wait_for(3000);
        server.stop();
    });
    let server = setup.start();
    traffic::verify(&mut server.client(), &control, history);
    server.stop();
}

/// Each client sends one request, whole, and says so; only then comes the signal.
#[test]
fn requests_received_before_sigterm_are_answered() {
    const CLIENTS: usize = 200;
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path());
    let server = setup.start();
    let sent = Barrier::new(CLIENTS + 1);
    let acknowledged = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let clients = scope.spawn(|| {
            at_once(CLIENTS, |number| {
                let mut client = server.client();
                // Connected and served, so that the connection is the server's and not the kernel's.
                client.get("/livez").ok();
                let body = json!({"value": number + 1}).to_string();
                client
                    .send(
                        "POST",
                        "/api/v1/counter/last/increment",
                        &[],
                        body.as_bytes(),
                    )
                    .unwrap();
                sent.wait();
                let answer = client.receive().expect("an answer");
                assert_eq!(answer.ok()["applied"], number + 1);
                acknowledged.fetch_add(1, Ordering::SeqCst);
            })
        });
        sent.wait();
        server.signal(libc::SIGTERM);
        clients.join().unwrap();
    });
    server.ended_well();
    assert_eq!(acknowledged.load(Ordering::SeqCst), CLIENTS as u64);
    let server = setup.start();
    assert_eq!(
        server.client().value("last"),
        (1..=CLIENTS as i64).sum::<i64>()
    );
    server.stop();
}

#[test]
fn half_a_request_holds_the_end_no_longer_than_drain_timeout() {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path()).set("server.drain_timeout", "300ms");
    let mut server = setup.start();
    let mut half = server.client();
    half.send_raw(b"POST /api/v1/counter/half/increment HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{\"value\"").unwrap();
    server
        .client()
        .post("/api/v1/counter/whole/increment", &json!({}))
        .ok();
    server.signal(libc::SIGTERM);
    // By default it would wait for half a minute, and the client for ever.
    let status = server.wait_exit(Duration::from_secs(15));
    assert_eq!(status.code(), Some(0));
    drop(half);
    let server = setup.start();
    assert_eq!(server.client().value("whole"), 1);
    server
        .client()
        .get("/api/v1/counter/half")
        .refused(404, "unknown_counter");
    server.stop();
}

#[test]
fn while_draining_readyz_is_503_and_livez_is_200() {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path());
    let server = setup.start();
    let (mut half, mut other) = (server.client(), server.client());
    half.send_raw(
        b"POST /api/v1/counter/half/increment HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{",
    )
    .unwrap();
    // A second request under way keeps this connection open too.
    other
        .send_raw(b"GET /readyz HTTP/1.1\r\nhost: x\r\nx-slow: ")
        .unwrap();
    server.client().get("/livez").ok();
    server.signal(libc::SIGTERM);
    crate::harness::eventually("connections are refused", PATIENCE, || {
        server.client().connect().is_err().then_some(())
    });
    other.send_raw(b"1\r\n\r\n").unwrap();
    assert_eq!(other.receive().unwrap().status, 503);
    half.send_raw(b"}").unwrap();
    assert_eq!(half.receive().unwrap().ok()["current_value"], 1);
    server.ended_well();
}

#[test]
fn a_lame_duck_is_not_ready_and_still_takes_connections() {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path()).set("server.lame_duck", "3s");
    let server = setup.start();
    server.signal(libc::SIGTERM);
    crate::harness::eventually("it is not ready", PATIENCE, || {
        let answer = server.client().get("/readyz");
        (answer.status == 503 && answer.code() == "shutting_down").then_some(())
    });
    let counted = server
        .client()
        .post("/api/v1/counter/late/increment", &json!({}));
    assert_eq!(counted.ok()["current_value"], 1);
    assert_eq!(counted.header("connection"), Some("close"));
    server.ended_well();
}

#[test]
fn a_second_signal_ends_it_at_once_and_loses_nothing_acknowledged() {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path());
    let mut server = setup.start();
    traffic::define(&mut server.admin());
    // Holds the drain up, so that the second signal has something to cut short.
    let mut half = server.client();
    half.send_raw(
        b"POST /api/v1/counter/half/increment HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{",
    )
    .unwrap();
    let control = Control::new();
    let (history, status) = traffic::during(setup.address(), MIX, &control, || {
        control.wait_for(2000);
        server.signal(libc::SIGTERM);
        server.signal(libc::SIGINT);
        server.wait_exit(Duration::from_secs(15))
    });
    assert_eq!(status.signal(), None, "{status}");
    let server = setup.start();
    traffic::verify(&mut server.client(), &control, history);
    server.stop();
}
