//! The WebSocket: handshakes and frames of all kinds, and what each is answered.

use super::*;

/// The key and the answer of RFC 6455, section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const HANDSHAKE: &str = "upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\n\
     sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: counterd.v1\r\n";

/// A client of the WebSocket.
pub(super) struct Socket(BufReader<TcpStream>);

/// What the server sent: the opcode and the payload.
type Frame = (u8, Vec<u8>);

/// Sends a request whose headers are all given, and reads the head of the answer.
#[track_caller]
fn asked(bench: &Bench, line: &str, headers: &str) -> (String, BufReader<TcpStream>) {
    let mut connection = bench.connect();
    let request = format!("{line}\r\nhost: h\r\n{headers}\r\n");
    connection.get_mut().write_all(request.as_bytes()).unwrap();
    (receive_head(&mut connection), connection)
}

#[track_caller]
fn handshake(bench: &Bench, headers: &str) -> (String, BufReader<TcpStream>) {
    asked(bench, "GET /api/v1/ws HTTP/1.1", headers)
}

/// A frame as a client sends it.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x11, 0x22, 0x33, 0x44];
    let mut out = vec![first];
    match payload.len() {
        length @ 0..=125 => out.push(0x80 | u8::try_from(length).unwrap()),
        length => {
            out.push(0x80 | 126);
            out.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
    }
    out.extend(mask);
    out.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    out
}

pub(super) fn text(payload: &str) -> Vec<u8> {
    masked(0x81, payload.as_bytes())
}

impl Socket {
    #[track_caller]
    pub(super) fn open(bench: &Bench) -> Self {
        let (head, connection) = handshake(bench, HANDSHAKE);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        Self(connection)
    }

    #[track_caller]
    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    /// The next frame; `None` at the end.
    fn frame(&mut self) -> Option<Frame> {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).ok()?;
        assert_eq!((head[0] & 0xf0, head[1] & 0x80), (0x80, 0), "{head:?}");
        let length = match head[1] {
            126 => {
                let mut length = [0; 2];
                self.0.read_exact(&mut length).unwrap();
                usize::from(u16::from_be_bytes(length))
            }
            short => usize::from(short),
        };
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).ok()?;
        Some((head[0] & 0x0f, payload))
    }

    /// The next event.
    #[track_caller]
    pub(super) fn event(&mut self) -> Value {
        let (opcode, payload) = self.frame().unwrap();
        assert_eq!(opcode, 1, "{}", String::from_utf8_lossy(&payload));
        serde_json::from_slice(&payload).unwrap()
    }

    /// The code with which the server closes, after it said nothing else; then the connection ends.
    #[track_caller]
    fn closed(&mut self) -> (u16, String) {
        let (opcode, payload) = self.frame().expect("cut off");
        assert_eq!(opcode, 8, "{}", String::from_utf8_lossy(&payload));
        assert_eq!(self.0.read(&mut [0]).unwrap(), 0);
        let code = u16::from_be_bytes([payload[0], payload[1]]);
        (code, String::from_utf8(payload[2..].to_vec()).unwrap())
    }
}

