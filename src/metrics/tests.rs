#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

//! The page is read by a small strict parser of OpenMetrics text, written for these tests.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::*;

type Labels = BTreeMap<String, String>;

#[derive(Debug)]
struct Family {
    name: String,
    kind: String,
    unit: Option<String>,
    samples: Vec<(String, Labels, f64)>,
}

impl Family {
    /// The name under which a reader finds it, as `docs/metrics.md` lists it.
    fn public_name(&self) -> String {
        match self.kind.as_str() {
            "counter" => format!("{}_total", self.name),
            "info" => format!("{}_info", self.name),
            _ => self.name.clone(),
        }
    }

    fn value(&self, labels: &[(&str, &str)]) -> Option<f64> {
        let wanted: Labels = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let mut found = self
            .samples
            .iter()
            .filter(|(_, labels, _)| *labels == wanted);
        found.next().map(|(_, _, value)| *value)
    }
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|b| b.is_ascii_lowercase() || b == b'_')
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn parse_labels(text: &str) -> Labels {
    let mut labels = Labels::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (key, after) = rest.split_once("=\"").expect("label without value");
        assert!(is_name(key), "label name {key:?}");
        let (value, after) = after.split_once('"').expect("open label value");
        assert!(!value.contains('\\'), "no label of ours needs an escape");
        assert!(labels.insert(key.to_owned(), value.to_owned()).is_none());
        rest = match after.strip_prefix(',') {
            Some(more) => more,
            None if after.is_empty() => after,
            None => panic!("after a label: {after:?}"),
        };
    }
    labels
}

fn parse(page: &str) -> Vec<Family> {
    let body = page
        .strip_suffix("# EOF\n")
        .expect("the page ends with EOF");
    let mut families: Vec<Family> = Vec::new();
    let mut help_of: Option<String> = None;
    for line in body.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').expect("help without text");
            assert!(text.ends_with('.') && !text.ends_with(".."), "{line}");
            help_of = Some(name.to_owned());
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(help_of.take().as_deref(), Some(name), "help precedes type");
            assert!(is_name(name) && name.starts_with("counterd_"), "{name}");
            assert!(["counter", "gauge", "histogram", "info"].contains(&kind));
            assert!(families.iter().all(|family| family.name != name), "{name}");
            families.push(Family {
                name: name.to_owned(),
                kind: kind.to_owned(),
                unit: None,
                samples: Vec::new(),
            });
        } else if let Some(unit) = line.strip_prefix("# UNIT ") {
            let (name, unit) = unit.split_once(' ').unwrap();
            let family = families.last_mut().unwrap();
            assert!(family.name == name && family.samples.is_empty());
            assert!(name.ends_with(&format!("_{unit}")));
            family.unit = Some(unit.to_owned());
        } else {
            let (series, value) = line.rsplit_once(' ').expect("sample without value");
            let (name, labels) = match series.split_once('{') {
                Some((name, labels)) => (name, labels.strip_suffix('}').unwrap()),
                None => (series, ""),
            };
            let family = families.last_mut().expect("sample without family");
            let suffix = name.strip_prefix(&family.name).expect("sample elsewhere");
            let allowed: &[&str] = match family.kind.as_str() {
                "counter" => &["_total"],
                "gauge" => &[""],
                "info" => &["_info"],
                _ => &["_bucket", "_sum", "_count"],
            };
            assert!(allowed.contains(&suffix), "{line}");
            let value: f64 = value.parse().unwrap();
            assert!(value.is_finite() && (family.kind == "gauge" || value >= 0.0));
            family
                .samples
                .push((suffix.to_owned(), parse_labels(labels), value));
        }
    }
    for family in &families {
        let series: HashSet<_> = family
            .samples
            .iter()
            .map(|(suffix, labels, _)| (suffix, labels))
            .collect();
        assert_eq!(series.len(), family.samples.len(), "{}", family.name);
        if family.kind == "histogram" {
            check_histogram(family);
        }
    }
    families
}

#[derive(Default)]
struct Histogram {
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    has_sum: bool,
}

