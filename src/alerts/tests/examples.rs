//! The alert that documents show, made by what makes alerts.

use serde_json::{Value, json};

use super::*;
use crate::alerts::expected::{Expected, ExpectedBy};
use crate::alerts::judge;
use crate::alerts::notice::{NoticeTexts, summary};

fn docs(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    std::fs::read_to_string(path.join(file)).unwrap()
}

#[test]
fn the_alert_of_the_documents_is_one_that_is_told() {
    let document: Value = serde_json::from_str(&docs("openapi.json")).unwrap();
    let answers = &document["paths"]["/api/v1/alerts"]["get"]["responses"];
    let example = &answers["200"]["content"]["application/json"]["example"]["alerts"][0];
    let settings = RuleSettings::usual(AlertRule::Drop);
    let expected = Expected {
        value: 5120.0,
        by: ExpectedBy::Weeks,
        growth: 1.04,
    };
    let Verdict::Holds(evidence) = judge::drop(2710, Some(expected), &settings) else {
        panic!("nothing is wrong");
    };
    let key = AlertKey {
        rule: AlertRule::Drop,
        counter: Some(name("online_players")),
    };
    let texts = NoticeTexts::default();
    let told = json!({
        "rule": "drop",
        "counter": "online_players",
        "state": "firing",
        "severity": settings.severity.as_str(),
        "since": "2026-11-24T10:29:00.000Z",
        "fired_at": "2026-11-24T10:30:00.000Z",
        "value": evidence.value,
        "expected": evidence.expected,
        "summary": summary(&key),
        "why": evidence.why,
        "runbook": texts.runbook(key.rule),
        "fingerprint": texts.fingerprint(&key, settings.severity),
    });
    assert_eq!(example, &told);
    let page = docs("alerts.md");
    let begin = page.find("{\"rule\":\"drop\"").unwrap();
    let shown = page[begin..].split("```").next().unwrap();
    assert_eq!(serde_json::from_str::<Value>(shown).unwrap(), told);
}
