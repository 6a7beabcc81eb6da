//! Deleting all counters whose names begin alike: what clients made up by mistake goes at once.

use super::{Answer, Command, Engine, Failure, Request, Value};
use crate::counter::{CounterName, RequestId};

/// Most counters that are looked for, and deleted, at once.
const MOST_AT_ONCE: usize = 1000;

/// Counters whose names begin alike.
#[derive(Default)]
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
    /// Returns the live counters after `cursor` whose names begin with `prefix`: pages of the list, until some of them
    /// can be deleted.
    pub fn removable(&self, prefix: &str, cursor: Option<&str>) -> Removable {
        let mut found = Removable {
            next: cursor.map(str::to_owned),
            ..Removable::default()
        };
        loop {
            let page = self.list_store(prefix, found.next.as_deref(), MOST_AT_ONCE);
            for Value { name, seen, .. } in page.found {
                if self.configured().contains(&name) {
                    found.kept.push(name);
                } else if seen.is_none() {
                    found.unreadable.push(name);
                } else {
                    found.names.push(name);
                }
            }
            found.next = page.next;
            if found.next.is_none() || !found.names.is_empty() {
                return found;
            }
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
