//! The effective configuration as text: what `counterd config` prints. Secrets show only as set.

use std::fmt;

use super::{Config, CounterEntry, SettingSource};

/// One effective value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownSetting {
    /// The key, `section.name`.
    pub key: &'static str,
    /// As it would be written in the file; `(set)` or `(not set)` for a secret.
    pub value: String,
    /// Where it comes from.
    pub source: SettingSource,
}

impl Config {
    /// Returns every effective value, in the order of the table.
    pub fn entries(&self) -> Vec<ShownSetting> {
        let entry = |(key, value): (&'static super::Key, String)| ShownSetting {
            key: key.name,
            value,
            source: self
                .source(key.name)
                .cloned()
                .unwrap_or(SettingSource::Default),
        };
        self.show().into_iter().map(entry).collect()
    }
}

impl fmt::Display for Config {
    /// Writes one line for each key, aligned, with its source as a comment; then the counters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.entries();
        let width = |text: fn(&ShownSetting) -> &str| {
            let lengths = entries.iter().map(|entry| text(entry).chars().count());
            lengths.max().unwrap_or(0)
        };
        let (keys, values) = (
            width(|entry| entry.key),
            width(|entry| &entry.value).min(28),
        );
        for ShownSetting { key, value, source } in &entries {
            writeln!(f, "{key:keys$} = {value:values$}  # {source}")?;
        }
        for counter in &self.defined_counters {
            let CounterEntry { name, source, .. } = counter;
            let fields = counter.fields().into_iter();
            let fields: Vec<String> = fields
                .map(|(key, value)| format!("{key} = {value}"))
                .collect();
            let source = match source {
                SettingSource::Default => "built in".to_owned(),
                _ => source.to_string(),
            };
            writeln!(
                f,
                "counter.{name} = {{ {} }}  # {source}",
                fields.join(", ")
            )?;
        }
        Ok(())
    }
}
