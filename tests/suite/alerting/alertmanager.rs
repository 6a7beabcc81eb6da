//! A real Alertmanager takes the alerts, shows them, and sees them end; what it sends to a webhook of its own has the
//! form of what counterd sends.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::Value;

use super::receiver::Receiver;
use super::{came, fall, setup};
use crate::harness::{PATIENCE, Program, eventually, skipped};

/// Starts one that tells `hook` at once.
fn alertmanager(hook: &str) -> Program {
    let home = tempfile::tempdir().unwrap();
    let config = format!(
        "route:\n  receiver: hook\n  group_by: [alertname, counter]\n  group_wait: 0s\n  \
         group_interval: 1s\nreceivers:\n- name: hook\n  webhook_configs:\n  - url: {hook}\n    \
         send_resolved: true\n"
    );
    fs::write(home.path().join("alertmanager.yml"), config).unwrap();
    let arguments = [
        "--config.file=alertmanager.yml",
        "--storage.path=data",
        "--cluster.listen-address=",
    ];
    Program::start("prometheus-alertmanager", arguments, home)
}

/// The alerts that it has and that have not ended.
fn alerts_of(manager: &Program) -> Vec<Value> {
    let all = manager.client().get("/api/v2/alerts").ok();
    all.as_array().unwrap().clone()
}

/// The paths of a JSON value, each with the type that stands there.
fn shape(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "a switch",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(items) => {
            for item in items {
                shape(item, &format!("{path}[]"), found);
            }
            "a list"
        }
        Value::Object(members) => {
            // Labels and annotations are what the sender likes.
            if !path.ends_with("abels") && !path.ends_with("nnotations") {
                for (name, value) in members {
                    shape(value, &format!("{path}.{name}"), found);
                }
            }
            "an object"
        }
    };
    found.insert(format!("{path}: {kind}"));
}

#[test]
fn a_real_alertmanager_takes_shows_and_ends_what_fires() {
    let what = "a_real_alertmanager_takes_shows_and_ends_what_fires";
    let installed = Command::new("prometheus-alertmanager")
        .arg("--version")
        .output();
    if installed.is_err() {
        return skipped(what, "prometheus-alertmanager is missing");
    }
    let (of_manager, of_counterd) = (Receiver::new(&[]), Receiver::new(&[]));
    let manager = alertmanager(&of_manager.url());
    let home = tempfile::tempdir().unwrap();
    let server = setup(home.path())
        .set("alerts.webhook", &of_counterd.url())
        .set("alerts.alertmanager", &manager.url())
        .set("alerts.server_url", "https://counters.example")
        .start();
    fall(&server);
    let active = eventually("it shows the alert", PATIENCE, || {
        Some(alerts_of(&manager)).filter(|active| !active.is_empty())
    });
    assert_eq!(active.len(), 1, "{active:?}");
    assert_eq!(active[0]["labels"]["alertname"], "counterd_drop_hard");
    assert_eq!(active[0]["status"]["state"], "active");
    let own = came(&of_counterd, 2);
    assert_eq!(
        active[0]["fingerprint"],
        own[0].json()["alerts"][0]["fingerprint"]
    );
    assert_eq!(
        active[0]["generatorURL"],
        "https://counters.example/api/v1/alerts"
    );
    eventually("it has ended there", PATIENCE, || {
        alerts_of(&manager).is_empty().then_some(())
    });
    let theirs = came(&of_manager, 2);
    for (place, status) in ["firing", "resolved"].into_iter().enumerate() {
        let (own, theirs) = (own[place].json(), theirs[place].json());
        assert_eq!(
            (&own["status"], &theirs["status"]),
            (&status.into(), &status.into())
        );
        let (mut own_shape, mut their_shape) = (BTreeSet::new(), BTreeSet::new());
        shape(&own, "", &mut own_shape);
        shape(&theirs, "", &mut their_shape);
        assert_eq!(own_shape, their_shape);
        for same in [
            "groupLabels",
            "commonLabels",
            "commonAnnotations",
            "groupKey",
            "version",
        ] {
            assert_eq!(own[same], theirs[same], "{same}");
        }
        let (own, theirs) = (&own["alerts"][0], &theirs["alerts"][0]);
        for same in ["labels", "annotations", "fingerprint", "generatorURL"] {
            assert_eq!(own[same], theirs[same], "{same}");
        }
    }
    server.stop();
}
