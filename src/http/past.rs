//! Looking back: the days of a counter, and the course of its value. Both are read from the store,
//! beside the runtime: no other call waits for the disk.

use http::{HeaderMap, Response};

use super::body::ReplyBody;
use super::call::{Asked, Call};
use super::error::{self, Code, Problem};
use super::json::push_text;
use super::notes::Notes;
use super::parse;
use super::query;
use super::read::seen;
use super::stale;
use super::wire::{Answer, no_store};
use crate::calendar::Day;
use crate::counter::{CounterName, rfc3339};
use crate::lifecycle::{self, DayView, PastDay, Point, SeriesRequest};
use crate::storage::{ReadError, Reader, Tables};

/// Most spans of a series.
const MAX_POINTS: i64 = 2000;

const MINUTE_MS: i64 = 60_000;
const DEFAULT_RANGE_MS: i64 = 24 * 60 * MINUTE_MS;
const DEFAULT_STEP_MS: i64 = 5 * MINUTE_MS;

/// `GET /api/v1/counter/{name}/history?from=&to=`
pub(super) async fn history(
    call: &Call,
    asked: &Asked<'_>,
    _: &mut Notes,
) -> Result<Response<ReplyBody>, Problem> {
    let name = parse::name(asked.name)?;
    let [from, to] = query::read(asked.uri, ["from", "to"])?;
    let shared = &call.worker.shared;
    let known = shared.table.read(name.as_str()).is_some();
    let today = shared.day.look().day;
    let to = date("to", to.as_deref())?.unwrap_or(today);
    let kept_from = lifecycle::kept_from(&shared.horizons);
    let from = date("from", from.as_deref())?.unwrap_or(kept_from);
    if from > to {
        return Err(Problem::new(
            Code::InvalidQuery,
            "`from` is after `to`; days are `YYYY-MM-DD`, both included",
        ));
    }
    if let Some(fallback) = shared.without_store() {
        return stale::history(call, fallback, &name, from, to).await;
    }
    let days = {
        let (name, day) = (name.clone(), std::sync::Arc::clone(&shared.day));
        read(&shared.reader, move |tables| {
            lifecycle::days_of(tables, day.calendar(), &name, from.max(kept_from), to)
        })
        .await?
    };
    if days.is_empty() && !known {
        return Err(error::unknown_counter());
    }
    let mut reply = Answer::new(&call.request_id, 256 + days.len() * 512);
    push_history(reply.body(), &name, days);
    Ok(no_store(reply.finish(HeaderMap::new())))
}

fn push_history(out: &mut Vec<u8>, name: &CounterName, days: Vec<PastDay>) {
    out.extend_from_slice(b"{\"name\":");
    push_text(out, name.as_str());
    out.extend_from_slice(b",\"days\":[");
    for (number, day) in days.into_iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        // Into memory, and of types that all have a form in JSON: it does not fail.
        let written = serde_json::to_writer(&mut *out, &DayView::from(day));
        debug_assert!(written.is_ok());
    }
    out.extend_from_slice(b"]}");
}

