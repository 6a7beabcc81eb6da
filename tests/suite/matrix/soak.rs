//! All cells, one after another, with an open loop beside the checker and judged by their times too, and
//! the table that is made of them.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, SystemTime};

use counterd::calendar::Calendar;

use super::cell::{Cell, Disk, Fault, When};
use super::run::{Effort, Row, run};
use crate::harness::{rounds, seed, skipped};
use crate::traffic::Mix;

/// Requests a second of the open loop.
const RATE: u32 = 5_000;
/// What still works answers within this, 99 times of 100.
const P99_MS: f64 = 10.0;
/// Everything is as before so soon after the repair.
const NORMAL_WITHIN: Duration = Duration::from_secs(10);
/// A directory that is gone is noticed so soon.
const NOTICED_WITHIN: Duration = Duration::from_secs(2);

/// What became of a cell: its row and what is wrong with it, or why there is none.
enum Outcome {
    Ran(Box<Row>, Vec<String>),
    Broke(String),
    Skipped(String),
}

#[test]
#[ignore = "what runs it: script/soak matrix"]
fn every_cell_holds() {
    let wanted = std::env::var("COUNTERD_SOAK_CELLS").unwrap_or_default();
    let cells = Cell::all();
    let chosen: Vec<Cell> = cells
        .iter()
        .copied()
        .filter(|cell| {
            cell.to_string()
                .to_lowercase()
                .contains(&wanted.to_lowercase())
        })
        .collect();
    assert!(!chosen.is_empty(), "no cell is called {wanted:?}");
    let effort = Effort {
        mix: Mix {
            connections: 8,
            seed: seed("matrix"),
            users: 5_000,
            big_batches: 1,
            watchers: 2,
            daily: false,
        },
        // A tenth of the load or so: the open loop is what the machine is to be busy with.
        rest: Duration::from_millis(20),
        // So long that whoever waits longer and longer between tries is seen to wait too long.
        lasts: Duration::from_secs(17),
        rate: Some(RATE),
    };
    let mut table = head();
    let mut failed = Vec::new();
    for _ in 0..rounds(1) {
        for &cell in &chosen {
            let outcome = outcome(cell, effort);
            let line = line(cell, &outcome);
            print!("{line}");
            table.push_str(&line);
            match outcome {
                Outcome::Ran(_, wrong) if wrong.is_empty() => {}
                Outcome::Ran(_, wrong) => {
                    failed.extend(wrong.iter().map(|what| format!("{cell}: {what}")));
                }
                Outcome::Broke(what) => failed.push(format!("{cell}: {what}")),
                Outcome::Skipped(reason) => skipped(&format!("matrix, {cell}"), &reason),
            }
        }
    }
    // A part of it is no report.
    if chosen == cells {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/bench-results/matrix.md");
        std::fs::write(path, &table).unwrap();
    }
    println!("\n{table}");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

fn outcome(cell: Cell, effort: Effort) -> Outcome {
    match catch_unwind(AssertUnwindSafe(|| run(cell, effort))) {
        Ok(Ok(row)) => {
            let wrong = wrong_with(&row);
            Outcome::Ran(Box::new(row), wrong)
        }
        Ok(Err(reason)) => Outcome::Skipped(reason),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
            let text = text.unwrap_or_else(|| "it broke".to_owned());
            let first = text.lines().next().unwrap_or_default();
            Outcome::Broke(first.replace('|', "/"))
        }
    }
}

fn wrong_with(row: &Row) -> Vec<String> {
    let mut wrong = row.violations.clone();
    if row.normal_again > NORMAL_WITHIN {
        wrong.push(format!("normal again only after {:?}", row.normal_again));
    }
    let renamed = row.cell.fault == Fault::Disk(Disk::Renamed);
    if renamed && row.cell.when == When::UnderLoad && row.noticed > Some(NOTICED_WITHIN) {
        wrong.push(format!("noticed only after {:?}", row.noticed));
    }
    if let Some(figures) = &row.figures {
        if figures.p99_ms >= P99_MS {
            wrong.push(format!("p99 of {} ms", figures.p99_ms));
        }
        if figures.failed > 0 {
            wrong.push(format!("{} of the open loop failed", figures.failed));
        }
    }
    wrong
}

fn head() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = i64::try_from(now.unwrap().as_millis()).unwrap();
    let utc = Calendar::new("UTC", "00:00".parse().unwrap()).unwrap();
    format!(
        "# Faults, one at a time\n\n\
         Made by `script/soak matrix`, {}. Each line is a server with a PostgreSQL, a Redis and, where it is \
         the disk that fails, a small file system of its own. Clients of the exact-accounting checker count \
         all the time, at their leisure; beside them an open loop sends {RATE} requests a second: increments, or reads where it is the \
         disk that fails. A violation is a wrong value, an acknowledged operation that is lost or doubled, or a copy \
         that ends unequal to the store. *Noticed*: from the fault until the server says so. *Normal again*: from the \
         repair until the mode is `normal` and both copies have everything.\n\n\
         | fault | acknowledged to the checker | violations | open loop: answered | failed | p99, ms | longest, ms | noticed, s | normal again, s | |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---|\n",
        utc.day_of(now)
    )
}

fn line(cell: Cell, outcome: &Outcome) -> String {
    let mut line = format!("| {cell} |");
    // Writing to a string cannot fail.
    let _ = match outcome {
        Outcome::Skipped(_) => writeln!(line, " | | | | | | | | skipped |"),
        Outcome::Broke(what) => writeln!(line, " | | | | | | | | **fails**: {what} |"),
        Outcome::Ran(row, wrong) => {
            let (answered, failed, p99, longest) = match &row.figures {
                Some(figures) => (
                    figures.operations.to_string(),
                    figures.failed.to_string(),
                    format!("{:.1}", figures.p99_ms),
                    format!("{:.0}", figures.max_ms),
                ),
                None => Default::default(),
            };
            let noticed = row.noticed.map_or("–".to_owned(), |after| {
                format!("{:.1}", after.as_secs_f64())
            });
            let verdict = if wrong.is_empty() {
                "holds"
            } else {
                "**fails**"
            };
            writeln!(
                line,
                " {} | {} | {answered} | {failed} | {p99} | {longest} | {noticed} | {:.1} | {verdict} |",
                row.acknowledged,
                row.violations.len(),
                row.normal_again.as_secs_f64(),
            )
        }
    };
    line
}
