//! Names met while a batch is read.

use xxhash_rust::xxh3::xxh3_64;

use crate::counter::CounterName;

/// Names met in a batch: operations that repeat a name share it without checking it again.
pub(super) struct NameMemo(Vec<Option<CounterName>>);

impl NameMemo {
    const PLACES: usize = 256;

    pub(super) fn new() -> Self {
        Self(vec![None; Self::PLACES])
    }

    pub(super) fn parse(&mut self, text: &str) -> Option<CounterName> {
        let place = self
            .0
            .get_mut(xxh3_64(text.as_bytes()) as usize % Self::PLACES)?;
        match place {
            Some(name) if name.as_str() == text => Some(name.clone()),
            Some(_) | None => {
                let name = CounterName::parse(text).ok()?;
                *place = Some(name.clone());
                Some(name)
            }
        }
    }
}
