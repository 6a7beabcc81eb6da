//! Bodies of answers: whole at once, in pieces, or as the router made them; and who is told of their end. Heads of those
//! that are sent without hyper.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body as AxumBody;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame, SizeHint};

/// Most bytes of a followed body that are handed out at once.
const PIECE: usize = 64 * 1024;

/// Returns the head of an answer as bytes, for what is sent without hyper.
pub(super) fn head(status: StatusCode, headers: &HeaderMap) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status}\r\n").into_bytes();
    for (name, value) in headers {
        let line: [&[u8]; 4] = [name.as_ref(), b": ", value.as_bytes(), b"\r\n"];
        head.extend(line.concat());
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// The body of an answer.
pub(super) enum ReplyBody {
    /// Made by a handler of ours.
    Whole(Bytes),
    /// Came through the router, or comes piece by piece.
    Routed(AxumBody),
    /// Somebody is told when it ends.
    Followed(Box<Followed>),
}

/// Is called when the last piece of a body was handed out, with the bytes in all; without this call the client left
/// before.
type BodyEnd = Box<dyn FnOnce(u64) + Send>;

/// A body whose end is told. It is handed out in pieces, so that the end is not told far ahead of what
/// the client has taken.
pub(super) struct Followed {
    body: ReplyBody,
    /// What is left of the piece that came last.
    piece: Bytes,
    handed_out: u64,
    end: Option<BodyEnd>,
}

impl ReplyBody {
    /// Returns the same body, at whose end `end` is called with the bytes that were handed out.
    pub(super) fn followed_by(self, end: impl FnOnce(u64) + Send + 'static) -> Self {
        Self::Followed(Box::new(Followed {
            body: self,
            piece: Bytes::new(),
            handed_out: 0,
            end: Some(Box::new(end)),
        }))
    }
}

impl Followed {
    fn poll_piece(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.piece.is_empty() {
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.piece = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                Poll::Ready(None) => {
                    self.complete();
                    return Poll::Ready(None);
                }
                other => return other,
            }
        }
        let piece = self.piece.split_to(PIECE.min(self.piece.len()));
        self.handed_out += piece.len() as u64;
        // Whoever sends it asks for no more once this is known.
        if self.is_over() {
            self.complete();
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_over(&self) -> bool {
        self.piece.is_empty() && self.body.is_end_stream()
    }

    fn complete(&mut self) {
        if let Some(end) = self.end.take() {
            end(self.handed_out);
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Routed(body) => Pin::new(body).poll_frame(context),
            Self::Followed(followed) => followed.poll_piece(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Routed(body) => body.is_end_stream(),
            Self::Followed(followed) => followed.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Routed(body) => body.size_hint(),
            Self::Followed(followed) => match followed.body.size_hint().exact() {
                Some(left) => SizeHint::with_exact(left + followed.piece.len() as u64),
                None => SizeHint::default(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::task::Waker;

    use super::*;

    fn note(told: &Arc<AtomicU64>) -> impl FnOnce(u64) + Send + 'static {
        let told = Arc::clone(told);
        move |bytes| _ = told.fetch_add(bytes, Ordering::Relaxed)
    }

    #[test]
    fn a_followed_body_comes_in_pieces_and_its_end_is_told_once() {
        let told = Arc::new(AtomicU64::new(0));
        let whole: Bytes = (0..PIECE * 2 + 5).map(|n| n as u8).collect();
        let mut body = ReplyBody::Whole(whole.clone()).followed_by(note(&told));
        let mut context = Context::from_waker(Waker::noop());
        let mut all = Vec::new();
        while !body.is_end_stream() {
            let left = (whole.len() - all.len()) as u64;
            assert_eq!(body.size_hint().exact(), Some(left));
            assert_eq!(told.load(Ordering::Relaxed), 0);
            let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut context) else {
                panic!("no frame");
            };
            let piece = frame.into_data().unwrap();
            assert!(piece.len() <= PIECE);
            all.extend_from_slice(&piece);
        }
        assert_eq!(all, whole);
        drop(body);
        assert_eq!(told.load(Ordering::Relaxed), whole.len() as u64);
    }

    #[test]
    fn of_a_body_that_is_dropped_no_end_is_told() {
        let told = Arc::new(AtomicU64::new(0));
        let whole = Bytes::from(vec![0; PIECE + 1]);
        let mut body = ReplyBody::Whole(whole).followed_by(note(&told));
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut body).poll_frame(&mut context).is_ready());
        drop(body);
        assert_eq!(told.load(Ordering::Relaxed), 0);
        assert_eq!(Arc::strong_count(&told), 1);
    }
}
