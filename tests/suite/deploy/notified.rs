//! Readiness: what a service manager is told, and when.

use std::os::unix::net::UnixDatagram;

use serde_json::json;

use crate::harness::{PATIENCE, Setup};

#[test]
fn ready_is_told_once_reads_are_served_and_stopping_when_it_is_to_end() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = || {
        let mut bytes = [0; 4096];
        let length = manager.recv(&mut bytes)?;
        std::io::Result::Ok(String::from_utf8(bytes[..length].to_vec()).unwrap())
    };
    let setup = Setup::new(home.path()).env("NOTIFY_SOCKET", path.to_str().unwrap());
    let server = setup.spawn();
    assert_eq!(told().unwrap().trim(), "READY=1");
    // At the first try: nothing is waited for.
    let mut client = server.client();
    assert_eq!(client.get("/readyz").status, 200);
    client.post("/api/v1/counter/c/increment", &json!({})).ok();
    // Holds the end up: it is told at its beginning.
    let mut half = server.client();
    half.send_raw(
        b"POST /api/v1/counter/half/increment HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{",
    )
    .unwrap();
    // Served, so that the half is known to have arrived before the signal.
    client.get("/livez").ok();
    server.signal(libc::SIGTERM);
    assert_eq!(told().unwrap().trim(), "STOPPING=1");
    half.send_raw(b"}").unwrap();
    assert_eq!(half.receive().unwrap().ok()["current_value"], 1);
    server.ended_well();
    manager.set_nonblocking(true).unwrap();
    assert!(told().is_err(), "nothing else is told");
}

#[test]
fn a_start_that_fails_is_never_ready() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let setup = Setup::new(home.path());
    let first = setup.start();
    let second = setup.env("NOTIFY_SOCKET", path.to_str().unwrap()).spawn();
    let mut second = second;
    assert_eq!(second.wait_exit(PATIENCE).code(), Some(1));
    manager.set_nonblocking(true).unwrap();
    assert!(manager.recv(&mut [0; 16]).is_err());
    first.stop();
}
