//! Deleting all counters whose names begin alike, in one call.

use http::Response;
use serde::Serialize;

use super::admin::audit;
use super::call::{Asked, Call};
use super::error::{Code, Problem};
use super::notes::Notes;
use super::query;
use super::reply::ReplyBody;
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
    detail: String,
}

/// `DELETE /api/v1/counters?prefix=&dry_run=`
pub(super) async fn delete(
    call: &Call,
    asked: &Asked<'_>,
    _: &mut Notes,
) -> Result<Response<ReplyBody>, Problem> {
    let [prefix, dry_run] = query::read(asked.uri, ["prefix", "dry_run"])?;
    let Some(prefix) = prefix.filter(|prefix| !prefix.is_empty()) else {
        let detail = "`prefix` must be how the names begin of the counters to delete";
        return Err(Problem::new(Code::InvalidQuery, detail));
    };
    let dry_run = match dry_run.as_deref() {
        None | Some("false" | "0") => false,
        Some("" | "true" | "1") => true,
        Some(_) => {
            let detail = "`dry_run` must be `true` or `false`";
            return Err(Problem::new(Code::InvalidQuery, detail));
        }
    };
    if asked.headers.contains_key("idempotency-key") {
        let detail =
            "this call takes no `Idempotency-Key`: what was deleted is not there a second time";
        return Err(Problem::new(Code::InvalidIdempotencyKey, detail));
    }
    call.worker.shared.check_mode()?;
    let engine = &call.worker.shared.engine;
    let mut found = engine.removable(&prefix, None);
    // What stays may fill whole pages.
    while found.names.is_empty()
        && let Some(next) = found.next.take()
    {
        let page = engine.removable(&prefix, Some(&next));
        found.kept.extend(page.kept);
        found.unreadable.extend(page.unreadable);
        (found.names, found.next) = (page.names, page.next);
    }
    let Removable {
        names,
        kept,
        unreadable,
        next,
    } = found;
    let (deleted, mut failed) = if dry_run {
        (texts(names), Vec::new())
    } else {
        // A client that leaves takes nothing of it along.
        let done = call.worker.detach(delete_all(call.clone(), names)).await;
        done.flatten().ok_or(Failure::OutcomeUnknown)?
    };
    failed.extend(unreadable.into_iter().map(|name| {
        let problem = Problem::from(Refusal::Corrupt);
        Failed {
            name: name.to_string(),
            code: problem.code.as_str(),
            detail: problem.detail.into_owned(),
        }
    }));
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
        let name = name.to_string();
        match answer {
            Ok(_) => deleted.push(name),
            Err(problem) => failed.push(Failed {
                name,
                code: problem.code.as_str(),
                detail: problem.detail.into_owned(),
            }),
        }
    }
    Some((deleted, failed))
}

fn texts(names: Vec<CounterName>) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}
