//! A server that answers by the script of a case of `clients/conformance.json`, and the judge of what a client asked and
//! said. `clients/README.md` says what a case means.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Language, Running};
use crate::harness::PATIENCE;

/// From the root of the repository.
const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/conformance.json");

/// What a request asked for.
struct Request {
    method: String,
    path: String,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

/// What stands for `$name` in a case, and each `$new` of it.
#[derive(Default)]
struct Names {
    known: HashMap<String, String>,
    seen: HashSet<String>,
}

impl Names {
    /// What of `expected` is not in `found`; a member that is not expected may have any value.
    fn differs(&mut self, at: &str, expected: &Value, found: &Value) -> Option<String> {
        match (expected, found) {
            (Value::Object(expected), Value::Object(found)) => {
                expected.iter().find_map(|(name, expected)| {
                    let found = found.get(name).unwrap_or(&Value::Null);
                    self.differs(&format!("{at}.{name}"), expected, found)
                })
            }
            (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
                let pairs = expected.iter().zip(found).enumerate();
                let mut pairs = pairs.map(|(n, (e, f))| self.differs(&format!("{at}[{n}]"), e, f));
                pairs.find_map(|difference| difference)
            }
            (Value::String(name), found) if name.starts_with('$') => {
                let is_right = found.as_str().is_some_and(|text| self.is(name, text));
                (!is_right).then(|| format!("{at} is {found}, not {name}"))
            }
            (Value::Number(expected), Value::Number(found))
                if expected.as_f64() == found.as_f64() =>
            {
                None
            }
            _ => (expected != found).then(|| format!("{at} is {found}, not {expected}")),
        }
    }

    /// Whether a text is what the name stands for; at first sight it is from then on, if nothing else was called so.
    fn is(&mut self, name: &str, text: &str) -> bool {
        match self.known.get(name) {
            Some(known) => known == text,
            None => {
                let is_new = !text.is_empty() && self.seen.insert(text.to_owned());
                if name != "$new" {
                    self.known.insert(name.to_owned(), text.to_owned());
                }
                is_new
            }
        }
    }
}

/// How far a case has come.
struct State {
    requests: Vec<Value>,
    /// How many of them came, or may come no more.
    met: usize,
    /// How many requests came.
    came: usize,
    /// When the last answer was sent.
    answered: Instant,
    names: Names,
    faults: Vec<String>,
    open: usize,
    most_open: usize,
    is_over: bool,
}

/// The server of one case.
struct Script {
    address: SocketAddr,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Script {
    fn of(case: &Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            requests: case["requests"].as_array().unwrap().clone(),
            met: 0,
            came: 0,
            answered: Instant::now(),
            names: Names::default(),
            faults: Vec::new(),
            open: 0,
            most_open: 0,
            is_over: false,
        };
        let state = Arc::new((Mutex::new(state), Condvar::new()));
        let of_all = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if of_all.0.lock().unwrap().is_over {
                    break;
                }
                let state = Arc::clone(&of_all);
                // A client that leaves is an error of the socket, and no fault.
                std::thread::spawn(move || serve(stream, &state));
            }
        });
        Self { address, state }
    }

    /// What was wrong, now that the client has said what it came to.
    fn judge(&self, case: &Value, results: &Value) -> Vec<String> {
        let mut state = self.state.0.lock().unwrap();
        state.is_over = true;
        self.state.1.notify_all();
        let State {
            names,
            faults,
            requests,
            met,
            most_open,
            ..
        } = &mut *state;
        while requests
            .get(*met)
            .is_some_and(|next| next["times"] == "any")
        {
            *met += 1;
        }
        if *met < requests.len() {
            faults.push(format!("{met} requests came, not {}", requests.len()));
        }
        if let Some(most) = case["connections"].as_u64()
            && *most_open as u64 > most
        {
            faults.push(format!("{most_open} connections at once, not {most}"));
        }
        faults.extend(names.differs("results", &case["results"], results));
        let _ = TcpStream::connect(self.address);
        std::mem::take(faults)
    }
}

