//! The counters that the configuration defines: `[[counter]]` of the file, and those built in.

use std::collections::BTreeMap;

use super::forms::{Form, NAME, UsualForm};
use super::mistakes::{Report, SettingSource};
use super::reader::{Reader, Written, unset};
use super::rows::{Key, key_word, optional, section};
use crate::counter::{
    CounterName, Definition, Kind, Millis, OnBound, Reset, Seconds, definition_fields,
};

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
                name: CounterName = NAME;
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
    pub(super) fn fields(&self) -> Vec<(&'static Key, String)> {
        let table = CounterTable::of(self.name.clone(), self.definition.clone());
        let mut fields = table.show();
        fields.retain(|(key, value)| key.name != "name" && !value.is_empty());
        fields
    }
}

/// The counters that exist without any configuration.
const BUILT_IN: [(&str, Kind, Reset, Option<Seconds>, &str); 4] = {
    use Kind::{Gauge, Sum, Unique};
    use Reset::{Daily, Never};
    const HOUR: Option<Seconds> = Some(Seconds(3600));
    [
        ("online_players", Gauge, Never, None, "players online now"),
        (
            "daily_active_users",
            Unique,
            Daily,
            None,
            "different users seen today",
        ),
        ("total_games_played", Sum, Daily, None, "games played today"),
        (
            "active_users_1h",
            Unique,
            Never,
            HOUR,
            "different users seen in the past hour",
        ),
    ]
};

/// Returns the built-in counters that are not defined anew, then those of every `[[counter]]`; what is wrong is
/// reported.
pub(super) fn read(written: &mut Written, report: &mut Report) -> Vec<CounterEntry> {
    let mut entries: Vec<CounterEntry> = Vec::new();
    let mut seen: BTreeMap<CounterName, SettingSource> = BTreeMap::new();
    for (source, table) in written.arrays.remove("counter").unwrap_or_default() {
        let mut reader = Reader::new(table, report);
        reader.table = Some((&source, "counter"));
        let Some(table) = CounterTable::read(&mut reader) else {
            continue;
        };
        let (name, mut definition) = table.parts();
        match definition.clone().complete() {
            Ok(complete) => definition = complete,
            Err(fault) => report.mistake(&source, fault.to_string()),
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
    let built_in = BUILT_IN.into_iter();
    let built_in = built_in.filter(|(name, ..)| !seen.contains_key(*name));
    let built_in = built_in.filter_map(|(name, kind, reset, window, description)| {
        let definition = Definition {
            kind,
            reset,
            window,
            description: Some(description.to_owned()),
            ..Definition::default()
        };
        let definition = definition.complete().ok()?;
        Some(CounterEntry {
            name: CounterName::parse(name).ok()?,
            definition,
            source: SettingSource::Default,
        })
    });
    built_in.chain(entries).collect()
}
