//! Clients that watch the counters of the load while it runs, and write down each word for the exact-accounting
//! checker. They come back from where they were, whenever they are cut off, and some leave by themselves.
//!
//! After the load each must come to say what is read. How long an update takes is not known, so that nothing else comes
//! is shown without waiting for time to pass: a counter of its own is moved twice, the mark. Changes are told in
//! the order of their revisions, so between the two marks everything else would have come.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::checker::{Complete, History, Moment, Quiet, Reading, Stream, Word};
use crate::harness::{Client, Dice, Event, Listener, PATIENCE, Transport, eventually};
use crate::traffic::{ALL, Control, wait_a_little};

/// Moved when nothing else is.
const MARK: &str = "t.mark";

/// How long one that hears nothing waits before it looks whether all is over.
const LOOK_UP: Duration = Duration::from_millis(20);

/// The revision and value of each counter that a watcher was told last.
type Last = HashMap<String, (u64, i64)>;

/// What the watchers and those who wait for them speak by.
struct Heard {
    last: Vec<Mutex<Last>>,
    over: AtomicBool,
}

impl Heard {
    /// Whether every watcher was told this last.
    fn is(&self, read: &[Reading]) -> bool {
        self.last.iter().all(|last| {
            let last = last.lock().unwrap();
            let told = |one: &Reading| last.get(&one.counter) == Some(&(one.revision, one.value));
            read.iter().all(told)
        })
    }
}

/// Runs new watchers while `work` runs and until they have everything, if the server then serves. Gives what they
/// heard, and what `work` gave.
pub fn during<T>(
    address: SocketAddr,
    watchers: usize,
    control: &Control,
    work: impl FnOnce() -> T,
) -> (History, T) {
    let mut history = History {
        streams: (0..watchers).map(|_| Stream::default()).collect(),
        ..History::default()
    };
    let given = listen(address, control, &mut history, |heard| {
        let given = work();
        (settle(address, control, heard), given)
    });
    (history, given)
}

/// The watchers come back and have everything, then leave and come back once more, after the very next change.
pub fn come_back(address: SocketAddr, control: &Control, history: &mut History) {
    if history.streams.is_empty() {
        return;
    }
    let mut client = Client::new(address).with_timeout(PATIENCE);
    for _ in 0..2 {
        listen(address, control, history, |heard| {
            let settled = eventually("the server serves", PATIENCE, || {
                settle(address, control, heard)
            });
            (Some(settled), ())
        });
        let next = eventually("the server serves", PATIENCE, || mark(&mut client, control));
        history.readings.push(next);
    }
}

/// A time of quiet: between two marks, with what readers were told before and after.
struct Settled {
    marks: [Reading; 2],
    read: Vec<Reading>,
}

impl Settled {
    /// Notes it in a stream that was told of both marks.
    fn note(&self, stream: &mut Stream) {
        let [begin, end] = self.marks.each_ref().map(|mark| {
            let is_mark = |word: &Word| {
                word.reading.counter == MARK && word.reading.revision == mark.revision
            };
            stream.words.iter().position(is_mark).unwrap()
        });
        let read = self.read.clone();
        stream.quiet.push(Quiet {
            words: begin..end,
            read,
        });
    }
}