/// Serves one connection until either side ends it.
fn serve(stream: TcpStream, state: &(Mutex<State>, Condvar)) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut counts = false;
    let served = (|| {
        while let Some(request) = read(&mut reader)? {
            if let Some(count) = request.path.strip_prefix("/conformance/requests/") {
                wait(state, count.parse().unwrap());
                return write(&stream, &json!({"status": 200, "body": {}}));
            }
            if !counts {
                counts = true;
                let mut state = state.0.lock().unwrap();
                state.open += 1;
                state.most_open = state.most_open.max(state.open);
            }
            let answer = meet(state, &request);
            if !act(&stream, &answer, state)? {
                break;
            }
        }
        Ok(())
    })();
    if counts {
        state.0.lock().unwrap().open -= 1;
    }
    let _ = stream.shutdown(std::net::Shutdown::Both);
    served
}

/// Waits until so many requests came.
fn wait(state: &(Mutex<State>, Condvar), count: usize) {
    let (lock, changed) = state;
    let waiting = |state: &mut State| state.came < count && !state.is_over;
    drop(changed.wait_timeout_while(lock.lock().unwrap(), PATIENCE, waiting));
}

/// Compares a request with the next one of the script; gives the answer to it.
fn meet(state: &(Mutex<State>, Condvar), request: &Request) -> Value {
    let mut guard = state.0.lock().unwrap();
    let State {
        requests,
        met,
        came,
        answered,
        names,
        faults,
        ..
    } = &mut *guard;
    let body = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
    *came += 1;
    while requests
        .get(*met)
        .is_some_and(|next| next["times"] == "any" && next["body"] != body)
    {
        *met += 1;
    }
    let Some(expected) = requests.get(*met) else {
        faults.push(format!(
            "one request too many: {} {}",
            request.method, request.path
        ));
        return json!({"status": 400, "body": {"code": "not_in_the_script"}});
    };
    let comes_again = expected["times"] == "any";
    *met += usize::from(!comes_again);
    let found = json!({
        "method": request.method,
        "path": request.path,
        "headers": request.headers,
    });
    let mut wanted = expected.clone();
    let wanted = wanted.as_object_mut().unwrap();
    wanted.remove("times");
    let answer = wanted.remove("answer").unwrap();
    let exactly = wanted.remove("body").unwrap_or(Value::Null);
    let without = wanted.remove("without").unwrap_or(Value::Null);
    let after = wanted
        .remove("after")
        .map_or(0.0, |after| after.as_f64().unwrap());
    let mut wrong = Vec::new();
    wrong.extend(names.differs("it", &json!(wanted), &found));
    if body != exactly {
        wrong.push(format!("its body is {body}, not {exactly}"));
    }
    for header in without.as_array().into_iter().flatten() {
        if let Some(value) = request.headers.get(header.as_str().unwrap()) {
            wrong.push(format!("it has {header}: {value}"));
        }
    }
    let waited = answered.elapsed();
    if waited < Duration::from_secs_f64(after) {
        wrong.push(format!("it came after {waited:?}, not {after} s"));
    }
    let number = *came;
    faults.extend(
        wrong
            .into_iter()
            .map(|wrong| format!("request {number}: {wrong}")),
    );
    *answered = Instant::now();
    state.1.notify_all();
    answer
}

