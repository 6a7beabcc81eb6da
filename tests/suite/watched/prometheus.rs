//! A real Prometheus looks at a server under load once a second, with the configuration and the rules of `deploy/`:
//! each query of the dashboard has data, and each rule is evaluated.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{dashboard, is_installed, root};
use crate::harness::{PATIENCE, Program, Server, Setup, eventually, rounds, skipped};

/// Long enough for the longest query: rates over five minutes want two looks alone.
const LOOKS: Duration = Duration::from_secs(120);

/// A running Prometheus.
struct Prometheus(Program);

impl Prometheus {
    /// Starts one with the files of `deploy/prometheus`, but for the server's address and the time between two looks.
    fn of(server: &Server) -> Self {
        let home = tempfile::tempdir().unwrap();
        for file in ["prometheus.yml", "counterd.rules.yml"] {
            let text = fs::read_to_string(root().join("deploy/prometheus").join(file)).unwrap();
            let here = text
                .replace("counterd:8080", &server.address().to_string())
                .replace("interval: 15s", "interval: 1s");
            fs::write(home.path().join(file), here).unwrap();
        }
        let arguments = ["--config.file=prometheus.yml", "--storage.tsdb.path=data"];
        Self(Program::start("prometheus", arguments, home))
    }

    /// What its API answers.
    fn data(&self, path: &str) -> Value {
        let answer = self.0.client().get(path).json();
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        answer["data"].clone()
    }

    /// The values that a query has now.
    fn values(&self, query: &str) -> Vec<f64> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let data = self.data(&format!("/api/v1/query?query={encoded}"));
        let values = data["result"].as_array().unwrap().iter();
        values
            .map(|series| series["value"][1].as_str().unwrap().parse().unwrap())
            .collect()
    }
}

/// Asks for a little of everything, over and over.
fn use_it(server: &Server, is_done: &AtomicBool) {
    let mut client = server.client();
    for number in 0_u64.. {
        if is_done.load(Ordering::Relaxed) {
            return;
        }
        let user = json!({"user_id": format!("u{}", number % 500)});
        client
            .post("/api/v1/counter/daily_active_users/increment", &user)
            .ok();
        client
            .post(
                "/api/v1/counter/online_players/increment",
                &json!({"value": 2}),
            )
            .ok();
        client
            .post("/api/v1/counter/snow:gifts/increment", &json!({}))
            .ok();
        client.get("/api/v1/counter/online_players").ok();
        client
            .get("/api/v1/counter/nobody")
            .refused(404, "unknown_counter");
        if number % 10 == 0 {
            client.get("/api/v1/counters/all").ok();
        }
    }
}

/// A query with Grafana's own variables replaced, as Grafana does for a panel that looks each second.
fn without_variables(query: &str) -> String {
    let query = query
        .replace("$__rate_interval", "10s")
        .replace("$instance", ".*")
        .replace("$counter", ".*");
    assert!(!query.contains('$'), "{query}");
    query
}

#[test]
fn each_query_of_the_dashboard_has_data_and_each_rule_is_evaluated() {
    let test = "each_query_of_the_dashboard_has_data_and_each_rule_is_evaluated";
    if !is_installed("prometheus") {
        return skipped(test, "prometheus is not here");
    }
    let home = tempfile::tempdir().unwrap();
    let server = busy(home.path());
    let prometheus = Prometheus::of(&server);
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let user = scope.spawn(|| use_it(&server, &is_done));
        let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            look(&prometheus);
        }));
        is_done.store(true, Ordering::Relaxed);
        user.join().unwrap();
        looked.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    drop(prometheus);
    server.stop();
}

fn busy(home: &Path) -> Server {
    Setup::new(home).set("log.access", "all").start()
}

/// Looks until everything has data; with script/soak for so many minutes before.
fn look(prometheus: &Prometheus) {
    let begun = Instant::now();
    let minutes = Duration::from_secs(60 * u64::from(rounds(0)));
    eventually("the load has lasted", minutes + PATIENCE, || {
        (begun.elapsed() >= minutes).then_some(())
    });
    let mut lacking: Vec<(String, String)> = dashboard::queries();
    let recorded = |rules: &Value| -> Vec<(String, String)> {
        let groups = rules["groups"].as_array().unwrap().iter();
        let rules = groups.flat_map(|group| group["rules"].as_array().unwrap());
        let of_type = rules.filter(|rule| rule["type"] == "recording");
        let name = |rule: &Value| rule["name"].as_str().unwrap().to_owned();
        of_type
            .map(|rule| ("recorded".to_owned(), name(rule)))
            .collect()
    };
    lacking.extend(recorded(&prometheus.data("/api/v1/rules")));
    let all = lacking.len();
    let queries = eventually_empty(LOOKS, lacking, |(_, query)| {
        let values = prometheus.values(&without_variables(query));
        values.iter().any(|value| !value.is_nan())
    });
    assert!(queries.is_empty(), "without data of {all}: {queries:#?}");

    let rules = eventually("each rule was evaluated", LOOKS, || {
        let rules = prometheus.data("/api/v1/rules");
        let groups = rules["groups"].as_array().unwrap().clone();
        let rules: Vec<Value> = groups
            .iter()
            .flat_map(|group| group["rules"].as_array().unwrap().clone())
            .collect();
        let is_known = rules.iter().all(|rule| rule["health"] != "unknown");
        is_known.then_some(rules)
    });
    assert!(rules.len() > 25, "{}", rules.len());
    for rule in &rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        // All is well here, so none fires.
        assert_ne!(rule["state"], "firing", "{rule}");
    }
    // Prometheus has taken every look whole.
    let targets = prometheus.data("/api/v1/targets");
    let target = &targets["activeTargets"][0];
    assert_eq!(
        (&target["health"], &target["lastError"]),
        (&json!("up"), &json!(""))
    );
    assert_eq!(prometheus.values("count(up)"), [1.0]);
    // The types of both formats are what Prometheus makes of them.
    let kinds = prometheus.data("/api/v1/metadata");
    for (name, kind) in [
        ("counterd_requests", "counter"),
        ("counterd_counter_value", "gauge"),
        ("counterd_commit_sync_duration_seconds", "histogram"),
    ] {
        let known = [name.to_owned(), format!("{name}_total")];
        let known = known.iter().find_map(|name| kinds.get(name));
        assert_eq!(known.unwrap()[0]["type"], kind, "{name}");
    }
    let broken = format!("{}(", without_variables("sum(up)"));
    let encoded: String = broken.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let refused = prometheus
        .0
        .client()
        .get(&format!("/api/v1/query?query={encoded}"));
    assert_eq!(refused.status, 400, "what is no query is seen");
}

/// Takes out of the list what `holds`, until nothing is left or the time is over; gives what is left.
fn eventually_empty<T>(
    limit: Duration,
    mut left: Vec<T>,
    mut holds: impl FnMut(&T) -> bool,
) -> Vec<T> {
    let begun = Instant::now();
    eventually("data, or the end of the time", limit + PATIENCE, || {
        left.retain(|item| !holds(item));
        (left.is_empty() || begun.elapsed() > limit).then_some(())
    });
    left
}
