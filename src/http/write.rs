//! Counting: increments, decrements and batches.

use bytes::Bytes;
use http::HeaderMap;

use super::call::{Answered, Asked, Call};
use super::error::Problem;
use super::fingerprint::{self, Fingerprint};
use super::json::push_json;
use super::notes::Notes;
use super::parse;
use super::wire::{Reply, mark_replayed, push_applied};
use crate::counter::{Action, Applied, CounterName, Operation, Outcome, Refusal};
use crate::engine::{Command, Failure, Request};
use crate::metrics::RateLimit;

/// Most live counters with which the name of a new one is compared.
const MOST_COMPARED: i64 = 1000;

/// How alike two names are when one may be a misspelling of the other; 1 is the same.
const MUCH_ALIKE: f64 = 0.9;

/// Bytes of the answer to one operation, at most in the common case.
const ANSWER_BYTES: usize = 192;

/// An increment or decrement of the counter in `notes`. The request's headers become the answer's,
/// which saves an allocation.
pub(super) async fn change(
    call: &Call,
    action: Action,
    name: &str,
    headers: &mut HeaderMap,
    body: Bytes,
    notes: &mut Notes,
) -> Answered {
    let change = match action {
        Action::Increment | Action::Decrement => parse::change(&body)?,
        Action::Heartbeat => parse::heartbeat(&body)?,
        Action::Leave => parse::leave(&body)?,
    };
    let amount = change.value.unwrap_or(1);
    let key = fingerprint::key(headers)?.map(|key| {
        let call = Fingerprint::new("POST", action.as_str(), name);
        let (user_id, session) = (change.user_id.as_ref(), change.session.as_ref());
        let body = if action.is_of_leases() {
            call.lease(amount, user_id, session)
        } else {
            call.change(amount, user_id, change.metadata)
        };
        body.bind(key)
    });
    let operation = Operation {
        counter: notes
            .counter
            .clone()
            .ok_or_else(|| parse::refuse_name(name))?,
        action,
        amount,
        user_id: change.user_id,
        session: change.session,
    };
    call.check_counted(&operation.counter)?;
    call.worker.shared.check_mode()?;
    call.check_user(operation.user_id.as_ref())?;
    let request = Request {
        command: Command::Apply(operation),
        key,
        request_id: call.request_id.clone(),
    };
    let answer = call.worker.port.submit(request).await?;
    let Outcome::Applied(applied) = answer.outcome else {
        return Err(Failure::OutcomeUnknown.into());
    };
    notes.accepted(&applied, answer.replayed);
    if applied.created && !answer.replayed {
        tell_created(call, notes.counter.as_ref());
    }
    let mut reply = Reply::new(&call.request_id, ANSWER_BYTES);
    reply.body().extend_from_slice(b"{\"success\":true,");
    push_dated(call, reply.body(), &applied);
    reply.body().push(b'}');
    let mut response = reply.finish(std::mem::take(headers));
    mark_replayed(&mut response, answer.replayed);
    Ok(response)
}

/// `POST /api/v1/batch`: does all operations or none; or each by itself, when the body says so.
pub(super) async fn batch(call: &Call, asked: &Asked<'_>, notes: &mut Notes) -> Answered {
    let batch = parse::batch(&asked.body)?;
    let key = fingerprint::key(asked.headers)?.map(|key| {
        let call = if batch.each { "batch_each" } else { "batch" };
        Fingerprint::new("POST", call, "")
            .batch(&batch.operations, &batch.metadata)
            .bind(key)
    });
    for (index, operation) in batch.operations.iter().enumerate() {
        call.check_counted(&operation.counter)
            .map_err(|problem| parse::in_operation(problem, index))?;
    }
    call.worker.shared.check_mode()?;
    let count = batch.operations.len();
    let users = batch.operations.iter();
    let users = users.map(|operation| operation.user_id.as_ref());
    // The first of them was paid for by the head.
    call.check_rate(RateLimit::IpWrites, count, 1)
        .and_then(|()| call.check_users(users))
        .inspect_err(|problem| notes.refused(problem.code, count))?;
    let command = if batch.each {
        Command::Each(batch.operations.into())
    } else {
        Command::Batch(batch.operations.into())
    };
    let request = Request {
        command,
        key,
        request_id: call.request_id.clone(),
    };
    let answer = call.worker.port.submit(request).await;
    let answer = answer
        .map_err(Problem::from)
        .inspect_err(|problem| notes.refused(problem.code, count))?;
    let mut reply = Reply::new(&call.request_id, 64 + count * ANSWER_BYTES);
    let out = reply.body();
    out.extend_from_slice(b"{\"success\":true,\"results\":[");
    let (mut refused, mut created) = (0, Vec::new());
    let push = |(index, result): (usize, Result<Applied, Refusal>)| {
        if index > 0 {
            out.push(b',');
        }
        match result {
            Ok(applied) => {
                notes.accepted(&applied, answer.replayed);
                if applied.created && !answer.replayed {
                    created.push(index);
                }
                out.push(b'{');
                push_dated(call, out, &applied);
                out.push(b'}');
            }
            Err(refusal) => {
                refused += 1;
                let problem = Problem::from(refusal);
                notes.refused_one(problem.code, answer.replayed);
                push_json(out, &problem.into_part(None));
            }
        }
    };
    match answer.outcome {
        Outcome::Batch(all) => all.into_iter().map(Ok).enumerate().for_each(push),
        Outcome::Each(all) => all.into_iter().enumerate().for_each(push),
        Outcome::Applied(_)
        | Outcome::Set { .. }
        | Outcome::Defined { .. }
        | Outcome::Deleted { .. } => return Err(Failure::OutcomeUnknown.into()),
    }
    out.push(b']');
    if batch.each {
        out.extend_from_slice(format!(",\"refused\":{refused}").as_bytes());
    }
    out.push(b'}');
    if !created.is_empty() {
        // The writer has the names; they are read once more in the rare batch that created a counter.
        let named = parse::batch(&asked.body)?.operations;
        for operation in created.into_iter().filter_map(|index| named.get(index)) {
            tell_created(call, Some(&operation.counter));
        }
    }
    let mut response = reply.finish(HeaderMap::new());
    mark_replayed(&mut response, answer.replayed);
    Ok(response)
}

/// Says that a first increment created a counter, and which other one is named much alike: a misspelt
/// name counts apart without an error.
fn tell_created(call: &Call, name: Option<&CounterName>) {
    let Some(name) = name else {
        return;
    };
    let shared = &call.worker.shared;
    shared.metrics.state.created_counters.inc();
    let mut known = shared.engine.configured().to_vec();
    // Where there are many, they are not all looked at for each new one.
    if shared.metrics.state.live_counters.get() <= MOST_COMPARED {
        known.extend(shared.engine.names());
    }
    let others = known.iter().filter(|known| *known != name);
    let others: Vec<&str> = others.map(CounterName::as_str).collect();
    tracing::info!(
        counter = name.as_str(),
        nearest = parse::nearest(name.as_str(), &others, MUCH_ALIKE).unwrap_or(""),
        request_id = %call.request_id,
        "a first increment created this counter"
    );
}

/// Appends an operation's result with its period as a date.
fn push_dated(call: &Call, out: &mut Vec<u8>, applied: &Applied) {
    call.worker.with_day(applied.period, |day| {
        push_applied(out, applied, day.map(|day| &*day.text));
    });
}
