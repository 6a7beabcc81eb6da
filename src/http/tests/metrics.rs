//! `/metrics`: in which format it comes, and which counters it shows.

use super::*;

#[test]
fn metrics_come_in_the_format_that_is_asked_for_with_the_configured_values() {
    let bench = Bench::new();
    bench.up("games", r#"{"value":5}"#).ok();
    bench.up("made_up", "").ok();
    let open = bench.get("/metrics");
    assert!(
        open.head.contains("application/openmetrics-text"),
        "{}",
        open.head
    );
    assert!(open.body.ends_with("# EOF\n"));
    let text = bench.ask("GET /metrics", "accept: text/plain;version=0.0.4\r\n", "");
    assert!(
        text.head.contains("text/plain; version=0.0.4"),
        "{}",
        text.head
    );
    assert!(
        text.body
            .contains("# TYPE counterd_requests_total counter\n")
    );
    for banned in ["# EOF", "# UNIT", " info\n", " unknown\n"] {
        assert!(!text.body.contains(banned), "{banned}");
    }
    for page in [&open.body, &text.body] {
        assert!(page.contains("counterd_counter_value{counter=\"games\"} 5\n"));
        assert!(page.contains("counterd_counter_value{counter=\"dau\"} 0\n"));
        assert!(page.contains("counterd_counters_created_total 1\n"));
        assert!(page.contains("counterd_counter_value{counter=\"made_up\"} 1\n"));
    }
    bench.end();
}

/// The counters that a page shows, in its order, and how many it says are left out.
fn shown(page: &str) -> (Vec<String>, u64) {
    let of = |line: &str| {
        let rest = line.strip_prefix("counterd_counter_value{counter=\"")?;
        rest.split_once('"').map(|(name, _)| name.to_owned())
    };
    let left_out = page
        .lines()
        .find_map(|line| line.strip_prefix("counterd_values_left_out "));
    (
        page.lines().filter_map(of).collect(),
        left_out.unwrap().parse().unwrap(),
    )
}

/// Two others than those of the configuration are shown here.
#[test]
fn as_many_others_are_shown_as_may_be_and_each_keeps_its_place() {
    let bench = Bench::new();
    let page = || shown(&bench.get("/metrics").body);
    assert_eq!(page().0, ["dau", "games"]);
    bench.up("m", "").ok();
    assert_eq!(page(), (words(&["dau", "games", "m"]), 0));
    bench.up("z", "").ok();
    bench.up("a", "").ok();
    bench.up("b", "").ok();
    // `m` was there first; of the others the first name takes the place that is free.
    assert_eq!(page(), (words(&["dau", "games", "m", "a"]), 2));
    bench.up("0", "").ok();
    assert_eq!(page(), (words(&["dau", "games", "m", "a"]), 3));
    // What is gone makes room.
    bench.ask("DELETE /api/v1/counter/m", ADMIN, "").ok();
    assert_eq!(page(), (words(&["dau", "games", "a", "0"]), 2));
    for name in ["a", "0", "b", "z"] {
        bench
            .ask(&format!("DELETE /api/v1/counter/{name}"), ADMIN, "")
            .ok();
    }
    assert_eq!(page(), (words(&["dau", "games"]), 0));
    bench.end();
}

/// A page is made where requests are served, so many names that are gone do not hold it up.
#[test]
fn a_page_looks_through_few_names_and_the_next_one_goes_on() {
    let bench = Bench::new();
    let gone: Vec<String> = (0..600).map(|number| format!("a:{number:03}")).collect();
    for names in gone.chunks(100) {
        let operations = names.iter();
        let operations = operations.map(|name| json!({"op": "increment", "name": name}));
        let body = json!({"operations": operations.collect::<Vec<_>>()});
        bench.ask("POST /api/v1/batch", "", &body.to_string()).ok();
    }
    let done = bench
        .ask("DELETE /api/v1/counters?prefix=a:", ADMIN, "")
        .ok();
    assert_eq!(done["deleted"].as_array().unwrap().len(), 600);
    bench.up("z", "").ok();
    let page = || shown(&bench.get("/metrics").body);
    assert_eq!(page(), (words(&["dau", "games"]), 1));
    let all = (words(&["dau", "games", "z"]), 0);
    assert_eq!(page(), all);
    // It keeps its place, and who comes later gets one.
    assert_eq!(page(), all);
    bench.up("b", "").ok();
    page();
    assert_eq!(page(), (words(&["dau", "games", "z", "b"]), 0));
    bench.end();
}

/// Names that somebody made up, and their values, are read with the token for reads, as everywhere.
#[test]
fn counters_of_others_are_for_those_who_may_read() {
    let bench = Bench::with(|options| {
        options.tokens = Arc::new(ArcSwap::from_pointee(Tokens {
            admin: vec!["the-admin".to_owned().into()],
            read: vec!["the-reader".to_owned().into()],
            ..Tokens::default()
        }));
    });
    bench.up("made_up", "").ok();
    let page = |headers: &str| shown(&bench.ask("GET /metrics", headers, "").body);
    let without = (words(&["dau", "games"]), 1);
    assert_eq!(page(""), without);
    assert_eq!(page("authorization: Bearer not-the-reader\r\n"), without);
    let all = (words(&["dau", "games", "made_up"]), 0);
    assert_eq!(page("authorization: Bearer the-reader\r\n"), all);
    assert_eq!(page(ADMIN), all);
    assert_eq!(page(""), without);
    bench.end();
}

fn words(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}