fn check_histogram(family: &Family) {
    let mut groups: BTreeMap<Labels, Histogram> = BTreeMap::new();
    for (suffix, labels, value) in &family.samples {
        let mut labels = labels.clone();
        let bound = labels.remove("le");
        let group = groups.entry(labels).or_default();
        match suffix.as_str() {
            "_bucket" => group
                .buckets
                .push((bound.unwrap().parse().unwrap(), *value)),
            "_count" => group.count = Some(*value),
            _ => group.has_sum = true,
        }
    }
    for (labels, histogram) in groups {
        let buckets = histogram.buckets;
        assert!(
            buckets
                .windows(2)
                .all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1),
            "{} {labels:?} {buckets:?}",
            family.name
        );
        let last = buckets.last().expect("no bucket");
        assert!(last.0 == f64::INFINITY && Some(last.1) == histogram.count && histogram.has_sum);
    }
}

fn read(metrics: &Metrics) -> Vec<Family> {
    let mut page = String::new();
    let values = CounterValues {
        shown: vec![("configured".to_owned(), -5)],
        left_out: 3,
    };
    metrics
        .encode(&mut page, PageFormat::OpenMetrics, Some(values))
        .unwrap();
    parse(&page)
}

fn family<'a>(families: &'a [Family], name: &str) -> &'a Family {
    families
        .iter()
        .find(|family| family.public_name() == name)
        .unwrap_or_else(|| panic!("{name} is not on the page"))
}

/// A server that has seen everything once, so that every series is on its page.
fn all_told() -> Metrics {
    let metrics = Metrics::new();
    metrics.store.take(|tell| {
        for figure in StoreFigure::ALL {
            let of_family = matches!(figure, StoreFigure::Tables | StoreFigure::EstimatedKeys);
            tell(figure, of_family.then_some("counters"), 1);
        }
    });
    let shard = metrics.shard();
    for route in Route::ALL {
        for code in 0..=600 {
            shard.request_started();
            shard.request_ended(route, code, Duration::from_micros(u64::from(code)));
        }
    }
    for decision in FilterDecision::ALL {
        metrics.state.set_filtered(decision, 1);
    }
    metrics
        .commits
        .synced(3, Duration::from_micros(170), 1_000_500);
    metrics
}

#[test]
fn the_page_is_openmetrics_before_and_after_anything_happened() {
    let untouched = read(&Metrics::new());
    assert!(untouched.len() > 20, "{}", untouched.len());
    let told = read(&all_told());
    assert!(told.len() > untouched.len());
}

#[test]
fn the_docs_name_every_metric_and_no_other() {
    let docs = include_str!("../../docs/metrics.md");
    let listed: BTreeSet<String> = docs
        .lines()
        .filter_map(|line| line.strip_prefix("| `counterd_"))
        .filter_map(|rest| rest.split_once('`'))
        .map(|(name, _)| format!("counterd_{name}"))
        .collect();
    let shown: BTreeSet<String> = read(&all_told()).iter().map(Family::public_name).collect();
    let missing: Vec<_> = shown.difference(&listed).collect();
    let stale: Vec<_> = listed.difference(&shown).collect();
    assert!(
        missing.is_empty() && stale.is_empty(),
        "add to docs/metrics.md: {missing:?}; take out of it: {stale:?}"
    );
}

#[test]
fn the_docs_name_every_label_value() {
    let docs = include_str!("../../docs/metrics.md");
    let values = (Route::ALL.iter().map(|v| v.as_str()))
        .chain(OperationResult::ALL.iter().map(|v| v.as_str()))
        .chain(Cause::ALL.iter().map(|v| v.as_str()))
        .chain(FilterDecision::ALL.iter().map(|v| v.as_str()))
        .chain(LogKind::ALL.iter().map(|v| v.as_str()))
        .chain(PushTransport::ALL.iter().map(|v| v.as_str()))
        .chain(PushEnd::ALL.iter().map(|v| v.as_str()));
    for value in values {
        assert!(
            docs.contains(&format!("`{value}`")),
            "docs/metrics.md: {value}"
        );
    }
}

