//! The effective configuration as text: what `counterd config` prints. Secrets show only as set.

use std::fmt;

use super::{Config, CounterEntry, SettingSource};

impl fmt::Display for Config {
    /// Writes one line for each key, aligned, with its source as a comment; then the counters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.entries();
        let keys = entries.iter().map(|(key, _)| key.name.len());
        let values = entries.iter().map(|(_, value)| value.chars().count());
        let keys = keys.max().unwrap_or(0);
        let values = values.max().unwrap_or(0).min(28);
        for (key, value) in &entries {
            let (name, source) = (key.name, self.source(key.name));
            writeln!(f, "{name:keys$} = {value:values$}  # {source}")?;
        }
        for counter in &self.defined_counters {
            let CounterEntry { name, source, .. } = counter;
            let fields = counter.fields().into_iter();
            let fields: Vec<String> = fields
                .map(|(key, value)| format!("{} = {value}", key.name))
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