/// The streams of a history go on while `work` runs.
fn listen<T>(
    address: SocketAddr,
    control: &Control,
    history: &mut History,
    work: impl FnOnce(&Heard) -> (Option<Settled>, T),
) -> T {
    /// Also when a claim fails, so that the failure is seen and not waited on.
    struct EndsWatchers<'a>(&'a Heard);
    impl Drop for EndsWatchers<'_> {
        fn drop(&mut self) {
            self.0.over.store(true, Ordering::SeqCst);
        }
    }
    let streams = std::mem::take(&mut history.streams);
    let heard = Heard {
        last: streams.iter().map(|_| Mutex::default()).collect(),
        over: AtomicBool::new(false),
    };
    std::thread::scope(|scope| {
        let watchers: Vec<_> = streams
            .into_iter()
            .enumerate()
            .map(|(number, stream)| {
                let mut watcher = Watcher {
                    address,
                    number,
                    control,
                    heard: &heard,
                    dice: Dice::new(number as u64),
                    stream,
                    connection: None,
                };
                scope.spawn(move || {
                    while !watcher.heard.over.load(Ordering::SeqCst) {
                        watcher.turn();
                    }
                    watcher.stream
                })
            })
            .collect();
        let ends = EndsWatchers(&heard);
        let (settled, given) = work(&heard);
        drop(ends);
        for watcher in watchers {
            let mut stream = watcher.join().unwrap();
            if let Some(settled) = &settled {
                settled.note(&mut stream);
            }
            history.streams.push(stream);
        }
        if let Some(Settled { marks, read }) = settled {
            history.readings.extend(marks.into_iter().chain(read));
        }
        given
    })
}

/// Waits until each watcher was told what is read, and notes that nothing else comes; `None` when the server does not
/// serve. Reads again each time, for what was left without an answer may still come to its end.
fn settle(address: SocketAddr, control: &Control, heard: &Heard) -> Option<Settled> {
    if heard.last.is_empty() {
        return None;
    }
    let mut client = Client::new(address).with_timeout(PATIENCE);
    let begun = Instant::now();
    loop {
        let settled = eventually("the last words are what is read", PATIENCE, || {
            match read(&mut client, control) {
                Some(read) => heard.is(&read).then_some(Some(read)),
                None => Some(None),
            }
        });
        let read = settled?;
        let mut next_mark = || {
            let mark = mark(&mut client, control)?;
            eventually("every stream tells of the mark", PATIENCE, || {
                heard.is(std::slice::from_ref(&mark)).then_some(())
            });
            Some(mark)
        };
        let marks = [next_mark()?, next_mark()?];
        let again = self::read(&mut client, control)?;
        let says = |all: &[Reading]| -> Vec<(u64, i64)> {
            all.iter().map(|one| (one.revision, one.value)).collect()
        };
        if says(&read) == says(&again) {
            return Some(Settled { marks, read });
        }
        assert!(begun.elapsed() < PATIENCE, "it does not become quiet");
    }
}

/// What readers are told; `None` when that is not of the store.
fn read(client: &mut Client, control: &Control) -> Option<Vec<Reading>> {
    let begun = control.now();
    let path = format!("/api/v1/counters?names={}", ALL.join(","));
    let response = client.request("GET", &path, &[], b"").ok()?;
    if response.status == 503 {
        return None;
    }
    let ended = control.now();
    let body = response.ok();
    let counters = body["counters"].as_array().unwrap().iter();
    let all = counters.map(|one| reading(one, begun, ended));
    (body["stale"] == false).then(|| all.collect())
}

/// Moves the mark; gives what it says then, or `None` when that is refused.
fn mark(client: &mut Client, control: &Control) -> Option<Reading> {
    let begun = control.now();
    let path = format!("/api/v1/counter/{MARK}/increment");
    let response = client.request("POST", &path, &[], b"{}").ok()?;
    if response.status == 503 {
        return None;
    }
    let answer = response.ok();
    Some(Reading {
        counter: MARK.to_owned(),
        begun,
        ended: control.now(),
        value: answer["current_value"].as_i64().unwrap(),
        revision: answer["revision"].as_u64().unwrap(),
        period: None,
    })
}

fn reading(counter: &Value, begun: Moment, ended: Moment) -> Reading {
    Reading {
        counter: counter["name"].as_str().unwrap().to_owned(),
        begun,
        ended,
        value: counter["value"].as_i64().unwrap(),
        revision: counter["revision"].as_u64().unwrap(),
        period: counter["period"].as_str().map(str::to_owned),
    }
}

struct Connection {
    listener: Listener,
    asked: Moment,
    /// How often the power had gone or come when it was asked for.
    power: u64,
}

struct Watcher<'a> {
    address: SocketAddr,
    number: usize,
    control: &'a Control,
    heard: &'a Heard,
    dice: Dice,
    stream: Stream,
    connection: Option<Connection>,
}

