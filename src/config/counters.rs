//! The counters that the configuration defines: `[[counter]]` of the file, and those built in.

use std::collections::BTreeMap;

use super::forms::{Form, Name, UsualForm};
use super::mistakes::{Report, SettingSource};
use super::reader::{Reader, Written};
use super::rows::{Key, optional, section};
use super::unwritten::unset;
use crate::counter::{CounterName, Definition, Kind, Millis, OnBound, Reset, definition_fields};

/// Makes the table `[[counter]]` of the fields of a definition.
macro_rules! counter_table {
    ($(
        $(#[doc = $doc:literal])+ $(#[serde($($json:tt)*)])?
        $name:ident: $type:ty = $default:expr
        $(, $written:literal)? $(, else $unwritten:ident)?;
    )+) => {
        section! {
            /// One `[[counter]]`.
            CounterTable, "", {
                /// Its name.
                name: CounterName = Name;
                $(
                    $(#[doc = $doc])+
                    $name: $type = <$type as UsualForm>::FORM
                        $(, $written)? $(, else $unwritten)?;
                )+
            }
        }

        impl CounterTable {
            fn of(name: CounterName, definition: Definition) -> Self {
                Self { name, $($name: definition.$name),+ }
            }

            fn parts(self) -> (CounterName, Definition) {
                (self.name, Definition { $($name: self.$name),+ })
            }
        }
    };
}

definition_fields!(counter_table);

/// A counter that the configuration defines.
#[derive(Debug, Clone, PartialEq)]
pub struct CounterEntry {
    /// Its name.
    pub name: CounterName,
    /// The whole of its definition; what was not written has its default.
    pub definition: Definition,
    /// Where it was defined; [`SettingSource::Default`] for one that is built in.
    pub source: SettingSource,
}

impl CounterEntry {
    /// Returns the fields of its definition that have a value, as they would be written in the file.
    pub(super) fn fields(&self) -> Vec<(&'static str, String)> {
        let table = CounterTable::of(self.name.clone(), self.definition.clone());
        let fields = table
            .show()
            .into_iter()
            .map(|(key, value)| (key.name, value));
        fields
            .filter(|(name, value)| *name != "name" && !value.is_empty())
            .collect()
    }
}

/// The counters that exist without any configuration.
const BUILT_IN: [(&str, Kind, Reset, &str); 3] = [
    (
        "online_players",
        Kind::Gauge,
        Reset::Never,
        "players online now",
    ),
    (
        "daily_active_users",
        Kind::Unique,
        Reset::Daily,
        "different users seen today",
    ),
    (
        "total_games_played",
        Kind::Sum,
        Reset::Daily,
        "games played today",
    ),
];

/// The built-in counters that `defined` does not define anew, then `defined`.
pub(super) fn with_built_in(defined: Vec<CounterEntry>) -> Vec<CounterEntry> {
    let is_defined = |name: &str| defined.iter().any(|entry| entry.name.as_str() == name);
    let mut all: Vec<CounterEntry> = BUILT_IN
        .iter()
        .filter(|(name, ..)| !is_defined(name))
        .filter_map(|(name, kind, reset, description)| {
            Some(CounterEntry {
                name: CounterName::parse(name).ok()?,
                definition: Definition {
                    kind: *kind,
                    reset: *reset,
                    description: Some((*description).to_owned()),
                    ..Definition::default()
                },
                source: SettingSource::Default,
            })
        })
        .collect();
    all.extend(defined);
    all
}

/// Reads every `[[counter]]`; what is wrong is reported.
pub(super) fn read(written: &mut Written, report: &mut Report) -> Vec<CounterEntry> {
    let mut entries: Vec<CounterEntry> = Vec::new();
    let mut seen: BTreeMap<CounterName, SettingSource> = BTreeMap::new();
    for (source, table) in written.arrays.remove("counter").unwrap_or_default() {
        let mut reader = Reader::new(table, report);
        reader.table = Some((&source, "counter"));
        let Some(table) = CounterTable::read(&mut reader) else {
            continue;
        };
        let (name, definition) = table.parts();
        if let Err(fault) = definition.check() {
            report.mistake(&source, fault.to_string());
        }
        if let Some(first) = seen.get(&name) {
            report.mistake(
                &source,
                format!("counter {name} is defined twice, first at {first}"),
            );
            continue;
        }
        seen.insert(name.clone(), source.clone());
        entries.push(CounterEntry {
            name,
            definition,
            source,
        });
    }
    entries
}
