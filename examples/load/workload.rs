//! What is asked: the bytes of the next request, for each mode.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The kinds of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Increment one counter.
    Increment,
    /// Increment one of `--counters` counters, drawn evenly.
    Many,
    /// Read one counter.
    Get,
    /// Read ten counters in one call.
    Ten,
    /// A batch of `--batch` increments over `--counters` counters.
    Batch,
    /// Count a user never seen before.
    UniqueNew,
    /// The same, with ids that are as random as those of real users: neighbours in time are none in order.
    UniqueScattered,
    /// Count one of `--users` users, who soon have all been seen.
    UniqueDup,
    /// Count one of `--users` users in `--counter`.
    Seen,
    /// Renew the lease of one of `--users` users in `--counter`.
    Heartbeat,
    /// GET `--path`, whatever it is.
    Raw,
}

/// What stays the same for a whole run.
pub struct Settings {
    pub mode: Mode,
    pub host: String,
    pub counter: String,
    pub counters: u64,
    pub batch: u64,
    pub users: u64,
    pub keys: bool,
    pub token: Option<String>,
    pub path: String,
}

/// Makes requests; each thread has its own, and no two make the same user or key.
#[derive(Clone)]
pub struct Workload {
    settings: Arc<Settings>,
    /// Request line and fixed headers of the mode, up to where keys and body follow.
    head: Arc<Vec<u8>>,
    /// The whole body where it never changes.
    body: Arc<Vec<u8>>,
    run: u128,
    thread: u64,
    sent: u64,
    random: u64,
    scratch: Vec<u8>,
}

impl Workload {
    pub fn new(settings: Settings) -> Workload {
        let s = &settings;
        let mut body = Vec::new();
        let line = match s.mode {
            Mode::Increment | Mode::Seen => {
                format!("POST /api/v1/counter/{}/increment", s.counter)
            }
            Mode::Heartbeat => format!("POST /api/v1/counter/{}/heartbeat", s.counter),
            // The name follows in `request`.
            Mode::Many => "POST /api/v1/counter/bench:".to_owned(),
            Mode::Get => format!("GET /api/v1/counter/{}", s.counter),
            Mode::Ten => {
                let names: Vec<String> = (0..10).map(|i| format!("bench:{i}")).collect();
                format!("GET /api/v1/counters?names={}", names.join(","))
            }
            Mode::Batch => "POST /api/v1/batch".to_owned(),
            Mode::UniqueNew | Mode::UniqueScattered | Mode::UniqueDup => {
                "POST /api/v1/counter/daily_active_users/increment".to_owned()
            }
            Mode::Raw => format!("GET {}", s.path),
        };
        match s.mode {
            Mode::Increment | Mode::Many => body.extend_from_slice(br#"{"value":1}"#),
            Mode::Batch => {
                let operations: Vec<String> = (0..s.batch)
                    .map(|i| format!(r#"{{"op":"increment","name":"bench:{}"}}"#, i % s.counters))
                    .collect();
                body = format!(r#"{{"operations":[{}]}}"#, operations.join(",")).into_bytes();
            }
            Mode::Get
            | Mode::Ten
            | Mode::UniqueNew
            | Mode::UniqueScattered
            | Mode::UniqueDup
            | Mode::Seen
            | Mode::Heartbeat
            | Mode::Raw => {}
        }
        let run = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos());
        Workload {
            head: Arc::new(line.into_bytes()),
            body: Arc::new(body),
            settings: Arc::new(settings),
            run,
            thread: 0,
            sent: 0,
            random: 0x9e37_79b9_7f4a_7c15,
            scratch: Vec::new(),
        }
    }

    pub fn for_thread(&self, thread: u64) -> Workload {
        let random = self.random.wrapping_mul(2 * thread + 3);
        Workload {
            thread,
            random,
            ..self.clone()
        }
    }

    /// Appends the next request to `out`; says how many operations it holds.
    pub fn request(&mut self, out: &mut Vec<u8>) -> u64 {
        let settings = Arc::clone(&self.settings);
        self.sent += 1;
        out.extend_from_slice(&self.head);
        // Writing to a Vec cannot fail.
        if settings.mode == Mode::Many {
            let counter = self.draw(settings.counters);
            let _ = write!(out, "{counter}/increment");
        }
        let _ = write!(out, " HTTP/1.1\r\nHost: {}\r\n", settings.host);
        if let Some(token) = &settings.token {
            let _ = write!(out, "Authorization: Bearer {token}\r\n");
        }
        let writes = !matches!(settings.mode, Mode::Get | Mode::Ten | Mode::Raw);
        if !writes {
            out.extend_from_slice(b"\r\n");
            return 1;
        }
        if settings.keys {
            let _ = write!(
                out,
                "Idempotency-Key: {:x}-{}-{}\r\n",
                self.run, self.thread, self.sent
            );
        }
        self.scratch.clear();
        match settings.mode {
            Mode::UniqueNew => {
                let (run, thread, sent) = (self.run, self.thread, self.sent);
                let _ = write!(self.scratch, r#"{{"user_id":"{run:x}-{thread}-{sent}"}}"#);
            }
            Mode::UniqueScattered => {
                // No two are the same: an odd factor takes each number to another one.
                let of_thread = (self.thread << 40) + self.sent;
                let user = of_thread.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let _ = write!(
                    self.scratch,
                    r#"{{"user_id":"{user:016x}-{:x}"}}"#,
                    self.run
                );
            }
            Mode::UniqueDup | Mode::Seen | Mode::Heartbeat => {
                let user = self.draw(settings.users);
                let _ = write!(self.scratch, r#"{{"user_id":"user-{user}"}}"#);
            }
            Mode::Increment | Mode::Many | Mode::Batch | Mode::Get | Mode::Ten | Mode::Raw => {}
        }
        let body = if self.scratch.is_empty() {
            self.body.as_slice()
        } else {
            &self.scratch
        };
        let _ = write!(
            out,
            "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        out.extend_from_slice(body);
        if settings.mode == Mode::Batch {
            settings.batch
        } else {
            1
        }
    }

    /// An even draw below `bound` (xorshift: cheap, and good enough to spread load).
    fn draw(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound
    }
}
