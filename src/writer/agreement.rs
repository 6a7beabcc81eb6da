//! Whether a store can be served under a configuration: the zone of its days, and counters that both define.

use crate::calendar::is_one_zone;
use crate::counter::{CounterName, Definition, Millis};
use crate::storage::Tables;

use super::StartError;

/// What a configuration says of zone and counters.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// The zone in force.
    pub zone: &'a str,
    /// The configuration names the zone; else it is the machine's.
    pub zone_is_written: bool,
    /// The counters that the configuration defines.
    pub counters: &'a [(CounterName, Definition)],
}

impl Wanted<'_> {
    /// Compares the zone with the stored one. Returns the stored zone when a start changes it.
    ///
    /// # Errors
    /// [`StartError::ZoneChanged`] when they differ and nobody wrote the new one down.
    pub(super) fn judge_zone(self, stored: Option<String>) -> Result<Option<String>, StartError> {
        // Where the configured name is an alias of the stored one, the stored one is kept.
        match stored.filter(|stored| !is_one_zone(stored, self.zone)) {
            Some(stored) if !self.zone_is_written => Err(StartError::ZoneChanged {
                stored,
                found: self.zone.to_owned(),
            }),
            changed => Ok(changed),
        }
    }

    /// Judges a store that nobody has open as a start at `now` would, and changes nothing. Returns the stored zone
    /// when a start changes it.
    ///
    /// # Errors
    /// What a start would be refused with.
    pub fn judge(self, tables: &Tables, now: Millis) -> Result<Option<String>, StartError> {
        let changed = self.judge_zone(tables.zone()?)?;
        let mut conflict = Ok(());
        tables.definitions(|name, found| {
            let wanted = self.counters.iter().find(|(wanted, _)| *wanted == name);
            if let (Some((_, wanted)), Ok((stored, None))) = (wanted, found)
                && !stored.expired_at(now)
                && conflict.is_ok()
            {
                conflict = judge_definition(&name, wanted, &stored);
            }
        })?;
        conflict.map(|()| changed)
    }
}

/// Compares the definition that a live counter has with the one that the configuration wants.
///
/// # Errors
/// [`StartError::DefinitionConflict`] when the kind, the reset, the window or the grain differs.
pub(super) fn judge_definition(
    name: &CounterName,
    wanted: &Definition,
    stored: &Definition,
) -> Result<(), StartError> {
    if stored.may_become(wanted) {
        return Ok(());
    }
    Err(StartError::DefinitionConflict {
        name: name.clone(),
        wanted: Box::new(wanted.clone()),
        stored: Box::new(stored.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counter::{Kind, Seconds};

    #[test]
    fn a_conflict_names_what_differs() {
        let lapsing = |kind, window: Option<u32>, grain: Option<u32>, ttl: Option<u32>| {
            let definition = Definition {
                kind,
                window: window.map(Seconds),
                grain: grain.map(Seconds),
                ttl: ttl.map(Seconds),
                ..Definition::default()
            };
            definition.complete().unwrap()
        };
        let (unique, presence) = (Kind::Unique, Kind::Presence);
        for (wanted, stored, told) in [
            (
                lapsing(unique, None, None, None),
                lapsing(Kind::Gauge, None, None, None),
                "a unique that resets never in the configuration, but a gauge that resets never in the store",
            ),
            (
                lapsing(unique, Some(3600), None, None),
                lapsing(unique, None, None, None),
                "a unique that resets never with window 1h and grain 1m in the configuration, but a unique that \
                 resets never in the store",
            ),
            (
                lapsing(unique, Some(3600), None, None),
                lapsing(unique, Some(3600), Some(30), None),
                "window 1h and grain 1m in the configuration, but a unique that resets never with window 1h and \
                 grain 30s in the store",
            ),
            (
                lapsing(presence, None, None, Some(90)),
                lapsing(presence, None, None, Some(1200)),
                "ttl 90s and grain 1s in the configuration, but a presence that resets never with ttl 20m and \
                 grain 2s in the store",
            ),
        ] {
            let name = CounterName::parse("a").unwrap();
            let conflict = judge_definition(&name, &wanted, &stored).unwrap_err();
            let text = conflict.to_string();
            assert!(text.contains(told), "{text}");
        }
        let name = CounterName::parse("a").unwrap();
        let of = |ttl| lapsing(presence, None, None, Some(ttl));
        judge_definition(&name, &of(90), &of(600)).unwrap();
    }
}
