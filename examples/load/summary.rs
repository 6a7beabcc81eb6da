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
        let text = |key: &str| run.get(key).and_then(Value::as_str).unwrap_or("?").to_owned();
        let round = run.get("round").and_then(Value::as_u64).unwrap_or(0);
        let (phase, subject) = (text("phase"), text("subject"));
        if !phases.contains(&phase) {
            phases.push(phase.clone());
        }
        runs.entry(phase).or_default().entry(subject).or_default().insert(round, run);
    }
    let facts: Vec<(String, String)> = read(facts)?
        .lines()
        .filter_map(|line| line.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned())))
        .collect();

    let mut markdown = String::from("# Bench\n\n");
    for (key, value) in &facts {
        writeln!(markdown, "- {key}: {value}")?;
    }
    let mut results = serde_json::Map::new();
    for phase in &phases {
        let Some(subjects) = runs.get(phase) else { continue };
        markdown.push_str(&table(phase, subjects)?);
        results.insert(phase.clone(), summary(subjects));
    }
    print!("{markdown}");
    let facts: serde_json::Map<_, _> = facts.into_iter().map(|(k, v)| (k, json!(v))).collect();
    let whole = json!({"facts": facts, "medians": results, "rounds": runs});
    std::fs::write(json, serde_json::to_string_pretty(&whole)? + "\n")?;
    std::fs::write(json.with_extension("md"), markdown)?;
    Ok(())
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
    runs.values().filter_map(|run| run.get(key).and_then(Value::as_u64)).sum()
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
    values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(*v), high.max(*v)))
}

fn summary(subjects: &BTreeMap<String, BTreeMap<u64, Value>>) -> Value {
    let mut all = serde_json::Map::new();
    for (subject, runs) in subjects {
        let mut one = serde_json::Map::new();
        for key in ["requests_per_s", "operations_per_s", "p50_ms", "p99_ms", "p999_ms", "max_ms"] {
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
                one.insert("of_noop".to_owned(), json!({"median": middle, "low": low, "high": high}));
            }
        }
        all.insert(subject.clone(), Value::Object(one));
    }
    Value::Object(all)
}

fn table(
    phase: &str,
    subjects: &BTreeMap<String, BTreeMap<u64, Value>>,
) -> Result<String, std::fmt::Error> {
    let mut out = format!("\n## {phase}\n\n");
    let number = |value: Option<f64>, decimals: usize| {
        value.map_or_else(|| "–".to_owned(), |v| format!("{v:.decimals$}"))
    };
    // A probe has no rate of requests: only how long its syncs took.
    let has_rate = subjects.values().any(|runs| median_of(runs, "requests_per_s").is_some());
    if !has_rate {
        out.push_str("| | p50 ms | p99 ms | p99.9 ms | rounds |\n|---|---:|---:|---:|---:|\n");
        for (subject, runs) in subjects {
            let at = |key| number(median_of(runs, key), 3);
            let (p50, p99, p999) = (at("p50_ms"), at("p99_ms"), at("p999_ms"));
            writeln!(out, "| {subject} | {p50} | {p99} | {p999} | {} |", runs.len())?;
        }
        return Ok(out);
    }
    out.push_str(
        "| | requests/s | operations/s | of no-op (spread) | p50 ms | p99 ms | p99.9 ms | max ms | not 2xx | errors | rounds |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    let base = subjects.get(YARDSTICK);
    let mut rows: Vec<_> = subjects.iter().collect();
    rows.sort_by_key(|(subject, _)| (*subject != YARDSTICK, (*subject).clone()));
    for (subject, runs) in rows {
        let ratio = base.map(|base| ratios(runs, base)).unwrap_or_default();
        let (low, high) = spread(&ratio);
        let ratio = median(ratio)
            .map_or_else(|| "–".to_owned(), |m| format!("{m:.2} ({low:.2}–{high:.2})"));
        let at = |key| number(median_of(runs, key), 2);
        let (p50, p99, p999, max) = (at("p50_ms"), at("p99_ms"), at("p999_ms"), at("max_ms"));
        let rate = number(median_of(runs, "requests_per_s"), 0);
        let operations =
            number(median_of(runs, "operations_per_s").or(median_of(runs, "requests_per_s")), 0);
        writeln!(
            out,
            "| {subject} | {rate} | {operations} | {ratio} | {p50} | {p99} | {p999} | {max} | {} | {} | {} |",
            sum_of(runs, "non_2xx"),
            sum_of(runs, "errors"),
            runs.len(),
        )?;
    }
    if let (Some(ours), Some(against)) = (subjects.get(OURS), subjects.get(AGAINST)) {
        let ratio = ratios(ours, against);
        let (low, high) = spread(&ratio);
        if let Some(middle) = median(ratio) {
            writeln!(out, "\n{OURS} of {AGAINST}: {middle:.3} ({low:.3}–{high:.3})")?;
        }
    }
    Ok(out)
}
