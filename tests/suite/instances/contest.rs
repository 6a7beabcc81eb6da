//! Instances that count one counter at once: each is too late now and then, and says how often.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::{agrees, count, log, patient};
use crate::harness::{PATIENCE, Server, eventually};

/// What `/metrics` says under a name without labels.
fn told(server: &Server, name: &str) -> i64 {
    let page = server.client().get("/metrics").text();
    let mut lines = page.lines();
    let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap().parse().unwrap()
}

/// Ends what others do when it is dropped, also where the test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn instances_that_count_at_once_tell_how_often_they_were_too_late() {
    let test = "instances_that_count_at_once_tell_how_often_they_were_too_late";
    let Some(redis) = log(test) else { return };
    let homes: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let [one, two] = [0, 1].map(|at| patient(&homes[at], &redis).start());
    let servers = [&one, &two];
    let (counted, ended) = (AtomicI64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for client in 0..4 {
            let (counted, ended) = (&counted, &ended);
            scope.spawn(move || {
                let mut http = servers[client % 2].client();
                while !ended.load(Ordering::Relaxed) {
                    if count(&mut http, "a").expect("somebody knows") {
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        let _ends = Ends(&ended);
        let conflicts = |server| told(server, "counterd_shared_log_conflicts_total");
        eventually("each was too late", PATIENCE, || {
            let lost = servers.map(conflicts);
            lost.iter().all(|&lost| lost > 10).then_some(())
        });
    });
    agrees(&servers, "a", counted.into_inner());
    for server in servers {
        let of = |name: &str| told(server, &format!("counterd_shared_log_{name}"));
        // Appends that are under way while these are read are in the first, and not yet in the last.
        let groups = of("append_duration_seconds_count");
        assert!(groups > 0);
        assert!(of("appends_total") >= groups + 10);
    }
}
