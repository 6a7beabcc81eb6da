//! Deleting all counters whose names begin alike, in one call.

use std::borrow::Cow;

use serde::Serialize;

use super::admin::audit;
use super::call::{Answered, Asked, Call};
use super::error::{Code, Problem};
use super::query;
use super::wire;
use crate::counter::{CounterName, Refusal};
use crate::engine::{Failure, Removable};

/// What was deleted, or would be.
#[derive(Serialize)]
struct Deleted {
    success: bool,
    dry_run: bool,
    deleted: Vec<String>,
    /// Those of the configuration.
    kept: Vec<String>,
    failed: Vec<Failed>,
    /// Whether there are more.
    more: bool,
}

#[derive(Serialize)]
struct Failed {
    name: String,
    code: &'static str,
    detail: Cow<'static, str>,
}

impl Failed {
    fn new(name: CounterName, problem: Problem) -> Self {
        Self {
            name: name.to_string(),
            code: problem.code.as_str(),
            detail: problem.detail,
        }
    }
}

/// `DELETE /api/v1/counters?prefix=&dry_run=`
pub(super) async fn delete(call: &Call, asked: &Asked<'_>) -> Answered {
    let [prefix, dry_run] = query::read(asked.uri, ["prefix", "dry_run"])?;
    let Some(prefix) = prefix.filter(|prefix| !prefix.is_empty()) else {
        let detail = "`prefix` must be how the names begin of the counters to delete";
        return Err(query::invalid(detail));
    };
    let dry_run = match dry_run.as_deref() {
        None | Some("false" | "0") => false,
        Some("" | "true" | "1") => true,
        Some(_) => return Err(query::invalid("`dry_run` must be `true` or `false`")),
    };
    if asked.headers.contains_key("idempotency-key") {
        let detail =
            "this call takes no `Idempotency-Key`: what was deleted is not there a second time";
        return Err(Problem::new(Code::InvalidIdempotencyKey, detail));
    }
    call.worker.shared.check_mode()?;
    let engine = &call.worker.shared.engine;
    let Removable {
        names,
        kept,
        unreadable,
        next,
    } = engine.removable(&prefix, None);
    let (deleted, mut failed) = if dry_run {
        (texts(names), Vec::new())
    } else {
        // A client that leaves takes nothing of it along.
        let done = call.worker.detach(delete_all(call.clone(), names)).await;
        done.flatten().ok_or(Failure::OutcomeUnknown)?
    };
    let corrupt = |name| Failed::new(name, Refusal::Corrupt.into());
    failed.extend(unreadable.into_iter().map(corrupt));
    let body = Deleted {
        success: true,
        dry_run,
        deleted,
        kept: texts(kept),
        failed,
        more: next.is_some(),
    };
    Ok(wire::answer(&call.request_id, &body))
}

/// Deletes them, and returns which are deleted, and of the others why not; `None` when the runtime ends.
async fn delete_all(call: Call, names: Vec<CounterName>) -> Option<(Vec<String>, Vec<Failed>)> {
    let (engine, id) = (call.worker.shared.engine.clone(), call.request_id.clone());
    let work = move || {
        let answers = engine.delete_all(&names, &id);
        (names, answers)
    };
    let (names, answers) = tokio::task::spawn_blocking(work).await.ok()?;
    let (mut deleted, mut failed) = (Vec::new(), Vec::new());
    for (name, answer) in names.into_iter().zip(answers) {
        let answer = answer.map_err(Problem::from);
        audit(&call, "delete", "", &name, &answer);
        match answer {
            Ok(_) => deleted.push(name.to_string()),
            Err(problem) => failed.push(Failed::new(name, problem)),
        }
    }
    Some((deleted, failed))
}

fn texts(names: Vec<CounterName>) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}
