//! Runs a cell: counting under the exact-accounting checker while the fault comes and goes.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::checker::History;
use crate::harness::{Client, PATIENCE, Server, eventually};
use crate::traffic::{self, Control, Mix};

use super::cell::{Cell, Disk, Fault, Remote, When};
use super::copies::differences;
use super::load::{Figures, Load};
use super::parts::Parts;

/// What a cell showed.
#[derive(Debug)]
pub struct Row {
    pub cell: Cell,
    pub acknowledged: u64,
    /// What the checker found wrong, and where a copy ended unequal.
    pub violations: Vec<String>,
    /// From the fault until the server said so; none where it works on and has nothing to say.
    pub noticed: Option<Duration>,
    /// From the repair until mode `normal`, with everything of that moment in both copies.
    pub normal_again: Duration,
    /// Of the open loop, if there was one.
    pub figures: Option<Figures>,
}

/// How long and how hard.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    pub mix: Mix,
    /// How long each of the checker's clients rests between two intents.
    pub rest: Duration,
    /// How long the fault lasts at least, once it was noticed.
    pub lasts: Duration,
    /// An open loop beside the checker, at so many requests a second.
    pub rate: Option<u32>,
}

/// Runs it; else why that cannot be done here.
pub fn run(cell: Cell, effort: Effort) -> Result<Row, String> {
    let mut run = Run {
        cell,
        effort,
        parts: Parts::of(cell)?,
        control: Control::with_rest(effort.rest),
        history: History::default(),
    };
    let server = run.start();
    // Of a server that is not there yet nothing works.
    let rate = effort.rate.filter(|_| !cell.is_late());
    let load = rate.map(|rate| Load::start(cell, server.address(), rate));
    let (noticed, normal_again) = run.under_the_fault(&server);
    let figures = load.map(Load::end);
    let mut violations = run.judge(&server);
    if let Some(figures) = &figures {
        violations.extend(unaccounted(&mut server.client(), figures));
    }
    // Once more from the disk alone.
    server.kill9();
    let server = run.parts.setup.start();
    violations.extend(run.judge(&server));
    server.stop();
    Ok(Row {
        cell,
        acknowledged: run.control.acknowledged(),
        violations,
        noticed,
        normal_again,
        figures,
    })
}

/// A cell that is being run.
struct Run {
    cell: Cell,
    effort: Effort,
    parts: Parts,
    control: Control,
    history: History,
}

impl Run {
    /// Starts the server; where the fault comes before that, on what an earlier one has counted.
    fn start(&mut self) -> Server {
        let server = self.parts.setup.start();
        traffic::define(&mut server.admin());
        if self.cell.when == When::UnderLoad {
            return server;
        }
        let (address, mix) = (server.address(), self.effort.mix);
        let (seen, ()) = traffic::during(address, mix, &self.control, || {
            self.control.wait_for(500);
        });
        self.take(seen);
        let mut client = server.client();
        eventually("the copies are equal", PATIENCE, || {
            let differ = differences(&mut client, &self.parts);
            differ.is_empty().then_some(())
        });
        server.kill9();
        self.parts.strike(self.cell.fault);
        if self.cell.is_late() {
            return self.parts.setup.spawn();
        }
        self.parts.setup.start()
    }

    /// Counts while the fault comes, or is there already, and goes. Gives how long after the fault it was
    /// noticed, and how long after the repair everything was as before.
    fn under_the_fault(&mut self, server: &Server) -> (Option<Duration>, Duration) {
        let Self {
            cell,
            effort,
            parts,
            control,
            ..
        } = self;
        let mix = Mix {
            seed: effort.mix.seed + 1,
            ..effort.mix
        };
        let (seen, times) = traffic::during(server.address(), mix, control, || {
            let mut looks = Looks(server.client().with_timeout(Duration::from_secs(5)));
            let mut struck = Instant::now();
            if cell.when == When::UnderLoad {
                control.wait_for(300);
                let revision = looks.page().unwrap()["revision"].as_u64().unwrap();
                looks.wait_caught_up(revision);
                struck = Instant::now();
                parts.strike(cell.fault);
            }
            let noticed = looks.wait_noticed(*cell, struck);
            claim_service(*cell, server, control, effort.lasts);
            let page = looks.page().unwrap_or_default();
            let revision = page["revision"].as_u64().unwrap_or(0);
            let begun = Instant::now();
            parts.mend(cell.fault);
            // Of a repair that takes its time, such as a start, only what comes after it is ours.
            let mended = match cell.fault {
                Fault::Postgres(_) | Fault::Redis(_) => Instant::now(),
                Fault::Disk(_) => begun,
            };
            looks.wait_caught_up(revision);
            let normal_again = mended.elapsed();
            control.wait_for(200);
            (noticed, normal_again)
        });
        self.take(seen);
        if matches!(self.cell.fault, Fault::Disk(Disk::Failing | Disk::SlowSync)) {
            assert!(self.parts.has_struck(), "the disk did nothing");
        }
        times
    }

    fn take(&mut self, seen: History) {
        self.history.extend(seen);
    }