/// Answers as the script says; whether the connection is kept.
fn act(
    mut stream: &TcpStream,
    answer: &Value,
    state: &(Mutex<State>, Condvar),
) -> io::Result<bool> {
    let is_over = |state: &mut State| !state.is_over;
    let hold = |time| {
        let (lock, changed) = state;
        drop(changed.wait_timeout_while(lock.lock().unwrap(), time, is_over));
    };
    if let Some(pieces) = answer["stream"].as_array() {
        let head =
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
        stream.write_all(head.as_bytes())?;
        for piece in pieces {
            stream.write_all(piece.as_str().unwrap().as_bytes())?;
        }
        if answer["then"] == "hold" {
            hold(PATIENCE);
        }
        return Ok(false);
    }
    match answer["drop"].as_str() {
        Some("whole") => return Ok(false),
        Some("half") => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 88\r\n\r\n{\"succ")?;
            return Ok(false);
        }
        Some("silent") => {
            hold(PATIENCE);
            return Ok(false);
        }
        Some(other) => panic!("drop: {other}"),
        None => {}
    }
    if let Some(late) = answer["late"].as_f64() {
        hold(Duration::from_secs_f64(late));
    }
    write(stream, answer)?;
    Ok(answer["then"] != "close")
}

fn write(mut stream: &TcpStream, answer: &Value) -> io::Result<()> {
    let body = match &answer["body"] {
        Value::String(text) => text.clone(),
        body => body.to_string(),
    };
    let status = &answer["status"];
    let mut head = format!(
        "HTTP/1.1 {status} As-It-Is\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in answer["headers"].as_object().into_iter().flatten() {
        head.push_str(&format!("{name}: {}\r\n", value.as_str().unwrap()));
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes())
}

/// The next request of a connection; `None` at its end.
fn read(reader: &mut BufReader<TcpStream>) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let mut headers = HashMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length");
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body)?;
    Ok(Some(Request {
        method,
        path,
        headers,
        body,
    }))
}

/// The client does what the cases say, asks the server what they say, and says what came of it.
pub(super) fn conforms(language: &dyn Language) {
    let text = std::fs::read_to_string(CASES).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let mut cases = file["cases"].as_array().unwrap().clone();
    let scripts: Vec<Script> = cases.iter().map(Script::of).collect();
    for (case, script) in cases.iter_mut().zip(&scripts) {
        case["url"] = json!(format!("http://{}", script.address));
    }
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("cases.json");
    // What is expected stays here.
    let told = cases.iter().map(|case| {
        json!({"name": case["name"], "url": case["url"], "client": case["client"], "calls": case["calls"]})
    });
    let told = json!({"cases": told.collect::<Vec<_>>()});
    std::fs::write(&path, told.to_string()).unwrap();
    let mut command = language.program("tests/conformance");
    command.arg(&path);
    let lines = Running::start(command).rest();
    assert_eq!(lines.len(), cases.len(), "a line for each case: {lines:#?}");
    let mut faults = Vec::new();
    for ((case, script), line) in cases.iter().zip(&scripts).zip(&lines) {
        let said: Value = serde_json::from_str(line).unwrap();
        assert_eq!(said["case"], case["name"]);
        let wrong = script.judge(case, &said["results"]);
        let name = case["name"].as_str().unwrap();
        faults.extend(wrong.iter().map(|wrong| format!("{name}: {wrong}")));
        if !wrong.is_empty() {
            faults.push(format!("{name}: it said {line}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_judge_sees_what_is_wrong() {
    let mut names = Names::default();
    let expected = json!({"a": 1, "key": "$one", "list": [1, 2]});
    let mut differs = |found: Value| names.differs("it", &expected, &found).is_some();
    assert!(!differs(
        json!({"a": 1, "key": "k", "list": [1, 2], "more": true})
    ));
    assert!(!differs(json!({"a": 1.0, "key": "k", "list": [1, 2]})));
    assert!(differs(json!({"a": 2, "key": "k", "list": [1, 2]})));
    assert!(differs(json!({"a": 1, "key": "other", "list": [1, 2]})));
    assert!(differs(json!({"a": 1, "key": "k", "list": [1]})));
    assert!(differs(json!({"a": 1, "list": [1, 2]})));
    assert!(names.is("$new", "x") && !names.is("$new", "x") && !names.is("$two", "k"));
}
