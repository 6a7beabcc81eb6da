//! Deleting all counters whose names begin alike: what clients made up by mistake goes at once.

use super::{Answer, Command, Engine, Failure, Request, Value};
use crate::counter::{CounterName, RequestId};

/// Most counters that are looked for, and deleted, at once.
const MOST_AT_ONCE: usize = 1000;

/// Counters whose names begin alike.
pub struct Removable {
    /// Those that can be deleted.
    pub names: Vec<CounterName>,
    /// Those of the configuration, which stay.
    pub kept: Vec<CounterName>,
    /// Those whose records cannot be read: they are not deleted before they are repaired.
    pub unreadable: Vec<CounterName>,
    /// The name after which there are more; `None` after the last.
    pub next: Option<String>,
}

impl Engine {
    /// Returns the live counters after `cursor` whose names begin with `prefix`, at most 1000.
    pub fn removable(&self, prefix: &str, cursor: Option<&str>) -> Removable {
        let page = self.list_store(prefix, cursor, MOST_AT_ONCE);
        let (kept, others): (Vec<_>, Vec<_>) = page
            .found
            .into_iter()
            .partition(|value| self.configured().contains(&value.name));
        let (unreadable, others): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|value| value.seen.is_none());
        let names = |values: Vec<Value>| values.into_iter().map(|value| value.name).collect();
        Removable {
            names: names(others),
            kept: names(kept),
            unreadable: names(unreadable),
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
