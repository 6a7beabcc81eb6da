//! Medians and ratios of a bench run, as Markdown and JSON.
//!
//! A ratio is taken within a round, between runs that stood side by side, and the median of these
//! ratios is told with their spread: the machine's own ups and downs are in both sides of each.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};

/// The subject that all others are compared with.
const YARDSTICK: &str = "noop";
/// Before and after: ours, and the other binary of `script/bench --against`.
const OURS: &str = "counterd";
const AGAINST: &str = "against";

/// Figures of all rounds: phase, subject, round.
type Runs = BTreeMap<String, BTreeMap<String, BTreeMap<u64, Value>>>;

/// Reads the runs, prints the tables, writes `json`.
pub fn print(rounds: &Path, facts: &Path, json: &Path) -> anyhow::Result<()> {
    let read = |path: &Path| {
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
    };
    let mut runs = Runs::new();
    let mut phases: Vec<String> = Vec::new();
    for line in read(rounds)?.lines().filter(|line| !line.is_empty()) {
        let run: Value = serde_json::from_str(line).with_context(|| format!("in {line}"))?;
        let text = |key: &str| {
            run.get(key)
                .and_then(Value::as_str)
                .unwrap_or("?")
                .to_owned()
        };
        let round = run.get("round").and_then(Value::as_u64).unwrap_or(0);
        let (phase, subject) = (text("phase"), text("subject"));
        if round == 0 {
            continue; // a warm-up
        }
        if !phases.contains(&phase) {
            phases.push(phase.clone());
        }
        runs.entry(phase)
            .or_default()
            .entry(subject)
            .or_default()
            .insert(round, run);
    }
    let facts: Vec<(String, String)> = read(facts)?
        .lines()
        .filter_map(|line| {
            line.split_once('=')
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
        })
        .collect();

    let mut markdown = String::from("# Bench\n\n");
    for (key, value) in &facts {
        writeln!(markdown, "- {key}: {value}")?;
    }
    let results: serde_json::Map<_, _> = runs
        .iter()
        .map(|(phase, subjects)| (phase.clone(), summary(subjects)))
        .collect();
    let in_order = || {
        phases
            .iter()
            .filter_map(|phase| runs.get(phase).map(|s| (phase, s)))
    };
    for (phase, subjects) in in_order() {
        if let Some(base) = subjects.get(YARDSTICK) {
            markdown.push_str(&compared(phase, subjects, base)?);
        }
    }
    markdown.push_str(&alone(
        in_order().filter(|(_, s)| !s.contains_key(YARDSTICK)),
    )?);
    if runs.values().any(|subjects| subjects.contains_key(AGAINST)) {
        markdown.push_str(&before_and_after(&runs, &phases)?);
    }
    print!("{markdown}");
    let facts: serde_json::Map<_, _> = facts.into_iter().map(|(k, v)| (k, json!(v))).collect();
    let whole = json!({"facts": facts, "medians": results, "rounds": runs});
    std::fs::write(json, serde_json::to_string_pretty(&whole)? + "\n")?;
    std::fs::write(json.with_extension("md"), markdown)?;
    Ok(())
}

/// The 2xx answers that `subject` gave in all recorded runs.
pub fn acknowledged(rounds: &Path, subject: &str) -> anyhow::Result<u64> {
    let mut acknowledged = 0;
    for line in std::fs::read_to_string(rounds)?.lines() {
        let run: Value = serde_json::from_str(line)?;
        let count = |key: &str| run.get(key).and_then(Value::as_u64).unwrap_or(0);
        if run.get("subject").and_then(Value::as_str) == Some(subject) {
            acknowledged += count("requests").saturating_sub(count("non_2xx"));
        }
    }
    Ok(acknowledged)
}

fn figure(run: &Value, key: &str) -> Option<f64> {
    run.get(key).and_then(Value::as_f64)
}

/// Middle value; of an even number the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    Some((upper + *values.get(middle.checked_sub(1)?)?) / 2.0)
}

fn median_of(runs: &BTreeMap<u64, Value>, key: &str) -> Option<f64> {
    median(runs.values().filter_map(|run| figure(run, key)).collect())
}

fn sum_of(runs: &BTreeMap<u64, Value>, key: &str) -> u64 {
    runs.values()
        .filter_map(|run| run.get(key).and_then(Value::as_u64))
        .sum()
}

/// Per round, the rate of `runs` over that of `base`.
fn ratios(runs: &BTreeMap<u64, Value>, base: &BTreeMap<u64, Value>) -> Vec<f64> {
    runs.iter()
        .filter_map(|(round, run)| {
            let ours = figure(run, "requests_per_s")?;
            let theirs = figure(base.get(round)?, "requests_per_s").filter(|rate| *rate > 0.0)?;
            Some(ours / theirs)
        })
        .collect()
}