#[test]
fn sums_are_over_all_shards_those_of_ended_runtimes_too() {
    let metrics = Arc::new(Metrics::new());
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let shard = metrics.shard();
            std::thread::spawn(move || {
                for _ in 0..1_000 {
                    shard.request_started();
                    shard.operations(OperationResult::Counted, 2);
                    shard.request_ended(Route::Increment, 200, Duration::from_micros(150));
                }
                shard.request_started();
                shard.request_ended(Route::Read, 404, Duration::from_secs(20));
                shard.request_started();
                shard.request_abandoned();
                shard.connection_opened();
                shard.connection_opened();
                shard.connection_closed();
                shard.request_started();
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }

    let families = read(&metrics);
    let requests = family(&families, "counterd_requests_total");
    let of = |route, status| requests.value(&[("route", route), ("status", status)]);
    assert_eq!(of("increment", "200"), Some(4_000.0));
    assert_eq!(of("read", "404"), Some(4.0));
    assert_eq!(of("read", "200"), None);
    let value = |name, labels: &[(&str, &str)]| family(&families, name).value(labels);
    assert_eq!(
        value("counterd_operations_total", &[("result", "counted")]),
        Some(8_000.0)
    );
    assert_eq!(value("counterd_requests_in_flight", &[]), Some(4.0));
    assert_eq!(value("counterd_requests_abandoned_total", &[]), Some(4.0));
    assert_eq!(value("counterd_connections_open", &[]), Some(4.0));
    assert_eq!(value("counterd_connections_total", &[]), Some(8.0));
}

#[test]
fn a_duration_lies_in_the_bucket_whose_bound_it_does_not_pass() {
    let metrics = Metrics::new();
    let shard = metrics.shard();
    for us in [0, 100, 101, 10_000_000, 10_000_001] {
        shard.request_ended(Route::Read, 200, Duration::from_micros(us));
    }

    let families = read(&metrics);
    let durations = family(&families, "counterd_request_duration_seconds");
    assert_eq!(durations.unit.as_deref(), Some("seconds"));
    let of = |suffix: &str, bound: Option<&str>| {
        let found = durations.samples.iter().find(|(sample, labels, _)| {
            sample == suffix && labels.get("le").map(String::as_str) == bound
        });
        found.unwrap().2
    };
    assert_eq!(of("_bucket", Some("0.0001")), 2.0);
    assert_eq!(of("_bucket", Some("0.00025")), 3.0);
    assert_eq!(of("_bucket", Some("10.0")), 4.0);
    assert_eq!(of("_count", None), 5.0);
    assert!((of("_sum", None) - 20.000_202).abs() < 1e-9);
}

#[test]
fn label_values_come_from_closed_sets_whatever_is_asked() {
    let metrics = all_told();
    let series = |families: &[Family]| families.iter().map(|f| f.samples.len()).sum::<usize>();
    let families = read(&metrics);
    let statuses = STATUSES.map(|status| status.to_string());
    let mut closed: BTreeSet<&str> =
        BTreeSet::from(["counters", "configured", "other", env!("CARGO_PKG_VERSION")]);
    closed.extend(Route::ALL.iter().map(|v| v.as_str()));
    closed.extend(statuses.iter().map(String::as_str));
    closed.extend(OperationResult::ALL.iter().map(|v| v.as_str()));
    closed.extend(Cause::ALL.iter().map(|v| v.as_str()));
    closed.extend(AlertRule::ALL.iter().map(|v| v.as_str()));
    closed.extend(FilterDecision::ALL.iter().map(|v| v.as_str()));
    closed.extend(RateLimit::ALL.iter().map(|v| v.as_str()));
    closed.extend(LogKind::ALL.iter().map(|v| v.as_str()));
    closed.extend(PushTransport::ALL.iter().map(|v| v.as_str()));
    closed.extend(PushEnd::ALL.iter().map(|v| v.as_str()));
    for (_, labels, _) in families.iter().flat_map(|family| &family.samples) {
        for (key, value) in labels {
            assert!(
                key == "le" || closed.contains(value.as_str()),
                "{key}={value}"
            );
        }
    }

    let shard = metrics.shard();
    for code in 0..=u16::MAX {
        shard.request_ended(Route::Unmatched, code, Duration::ZERO);
    }
    assert_eq!(series(&read(&metrics)), series(&families));
}

#[test]
fn causes_are_one_while_they_hold() {
    let metrics = Metrics::new();
    let told = |cause: &str| {
        let families = read(&metrics);
        let of_cause = family(&families, "counterd_read_only_cause").value(&[("cause", cause)]);
        let any = family(&families, "counterd_read_only").value(&[]);
        (any.unwrap(), of_cause.unwrap())
    };
    assert_eq!(told("clock"), (0.0, 0.0));
    metrics
        .state
        .set_read_only(|cause| matches!(cause, Cause::Space | Cause::Clock));
    assert_eq!(told("clock"), (1.0, 1.0));
    metrics.state.set_read_only(|cause| cause == Cause::Space);
    assert_eq!(told("clock"), (1.0, 0.0));
    metrics.state.set_read_only(|_| false);
    assert_eq!(told("space"), (0.0, 0.0));
}

#[test]
fn filter_decisions_are_shown_once_told_of() {
    let metrics = Metrics::new();
    let name = "counterd_filtered_records_total";
    assert!(
        read(&metrics)
            .iter()
            .all(|family| family.public_name() != name)
    );
    metrics.state.set_filtered(FilterDecision::Dropped, 7);
    metrics.state.set_filtered(FilterDecision::Dropped, 9);
    let families = read(&metrics);
    let filtered = family(&families, name);
    assert_eq!(filtered.value(&[("decision", "dropped")]), Some(9.0));
    assert_eq!(filtered.value(&[("decision", "kept")]), None);
}

#[test]
fn each_commit_group_is_told_once() {
    let metrics = Metrics::new();
    metrics
        .commits
        .synced(1, Duration::from_micros(170), 1_700_000_000_250);
    metrics
        .commits
        .synced(30, Duration::from_millis(3), 1_700_000_001_250);

    let families = read(&metrics);
    let value = |name| family(&families, name).value(&[]).unwrap();
    assert_eq!(value("counterd_commits_total"), 2.0);
    assert_eq!(
        value("counterd_last_sync_timestamp_seconds"),
        1_700_000_001.25
    );
    let sizes = family(&families, "counterd_commit_operations");
    let sum = sizes.samples.iter().find(|(suffix, _, _)| suffix == "_sum");
    assert_eq!(sum.unwrap().2, 31.0);
}

#[test]
fn readers_of_the_older_format_get_it() {
    let metrics = all_told();
    let mut page = String::new();
    metrics.encode(&mut page, PageFormat::Text, None).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    for line in [
        "# TYPE counterd_requests_total counter",
        "counterd_requests_total{route=\"read\",status=\"200\"} 1",
        "# HELP counterd_build_info The running program.",
        "# TYPE counterd_build_info gauge",
        &format!("counterd_build_info{{version=\"{version}\"}} 1"),
        "# TYPE counterd_request_duration_seconds histogram",
        "counterd_request_duration_seconds_bucket{route=\"read\",le=\"+Inf\"} 601",
        "counterd_store_tables_bytes{family=\"counters\"} 1",
        "counterd_store_wal_bytes 1",
    ] {
        assert!(page.lines().any(|found| found == line), "{line}: {page}");
    }
    assert!(!page.contains("# UNIT") && !page.contains("# EOF"));
}

#[test]
fn hooks_run_before_the_page_is_made_and_a_closed_store_shows_nothing() {
    let metrics = all_told();
    metrics.before_scrape(|metrics| {
        metrics.state.revision.set(i64::MAX);
        metrics.store.take(|_| {});
    });

    let families = read(&metrics);
    let mut page = String::new();
    metrics
        .encode(&mut page, PageFormat::OpenMetrics, None)
        .unwrap();
    assert!(page.contains("\ncounterd_revision 9223372036854775807\n"));
    assert!(
        families
            .iter()
            .all(|family| !family.name.starts_with("counterd_store_"))
    );
}

#[test]
fn the_process_tells_its_memory_and_descriptors() {
    let before = read(&Metrics::new());
    let open: Vec<_> = (0..50)
        .map(|_| std::fs::File::open("/proc/self/stat").unwrap())
        .collect();
    let after = read(&Metrics::new());
    drop(open);
    let value = |families: &[Family], name| family(families, name).value(&[]).unwrap();
    assert!(value(&before, "counterd_process_resident_memory_bytes") > 100_000.0);
    // Other tests of this process open and close files too.
    let gained =
        value(&after, "counterd_process_open_fds") - value(&before, "counterd_process_open_fds");
    assert!(gained > 20.0, "{gained}");
}
