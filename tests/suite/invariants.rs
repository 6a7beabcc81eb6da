//! What a broken invariant does to a server: it is told, the store takes no more writes until it is
//! verified anew, and nothing that was counted is lost or counted twice.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use counterd::storage::{Batch, Damaged};
use counterd::writer::{Failure, PreparedBatch};
use parking_lot::Mutex;

use crate::house::{House, NOON, name};

/// What is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Takes what this process logs from now on.
    fn begin() -> Self {
        let log = Self::default();
        let writer = log.clone();
        tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .init();
        log
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

#[test]
fn a_broken_invariant_is_told_and_ends_writes_until_the_store_is_verified() {
    let log = Log::begin();
    let dir = tempfile::tempdir().unwrap();
    let house = House::open(dir.path(), NOON);
    house.up("online", 1);
    // The definitions have no merge operator: to merge there is a fault of the program.
    let mut batch = Batch::new();
    batch.damage(Damaged::StrayOperand, &name("online"), b"x");
    let prepared = PreparedBatch {
        batch,
        ..PreparedBatch::default()
    };
    let refused = house.running.intake.carry_out(prepared);
    assert_eq!(refused, Err(Failure::OutcomeUnknown));
    let text = log.text();
    assert!(text.contains("an invariant is broken"), "{text}");
    assert!(text.contains("a merge in the family definitions"), "{text}");
    assert!(text.contains("cause=\"store_failed\""), "{text}");
    let deadline = Instant::now() + Duration::from_secs(20);
    while house.running.mode.refuses().is_some() {
        assert!(Instant::now() < deadline, "{}", log.text());
        std::thread::yield_now();
    }
    house.up("online", 1);
    assert_eq!(house.running.table.read("online").unwrap().value, 2);
    house.running.stop();
}