/// `GET /api/v1/counter/{name}/series?range=24h&step=5m`
pub(super) async fn series(
    call: &Call,
    asked: &Asked<'_>,
    _: &mut Notes,
) -> Result<Response<ReplyBody>, Problem> {
    let name = parse::name(asked.name)?;
    let [range, step] = query::read(asked.uri, ["range", "step"])?;
    let range_ms = span("range", range.as_deref())?.unwrap_or(DEFAULT_RANGE_MS);
    let step_ms = span("step", step.as_deref())?.unwrap_or(DEFAULT_STEP_MS);
    let kept_ms = i64::try_from(call.worker.options.series_range.as_millis()).unwrap_or(i64::MAX);
    if range_ms > kept_ms {
        return Err(Problem::new(
            Code::InvalidQuery,
            format!(
                "`range` goes back {} at most (`samples.retention`)",
                humantime::format_duration(call.worker.options.series_range)
            ),
        ));
    }
    if step_ms % MINUTE_MS != 0 || step_ms == 0 || range_ms < step_ms {
        return Err(Problem::new(
            Code::InvalidQuery,
            "`step` must be whole minutes, at least `1m` and not longer than `range`",
        ));
    }
    if range_ms / step_ms > MAX_POINTS {
        return Err(Problem::new(
            Code::InvalidQuery,
            format!(
                "that is more than {MAX_POINTS} points; take a longer `step` or a shorter `range`"
            ),
        ));
    }
    let shared = &call.worker.shared;
    if shared.without_store().is_some() {
        return Err(stale::not_here(call));
    }
    let reading = shared.table.read(name.as_str());
    let moment = shared.day.moment();
    let reading = reading.ok_or_else(error::unknown_counter)?;
    let request = SeriesRequest {
        value: seen(call, &reading, &moment)?.value,
        reset: reading.definition.reset,
        changed_at: reading.changed_at,
        now: moment.now.unwrap_or_else(|| shared.day.look().wall_ms),
        today: moment.today.day,
        range_ms,
        step_ms,
        name,
    };
    let (name, day) = (request.name.clone(), std::sync::Arc::clone(&shared.day));
    let horizons = std::sync::Arc::clone(&shared.horizons);
    let (points, followed) = read(&shared.reader, move |tables| {
        lifecycle::series(tables, day.calendar(), &horizons, &request)
    })
    .await?;
    let mut reply = Answer::new(&call.request_id, 128 + points.len() * 96);
    push_series(reply.body(), &name, step_ms, followed, &points);
    Ok(no_store(reply.finish(HeaderMap::new())))
}

fn push_series(
    out: &mut Vec<u8>,
    name: &CounterName,
    step_ms: i64,
    followed: bool,
    points: &[Point],
) {
    out.extend_from_slice(b"{\"name\":");
    push_text(out, name.as_str());
    let step = std::time::Duration::from_millis(step_ms.unsigned_abs());
    let step = humantime::format_duration(step)
        .to_string()
        .replace(' ', "");
    out.extend_from_slice(
        format!(",\"step\":\"{step}\",\"followed\":{followed},\"points\":[").as_bytes(),
    );
    for (number, point) in points.iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        let at = rfc3339(point.at);
        let text = match point.values {
            Some(values) => format!(
                "{{\"at\":\"{at}\",\"last\":{},\"min\":{},\"max\":{}}}",
                values.last, values.min, values.max
            ),
            None => format!("{{\"at\":\"{at}\",\"last\":null,\"min\":null,\"max\":null}}"),
        };
        out.extend_from_slice(text.as_bytes());
    }
    out.extend_from_slice(b"]}");
}

/// Reads from the store on a thread where waiting for a disk holds nobody up.
async fn read<T: Send + 'static>(
    reader: &Reader,
    work: impl FnOnce(&Tables) -> Result<T, ReadError> + Send + 'static,
) -> Result<T, Problem> {
    let reader = reader.clone();
    let done = tokio::task::spawn_blocking(move || reader.with(work)).await;
    match done {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(ReadError::Closed)) => Err(Problem::new(
            Code::StoreReopening,
            "the store is being reopened; values are served meanwhile, history and series again after that",
        )),
        Ok(Err(error)) => {
            tracing::error!(%error, "the past cannot be read");
            Err(Problem::new(
                Code::StoreReopening,
                "the store cannot be read now; the log says why",
            ))
        }
        Err(_) => Err(Problem::new(
            Code::ShuttingDown,
            "the server is ending; connect again and retry",
        )),
    }
}

fn date(parameter: &str, text: Option<&str>) -> Result<Option<Day>, Problem> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|_| {
        Problem::new(
            Code::InvalidQuery,
            format!("`{parameter}` must be a day such as `2026-11-24`"),
        )
    })
}

fn span(parameter: &str, text: Option<&str>) -> Result<Option<i64>, Problem> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    humantime::parse_duration(text)
        .ok()
        .and_then(|span| i64::try_from(span.as_millis()).ok())
        .map(Some)
        .ok_or_else(|| {
            Problem::new(
                Code::InvalidQuery,
                format!("`{parameter}` must be a span such as `24h` or `5m`"),
            )
        })
}
