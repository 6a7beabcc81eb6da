//! Counting: increments, decrements and batches.

use bytes::Bytes;
use http::{HeaderMap, Response};

use super::call::{Asked, Call};
use super::error::Problem;
use super::fingerprint::{self, Fingerprint};
use super::json::push_json;
use super::notes::Notes;
use super::parse;
use super::reply::ReplyBody;
use super::wire::{Answer, mark_replayed, push_applied};
use crate::counter::{Applied, CounterName, Direction, Operation, Outcome, Refusal};
use crate::engine::{Command, Failure, Request};

/// Most live counters with which the name of a new one is compared.
const MOST_COMPARED: i64 = 1000;

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
    notes.accepted(&applied, answer.replayed);
    if applied.created && !answer.replayed {
        tell_created(call, notes.counter.as_ref());
    }
    let mut reply = Answer::new(&call.request_id, ANSWER_BYTES);
    reply.body().extend_from_slice(b"{\"success\":true,");
    push_dated(call, reply.body(), &applied);
    reply.body().push(b'}');
    let mut response = reply.finish(std::mem::take(headers));
    mark_replayed(&mut response, answer.replayed);
    Ok(response)
}

/// All operations or none; or each by itself, when the body says so.
pub(super) async fn batch(
    call: &Call,
    asked: &Asked<'_>,
    notes: &mut Notes,
) -> Result<Response<ReplyBody>, Problem> {
    let batch = parse::batch(&asked.body)?;
    let key = fingerprint::key(asked.headers)?.map(|key| {
        let call = if batch.each { "batch_each" } else { "batch" };
        Fingerprint::new("POST", call, "")
            .batch(&batch.operations, &batch.metadata)
            .bind(key)
    });
    call.worker.shared.check_mode()?;
    let count = batch.operations.len();
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
    let answer = call
        .worker
        .port
        .submit(request)
        .await
        .map_err(Problem::from)
        .inspect_err(|problem| {
            notes.refused(problem.code, count);
        })?;
    let mut reply = Answer::new(&call.request_id, 64 + count * ANSWER_BYTES);
    let out = reply.body();
    out.extend_from_slice(b"{\"success\":true,\"results\":[");
    let mut results = Results {
        call,
        notes,
        replayed: answer.replayed,
        refused: 0,
        created: Vec::new(),
    };
    let each = match answer.outcome {
        Outcome::Batch(all) => {
            results.push(out, all.into_iter().map(Ok));
            false
        }
        Outcome::Each(all) => {
            results.push(out, all.into_iter());
            true
        }
        Outcome::Applied(_)
        | Outcome::Set { .. }
        | Outcome::Defined { .. }
        | Outcome::Deleted { .. } => return Err(Failure::OutcomeUnknown.into()),
    };
    let Results {
        refused, created, ..
    } = results;
    out.push(b']');
    if each {
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

/// The results of a batch as they are written, and what is noted of them.
struct Results<'a> {
    call: &'a Call,
    notes: &'a mut Notes,
    replayed: bool,
    refused: usize,
    /// Which operations created a counter.
    created: Vec<usize>,
}

impl Results<'_> {
    fn push(&mut self, out: &mut Vec<u8>, results: impl Iterator<Item = Result<Applied, Refusal>>) {
        for (index, result) in results.enumerate() {
            if index > 0 {
                out.push(b',');
            }
            match result {
                Ok(applied) => {
                    self.notes.accepted(&applied, self.replayed);
                    if applied.created && !self.replayed {
                        self.created.push(index);
                    }
                    out.push(b'{');
                    push_dated(self.call, out, &applied);
                    out.push(b'}');
                }
                Err(refusal) => {
                    self.refused += 1;
                    let problem = Problem::from(refusal);
                    self.notes.refused_one(problem.code, self.replayed);
                    push_json(out, &problem.into_part(None));
                }
            }
        }
    }
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
    let alike = known
        .iter()
        .filter(|known| *known != name)
        .map(|known| (strsim::jaro_winkler(known.as_str(), name.as_str()), known))
        .filter(|(likeness, _)| *likeness > 0.9);
    let nearest = alike.max_by(|a, b| a.0.total_cmp(&b.0));
    tracing::info!(
        counter = name.as_str(),
        nearest = nearest.map_or("", |(_, nearest)| nearest.as_str()),
        request_id = %call.request_id,
        "a first increment created this counter"
    );
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
            worker
                .days
                .with(worker.shared.engine.current_day(), day, |facts| {
                    push_applied(out, applied, Some(&facts.text))
                });
        }
    }
}
