//! How connections end: nothing that was begun is lost, and nobody who rests holds a place for ever.

use super::*;

#[test]
fn a_drain_answers_all_that_arrived_and_closes_what_is_quiet() {
    let bench = Bench::new();
    let increment = request("POST /api/v1/counter/a/increment", "", "{}");
    let mut idle = bench.connect();
    idle.get_mut()
        .write_all(request("GET /livez", "", "").as_bytes())
        .unwrap();
    receive(&mut idle).unwrap();
    let mut half = bench.connect();
    half.get_mut()
        .write_all(increment.as_bytes().split_at(30).0)
        .unwrap();
    let mut piped = bench.connect();
    piped
        .get_mut()
        .write_all(increment.repeat(20).as_bytes())
        .unwrap();
    let mut fresh = bench.connect();
    until("not all are accepted", || bench.http().connections() == 4);
    bench.http().begin_drain();
    let mut replies: Vec<_> = std::iter::from_fn(|| receive(&mut piped)).collect();
    let answered = replies.len();
    for (reply, value) in replies.iter().zip(1..) {
        assert_eq!(reply.ok()["current_value"], value);
    }
    // The answer that says so is the last: what stands behind its request was not begun.
    let last = replies.pop().unwrap();
    let closes = |reply: &Reply| reply.head.contains("connection: close\r\n");
    assert!(answered == 20 || closes(&last), "{answered}: {}", last.head);
    assert!(!replies.iter().any(closes));
    assert!(receive(&mut idle).is_none());
    assert!(receive(&mut fresh).is_none());
    assert!(!bench.http().is_drained(), "half a request is waited for");
    half.get_mut()
        .write_all(increment.as_bytes().split_at(30).1)
        .unwrap();
    let last = receive(&mut half).unwrap();
    assert_eq!(last.ok()["current_value"], answered + 1);
    assert!(closes(&last), "{}", last.head);
    assert!(receive(&mut half).is_none());
    until("it does not end", || bench.http().is_drained());
    assert!(TcpStream::connect(bench.http().addr()).is_err());
    bench.end();
}

#[test]
fn readiness_ends_when_a_drain_begins() {
    let bench = Bench::new();
    let mut connection = bench.connect();
    let ready = request("GET /readyz", "", "");
    // The first half keeps the connection from being quiet.
    connection
        .get_mut()
        .write_all(ready.as_bytes().split_at(20).0)
        .unwrap();
    until("it is not accepted", || bench.http().connections() == 1);
    bench.http().begin_drain();
    connection
        .get_mut()
        .write_all(ready.as_bytes().split_at(20).1)
        .unwrap();
    receive(&mut connection)
        .unwrap()
        .refused(503, "shutting_down");
    bench.end();
}
