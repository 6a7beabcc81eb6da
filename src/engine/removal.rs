//! Deleting all counters whose names begin alike: what clients made up by mistake goes at once.

use super::{Answer, Command, Engine, Failure, Request};
use crate::counter::{CounterName, RequestId};

/// Most counters that are looked for, and deleted, at once.
const MOST_AT_ONCE: usize = 1000;

/// Counters whose names begin alike.
pub struct Removable {
    /// Those that can be deleted.
    pub names: Vec<CounterName>,
    /// Those of the configuration, which stay.
    pub kept: Vec<CounterName>,
    /// The name after which there are more; `None` after the last.
    pub next: Option<String>,
}

impl Engine {
    /// Returns the live counters after `cursor` whose names begin with `prefix`, at most 1000.
    pub fn removable(&self, prefix: &str, cursor: Option<&str>) -> Removable {
        let page = self.list_store(prefix, cursor, MOST_AT_ONCE);
        let names = page.found.into_iter().map(|value| value.name);
        let (kept, names) = names.partition(|name| self.configured().contains(name));
        Removable {
            names,
            kept,
            next: page.next,
        }
    }

    /// Deletes counters in few commit groups, and blocks until that is done: for threads without a
    /// runtime. Returns what became of each, in their order.
    pub fn delete_all(
        &self,
        names: &[CounterName],
        request_id: &RequestId,
    ) -> Vec<Result<Answer, Failure>> {
        let requests = names.iter().map(|counter| Request {
            command: Command::Delete {
                counter: counter.clone(),
            },
            key: None,
            request_id: request_id.clone(),
        });
        self.running.intake.call_all(requests)
    }
}