#[test]
fn a_socket_says_what_a_stream_says() {
    let bench = Bench::new();
    bench.up("a", r#"{"value":5}"#).ok();
    let (head, connection) = handshake(&bench, HANDSHAKE);
    for line in [
        "HTTP/1.1 101 Switching Protocols\r\n",
        "upgrade: websocket\r\n",
        "connection: Upgrade\r\n",
        &format!("sec-websocket-accept: {ACCEPT}\r\n"),
        "sec-websocket-protocol: counterd.v1\r\n",
    ] {
        assert!(head.contains(line), "{head}");
    }
    assert!(
        HANDSHAKE.contains(KEY) && !head.contains("content-length"),
        "{head}"
    );
    let mut socket = Socket(connection);
    socket.send(&text(r#"{"subscribe":["a","games"]}"#));
    let state = socket.event();
    assert_eq!(state["event"], "state");
    let told = bench.get("/api/v1/counters?names=a,games").ok();
    assert_eq!(state["data"]["counters"], told["counters"]);
    let position = state["id"].as_str().unwrap().to_owned();
    bench.up("a", "").ok();
    let update = socket.event();
    let a = bench.get("/api/v1/counter/a").ok();
    assert_eq!((&update["event"], &update["data"]), (&json!("update"), &a));
    assert_eq!(update["id"], format!("{}.{}", a["epoch"], a["revision"]));
    // Of what was given up nothing more is heard, and the rest goes on.
    socket.send(&text(r#"{"unsubscribe":["a"],"subscribe":["b"]}"#));
    assert_eq!(socket.event()["data"]["missing"], json!(["b"]));
    bench.up("a", "").ok();
    bench.up("games", "").ok();
    assert_eq!(socket.event()["data"]["name"], "games");
    // A position comes back as its text or as its parts.
    let (epoch, revision) = position.split_once('.').unwrap();
    let parts = format!(r#"{{"epoch":{epoch},"revision":{revision}}}"#);
    for since in [format!("\"{position}\""), parts] {
        let mut again = Socket::open(&bench);
        again.send(&text(&format!(
            r#"{{"subscribe":["a","dau"],"since":{since}}}"#
        )));
        let state = again.event()["data"].clone();
        assert_eq!(state["resumed"], true);
        assert_eq!(
            state["counters"],
            json!([bench.get("/api/v1/counter/a").ok()])
        );
    }
    // A message may come with the handshake.
    let mut connection = bench.connect();
    let mut both = format!("GET /api/v1/ws HTTP/1.1\r\nhost: h\r\n{HANDSHAKE}\r\n").into_bytes();
    both.extend(text(r#"{"subscribe":["dau"]}"#));
    connection.get_mut().write_all(&both).unwrap();
    receive_head(&mut connection);
    assert_eq!(Socket(connection).event()["event"], "state");
    bench.end();
}

#[test]
fn a_silent_client_is_asked_and_one_that_stays_silent_is_closed() {
    let bench = Bench::new();
    let mut answers = Socket::open(&bench);
    let mut silent = Socket::open(&bench);
    let ping = |socket: &mut Socket| {
        loop {
            match socket.frame().unwrap() {
                (9, payload) => return payload,
                (1, event) => assert!(String::from_utf8(event).unwrap().contains("\"tick\"")),
                other => panic!("{other:?}"),
            }
        }
    };
    bench.clock.advance(25_000);
    let asked = ping(&mut answers);
    ping(&mut silent);
    answers.send(&masked(0x8a, &asked));
    until("the answer is not heard", || {
        answers.send(&masked(0x89, b"still here"));
        loop {
            match answers.frame().unwrap() {
                (10, payload) => break payload == b"still here",
                (1, _) => {}
                other => panic!("{other:?}"),
            }
        }
    });
    bench
        .clock
        .advance(i64::try_from(PATIENCE.as_millis()).unwrap() + 1);
    while silent.frame().is_some() {}
    // It was silent for so long, too, and is only asked again.
    ping(&mut answers);
    bench.end();
}

#[test]
fn the_end_of_the_server_closes_sockets_with_a_time_to_come_back() {
    let bench = Bench::new();
    let mut sockets: Vec<Socket> = (0..4).map(|_| Socket::open(&bench)).collect();
    bench.http().begin_drain();
    for socket in &mut sockets {
        let (code, reason) = socket.closed();
        let retry = reason
            .strip_prefix("retry ")
            .unwrap()
            .parse::<u32>()
            .unwrap();
        assert_eq!(code, 1001);
        assert!((500..5000).contains(&retry), "{retry}");
    }
    drop(sockets);
    until("it does not drain", || bench.http().is_drained());
    bench.end();
}

#[test]
fn handshakes_that_are_none_are_refused() {
    let bench = Bench::new();
    let without = |line: &str| {
        let lines = HANDSHAKE.split_inclusive("\r\n");
        lines
            .filter(|one| !one.starts_with(line))
            .collect::<String>()
    };
    let with = |line: &str, other: &str| format!("{}{other}\r\n", without(line));
    let many: String = (0..80).map(|n| format!("x-{n}: 1\r\n")).collect();
    let table = [
        (String::new(), 426),
        (without("upgrade"), 426),
        (without("connection"), 426),
        (with("upgrade", "upgrade: h2c"), 426),
        (with("connection", "connection: close"), 426),
        (without("sec-websocket-version"), 426),
        (
            with("sec-websocket-version", "sec-websocket-version: 8"),
            426,
        ),
        (
            with("sec-websocket-version", "sec-websocket-version: 14"),
            426,
        ),
        (format!("{HANDSHAKE}sec-websocket-version: 13\r\n"), 426),
        (without("sec-websocket-key"), 400),
        (with("sec-websocket-key", "sec-websocket-key:"), 400),
        (
            with("sec-websocket-key", "sec-websocket-key: dGhlIHNhbXBsZQ=="),
            400,
        ),
        (
            with(
                "sec-websocket-key",
                "sec-websocket-key: not base64 at all!!!",
            ),
            400,
        ),
        (format!("{HANDSHAKE}sec-websocket-key: {KEY}\r\n"), 400),
        (without("sec-websocket-protocol"), 400),
        (
            with(
                "sec-websocket-protocol",
                "sec-websocket-protocol: counterd.v2, mqtt",
            ),
            400,
        ),
        (
            with(
                "sec-websocket-protocol",
                "sec-websocket-protocol: COUNTERD.V1",
            ),
            400,
        ),
        (format!("{HANDSHAKE}content-length: 3\r\n"), 400),
        (format!("{HANDSHAKE}transfer-encoding: chunked\r\n"), 400),
        (format!("{HANDSHAKE}origin: https://evil.example\r\n"), 403),
        (format!("{HANDSHAKE}{many}"), 431),
        // These are good: lists, other cases, other protocols and extensions beside.
        (with("connection", "connection: keep-alive, upgrade"), 101),
        (with("upgrade", "upgrade: WebSocket"), 101),
        (
            with(
                "sec-websocket-protocol",
                "sec-websocket-protocol: mqtt,counterd.v1",
            ),
            101,
        ),
        (format!("{HANDSHAKE}sec-websocket-protocol: mqtt\r\n"), 101),
        (
            format!("{HANDSHAKE}sec-websocket-extensions: permessage-deflate\r\n"),
            101,
        ),
        (format!("{HANDSHAKE}origin: https://game.example\r\n"), 101),
        (format!("{HANDSHAKE}content-length: 0\r\n"), 101),
    ];
    for (headers, status) in table {
        let (head, _) = handshake(&bench, &headers);
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{headers}\n{head}"
        );
        let names_version = head.contains("sec-websocket-version: 13\r\n");
        assert_eq!(names_version, status == 426, "{head}");
        assert!(!head.contains("sec-websocket-extensions"), "{head}");
    }
    // HTTP/1.0 has no upgrades, and `HEAD` opens nothing.
    for (line, status) in [
        ("GET /api/v1/ws HTTP/1.0", "426"),
        ("HEAD /api/v1/ws HTTP/1.1", "405"),
    ] {
        let (head, _) = asked(&bench, line, HANDSHAKE);
        assert_eq!(head.split(' ').nth(1), Some(status), "{line}\n{head}");
    }
    bench
        .ask("POST /api/v1/ws", HANDSHAKE, "")
        .refused(405, "method_not_allowed");
    bench.end();
}

#[test]
fn a_token_may_come_as_a_subprotocol_that_is_not_echoed() {
    let bench = Bench::with(|options| {
        options.tokens = Arc::new(ArcSwap::from_pointee(Tokens {
            read: vec!["the-reader".to_owned().into()],
            ..Tokens::default()
        }));
    });
    let offers = |protocols: &str| {
        let head = HANDSHAKE.replace("counterd.v1", &format!("counterd.v1{protocols}"));
        handshake(&bench, &head).0
    };
    let token = "counterd.bearer.dGhlLXJlYWRlcg";
    for good in [&format!(", {token}"), &format!(", {token}==")] {
        let head = offers(good);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(
            head.contains("sec-websocket-protocol: counterd.v1\r\n"),
            "{head}"
        );
        assert!(!head.contains("bearer"), "{head}");
    }
    for bad in [
        "",
        ", counterd.bearer.",
        ", counterd.bearer.eHh4",
        ", counterd.bearer.the-reader",
    ] {
        assert!(offers(bad).starts_with("HTTP/1.1 401 "), "{bad}");
    }
    let header = format!("{HANDSHAKE}authorization: Bearer the-reader\r\n");
    assert!(handshake(&bench, &header).0.starts_with("HTTP/1.1 101 "));
    let given = bench.ask(
        "POST /api/v1/push-ticket",
        "authorization: Bearer the-reader\r\n",
        "",
    );
    let ticket = given.ok()["ticket"].as_str().unwrap().to_owned();
    for status in [101, 401] {
        let line = format!("GET /api/v1/ws?ticket={ticket} HTTP/1.1");
        let (head, _) = asked(&bench, &line, HANDSHAKE);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    }
    bench.end();
}

/// A frame of one byte of payload whose head is this.
fn odd(first: u8, second: u8) -> Vec<u8> {
    [&[first, second][..], &[0; 4], b"x"].concat()
}

#[test]
fn each_hostile_frame_has_its_close_code() {
    let bench = Bench::new();
    let long = |length: u16| [&[0x81, 0xfe][..], &length.to_be_bytes(), &[0; 4]].concat();
    let longer = |length: u64| [&[0x81, 0xff][..], &length.to_be_bytes(), &[0; 4]].concat();
    let close =
        |code: u16, reason: &[u8]| masked(0x88, &[&code.to_be_bytes()[..], reason].concat());
    let fragments = |count: usize, size: usize| {
        let mut all = masked(0x01, &vec![b' '; size]);
        for _ in 0..count {
            all.extend(masked(0x00, &vec![b' '; size]));
        }
        all
    };
    let table: Vec<(&str, Vec<u8>, u16)> = vec![
        ("no mask", vec![0x81, 0x01, b'x'], 1002),
        ("no mask, empty", vec![0x81, 0x00], 1002),
        ("no mask, control", vec![0x89, 0x00], 1002),
        ("reserved bit 1, as of compression", odd(0xc1, 0x81), 1002),
        ("reserved bit 2", odd(0xa1, 0x81), 1002),
        ("reserved bit 3", odd(0x91, 0x81), 1002),
        ("all reserved bits, control", odd(0xf9, 0x81), 1002),
        ("opcode 3", odd(0x83, 0x81), 1002),
        ("opcode 4", odd(0x84, 0x81), 1002),
        ("opcode 5", odd(0x85, 0x81), 1002),
        ("opcode 6", odd(0x86, 0x81), 1002),
        ("opcode 7", odd(0x87, 0x81), 1002),
        ("opcode 11", odd(0x8b, 0x81), 1002),
        ("opcode 12", odd(0x8c, 0x81), 1002),
        ("opcode 13", odd(0x8d, 0x81), 1002),
        ("opcode 14", odd(0x8e, 0x81), 1002),
        ("opcode 15", odd(0x8f, 0x81), 1002),
        ("ping in fragments", odd(0x09, 0x81), 1002),
        ("pong in fragments", odd(0x0a, 0x81), 1002),
        ("close in fragments", odd(0x08, 0x81), 1002),
        ("ping of 126 bytes", vec![0x89, 0xfe, 0, 126], 1002),
        (
            "ping of 64 bits of length",
            vec![0x89, 0xff, 0, 0, 0, 0, 0, 0, 0, 1],
            1002,
        ),
        ("close of 126 bytes", vec![0x88, 0xfe, 0, 126], 1002),
        ("continuation of nothing", masked(0x80, b"x"), 1002),
        ("continuation of nothing, open", masked(0x00, b"x"), 1002),
        (
            "a text within a text",
            [masked(0x01, b"x"), masked(0x81, b"x")].concat(),
            1002,
        ),
        (
            "a binary within a text",
            [masked(0x01, b"x"), masked(0x82, b"x")].concat(),
            1002,
        ),
        ("16 bits for 125", long(125), 1002),
        ("16 bits for 0", long(0), 1002),
        ("64 bits for 125", longer(125), 1002),
        ("64 bits for 65535", longer(65_535), 1002),
        ("a negative length", longer(1 << 63), 1002),
        ("the longest length", longer(u64::MAX), 1002),
        ("close code of one byte", masked(0x88, b"\x03"), 1002),
        ("close code 0", close(0, b""), 1002),
        ("close code 999", close(999, b""), 1002),
        ("close code 1004", close(1004, b""), 1002),
        ("close code 1005", close(1005, b""), 1002),
        ("close code 1006", close(1006, b""), 1002),
        ("close code 1015", close(1015, b""), 1002),
        ("close code 2999", close(2999, b""), 1002),
        ("close code 5000", close(5000, b""), 1002),
        ("close code 65535", close(65_535, b""), 1002),
        (
            "HTTP in place of frames",
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            1002,
        ),
        ("binary", masked(0x82, b"x"), 1003),
        ("binary, empty", masked(0x82, b""), 1003),
        ("binary in fragments", masked(0x02, b"x"), 1003),
        ("text that is not UTF-8", masked(0x81, b"\xff\xfe"), 1007),
        ("a letter cut in two", masked(0x81, b"\xc3"), 1007),
        ("a surrogate", masked(0x81, b"\xed\xa0\x80"), 1007),
        ("a letter too long", masked(0x81, b"\xc0\x80"), 1007),
        (
            "fragments that are no UTF-8",
            [masked(0x01, b"\xc3"), masked(0x80, b"x")].concat(),
            1007,
        ),
        ("a reason that is no UTF-8", close(1000, b"\xff"), 1007),
        ("a message of 4097 bytes", long(4097), 1009),
        ("a message of 65535 bytes", long(65_535), 1009),
        ("a message of 64 KiB", longer(65_536), 1009),
        ("a message of 2^62 bytes", longer(1 << 62), 1009),
        ("fragments of 4097 bytes", fragments(1, 2049), 1009),
        ("many small fragments", fragments(50, 100), 1009),
        ("a message that is no JSON", text("hello"), 1008),
        ("an empty message", text(""), 1008),
        ("a list", text("[]"), 1008),
        ("an empty object", text("{}"), 1008),
        (
            "an unknown member",
            text(r#"{"subscribe":["a"],"x":1}"#),
            1008,
        ),
        (
            "a member twice",
            text(r#"{"subscribe":["a"],"subscribe":["a"]}"#),
            1008,
        ),
        ("no names", text(r#"{"subscribe":[]}"#), 1008),
        ("a wrong name", text(r#"{"subscribe":["A"]}"#), 1008),
        ("names that are numbers", text(r#"{"subscribe":[1]}"#), 1008),
        (
            "a wrong position",
            text(r#"{"subscribe":["a"],"since":"x"}"#),
            1008,
        ),
        (
            "a wrong interval",
            text(r#"{"subscribe":["a"],"interval":"soon"}"#),
            1008,
        ),
        ("deep nesting", text(&"[".repeat(4000)), 1008),
        (
            "eleven messages",
            text(r#"{"unsubscribe":["a"]}"#).repeat(11),
            1008,
        ),
        ("a flood of pings", masked(0x89, b"").repeat(101), 1008),
        (
            "a flood of empty fragments",
            [masked(0x01, b""), masked(0x00, b"").repeat(101)].concat(),
            1008,
        ),
        ("close without a code", masked(0x88, b""), 1000),
        ("close 1000", close(1000, b"bye"), 1000),
        ("close 1001", close(1001, b""), 1001),
        ("close 3000", close(3000, b""), 3000),
        ("close 4999", close(4999, &[b'x'; 123]), 4999),
    ];
    assert!(table.len() >= 60, "{}", table.len());
    for (what, bytes, code) in &table {
        let mut socket = Socket::open(&bench);
        socket.send(bytes);
        // Pings are answered until there are too many.
        let end = loop {
            let (opcode, payload) = socket.frame().unwrap_or_else(|| panic!("{what}: cut off"));
            if opcode != 10 {
                break (opcode, payload);
            }
        };
        assert_eq!(end.0, 8, "{what}");
        assert_eq!(u16::from_be_bytes([end.1[0], end.1[1]]), *code, "{what}");
        drop(socket);
    }
    // The same byte by byte, and in one piece with what comes after.
    for (what, bytes, code) in table.iter().filter(|(_, bytes, _)| bytes.len() < 200) {
        let mut socket = Socket::open(&bench);
        for byte in bytes {
            if socket.0.get_mut().write_all(&[*byte]).is_err() {
                break;
            }
        }
        let (opcode, payload) = socket.frame().unwrap_or_else(|| panic!("{what}: cut off"));
        assert_eq!((opcode, payload[1]), (8, code.to_be_bytes()[1]), "{what}");
    }
    let page = bench.get("/metrics").body;
    until("some stay for ever", || {
        let page = bench.get("/metrics").body;
        page.contains("counterd_push_connections{transport=\"websocket\"} 0")
    });
    assert!(
        !page.contains("counterd_push_closed_total{reason=\"malformed\"} 0"),
        "{page}"
    );
    // The server is none the worse.
    let mut socket = Socket::open(&bench);
    socket.send(
        &[
            masked(0x01, br#"{"subscri"#),
            masked(0x89, b"?"),
            masked(0x80, br#"be":["a"]}"#),
        ]
        .concat(),
    );
    assert_eq!(socket.frame(), Some((10, b"?".to_vec())));
    assert_eq!(socket.event()["event"], "state");
    bench.end();
}

#[test]
fn a_socket_has_a_hundred_counters_and_no_more() {
    let bench = Bench::new();
    let names = |from: usize, to: usize| {
        let names: Vec<String> = (from..to).map(|n| format!("n{n}")).collect();
        text(&json!({ "subscribe": names }).to_string())
    };
    let mut socket = Socket::open(&bench);
    socket.send(&names(0, 60));
    socket.event();
    socket.send(&names(40, 100));
    assert_eq!(
        socket.event()["data"]["missing"].as_array().unwrap().len(),
        60
    );
    socket.send(&names(100, 101));
    let (code, reason) = socket.closed();
    assert_eq!(code, 1008);
    assert!(reason.starts_with("too_many_names: "), "{reason}");
    bench.end();
}
