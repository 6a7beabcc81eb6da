//! The rules in `deploy/prometheus`, judged by `promtool`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::{is_installed, root};
use crate::harness::skipped;

const RULES: &str = "counterd.rules.yml";
const TESTS: &str = "counterd.rules.test.yml";

fn promtool(arguments: &[&str], dir: &Path) -> (bool, String) {
    let done = Command::new("promtool")
        .args(arguments)
        .current_dir(dir)
        .output()
        .unwrap();
    let told = [done.stdout, done.stderr].concat();
    (done.status.success(), String::from_utf8(told).unwrap())
}

/// The directory of the rules, copied to where it may be changed.
fn copied() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    for file in fs::read_dir(root().join("deploy/prometheus")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), home.path().join(file.file_name())).unwrap();
    }
    home
}

fn replaced(home: &Path, file: &str, right: &str, wrong: &str) {
    let text = fs::read_to_string(home.join(file)).unwrap();
    assert!(text.contains(right), "{file}: {right}");
    fs::write(home.join(file), text.replacen(right, wrong, 1)).unwrap();
}

#[test]
fn promtool_finds_nothing_wrong_with_configuration_and_rules() {
    if !is_installed("promtool") {
        return skipped(
            "promtool_finds_nothing_wrong_with_configuration_and_rules",
            "promtool is not here",
        );
    }
    let config = ["check", "config", "prometheus.yml"];
    let rules = ["check", "rules", "--lint=all", "--lint-fatal", RULES];
    let home = copied();
    for arguments in [&config[..], &rules] {
        let (is_right, told) = promtool(arguments, home.path());
        assert!(is_right, "{told}");
    }
    // What is wrong is seen.
    for (arguments, file, right, wrong) in [
        (&config[..], "prometheus.yml", "rule_files", "rules"),
        (
            &config,
            "prometheus.yml",
            "- counterd.rules.yml",
            "- counterd.rule.yml[",
        ),
        (&rules, RULES, "for: 1m", "for: a while"),
        (&rules, RULES, "rate(", "rat("),
        (
            &rules,
            RULES,
            "{{ $labels.instance }}",
            "{{ $labels.instance }",
        ),
    ] {
        let home = copied();
        replaced(home.path(), file, right, wrong);
        let (is_right, told) = promtool(arguments, home.path());
        assert!(!is_right, "{wrong} is not seen: {told}");
    }
}

#[test]
fn each_alert_fires_when_it_should_and_not_when_it_should_not() {
    if !is_installed("promtool") {
        return skipped(
            "each_alert_fires_when_it_should_and_not_when_it_should_not",
            "promtool is not here",
        );
    }
    let run = |home: &Path| promtool(&["test", "rules", TESTS], home);
    let home = copied();
    let (is_right, told) = run(home.path());
    assert!(is_right, "{told}");
    // Each has a case that fires, and another.
    let rules = fs::read_to_string(home.path().join(RULES)).unwrap();
    let tests = fs::read_to_string(home.path().join(TESTS)).unwrap();
    let alerts = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let mut count = 0;
    for alert in alerts {
        let named = format!("alertname: {alert}");
        let of_alert = tests.match_indices(&named).map(|(at, _)| {
            let rest = &tests[at + named.len()..];
            let expected = rest.split_once("exp_alerts:").unwrap().1;
            expected.trim_start_matches(' ').starts_with("[]")
        });
        let mut cases = BTreeMap::from([(false, 0), (true, 0)]);
        of_alert.for_each(|is_quiet| *cases.entry(is_quiet).or_default() += 1);
        assert!(cases[&false] > 0 && cases[&true] > 1, "{alert}: {cases:?}");
        count += 1;
    }
    assert!(count > 15, "{count}");
    // What is wrong is seen.
    for (right, wrong) in [
        (
            "counterd_disk_wait_seconds > 5",
            "counterd_disk_wait_seconds > 50",
        ),
        (
            "counterd_day - counterd_closed_day - 1 > 0",
            "counterd_day - counterd_closed_day > 1",
        ),
        (
            "expr: up{job=\"counterd\"} == 0\n        for: 1m",
            "expr: up{job=\"counterd\"} == 0\n        for: 1s",
        ),
        ("severity: critical", "severity: info"),
    ] {
        let home = copied();
        replaced(home.path(), RULES, right, wrong);
        assert!(!run(home.path()).0, "{wrong} is not seen");
    }
}

/// Each metric and each page of the runbook that a rule names is there.
#[test]
fn rules_name_what_there_is() {
    let rules = fs::read_to_string(root().join("deploy/prometheus").join(RULES)).unwrap();
    let docs = fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let is_of_names = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut named = 0;
    for word in rules.split(|c: char| !is_of_names(c)) {
        // Names with a colon are those that the rules make themselves.
        if !word.starts_with("counterd_") || ["counterd_rates", "counterd_alerts"].contains(&word) {
            continue;
        }
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| word.strip_suffix(suffix))
            .unwrap_or(word);
        assert!(docs.contains(&format!("| `{family}` |")), "{word}");
        named += 1;
    }
    assert!(named > 20, "{named}");
    let pages = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("runbook: "));
    for page in pages {
        assert!(root().join(page).is_file(), "{page}");
    }
    let runbook = fs::read_to_string(root().join("docs/runbook.md")).unwrap();
    let alerts = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    for alert in alerts {
        assert!(
            runbook.contains(&format!("`{alert}`")),
            "docs/runbook.md: {alert}"
        );
    }
}
