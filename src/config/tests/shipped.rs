//! The shipped `counterd.toml` and `docs/configuration.md` say what the program does.

use super::*;

const SHIPPED: &str = include_str!("../../../counterd.toml");
const DOCS: &str = include_str!("../../../docs/configuration.md");

/// The shipped file with every key taken out of its comment; prose has a space after the `#`.
fn uncommented() -> String {
    let lines = SHIPPED.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase()) => rest,
        Some(_) | None => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The keys in the order in which the text mentions them as `name = value` under `[section]`.
fn keys_written(text: &str) -> Vec<(String, String)> {
    let mut section = "";
    let mut keys = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((name, value)) = line.split_once(" = ") {
            keys.push((format!("{section}.{name}"), value.to_owned()));
        }
    }
    keys.retain(|(name, _)| !name.starts_with("[counter"));
    keys
}

#[test]
fn the_shipped_file_changes_nothing_but_where_the_counters_are_defined() {
    let (shipped, warnings) = file(SHIPPED).load().unwrap();
    let (defaults, _) = Written::default().load().unwrap();
    assert_eq!(warnings, []);
    let values = |config: &Config| -> Vec<String> {
        let entries = config.entries();
        entries.into_iter().map(|(_, value)| value).collect()
    };
    assert_eq!(values(&shipped), values(&defaults));
    assert_eq!(shipped.sources, defaults.sources);
    let definitions = |config: &Config| -> Vec<_> {
        let counters = config.defined_counters.iter();
        counters
            .map(|entry| (entry.name.clone(), entry.definition.clone()))
            .collect()
    };
    assert_eq!(definitions(&shipped), definitions(&defaults));
    for entry in &shipped.defined_counters {
        assert!(
            matches!(entry.source, SettingSource::File(..)),
            "{}",
            entry.name
        );
    }
}

#[test]
fn the_shipped_file_lists_every_key_with_its_default() {
    let written = keys_written(&uncommented());
    let names: Vec<&str> = written.iter().map(|(name, _)| name.as_str()).collect();
    let table: Vec<&str> = all_keys().map(|key| key.name).collect();
    assert_eq!(names, table);
    let (defaults, _) = Written::default().load().unwrap();
    for (key, (name, value)) in all_keys().zip(&written) {
        if key.default.is_some() {
            assert_eq!(*value, value_of(&defaults, name).0, "{name}");
        }
    }
}

#[test]
fn the_shipped_file_is_valid_with_every_key_uncommented() {
    // A secret and its file exclude each other, and the files are not there.
    let text: String = uncommented()
        .lines()
        .filter(|line| !line.contains("_file = "))
        .fold(String::new(), |text, line| text + line + "\n");
    file(&text).load().unwrap();
}

#[test]
fn the_docs_have_a_row_for_every_key_with_limits_default_and_variable() {
    let (defaults, _) = Written::default().load().unwrap();
    for key in all_keys() {
        let start = format!("| `{}` |", key.name);
        let row = DOCS
            .lines()
            .find(|line| line.starts_with(&start))
            .unwrap_or_else(|| panic!("docs/configuration.md has no row for {}", key.name));
        let mut wanted = vec![format!("`{}`", key.variable())];
        if key.default.is_some() {
            wanted.push(format!("`{}`", value_of(&defaults, key.name).0));
        }
        wanted.extend(limits(key));
        for text in wanted {
            assert!(row.contains(&text), "{text} is not in: {row}");
        }
    }
}

#[test]
fn the_docs_have_a_row_for_every_field_of_a_counter_and_name_every_flag() {
    for field in table::ARRAYS.iter().flat_map(|array| array.keys) {
        let field = field.name;
        assert!(DOCS.contains(&format!("\n| `{field}` |")), "{field}");
    }
    for flag in all_keys().filter_map(|key| key.flag) {
        assert!(DOCS.contains(&format!("`{flag}`")), "{flag}");
    }
    for later in table::NOT_YET {
        let named = format!("`{later}`");
        let section = format!("`{later}.*`");
        assert!(DOCS.contains(&named) || DOCS.contains(&section), "{later}");
    }
}
