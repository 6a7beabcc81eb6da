//! Looking back: the days of a counter, and the course of its value. Both are read from the store,
//! or, while there is none, from a copy.

use serde::Serialize;

use super::call::{Answered, Asked, Call};
use super::error::{Code, Problem};
use super::parse;
use super::query;
use super::read::{counting, no_copy, not_here, unknown_here};
use super::wire::{self, no_store};
use crate::calendar::{DAY_MS, Day};
use crate::counter::instant::serialize_at;
use crate::counter::{Millis, Refusal, parse_rfc3339};
use crate::engine::{NoCopy, NoPast, PastDays, PeakEver, Point, SeriesRange};

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
    let (from, to) = match (date("from", from)?, date("to", to)?) {
        (Some(from), Some(to)) if from > to => {
            let detail = "`from` is after `to`; days are `YYYY-MM-DD`, both included";
            return Err(query::invalid(detail));
        }
        // What is absent never makes the range an impossible one: it may be one without days.
        (Some(from), to) => (from, to.unwrap_or(today.max(from))),
        (None, to) => {
            let to = to.unwrap_or(today);
            (engine.kept_from().min(to), to)
        }
    };
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
    let peak = engine.peak_ever(&name).await;
    let body = HistoryBody {
        name: name.as_str(),
        peak: peak.map_err(|error| problem(call, &error))?,
        days,
        stale,
        source,
    };
    Ok(no_store(wire::answer(&call.request_id, &body)))
}

#[derive(Serialize)]
struct HistoryBody<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    peak: Option<PeakEver>,
    days: PastDays,
    #[serde(skip_serializing_if = "Option::is_none")]
    stale: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'static str>,
}

/// `GET /api/v1/counter/{name}/series?range=24h&step=5m&to=` or `&day=`
pub(super) async fn series(call: &Call, asked: &Asked<'_>) -> Answered {
    let name = parse::name(asked.name)?;
    let (range, day) = range(call, asked)?;
    let engine = &call.worker.shared.engine;
    let series = engine.series(&name, range).await;
    let Some((points, followed)) = series.map_err(|error| problem(call, &error))? else {
        let read = engine.read_one(&name).await;
        let (value, _) = read.map_err(|NoCopy| no_copy(call))?;
        counting(&value.ok_or(Refusal::UnknownCounter)?)?;
        return Err(Refusal::UnknownCounter.into());
    };
    let step = std::time::Duration::from_millis(range.step_ms.unsigned_abs());
    let step = humantime::format_duration(step).to_string();
    let body = SeriesBody {
        name: name.as_str(),
        step: step.replace(' ', ""),
        day,
        followed,
        points,
    };
    Ok(no_store(wire::answer(&call.request_id, &body)))
}

/// Reads which range is asked for, and of a day its bounds.
fn range(call: &Call, asked: &Asked<'_>) -> Result<(SeriesRange, Option<DayBody>), Problem> {
    let [range, step, to, day] = query::read(asked.uri, ["range", "step", "to", "day"])?;
    let step_ms = span("step", step)?.unwrap_or(DEFAULT_STEP_MS);
    if step_ms % MINUTE_MS != 0 || step_ms == 0 {
        let detail = "`step` must be whole minutes, at least `1m`";
        return Err(query::invalid(detail));
    }
    let engine = &call.worker.shared.engine;
    let now = engine.now();
    let day = date("day", day)?;
    let (range, day) = match day {
        Some(_) if range.is_some() || to.is_some() => {
            let detail = "`day` is a range of its own; ask without `range` and `to`";
            return Err(query::invalid(detail));
        }
        Some(day) => {
            let current = engine.current_day();
            let bounds = current.local_day(day);
            if day > current.look().day {
                return Err(query::invalid("`day` has not begun yet"));
            }
            let (starts_at, ends_at) = (bounds.start, bounds.end.unwrap_or(now));
            // A clock that was set back may be before the day.
            let until = (ends_at - 1).min(now).max(starts_at);
            let range_ms = until - starts_at;
            let range = SeriesRange {
                until,
                range_ms,
                step_ms,
            };
            let day = DayBody {
                date: day,
                starts_at,
                ends_at,
            };
            (range, Some(day))
        }
        None => {
            let range_ms = span("range", range)?.unwrap_or(DEFAULT_RANGE_MS);
            if range_ms < step_ms {
                let detail = "`range` must not be shorter than `step`";
                return Err(query::invalid(detail));
            }
            let wanted = "an instant such as `2026-11-24T10:30:00Z`, not after now";
            let until = query::value("to", to, wanted, |text| {
                parse_rfc3339(text).filter(|&to| to <= now)
            })?;
            let until = until.unwrap_or(now);
            let range = SeriesRange {
                until,
                range_ms,
                step_ms,
            };
            (range, None)
        }
    };
    let back = range.range_ms.saturating_add(now - range.until);
    let kept = call.worker.options.series_range;
    // The day in which what is kept begins is kept whole.
    let most = kept.as_millis() + u128::from(day.is_some()) * DAY_MS.unsigned_abs() as u128;
    if u128::from(back.unsigned_abs()) > most {
        let kept = humantime::format_duration(kept);
        let detail = format!("a series goes back {kept} at most (`samples.retention`)");
        return Err(query::invalid(detail));
    }
    if range.range_ms / step_ms > MAX_POINTS {
        return Err(query::invalid(format!(
            "that is more than {MAX_POINTS} points; take a longer `step` or a shorter `range`"
        )));
    }
    Ok((range, day))
}

#[derive(Serialize)]
struct SeriesBody<'a> {
    name: &'a str,
    step: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    day: Option<DayBody>,
    followed: bool,
    points: Vec<Point>,
}

/// The day that a series is of.
#[derive(Serialize)]
struct DayBody {
    date: Day,
    #[serde(serialize_with = "serialize_at")]
    starts_at: Millis,
    #[serde(serialize_with = "serialize_at")]
    ends_at: Millis,
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
