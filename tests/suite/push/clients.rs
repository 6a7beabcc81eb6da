//! Clients that are not ours: `curl -N`, the libraries `ws` of Node.js and `websockets` of Python, and a real browser
//! with the pages of `docs/push.md`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Client, Listener, PATIENCE, Server, eventually, setup, skipped};

/// A program whose lines are read as they come; dropped, it is killed.
struct Program {
    child: Child,
    /// What it says and nobody has read.
    lines: Receiver<String>,
    input: Option<ChildStdin>,
    is_browser: bool,
}

impl Program {
    fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        let input = child.stdin.take();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            lines,
            input,
            is_browser: false,
        }
    }

    #[track_caller]
    fn line(&self) -> String {
        self.lines
            .recv_timeout(PATIENCE)
            .expect("it says nothing more")
    }

    /// The next line that is JSON with this member.
    #[track_caller]
    fn with(&self, member: &str, value: &str) -> Value {
        loop {
            let line = self.line();
            let json: Value = serde_json::from_str(&line).unwrap_or(Value::Null);
            if json[member] == value {
                return json;
            }
        }
    }

    #[track_caller]
    fn ask(&mut self, question: &Value) -> Value {
        let input = self.input.as_mut().unwrap();
        writeln!(input, "{question}").unwrap();
        input.flush().unwrap();
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It ends by itself with its input, and takes with it what it started.
        drop(self.input.take());
        let begun = Instant::now();
        while self.is_browser
            && begun.elapsed() < PATIENCE
            && matches!(self.child.try_wait(), Ok(None))
        {
            std::thread::yield_now();
        }
        // An error says that it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn there(path: &str) -> bool {
    Path::new(path).exists()
}

fn script(name: &str) -> String {
    format!("{}/tests/suite/push/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn start(home: &TempDir) -> Server {
    setup!(home.path())
        .set("push.interval", "10ms")
        .set("auth.read_token", "the-reader")
        .start()
}

fn up(client: &mut Client, name: &str) {
    client
        .post(&format!("/api/v1/counter/{name}/increment"), &json!({}))
        .ok();
}

#[test]
fn curl_shows_a_stream() {
    let home = TempDir::new().unwrap();
    let server = start(&home);
    let mut client = server.admin();
    let url = format!("http://{}/api/v1/stream?names=a", server.address());
    let mut curl = Command::new("curl");
    let program =
        Program::start(curl.args(["-sN", "-H", "Authorization: Bearer the-reader", &url]));
    let data = |program: &Program| loop {
        if let Some(data) = program.line().strip_prefix("data: ") {
            break serde_json::from_str::<Value>(data).unwrap();
        }
    };
    assert_eq!(data(&program)["missing"], json!(["a"]));
    up(&mut client, "a");
    assert_eq!(data(&program), client.get("/api/v1/counter/a").ok());
    server.stop();
}

/// Runs one of the libraries: subscribes, hears of a change, then of the end of the server.
fn library_hears(interpreter: &str, file: &str) {
    let home = TempDir::new().unwrap();
    let server = start(&home);
    let mut client = server.admin();
    up(&mut client, "a");
    let mut command = Command::new(interpreter);
    command.args([
        &script(file),
        &format!("ws://{}/api/v1/ws", server.address()),
        "the-reader",
    ]);
    let program = Program::start(&mut command);
    let state = program.with("event", "state");
    assert_eq!(
        state["data"]["counters"],
        json!([client.get("/api/v1/counter/a").ok()])
    );
    up(&mut client, "b");
    let update = program.with("event", "update");
    assert_eq!(update["data"], client.get("/api/v1/counter/b").ok());
    server.stop();
    let close = program.with("event", "close");
    assert_eq!(close["code"], 1001, "{close}");
    let reason = close["reason"].as_str().unwrap();
    assert!(reason.starts_with("retry "), "{reason}");
}

#[test]
fn the_library_of_node_hears_of_changes_and_of_the_end() {
    if !there("/usr/share/nodejs/ws") {
        return skipped("push::clients", "node-ws is not installed");
    }
    library_hears("node", "client.js");
}

#[test]
fn the_library_of_python_hears_of_changes_and_of_the_end() {
    if !there("/usr/lib/python3/dist-packages/websockets") {
        return skipped("push::clients", "python3-websockets is not installed");
    }
    library_hears("/usr/bin/python3", "client.py");
}

/// Serves one page to whoever asks.
fn serve_page(page: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap_or(0) > 0 {}
            let length = page.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{page}"
            );
            // A browser that asks for an icon too may leave before.
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

/// A way to a server that can be cut, or left to nowhere.
struct Wire {
    address: SocketAddr,
    ends: std::sync::Arc<std::sync::Mutex<Vec<TcpStream>>>,
}

impl Wire {
    fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ends = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let known = std::sync::Arc::clone(&ends);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(server) else {
                    continue;
                };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(std::net::Shutdown::Both);
                    });
                }
                known.lock().unwrap().extend([client, server]);
            }
        });
        Self { address, ends }
    }

    /// Cuts all connections.
    fn cut(&self) {
        for end in self.ends.lock().unwrap().drain(..) {
            let _ = end.shutdown(std::net::Shutdown::Both);
        }
    }
}

