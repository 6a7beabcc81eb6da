//! Looking back: the days of a counter, and the course of its value. Both are read from the store,
//! or, while there is none, from a copy.

use http::{HeaderMap, Response};

use super::body::ReplyBody;
use super::call::{Asked, Call};
use super::error::{self, Code, Problem};
use super::json::{Members, push_text};
use super::notes::Notes;
use super::parse;
use super::query;
use super::read::{counting, no_copy, not_here, unknown_here};
use super::wire::{Answer, no_store};
use crate::calendar::Day;
use crate::counter::{CounterName, rfc3339};
use crate::engine::{CopiedDay, DayView, Days, NoCopy, NoPast, PastDay, Point, Series, SeriesOf};
use crate::invariant::Broken;

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
    let engine = &call.worker.shared.engine;
    // Before its days are read: a name that comes meanwhile is not one without days.
    let known = engine.knows(&name);
    let today = engine.current_day().look().day;
    let to = date("to", to.as_deref())?.unwrap_or(today);
    let from = date("from", from.as_deref())?.unwrap_or_else(|| engine.kept_from());
    if from > to {
        return Err(Problem::new(
            Code::InvalidQuery,
            "`from` is after `to`; days are `YYYY-MM-DD`, both included",
        ));
    }
    let days = engine.days(&name, from, to).await;
    let days = days.map_err(|error| problem(call, &error))?;
    let mut reply = Answer::new(&call.request_id, 4096);
    match days {
        Days::Store(days) if days.is_empty() && !known => return Err(error::unknown_counter()),
        Days::Copy(days) if days.is_empty() => return Err(unknown_here(call)),
        Days::Store(days) => push_history(reply.body(), &name, days),
        Days::Copy(days) => push_copied(reply.body(), &name, days),
    }
    Ok(no_store(reply.finish(HeaderMap::new())))
}

/// The closed days that a copy has. The open one is not among them.
fn push_copied(out: &mut Vec<u8>, name: &CounterName, days: Vec<CopiedDay>) {
    out.extend_from_slice(b"{\"name\":");
    push_text(out, name.as_str());
    out.extend_from_slice(b",\"days\":[");
    for (number, day) in days.into_iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        let text = day.record.unwrap_or_else(|| {
            Members::default()
                .with("date", day.day.to_string())
                .with("closed", true)
                .with("final_value", day.final_value)
                .to_json()
        });
        out.extend_from_slice(text.as_bytes());
    }
    out.extend_from_slice(b"],\"stale\":true,\"source\":\"postgres\"}");
}

fn push_history(out: &mut Vec<u8>, name: &CounterName, days: Vec<PastDay>) {
    out.extend_from_slice(b"{\"name\":");
    push_text(out, name.as_str());
    out.extend_from_slice(b",\"days\":[");
    for (number, day) in days.into_iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        // Into memory, and of types that all have a form in JSON.
        if let Err(error) = serde_json::to_writer(&mut *out, &DayView::from(day)) {
            Broken::found(format_args!("a day has no form in JSON: {error}"));
        }
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
    let engine = &call.worker.shared.engine;
    let asked = SeriesOf {
        name: name.clone(),
        range_ms,
        step_ms,
    };
    let series = engine.series(asked).await;
    let Some(series) = series.map_err(|error| problem(call, &error))? else {
        let read = engine.read_one(&name).await;
        let (value, _) = read.map_err(|NoCopy| no_copy(call))?;
        let value = value.ok_or_else(error::unknown_counter)?;
        counting(&value)?;
        return Err(error::unknown_counter());
    };
    let Series { points, followed } = series;
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

fn problem(call: &Call, error: &NoPast) -> Problem {
    match error {
        NoPast::NoCopy => not_here(call),
        NoPast::Reopening => Problem::new(
            Code::StoreReopening,
            "the store is being reopened; values are served meanwhile, history and series again after that",
        ),
        NoPast::Unreadable => Problem::new(
            Code::StoreReopening,
            "the store cannot be read now; the log says why",
        ),
        NoPast::Closing => Problem::new(
            Code::ShuttingDown,
            "the server is ending; connect again and retry",
        ),
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
