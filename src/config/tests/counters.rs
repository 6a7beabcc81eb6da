//! The counters of the configuration.

use super::*;
use crate::counter::{Kind, OnBound, Reset};

#[test]
fn the_four_counters_are_built_in_unless_defined_anew() {
    let (config, _) = Written::default().load().unwrap();
    let defined = |config: &Config| -> Vec<(String, Kind, Reset, i64)> {
        let entries = config.defined_counters.iter();
        entries
            .map(
                |CounterEntry {
                     name, definition, ..
                 }| {
                    let name = name.as_str().to_owned();
                    (name, definition.kind, definition.reset, definition.min)
                },
            )
            .collect()
    };
    let built_in = [
        ("online_players".to_owned(), Kind::Gauge, Reset::Never, 0),
        (
            "daily_active_users".to_owned(),
            Kind::Unique,
            Reset::Daily,
            0,
        ),
        ("total_games_played".to_owned(), Kind::Sum, Reset::Daily, 0),
        ("active_users_1h".to_owned(), Kind::Unique, Reset::Never, 0),
    ];
    assert_eq!(defined(&config), built_in);

    let (config, _) = file("[[counter]]\nname = \"online_players\"\nmin = -5\nreset = \"daily\"\n")
        .load()
        .unwrap();
    let mut anew = built_in.to_vec();
    anew.remove(0);
    anew.push(("online_players".to_owned(), Kind::Gauge, Reset::Daily, -5));
    assert_eq!(defined(&config), anew);
}

#[test]
fn a_counter_is_read_whole() {
    let text = r#"
        [[counter]]
        name = "event.x:1"
        kind = "sum"
        reset = "daily"
        min = -9223372036854775808
        max = 9223372036854775807
        on_bound = "clamp"
        expires_at = 2026-12-24T18:00:00.5+01:00
        description = "the event"
    "#;
    let (config, _) = file(text).load().unwrap();
    let entry = config.defined_counters.last().unwrap();
    assert_eq!(entry.name.as_str(), "event.x:1");
    let definition = &entry.definition;
    assert_eq!(definition.kind, Kind::Sum);
    assert_eq!(definition.reset, Reset::Daily);
    assert_eq!((definition.min, definition.max), (i64::MIN, i64::MAX));
    assert_eq!(definition.on_bound, OnBound::Clamp);
    assert_eq!(definition.expires_at, Some(1_798_131_600_500));
    assert_eq!(definition.description.as_deref(), Some("the event"));
    let quoted = text.replace(
        "2026-12-24T18:00:00.5+01:00",
        "\"2026-12-24T17:00:00.500Z\"",
    );
    let (again, _) = file(&quoted).load().unwrap();
    assert_eq!(
        &again.defined_counters.last().unwrap().definition,
        definition
    );
}

#[test]
fn mistakes_in_counters_say_where() {
    for (text, said) in [
        ("[[counter]]\nkind = \"sum\"", ":1: a counter needs a name"),
        (
            "[[counter]]\nname = \"A\"",
            ":2: name: \"A\": a counter name is 1 to 100",
        ),
        (
            "[[counter]]\nname = \"a:meta\"",
            ":2: name: \"a:meta\": a counter name is 1 to 100",
        ),
        ("[[counter]]\nname = 5", ":2: name: want a string"),
        (
            "[[counter]]\nname = \"a\"\nkind = \"pie\"",
            ":3: kind: want one of \"gauge\", \"sum\", \"unique\", \"presence\", found \"pie\"",
        ),
        (
            "[[counter]]\nname = \"a\"\nreset = 1",
            ":3: reset: want one of \"never\", \"daily\", found 1",
        ),
        (
            "[[counter]]\nname = \"a\"\nmin = 1",
            ":1: min must be 0 or less",
        ),
        (
            "[[counter]]\nname = \"a\"\nkind = \"sum\"\nwindow = \"90\"",
            ":4: window: want whole seconds such as",
        ),
        (
            "[[counter]]\nname = \"a\"\nwindow = \"1h\"",
            ":1: a window is for `unique` and `sum`",
        ),
        (
            "[[counter]]\nname = \"a\"\nkind = \"presence\"",
            ":1: `presence` needs a `ttl` of 5s to 1h",
        ),
        (
            "[[counter]]\nname = \"a\"\nmin = \"0\"",
            ":3: min: want a whole number",
        ),
        (
            "[[counter]]\nname = \"a\"\nmax = 9223372036854775808",
            ":3: max: want a whole number",
        ),
        (
            "[[counter]]\nname = \"a\"\nexpires_at = 2026-12-24",
            ":3: expires_at: want an instant",
        ),
        (
            "[[counter]]\nname = \"a\"\nexpires_at = \"soon\"",
            ":3: expires_at: want an instant",
        ),
        (
            "[[counter]]\nname = \"a\"\nonbound = \"clamp\"",
            ":3: unknown field onbound; did you mean on_bound?",
        ),
        (
            "[[counter]]\nname = \"a\"\n\n[[counter]]\nname = \"a\"",
            ":4: counter a is defined twice, first at ",
        ),
        (
            "[counter]\nname = \"a\"",
            ":1: counters are written as [[counter]]",
        ),
        ("counter = [1]", ":1: counters are written as [[counter]]"),
    ] {
        let mistakes = file(text).mistakes();
        assert!(
            mistakes.starts_with(&format!("counterd.toml{said}")),
            "{text}\n{mistakes}"
        );
        assert_eq!(mistakes.lines().count(), 1, "{text}\n{mistakes}");
    }
}

#[test]
fn a_counter_of_another_name_than_those_counted_is_a_mistake_and_none_is_built_in() {
    let names = "[counters]\nnames = [\"lobby:*\", \"online_players\"]\n";
    let defined = |name: &str| format!("{names}[[counter]]\nname = \"{name}\"\n");
    let (config, _) = file(&defined("lobby:eu")).load().unwrap();
    let known = config.defined_counters.iter();
    let known: Vec<_> = known.map(|entry| entry.name.to_string()).collect();
    assert_eq!(known, ["online_players", "lobby:eu"]);
    assert_eq!(
        file(&defined("shop:sales")).mistakes(),
        "counterd.toml:3: counter shop:sales is none that this server counts: add it to counters.names"
    );
    let mistakes = file("counters.names = [\"lobby:*\", \"A\"]").mistakes();
    let said = "counterd.toml:1: counters.names: want a list of counters' names";
    assert!(mistakes.starts_with(said), "{mistakes}");
}
