//! Frames of the WebSocket protocol (RFC 6455), as a server that sends whole text messages and takes short ones.
//!
//! Nothing is held between two frames: a connection at rest has no buffer.

use bytes::Bytes;

/// Longest message of a client, in bytes.
pub(super) const LONGEST_MESSAGE: usize = 4096;

/// Longest payload of a ping, pong or close, in bytes.
const LONGEST_CONTROL: usize = 125;

/// Why a connection is closed, as it is told to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Close {
    /// The code of RFC 6455, section 7.4.
    pub(super) code: u16,
    pub(super) reason: String,
}

impl Close {
    pub(super) fn new(code: u16, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
        }
    }

    /// Returns the frame that says so; as much of the reason as a frame may have.
    pub(super) fn frame(&self) -> Bytes {
        let mut payload = self.code.to_be_bytes().to_vec();
        for letter in self.reason.chars() {
            if payload.len() + letter.len_utf8() > LONGEST_CONTROL {
                break;
            }
            payload.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
        }
        frame(CLOSE, &payload)
    }
}

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// What a client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// A whole message.
    Text(String),
    /// It asks for an answer with the same bytes.
    Ping(Vec<u8>),
    Pong,
    /// It closes, with a code or without.
    Close(Option<u16>),
}

/// Returns a frame with a whole message, of a server: without a mask.
fn frame(opcode: u8, payload: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(payload.len() + 10);
    out.push(0x80 | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..=125), _) => out.push(length),
        (_, Ok(length)) => {
            out.push(126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
    out.into()
}

pub(super) fn text(payload: &[u8]) -> Bytes {
    frame(TEXT, payload)
}

pub(super) fn ping() -> Bytes {
    frame(PING, b"")
}

pub(super) fn pong(payload: &[u8]) -> Bytes {
    frame(PONG, payload)
}

/// Takes a client's bytes apart.
#[derive(Default)]
pub(super) struct Decoder {
    /// What is not a whole frame yet.
    bytes: Vec<u8>,
    /// The message so far, of which more fragments are to come.
    message: Option<Vec<u8>>,
}

/// The head of a frame.
struct Head {
    is_last: bool,
    opcode: u8,
    mask: [u8; 4],
    /// Where the payload begins and ends.
    from: usize,
    to: usize,
}

impl Decoder {
    /// Takes bytes in. At most a frame is held, for the next one is asked for until there is none.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns what a frame of a client says: `None` while there is no whole one, `Some(None)` for a fragment.
    pub(super) fn next(&mut self) -> Result<Option<Option<Received>>, Close> {
        let Some(head) = head(&self.bytes)? else {
            return Ok(None);
        };
        let is_text = match (head.opcode, &self.message) {
            (CLOSE | PING | PONG, _) => false,
            (CONTINUATION, Some(_)) | (TEXT, None) => true,
            (CONTINUATION, None) => return Err(malformed("a continuation of nothing")),
            (TEXT | BINARY, Some(_)) => return Err(malformed("a message within another")),
            (BINARY, None) => return Err(Close::new(1003, "messages are text")),
            _ => return Err(malformed("an unknown opcode")),
        };
        let held = if is_text {
            self.message.as_ref().map_or(0, Vec::len)
        } else {
            0
        };
        if held + (head.to - head.from) > LONGEST_MESSAGE {
            let reason = format!("messages have at most {LONGEST_MESSAGE} bytes");
            return Err(Close::new(1009, reason));
        }
        let Some(payload) = self.bytes.get(head.from..head.to) else {
            return Ok(None);
        };
        let unmasked = payload.iter().zip(head.mask.iter().cycle());
        let payload: Vec<u8> = unmasked.map(|(byte, mask)| byte ^ mask).collect();
        self.bytes.drain(..head.to);
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
        let received = match head.opcode {
            CLOSE => Received::Close(close_code(&payload)?),
            PING => Received::Ping(payload),
            PONG => Received::Pong,
            _ => {
                let mut message = self.message.take().unwrap_or_default();
                message.extend_from_slice(&payload);
                if !head.is_last {
                    self.message = Some(message);
                    return Ok(Some(None));
                }
                let text = String::from_utf8(message);
                Received::Text(text.map_err(|_| Close::new(1007, "the message is not UTF-8"))?)
            }
        };
        Ok(Some(Some(received)))
    }
}

fn malformed(reason: &str) -> Close {
    Close::new(1002, reason)
}

/// Reads a frame's head; `None` while it is not whole. What no client may send is refused before its payload is here.
fn head(bytes: &[u8]) -> Result<Option<Head>, Close> {
    let Some(&[first, second]) = bytes.first_chunk::<2>() else {
        return Ok(None);
    };
    let (is_last, opcode) = (first & 0x80 != 0, first & 0x0f);
    if first & 0x70 != 0 {
        return Err(malformed("a reserved bit is set"));
    }
    if second & 0x80 == 0 {
        return Err(malformed("the frame is not masked"));
    }
    let short = second & 0x7f;
    if opcode >= CLOSE {
        if !is_last {
            return Err(malformed("a control frame in fragments"));
        }
        if short > 125 {
            return Err(malformed("a control frame of more than 125 bytes"));
        }
        if opcode > PONG {
            return Err(malformed("an unknown opcode"));
        }
    } else if opcode > BINARY {
        return Err(malformed("an unknown opcode"));
    }
    let rest = bytes.get(2..).unwrap_or_default();
    let (length, least, at) = match short {
        126 => match rest.first_chunk() {
            Some(length) => (u64::from(u16::from_be_bytes(*length)), 126, 4),
            None => return Ok(None),
        },
        127 => match rest.first_chunk() {
            Some(length) => (u64::from_be_bytes(*length), 1 << 16, 10),
            None => return Ok(None),
        },
        short => (u64::from(short), 0, 2),
    };
    if length < least {
        return Err(malformed("a length in more bytes than it needs"));
    }
    if length >> 63 != 0 {
        return Err(malformed("a length beyond all limits"));
    }
    if length > LONGEST_MESSAGE as u64 {
        let reason = format!("messages have at most {LONGEST_MESSAGE} bytes");
        return Err(Close::new(1009, reason));
    }
    let Some(mask) = bytes.get(at..).and_then(|rest| rest.first_chunk()) else {
        return Ok(None);
    };
    let from = at + mask.len();
    Ok(Some(Head {
        is_last,
        opcode,
        mask: *mask,
        from,
        to: from + usize::try_from(length).unwrap_or(usize::MAX - from),
    }))
}

/// Reads the code of a close; `None` without one.
fn close_code(payload: &[u8]) -> Result<Option<u16>, Close> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return match payload {
            [] => Ok(None),
            _ => Err(malformed("a close code of one byte")),
        };
    };
    let code = u16::from_be_bytes(*code);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(malformed("a close code that nobody may send"));
    }
    if std::str::from_utf8(reason).is_err() {
        return Err(Close::new(1007, "the reason is not UTF-8"));
    }
    Ok(Some(code))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut out = vec![first, 0x80 | u8::try_from(payload.len()).unwrap()];
        out.extend(mask);
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b));
        out
    }

    #[test]
    fn a_message_is_read_however_its_bytes_come() {
        let mut bytes = masked(TEXT, b"hel");
        bytes.extend(masked(0x80 | PING, b"?"));
        bytes.extend(masked(0x80, b"lo"));
        let mut decoder = Decoder::default();
        let mut all = Vec::new();
        for byte in bytes {
            decoder.feed(&[byte]);
            while let Some(received) = decoder.next().unwrap() {
                all.extend(received);
            }
        }
        assert_eq!(
            all,
            [
                Received::Ping(b"?".to_vec()),
                Received::Text("hello".to_owned())
            ]
        );
        assert_eq!((decoder.bytes.capacity(), decoder.message), (0, None));
    }

    #[test]
    fn frames_of_the_server_have_the_shortest_length() {
        for (length, head) in [
            (0, vec![0x81, 0]),
            (125, vec![0x81, 125]),
            (126, vec![0x81, 126, 0, 126]),
            (65_535, vec![0x81, 126, 0xff, 0xff]),
            (65_536, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let frame = text(&vec![b'x'; length]);
            assert_eq!(frame[..head.len()], head);
            assert_eq!(frame.len(), head.len() + length);
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_letters() {
        let frame = Close::new(1008, "ä".repeat(100)).frame();
        assert_eq!(frame[..4], [0x88, 124, 3, 240]);
        assert!(std::str::from_utf8(&frame[4..]).is_ok());
    }

    proptest! {
        /// Whatever bytes come, the decoder ends with less than a frame, or with a close.
        #[test]
        fn no_bytes_make_it_grow(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..60)) {
            let mut decoder = Decoder::default();
            for chunk in chunks {
                decoder.feed(&chunk);
                loop {
                    match decoder.next() {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(close) => {
                            prop_assert!(matches!(close.code, 1002 | 1003 | 1007 | 1009));
                            return Ok(());
                        }
                    }
                }
                prop_assert!(decoder.bytes.len() <= LONGEST_MESSAGE + 14);
                prop_assert!(decoder.message.as_ref().map_or(0, Vec::len) <= LONGEST_MESSAGE);
            }
        }
    }
}
