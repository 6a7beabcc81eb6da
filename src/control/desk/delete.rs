//! Deleting all counters whose names begin alike.

use std::fmt::Write as _;

use super::super::{Part, Tell, Told};
use super::{Desk, Unanswered, refused};
use crate::counter::{CounterName, Outcome, RequestId};
use crate::engine::{Answer, Engine, Failure, Removable};

impl Desk {
    /// Deletes the counters whose names begin with `prefix`, or, unless that is confirmed, lists them.
    pub(super) fn delete(
        &self,
        prefix: &str,
        confirmed: bool,
        tell: Tell<'_>,
    ) -> Result<Told, Unanswered> {
        if prefix.is_empty() {
            return Err(refused("without a prefix these would be all counters"));
        }
        let engine = Engine::new(&self.running);
        if confirmed && let Err(no) = engine.writes() {
            let cause = no.cause.as_str();
            return Err(refused(format!("writes are refused (cause `{cause}`)")));
        }
        let (mut deleted, mut kept, mut failed) = (0, 0, 0);
        let mut cursor = None;
        loop {
            let Removable {
                names,
                kept: stay,
                unreadable,
                next,
            } = engine.removable(prefix, cursor.as_deref());
            let mut text = String::new();
            kept += stay.len() as u64;
            for name in stay {
                let _ = writeln!(text, "{name} stays: the configuration defines it");
            }
            failed += unreadable.len() as u64;
            for name in unreadable {
                let _ = writeln!(
                    text,
                    "{name} cannot be read, and is not deleted: see `counterd repair`"
                );
            }
            if confirmed {
                let answers = engine.delete_all(&names, &RequestId::Given("delete".into()));
                for (name, answer) in names.iter().zip(&answers) {
                    match audited(name, answer) {
                        Ok(()) => deleted += 1,
                        Err(failure) => {
                            failed += 1;
                            let _ = writeln!(text, "{name} is not deleted: {failure}");
                        }
                    }
                }
            } else {
                deleted += names.len() as u64;
                for name in names {
                    let _ = writeln!(text, "{name}");
                }
            }
            tell(Part::Text(text))?;
            cursor = next;
            if cursor.is_none() {
                return Ok(Told::Deleted {
                    deleted,
                    kept,
                    failed,
                });
            }
        }
    }
}

/// Writes the audit line of a deletion, and returns why there was none.
fn audited(name: &CounterName, answer: &Result<Answer, Failure>) -> Result<(), String> {
    let (before, result) = match answer {
        Ok(answer) => match &answer.outcome {
            Outcome::Deleted { final_value, .. } => (Some(*final_value), Ok(())),
            other => (None, Err(format!("unexpected outcome {other:?}"))),
        },
        Err(failure) => (None, Err(super::explain(name, failure))),
    };
    tracing::info!(
        target: "audit",
        action = "delete",
        counter = %name,
        before,
        result = result.as_ref().err().map_or("done", String::as_str),
        "the operator deleted a counter"
    );
    result
}
