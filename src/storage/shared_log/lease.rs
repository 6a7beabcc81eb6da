//! Who does the chores of a cell: one instance at a time closes days and exports. The lease saves work; that nothing is
//! done twice rests on the condition of each append, and on what was prepared saying as of what.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::link::{Link, Script};

/// How long a lease lasts in Redis. Another instance takes over after so long at most.
const LASTS: Duration = Duration::from_secs(8);

/// How often it is renewed.
const EVERY: Duration = Duration::from_secs(2);

/// What one instance and its lease tell each other.
#[derive(Clone)]
pub struct Chores {
    /// Whether the instance has the chores.
    pub held: Arc<AtomicBool>,
    /// Says whether it can do them; else another is to have them.
    pub can: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Chores {
    /// Those of a command, which has none.
    pub(super) fn none() -> Self {
        Self {
            held: Arc::default(),
            can: Arc::new(|| false),
        }
    }
}

/// One instance's lease.
pub(super) struct Lease {
    script: Script,
    key: String,
    instance: String,
    chores: Chores,
    due: Instant,
    /// Until when another instance certainly does not have it.
    until: Instant,
}

impl Lease {
    /// Makes one that is not held yet.
    pub(super) fn new(key: String, instance: String, chores: Chores) -> Self {
        chores.held.store(false, Ordering::Release);
        Self {
            script: Script::new(include_str!("lease.lua")),
            key,
            instance,
            chores,
            due: Instant::now(),
            until: Instant::now(),
        }
    }

    /// Asks for it, or renews it, where that is due; gives it back where the instance cannot do the chores.
    pub(super) fn keep(&mut self, link: &mut Link) {
        if !(self.chores.can)() {
            return self.end(link);
        }
        let now = Instant::now();
        if now < self.due {
            return;
        }
        self.due = now + EVERY;
        match self.ask(link, LASTS) {
            Ok(is_ours) => {
                self.until = now + if is_ours { LASTS } else { Duration::ZERO };
                self.chores.held.store(is_ours, Ordering::Release);
            }
            Err(()) if now >= self.until => self.chores.held.store(false, Ordering::Release),
            Err(()) => {}
        }
    }

    /// Gives it back, so that another instance need not wait.
    pub(super) fn end(&mut self, link: &mut Link) {
        if self.chores.held.swap(false, Ordering::AcqRel) {
            let _ = self.ask(link, Duration::ZERO);
        }
    }

    fn ask(&self, link: &mut Link, lasts: Duration) -> Result<bool, ()> {
        let mut call = self.script.call(std::slice::from_ref(&self.key));
        call.arg(&self.instance).arg(lasts.as_millis() as u64);
        link.call(link.limit(), &self.script, &call).map_err(drop)
    }
}