/// The pages of the docs, in order.
fn pages() -> Vec<String> {
    let docs = include_str!("../../../docs/push.md");
    let pages = docs.split("```html\n").skip(1);
    pages
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

/// The page in a real browser: it shows each change, also after it was in the background, and after its connection was
/// cut while the laptop slept.
fn browser_shows(page: usize) {
    if !there("/usr/bin/chromium") || !there("/usr/share/nodejs/ws") {
        return skipped("push::clients", "chromium or node-ws is not installed");
    }
    let home = TempDir::new().unwrap();
    let mut setup = setup!(home.path()).set("push.interval", "10ms");
    let wire = Wire::to(setup.address());
    let text = &pages()[page];
    assert!(text.contains("\"http://127.0.0.1:8080\""), "{text}");
    let text = text.replace("127.0.0.1:8080", &wire.address.to_string());
    let site = serve_page(text);
    setup = setup.set("server.cors_origins", &format!("http://{site}"));
    let server = setup.start();
    let mut client = server.admin();
    let mut command = Command::new("node");
    let profile = home.path().join("profile").display().to_string();
    command.args([&script("browser.js"), &format!("http://{site}/"), &profile]);
    let mut browser = Program::start(&mut command);
    browser.is_browser = true;
    let shows = |browser: &mut Program, value: &str| {
        eventually(&format!("the page shows {value}"), PATIENCE, || {
            let shown = browser.ask(&json!({"do": "read"}));
            std::thread::yield_now();
            (shown["text"] == value).then_some(())
        });
    };
    shows(&mut browser, "0");
    up(&mut client, "online_players");
    shows(&mut browser, "1");
    // In the background nothing of it runs; what it missed is there when it comes back.
    browser.ask(&json!({"do": "freeze"}));
    for _ in 0..5 {
        up(&mut client, "online_players");
    }
    browser.ask(&json!({"do": "wake"}));
    shows(&mut browser, "6");
    // A laptop that slept: its connection is gone, and it comes back by itself.
    browser.ask(&json!({"do": "freeze"}));
    wire.cut();
    up(&mut client, "online_players");
    browser.ask(&json!({"do": "wake"}));
    shows(&mut browser, "7");
    // The server ends and another one starts in its place.
    server.stop();
    let server = setup.start();
    let mut client = server.admin();
    up(&mut client, "online_players");
    shows(&mut browser, "8");
    drop(browser);
    server.stop();
}

#[test]
fn a_browser_shows_the_page_with_server_sent_events() {
    browser_shows(0);
}

#[test]
fn a_browser_shows_the_page_with_a_websocket() {
    browser_shows(1);
}

#[test]
fn each_stream_has_a_line_in_the_log_at_its_end_and_holds_no_drain_up() {
    let home = TempDir::new().unwrap();
    let server = setup!(home.path())
        .set("log.access", "all")
        .set("server.drain_timeout", "60s")
        .start();
    let begun = Instant::now();
    let mut listener = Listener::open(&server, "names=a", &[("x-request-id", "the-stream")]);
    listener.state();
    assert!(
        !server.output().contains("request_id=the-stream"),
        "{}",
        server.output()
    );
    server.signal(libc::SIGTERM);
    assert_eq!(listener.try_next(), None);
    drop(listener);
    let output = home.path().join("output");
    server.ended_well();
    let output = std::fs::read_to_string(output).unwrap();
    let line = output
        .lines()
        .find(|line| line.contains("request_id=the-stream"))
        .expect(&output);
    for part in ["route=stream", "status=200", "method=GET"] {
        assert!(line.contains(part), "{line}");
    }
    // Far below `server.drain_timeout`: it was not waited out.
    assert!(begun.elapsed() < Duration::from_secs(50));
}
