//! Counting: increments, decrements and batches.

use bytes::Bytes;
use http::{HeaderMap, Response};

use super::body::ReplyBody;
use super::call::{Asked, Call};
use super::error::Problem;
use super::fingerprint::{self, Fingerprint};
use super::notes::Notes;
use super::parse;
use super::wire::{Answer, mark_replayed, push_applied};
use crate::counter::{Applied, Direction, Operation, Outcome};
use crate::writer::{Command, Failure, Request};

/// Bytes of the answer to one operation, at most in the common case.
const ANSWER_BYTES: usize = 192;

/// An increment or decrement of the counter in `notes`. The request's headers become the answer's,
/// which saves an allocation.
pub(super) async fn change(
    call: &Call,
    direction: Direction,
    name: &str,
    headers: &mut HeaderMap,
    body: Bytes,
    notes: &mut Notes,
) -> Result<Response<ReplyBody>, Problem> {
    let operation = parse::change(&body)?;
    let key = fingerprint::key(headers)?.map(|key| {
        let request = Fingerprint::new("POST", word(direction), name);
        request
            .change(
                operation.amount,
                operation.user_id.as_ref(),
                operation.metadata,
            )
            .bind(key)
    });
    let (amount, user_id) = (operation.amount, operation.user_id);
    let operation = Operation {
        counter: notes
            .counter
            .clone()
            .ok_or_else(|| parse::refuse_name(name))?,
        direction,
        amount,
        user_id,
    };
    call.worker.shared.check_mode()?;
    let request = Request {
        command: Command::Apply(operation),
        key,
        request_id: call.request_id.clone(),
    };
    let answer = call.worker.port.submit(request).await?;
    let Outcome::Applied(applied) = answer.outcome else {
        return Err(Failure::OutcomeUnknown.into());
    };
    notes.accepted(&[applied], answer.replayed);
    let mut reply = Answer::new(&call.request_id, ANSWER_BYTES);
    reply.body().extend_from_slice(b"{\"success\":true,");
    push_dated(call, reply.body(), &applied);
    reply.body().push(b'}');
    let mut response = reply.finish(std::mem::take(headers));
    mark_replayed(&mut response, answer.replayed);
    Ok(response)
}

/// All operations or none.
pub(super) async fn batch(
    call: &Call,
    asked: &Asked<'_>,
    notes: &mut Notes,
) -> Result<Response<ReplyBody>, Problem> {
    let batch = parse::batch(&asked.body)?;
    let key = fingerprint::key(asked.headers)?.map(|key| {
        Fingerprint::new("POST", "batch", "")
            .batch(&batch.operations, &batch.metadata)
            .bind(key)
    });
    call.worker.shared.check_mode()?;
    let count = batch.operations.len();
    let command = Command::Batch(batch.operations.into());
    let request = Request {
        command,
        key,
        request_id: call.request_id.clone(),
    };
    let answer = call
        .worker
        .port
        .submit(request)
        .await
        .map_err(Problem::from)
        .inspect_err(|problem| {
            notes.refused(problem.code, count);
        })?;
    let Outcome::Batch(results) = answer.outcome else {
        return Err(Failure::OutcomeUnknown.into());
    };
    notes.accepted(&results, answer.replayed);
    let mut reply = Answer::new(&call.request_id, 64 + results.len() * ANSWER_BYTES);
    reply
        .body()
        .extend_from_slice(b"{\"success\":true,\"results\":[");
    for (index, applied) in results.iter().enumerate() {
        reply
            .body()
            .extend_from_slice(if index == 0 { b"{" } else { b",{" });
        push_dated(call, reply.body(), applied);
        reply.body().push(b'}');
    }
    reply.body().extend_from_slice(b"]}");
    let mut response = reply.finish(HeaderMap::new());
    mark_replayed(&mut response, answer.replayed);
    Ok(response)
}

fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::Increment => "increment",
        Direction::Decrement => "decrement",
    }
}

/// Appends an operation's result with its period as a date.
fn push_dated(call: &Call, out: &mut Vec<u8>, applied: &Applied) {
    let worker = &call.worker;
    match applied.period {
        None => push_applied(out, applied, None),
        Some(day) => {
            worker.days.with(&worker.shared.day, day, |facts| {
                push_applied(out, applied, Some(&facts.text))
            });
        }
    }
}