    /// What the checker finds, and what the copies hold a while later.
    fn judge(&mut self, server: &Server) -> Vec<String> {
        let mut client = server.client();
        traffic::ask_again(&mut client, &self.control, &mut self.history);
        let mut found: Vec<String> = traffic::violations(&mut client, &self.history)
            .iter()
            .map(|violation| format!("{violation:?}"))
            .collect();
        let begun = Instant::now();
        loop {
            let differ = differences(&mut client, &self.parts);
            if differ.is_empty() {
                return found;
            }
            if begun.elapsed() > PATIENCE / 2 {
                found.extend(differ);
                return found;
            }
            // polls: the copies are other processes
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// What still works while the fault lasts, and what does not.
fn claim_service(cell: Cell, server: &Server, control: &Control, lasts: Duration) {
    let begun = Instant::now();
    let mut client = server.client();
    if cell.is_late() {
        // It may get there, or not.
        eventually("the fault has lasted", lasts + PATIENCE, || {
            let ready = client.request("GET", "/readyz", &[], b"");
            (ready.is_ok() || begun.elapsed() >= lasts).then_some(())
        });
        return;
    }
    if cell.closes_store() && !cell.is_degraded() {
        eventually("it tried to open the store", PATIENCE, || {
            let output = server.output();
            output.contains("cannot be opened yet").then_some(())
        });
    }
    loop {
        assert_eq!(client.get("/readyz").status, 200);
        let read = client.get("/api/v1/counter/t.sum").ok();
        assert_eq!(read["stale"], cell.is_degraded(), "{read}");
        if cell.is_degraded() {
            assert!(
                read["as_of"].is_string() && read["source"] == "redis",
                "{read}"
            );
            control.wait_stale(10);
        }
        if cell.stops_writes() {
            control.wait_refused(20);
            let page = client.get("/readyz?verbose").ok();
            assert_eq!(page["mode"], "read_only", "{page}");
            assert_eq!(page["cause"] == "no_store", cell.is_degraded(), "{page}");
        } else if cell.fault == Fault::Disk(Disk::SlowSync) {
            control.wait_for(1);
        } else {
            control.wait_for(200);
            let page = client.get("/readyz?verbose").ok();
            assert_eq!(page["mode"], "normal", "{page}");
        }
        if begun.elapsed() >= lasts {
            return;
        }
    }
}

/// Looks at what the server says of itself.
struct Looks(Client);

impl Looks {
    /// None while it is not there.
    fn page(&mut self) -> Option<Value> {
        let page = self.0.request("GET", "/readyz?verbose", &[], b"").ok()?;
        (page.status == 200).then(|| page.json())
    }

    /// Until it says that something is wrong, and how long after that was so; none where a fault only
    /// makes something slow.
    fn wait_noticed(&mut self, cell: Cell, struck: Instant) -> Option<Duration> {
        let is_noticed: fn(&Value) -> bool = match cell.fault {
            Fault::Postgres(Remote::Full) | Fault::Disk(Disk::SlowSync) => return None,
            // A connection that is there already goes on, slowly.
            Fault::Postgres(Remote::Slow) if cell.when == When::UnderLoad => return None,
            Fault::Postgres(_) => |page| page["lags"]["postgres"]["error"].is_string(),
            Fault::Redis(_) => |page| page["lags"]["redis"]["error"].is_string(),
            Fault::Disk(_) => |page| page["mode"] == "read_only",
        };
        eventually("it is noticed", PATIENCE, || {
            is_noticed(&self.page()?).then_some(())
        });
        Some(struck.elapsed())
    }

    /// Until the mode is `normal` and both copies have everything up to that revision.
    fn wait_caught_up(&mut self, revision: u64) {
        let mut last = String::new();
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let page = self.page().unwrap_or_default();
            let has_it = |copy: &str| {
                let lag = &page["lags"][copy];
                let behind = lag["revisions"].as_u64().unwrap_or(u64::MAX);
                let at = page["revision"]
                    .as_u64()
                    .unwrap_or(0)
                    .saturating_sub(behind);
                lag["up"] == true && at >= revision
            };
            if page["mode"] == "normal" && has_it("postgres") && has_it("redis") {
                return;
            }
            last.clear();
            let _ = write!(last, "{page}");
            // polls: the server and its copies are other processes
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it does not become normal again: {last}");
    }
}

/// What the open loop wrote is counted: once what was acknowledged, at most once what was not.
fn unaccounted(client: &mut Client, figures: &Figures) -> Option<String> {
    if !figures.writes {
        return None;
    }
    let all = client
        .get("/api/v1/counters/all?prefix=bench:&limit=1000")
        .ok();
    let counters = all["counters"].as_array().unwrap();
    let counted: u64 = counters
        .iter()
        .map(|one| one["value"].as_u64().unwrap())
        .sum();
    let acknowledged = figures.operations;
    let exact = (acknowledged..=figures.due).contains(&counted);
    (!exact).then(|| format!("open loop: {counted} counted, {acknowledged} acknowledged"))
}
