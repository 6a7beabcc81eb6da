//! The dashboard in `deploy/grafana`, judged by Grafana's own schema. A Grafana to open it in is no package of any
//! registry that the tests use.

use std::fs;

use serde_json::Value;

use super::root;
use crate::harness::{checkers, compiled, skipped};

/// The dashboard as it is shipped.
pub(super) fn text() -> String {
    fs::read_to_string(root().join("deploy/grafana/counterd.json")).unwrap()
}

/// Each query of the dashboard, with the title of its panel; those of annotations and variables are left out.
pub(super) fn queries() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&text()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let of_panel = |panel: &Value| {
        let title = panel["title"].as_str().unwrap().to_owned();
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        targets.into_iter().map(move |target| {
            let expr = target["expr"].as_str().unwrap().to_owned();
            (title.clone(), expr)
        })
    };
    panels.iter().flat_map(of_panel).collect()
}

#[test]
fn the_dashboard_is_one_by_grafana_s_schema() {
    let checkers = match checkers() {
        Ok(checkers) => checkers,
        Err(reason) => return skipped("the_dashboard_is_one_by_grafana_s_schema", &reason),
    };
    let types = fs::read_to_string(root().join("tests/suite/watched/dashboard.ts")).unwrap();
    let check = |dashboard: &str| {
        let text = format!("{types}\nexport const dashboard: WatchedDashboard = {dashboard};\n");
        compiled(&checkers, &text)
    };
    let text = text();
    assert_eq!(check(&text), "");
    // What is wrong is seen.
    for (right, wrong) in [
        ("\"graphTooltip\": 1", "\"graphTooltop\": 1"),
        ("\"schemaVersion\": 41", "\"schemaVersion\": \"41\""),
        ("\"drawStyle\": \"line\"", "\"drawStyle\": \"lines\""),
        ("\"colorMode\": \"value\"", "\"colourMode\": \"value\""),
        ("\"legendFormat\"", "\"legend\""),
        ("\"gridPos\": {\"h\"", "\"gridPos\": {\"height\""),
        ("\"iconColor\"", "\"iconColour\""),
    ] {
        assert!(text.contains(right), "{right}");
        assert_ne!(
            check(&text.replacen(right, wrong, 1)),
            "",
            "{wrong} is not seen"
        );
    }
}

/// What the schema cannot say: each panel has a place and a number of its own, and its data source is the one that is chosen.
#[test]
fn the_panels_of_the_dashboard_do_not_overlap() {
    let dashboard: Value = serde_json::from_str(&text()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut taken = std::collections::BTreeSet::new();
    let mut ids = std::collections::BTreeSet::new();
    for panel in panels {
        let title = &panel["title"];
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}");
        let of = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(of("x") + of("w") <= 24, "{title}");
        for x in of("x")..of("x") + of("w") {
            for y in of("y")..of("y") + of("h") {
                assert!(taken.insert((x, y)), "{title} lies on another");
            }
        }
        let sources = panel["targets"].as_array().into_iter().flatten();
        for target in sources {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            let expr = target["expr"].as_str().unwrap();
            assert!(expr.contains("instance=~\"$instance\""), "{title}: {expr}");
        }
    }
    assert!(queries().len() > 50, "{}", queries().len());
}
