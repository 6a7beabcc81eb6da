//! Answers that come in pieces: none is cut off for resting, and a request is under way until its answer is whole.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body as AxumBody;
use axum::routing::get;
use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::mpsc;

use super::push::figure;
use super::*;

/// A body of the pieces that a test sends.
struct Pieces(mpsc::UnboundedReceiver<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let piece = self.get_mut().0.poll_recv(context);
        piece.map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// A server of one runtime whose connections may rest for a moment only; what is sent into the channel
/// comes out of `/pieces`.
fn bench() -> (Bench, mpsc::UnboundedSender<Bytes>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let receiver = Arc::new(parking_lot::Mutex::new(Some(receiver)));
    let pieces = move || {
        let receiver = receiver.lock().take().unwrap();
        std::future::ready(AxumBody::new(Pieces(receiver)))
    };
    let router = router::router().route("/pieces", get(pieces));
    let short = |options: &mut HttpOptions| {
        options.workers = 1;
        options.limits.idle_timeout = Duration::from_millis(20);
    };
    (Bench::with_router(short, &router), sender)
}

/// Waits until a connection that rests has been closed, some times over: for so long others rested too.
pub(super) fn let_others_rest(bench: &Bench) {
    for _ in 0..3 {
        let mut rests = bench.connect();
        let get = request("GET /livez", "", "");
        rests.get_mut().write_all(get.as_bytes()).unwrap();
        assert_eq!(receive(&mut rests).unwrap().status, 200);
        assert_eq!(rests.read(&mut [0]).unwrap(), 0);
    }
}

/// How many requests are under way, but for the one that asks.
fn in_flight(bench: &Bench) -> u64 {
    figure(bench, "counterd_requests_in_flight") - 1
}

#[test]
fn an_answer_in_pieces_may_rest_and_is_under_way_until_the_last() {
    let (bench, sender) = bench();
    let mut connection = bench.connect();
    let get = request("GET /pieces", "", "");
    connection.get_mut().write_all(get.as_bytes()).unwrap();
    let head = receive_head(&mut connection);
    assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
    for piece in ["one", "two", "three"] {
        let_others_rest(&bench);
        assert_eq!(in_flight(&bench), 1);
        sender.send(Bytes::from_static(piece.as_bytes())).unwrap();
        let mut chunk = String::new();
        for _ in 0..2 {
            connection.read_line(&mut chunk).unwrap();
        }
        assert_eq!(chunk, format!("{}\r\n{piece}\r\n", piece.len()));
    }
    drop(sender);
    let mut end = [0; 5];
    connection.read_exact(&mut end).unwrap();
    assert_eq!(&end, b"0\r\n\r\n");
    until("it is under way for ever", || in_flight(&bench) == 0);
    // From then on it rests like any other.
    assert_eq!(connection.read(&mut end).unwrap(), 0);
    bench.end();
}

#[test]
fn a_client_that_leaves_an_answer_in_pieces_ends_it() {
    let (bench, sender) = bench();
    let mut connection = bench.connect();
    let get = request("GET /pieces", "", "");
    connection.get_mut().write_all(get.as_bytes()).unwrap();
    receive_head(&mut connection);
    assert_eq!(in_flight(&bench), 1);
    drop(connection);
    until("the pieces are wanted for ever", || {
        // The server hears of it when it sends.
        sender.send(Bytes::from_static(b"more")).is_err()
    });
    until("it is under way for ever", || in_flight(&bench) == 0);
    let page = bench.get("/metrics").body;
    let line = "counterd_requests_abandoned_total 1\n";
    assert!(page.contains(line), "{page}");
    bench.end();
}

#[test]
fn a_client_that_takes_nothing_of_an_answer_in_pieces_is_cut_off() {
    let (bench, sender) = bench();
    let mut connection = bench.connect();
    let get = request("GET /pieces", "", "");
    connection.get_mut().write_all(get.as_bytes()).unwrap();
    receive_head(&mut connection);
    let piece = Bytes::from(vec![b'x'; 64 * 1024]);
    until("it is not cut off", || sender.send(piece.clone()).is_err());
    until("it is under way for ever", || in_flight(&bench) == 0);
    bench.end();
}
