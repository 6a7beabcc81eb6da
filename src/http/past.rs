//! Looking back: the days of a counter, and the course of its value. Both are read from the store,
//! or, while there is none, from a copy.

use serde::Serialize;

use super::call::{Answered, Asked, Call};
use super::error::{Code, Problem};
use super::parse;
use super::query;
use super::read::{counting, no_copy, not_here, unknown_here};
use super::wire::{self, no_store};
use crate::calendar::Day;
use crate::counter::Refusal;
use crate::engine::{NoCopy, NoPast, PastDays, Point};

/// Most spans of a series.
const MAX_POINTS: i64 = 2000;

const MINUTE_MS: i64 = 60_000;
const DEFAULT_RANGE_MS: i64 = 24 * 60 * MINUTE_MS;
const DEFAULT_STEP_MS: i64 = 5 * MINUTE_MS;

/// `GET /api/v1/counter/{name}/history?from=&to=`
pub(super) async fn history(call: &Call, asked: &Asked<'_>) -> Answered {
    let name = parse::name(asked.name)?;
    let [from, to] = query::read(asked.uri, ["from", "to"])?;
    let engine = &call.worker.shared.engine;
    // This is asked before the days are read, so that a counter created meanwhile is not taken for unknown.
    let known = engine.knows(&name);
    let today = engine.current_day().look().day;
    let to = date("to", to)?.unwrap_or(today);
    let from = date("from", from)?.unwrap_or_else(|| engine.kept_from());
    if from > to {
        let detail = "`from` is after `to`; days are `YYYY-MM-DD`, both included";
        return Err(query::invalid(detail));
    }
    let days = engine.days(&name, from, to).await;
    let days = days.map_err(|error| problem(call, &error))?;
    let (stale, source) = match &days {
        PastDays::Store(days) if days.is_empty() && !known => {
            return Err(Refusal::UnknownCounter.into());
        }
        PastDays::Copy(days) if days.is_empty() => return Err(unknown_here(call)),
        PastDays::Store(_) => (None, None),
        PastDays::Copy(_) => (Some(true), Some("postgres")),
    };
    let body = HistoryBody {
        name: name.as_str(),
        days,
        stale,
        source,
    };
    Ok(no_store(wire::answer(&call.request_id, &body)))
}

#[derive(Serialize)]
struct HistoryBody<'a> {
    name: &'a str,
    days: PastDays,
    #[serde(skip_serializing_if = "Option::is_none")]
    stale: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'static str>,
}

/// `GET /api/v1/counter/{name}/series?range=24h&step=5m`
pub(super) async fn series(call: &Call, asked: &Asked<'_>) -> Answered {
    let name = parse::name(asked.name)?;
    let [range, step] = query::read(asked.uri, ["range", "step"])?;
    let range_ms = span("range", range)?.unwrap_or(DEFAULT_RANGE_MS);
    let step_ms = span("step", step)?.unwrap_or(DEFAULT_STEP_MS);
    let kept = call.worker.options.series_range;
    if u128::from(range_ms.unsigned_abs()) > kept.as_millis() {
        let kept = humantime::format_duration(kept);
        let detail = format!("`range` goes back {kept} at most (`samples.retention`)");
        return Err(query::invalid(detail));
    }
    if step_ms % MINUTE_MS != 0 || step_ms == 0 || range_ms < step_ms {
        let detail = "`step` must be whole minutes, at least `1m` and not longer than `range`";
        return Err(query::invalid(detail));
    }
    if range_ms / step_ms > MAX_POINTS {
        return Err(query::invalid(format!(
            "that is more than {MAX_POINTS} points; take a longer `step` or a shorter `range`"
        )));
    }
    let engine = &call.worker.shared.engine;
    let series = engine.series(&name, range_ms, step_ms).await;
    let Some((points, followed)) = series.map_err(|error| problem(call, &error))? else {
        let read = engine.read_one(&name).await;
        let (value, _) = read.map_err(|NoCopy| no_copy(call))?;
        counting(&value.ok_or(Refusal::UnknownCounter)?)?;
        return Err(Refusal::UnknownCounter.into());
    };
    let step = std::time::Duration::from_millis(step_ms.unsigned_abs());
    let step = humantime::format_duration(step).to_string();
    let body = SeriesBody {
        name: name.as_str(),
        step: step.replace(' ', ""),
        followed,
        points,
    };
    Ok(no_store(wire::answer(&call.request_id, &body)))
}

#[derive(Serialize)]
struct SeriesBody<'a> {
    name: &'a str,
    step: String,
    followed: bool,
    points: Vec<Point>,
}

fn problem(call: &Call, error: &NoPast) -> Problem {
    let (code, detail) = match error {
        NoPast::NoCopy => return not_here(call),
        NoPast::Reopening => (
            Code::StoreReopening,
            "the store is being reopened; values are served meanwhile, history and series again after that",
        ),
        NoPast::Unreadable => (
            Code::StoreReopening,
            "the store cannot be read now; the log says why",
        ),
        NoPast::Closing => (
            Code::ShuttingDown,
            "the server is ending; connect again and retry",
        ),
    };
    Problem::new(code, detail)
}

fn date(parameter: &str, text: Option<String>) -> Result<Option<Day>, Problem> {
    query::value(parameter, text, "a day such as `2026-11-24`", |text| {
        text.parse().ok()
    })
}

/// Reads a span, in milliseconds.
fn span(parameter: &str, text: Option<String>) -> Result<Option<i64>, Problem> {
    query::value(parameter, text, "a span such as `24h` or `5m`", |text| {
        let span = humantime::parse_duration(text).ok()?;
        i64::try_from(span.as_millis()).ok()
    })
}
