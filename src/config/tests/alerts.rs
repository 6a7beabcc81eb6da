//! `[alerts]` and `[[alert]]`.

use super::*;
use crate::alerts::{AlertRule, AlertRules, RuleSettings, Severity};
use crate::counter::CounterName;

#[test]
fn an_entry_changes_what_it_says_and_leaves_the_rest() {
    let text = "[[alert]]\nrule = \"drop\"\ncounters = [\"event:*\"]\npercent = 70\nfor = \"2m\"\n\
        [[alert]]\nrule = \"disk\"\nenabled = false\nwithin = \"2d\"\n\
        [[alert]]\nrule = \"flat\"\nseverity = \"info\"\nkeep_for = \"0s\"\n";
    let (config, warnings) = file(text).load().unwrap();
    assert_eq!(warnings, []);
    let rules = AlertRules::new(config.alert_rules.clone());
    let counter = CounterName::parse("event:x").unwrap();
    let usual = RuleSettings::usual(AlertRule::Drop);
    let wanted = RuleSettings {
        percent: 70,
        for_ms: 120_000,
        ..usual
    };
    assert_eq!(rules.of(AlertRule::Drop, Some(&counter)), Some(wanted));
    assert_eq!(rules.of(AlertRule::Drop, None), Some(usual));
    assert_eq!(rules.of(AlertRule::Disk, None), None);
    let flat = rules.of(AlertRule::Flat, Some(&counter)).unwrap();
    assert_eq!((flat.severity, flat.keep_for_ms), (Severity::Info, 0));
    let shown = config.to_string();
    for line in [
        "alert.drop = { counters = [\"event:*\"], percent = 70, least = 100, floor = 200, for = \"2m\", keep_for = \"5m\", severity = \"critical\", enabled = true }",
        "alert.disk = { counters = [], within = \"48h\", for = \"10m\", keep_for = \"5m\", severity = \"critical\", enabled = false }",
    ] {
        assert!(shown.contains(line), "{line} is not in:\n{shown}");
    }
}

#[test]
fn what_a_rule_does_not_use_is_a_mistake() {
    for (text, wanted) in [
        ("percent = 70", "a table [[alert]] needs a rule"),
        ("rule = \"dorp\"", "rule: want one of \"drop\", "),
        (
            "rule = \"disk\"\ncounters = [\"a\"]",
            "the rule disk is about the server: it takes no counters",
        ),
        (
            "rule = \"clock\"\npercent = 5",
            "the rule clock does not use percent",
        ),
        (
            "rule = \"flat\"\nleast = 5",
            "the rule flat does not use least",
        ),
        (
            "rule = \"flat\"\nfloor = 5",
            "the rule flat does not use floor",
        ),
        (
            "rule = \"drop\"\nwithin = \"5m\"",
            "the rule drop does not use within",
        ),
        (
            "rule = \"flat\"\nwithin = \"2h\"",
            "within of the rule flat is 1h at most",
        ),
        ("rule = \"drop\"\ncounters = [\"A*\"]", "found \"A*\""),
        ("rule = \"drop\"\nfro = \"5m\"", "did you mean for?"),
        (
            "rule = \"drop\"\npercent = 0",
            "want a whole number from 1 to 10000",
        ),
    ] {
        let mistakes = file(&format!("[[alert]]\n{text}\n")).mistakes();
        assert!(mistakes.contains(wanted), "{text}: {mistakes}");
    }
}

#[test]
fn receivers_are_secrets_and_urls() {
    let url = format!("https://ann:{SECRET}@hooks.example/services/{SECRET}");
    let (config, warnings) = environment("COUNTERD_ALERTS__WEBHOOK", &url)
        .load()
        .unwrap();
    assert_eq!(warnings, []);
    assert!(config.alerts.webhook.is_some());
    assert!(!config.to_string().contains(SECRET));
    let bad = format!("ftp://h/{SECRET}");
    let mistakes = environment("COUNTERD_ALERTS__ALERTMANAGER", &bad).mistakes();
    assert!(
        mistakes.contains("want http://HOST:PORT/PATH"),
        "{mistakes}"
    );
    assert!(!mistakes.contains(SECRET), "{mistakes}");
    let of_flag = flag("--set", "alerts.webhook", "http://h/").mistakes();
    assert!(of_flag.contains("alerts.webhook is a secret"), "{of_flag}");
}

#[test]
fn samples_are_kept_for_the_weeks_that_are_compared_with() {
    let (_, warnings) = file("[samples]\nretention = \"14d\"\n").load().unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].text.contains("22d are kept"), "{warnings:?}");
    let off = ["drop", "rise", "flat"]
        .map(|rule| format!("[[alert]]\nrule = \"{rule}\"\nenabled = false\n"))
        .concat();
    let text = format!("[samples]\nretention = \"14d\"\n{off}");
    assert_eq!(file(&text).load().unwrap().1, []);
}