impl Watcher<'_> {
    /// Comes back if it is cut off, else hears one event.
    fn turn(&mut self) {
        let Some(connection) = &mut self.connection else {
            self.connection = self.connect();
            if self.connection.is_none() {
                wait_a_little();
            }
            return;
        };
        let event = connection.listener.poll();
        let (asked, ended) = (connection.asked, self.control.now());
        // What is said while the power goes proves nothing, as with answers: it is not heard.
        if connection.power != self.control.power() {
            self.connection = None;
            return;
        }
        match event {
            Ok(Some(event)) => self.take(event, asked, ended),
            Ok(None) => {}
            Err(_) => self.connection = None,
        }
        // Of each transport one stays as long as it can, and another one leaves by itself.
        let roams = matches!(self.number % 4, 1 | 2) && !self.control.is_over();
        if roams && self.dice.below(24) == 0 {
            self.connection = None;
        }
    }

    fn connect(&self) -> Option<Connection> {
        let power = self.control.power();
        if Control::is_power_off(power) {
            return None;
        }
        let transport = match self.number % 2 {
            0 => Transport::Sse,
            _ => Transport::Ws,
        };
        let asked = self.control.now();
        let position = self.stream.position.as_deref();
        match Listener::subscribe(self.address, transport, &names(), position).ok()? {
            Ok(listener) => {
                listener.set_patience(LOOK_UP).unwrap();
                Some(Connection {
                    listener,
                    asked,
                    power,
                })
            }
            Err(head) => {
                // Not ready yet, or at its end.
                assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
                None
            }
        }
    }

    fn take(&mut self, event: Event, asked: Moment, ended: Moment) {
        let Event { kind, id, data } = event;
        match kind.as_str() {
            "state" => {
                let told = data["counters"].as_array().unwrap();
                told.iter().for_each(|one| self.hear(one, asked, ended));
                if data["resumed"] == true {
                    self.hear_again(told, asked, ended);
                }
            }
            "update" if data["value"].is_i64() => self.hear(&data, asked, ended),
            // Of the mode, or of a counter that is not there.
            "update" | "tick" => {}
            other => panic!("an event {other}: {data}"),
        }
        let Some(id) = id else { return };
        self.stream.position = (!id.is_empty()).then(|| id.clone());
        if let Some((_, revision)) = id.split_once('.')
            && kind != "update"
        {
            self.stream.complete.push(Complete {
                words: self.stream.words.len(),
                revision: revision.parse().unwrap(),
            });
        }
    }

    /// Writes down what is said of a counter.
    fn hear(&mut self, counter: &Value, asked: Moment, ended: Moment) {
        let stale = counter["stale"] == true;
        let word = Word {
            // A copy may be as old as it likes.
            reading: reading(counter, if stale { 0 } else { asked }, ended),
            epoch: counter["epoch"].as_u64().unwrap(),
            stale,
        };
        self.keep(word);
    }

    /// Who comes back and is not told of a counter is told that it still is as it was.
    fn hear_again(&mut self, told: &[Value], asked: Moment, ended: Moment) {
        for name in names() {
            if told.iter().any(|one| one["name"] == name) {
                continue;
            }
            let words = self.stream.words.len();
            let Some(mut word) = self.stream.last(name, words).cloned() else {
                continue;
            };
            (word.reading.begun, word.reading.ended) = (asked, ended);
            self.keep(word);
        }
    }

    fn keep(&mut self, word: Word) {
        let Reading {
            counter,
            revision,
            value,
            ..
        } = &word.reading;
        let mut last = self.heard.last[self.number].lock().unwrap();
        last.insert(counter.clone(), (*revision, *value));
        self.stream.words.push(word);
    }
}

fn names() -> Vec<&'static str> {
    ALL.into_iter().chain([MARK]).collect()
}

/// Defines what the watchers need.
pub fn define(admin: &mut Client) {
    admin.define(MARK, &json!({"kind": "sum"}));
}