fn spread(values: &[f64]) -> (f64, f64) {
    values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
            (low.min(*v), high.max(*v))
        })
}

fn summary(subjects: &BTreeMap<String, BTreeMap<u64, Value>>) -> Value {
    let mut all = serde_json::Map::new();
    for (subject, runs) in subjects {
        let mut one = serde_json::Map::new();
        for key in [
            "requests_per_s",
            "operations_per_s",
            "p50_ms",
            "p99_ms",
            "p999_ms",
            "max_ms",
        ] {
            if let Some(value) = median_of(runs, key) {
                one.insert(key.to_owned(), json!(value));
            }
        }
        one.insert("rounds".to_owned(), json!(runs.len()));
        one.insert("non_2xx".to_owned(), json!(sum_of(runs, "non_2xx")));
        one.insert("errors".to_owned(), json!(sum_of(runs, "errors")));
        if let Some(base) = subjects.get(YARDSTICK) {
            let ratios = ratios(runs, base);
            let (low, high) = spread(&ratios);
            if let Some(middle) = median(ratios) {
                one.insert(
                    "of_noop".to_owned(),
                    json!({"median": middle, "low": low, "high": high}),
                );
            }
        }
        all.insert(subject.clone(), Value::Object(one));
    }
    Value::Object(all)
}

const HEAD: &str =
    "requests/s | operations/s | p50 ms | p99 ms | p99.9 ms | max ms | not 2xx | errors |";

/// One phase whose subjects are compared with the yardstick.
fn compared(
    phase: &str,
    subjects: &BTreeMap<String, BTreeMap<u64, Value>>,
    base: &BTreeMap<u64, Value>,
) -> Result<String, std::fmt::Error> {
    let mut out = format!(
        "\n## {phase}\n\n| | of no-op (spread) | {HEAD}\n|---|{}\n",
        rule(9)
    );
    let mut rows: Vec<_> = subjects.iter().collect();
    rows.sort_by_key(|(subject, _)| (*subject != YARDSTICK, (*subject).clone()));
    for (subject, runs) in rows {
        writeln!(
            out,
            "| {subject} | {} | {}",
            told(&ratios(runs, base), 2),
            figures(runs)
        )?;
    }
    Ok(out)
}

/// The phases that stand by themselves, in one table.
fn alone<'a>(
    phases: impl Iterator<Item = (&'a String, &'a BTreeMap<String, BTreeMap<u64, Value>>)>,
) -> Result<String, std::fmt::Error> {
    let mut out = format!("\n## Other loads\n\n| | | {HEAD}\n|---|---|{}\n", rule(8));
    for (phase, subjects) in phases {
        for (subject, runs) in subjects {
            writeln!(out, "| {phase} | {subject} | {}", figures(runs))?;
        }
    }
    Ok(out)
}

/// Ours of the other binary, per phase.
fn before_and_after(runs: &Runs, phases: &[String]) -> Result<String, std::fmt::Error> {
    let mut out = format!(
        "\n## {OURS} of {AGAINST}\n\n| | ratio of the rates (spread) |\n|---|{}\n",
        rule(1)
    );
    for phase in phases {
        let Some(subjects) = runs.get(phase) else {
            continue;
        };
        if let (Some(ours), Some(against)) = (subjects.get(OURS), subjects.get(AGAINST)) {
            writeln!(out, "| {phase} | {} |", told(&ratios(ours, against), 3))?;
        }
    }
    Ok(out)
}

fn rule(columns: usize) -> String {
    "---:|".repeat(columns)
}

/// Median and spread.
fn told(values: &[f64], decimals: usize) -> String {
    let (low, high) = spread(values);
    median(values.to_vec()).map_or_else(
        || "–".to_owned(),
        |m| format!("{m:.decimals$} ({low:.decimals$}–{high:.decimals$})"),
    )
}

/// The cells of `HEAD`.
fn figures(runs: &BTreeMap<u64, Value>) -> String {
    let number = |value: Option<f64>, decimals: usize| {
        value.map_or_else(|| "–".to_owned(), |v| format!("{v:.decimals$}"))
    };
    let rate = median_of(runs, "requests_per_s");
    // wrk knows requests only; each of its own is one operation.
    let operations = median_of(runs, "operations_per_s").or(rate);
    let mut cells = vec![number(rate, 0), number(operations, 0)];
    cells.extend(
        ["p50_ms", "p99_ms", "p999_ms", "max_ms"].map(|key| number(median_of(runs, key), 2)),
    );
    cells.extend(["non_2xx", "errors"].map(|key| sum_of(runs, key).to_string()));
    cells.join(" | ") + " |"
}
