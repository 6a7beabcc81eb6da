//! Reading the mirror back, for a server that has no store to read.

use super::link::{Wire, text};
use super::script::{self, Keys};
use super::{MirrorError, MirrorOptions};
use crate::calendar::Day;
use crate::counter::{CopiedValue, CounterName, Kind, Millis, parse_rfc3339};

/// Counters in one call: Redis serves nobody else while it runs.
const COUNTERS_IN_A_CALL: usize = 250;

/// Reads values out of Redis on one connection, which is opened when it is needed.
pub struct MirrorReader {
    options: MirrorOptions,
    keys: Keys,
    link: Option<ReadLink>,
}

/// A connection on which the scripts that read are loaded.
struct ReadLink {
    wire: Wire,
    values: String,
    names: String,
}

/// What Redis has of the counters asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirrored {
    /// When Redis last had everything; `None` while it is being filled, and after it was emptied.
    pub complete_as_of: Option<Millis>,
    /// The values, in the order asked; `None` for a counter that is not there or cannot be read.
    pub values: Vec<Option<CopiedValue>>,
}

/// Fields as the script answers them.
type Fields = Vec<Option<Vec<u8>>>;

impl MirrorReader {
    /// Prepares questions to that Redis.
    pub fn new(options: MirrorOptions) -> Self {
        Self {
            keys: Keys::new(&options.prefix),
            options,
            link: None,
        }
    }

    /// Closes the connection until the next question.
    pub fn rest(&mut self) {
        self.link = None;
    }

    /// Reads counters, each as it was at one moment.
    ///
    /// # Errors
    /// When Redis cannot be asked in time, connecting too.
    pub async fn values(&mut self, names: &[CounterName]) -> Result<Mirrored, MirrorError> {
        let limit = self.options.timeout;
        let asked = tokio::time::timeout(limit, self.ask_values(names));
        asked.await.unwrap_or(Err(MirrorError::Late(limit)))
    }

    /// Returns whether a mirror has ever written here.
    ///
    /// # Errors
    /// When Redis cannot be asked in time, connecting too.
    pub async fn is_written(&mut self) -> Result<bool, MirrorError> {
        let limit = self.options.timeout;
        let asked = tokio::time::timeout(limit, async {
            let mut wire = Wire::open(&self.options).await?;
            let mut command = redis::cmd("EXISTS");
            wire.ask::<u64>(command.arg(self.keys.marker())).await
        });
        let there = asked.await.unwrap_or(Err(MirrorError::Late(limit)))?;
        Ok(there > 0)
    }

    /// Reads up to `limit` names after `cursor` that begin with `prefix`, in order.
    ///
    /// # Errors
    /// When Redis cannot be asked in time, connecting too, or does not have the names that were written.
    pub async fn names(
        &mut self,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Vec<CounterName>, MirrorError> {
        let patience = self.options.timeout;
        let asked = tokio::time::timeout(patience, self.ask_names(prefix, cursor, limit));
        asked.await.unwrap_or(Err(MirrorError::Late(patience)))
    }

    /// Takes the connection out of its place: after a question that is cut off, its state is unknown.
    async fn take_link(&mut self) -> Result<ReadLink, MirrorError> {
        match self.link.take() {
            Some(link) => Ok(link),
            None => ReadLink::open(&self.options).await,
        }
    }

    async fn ask_values(&mut self, names: &[CounterName]) -> Result<Mirrored, MirrorError> {
        let mut link = self.take_link().await?;
        let mut mirrored = Mirrored::default();
        // Without any name, the marker is read all the same.
        let none: [&[CounterName]; 1] = [&[]];
        let parts = names.chunks(COUNTERS_IN_A_CALL);
        let parts = parts.chain(none.into_iter().take(usize::from(names.is_empty())));
        for (number, part) in parts.enumerate() {
            let call = script::read(&link.values, &self.keys, part);
            let answer: Vec<Fields> = link.ask(script::READ, &call).await?;
            let mut answer = answer.into_iter();
            let complete = answer.next().as_ref().and_then(complete_as_of);
            mirrored.complete_as_of = if number == 0 {
                complete
            } else {
                mirrored.complete_as_of.min(complete)
            };
            let values = part.iter().zip(answer);
            mirrored
                .values
                .extend(values.map(|(name, fields)| copied(name, &fields, complete)));
        }
        self.link = Some(link);
        Ok(mirrored)
    }

    async fn ask_names(
        &mut self,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Vec<CounterName>, MirrorError> {
        let mut link = self.take_link().await?;
        let from = match cursor {
            Some(cursor) if cursor >= prefix => format!("({cursor}"),
            Some(_) | None => format!("[{prefix}"),
        };
        // Names are ASCII: all that begin with the prefix come before this byte.
        let to = format!("({prefix}\u{7f}");
        let call = script::names(&link.names, &self.keys, &from, &to, limit);
        let names: Vec<Vec<u8>> = link.ask(script::NAMES, &call).await?;
        self.link = Some(link);
        // An answer begins with `ok`; without it the list is not the one that the mirror wrote.
        let Some((_, names)) = names.split_first() else {
            return Err(MirrorError::Names);
        };
        let names = names.iter().filter_map(|name| text(name));
        Ok(names
            .filter_map(|name| CounterName::parse(name).ok())
            .collect())
    }
}

impl ReadLink {
    async fn open(options: &MirrorOptions) -> Result<Self, MirrorError> {
        let mut wire = Wire::open(options).await?;
        Ok(Self {
            values: wire.load(script::READ).await?,
            names: wire.load(script::NAMES).await?,
            wire,
        })
    }

    /// Calls a script. If Redis has forgotten it, loads it and calls it once more.
    async fn ask<T: redis::FromRedisValue>(
        &mut self,
        script: &str,
        call: &redis::Cmd,
    ) -> Result<T, MirrorError> {
        match self.wire.ask(call).await {
            Err(MirrorError::NoScript) => {
                self.wire.load(script).await?;
                self.wire.ask(call).await
            }
            answer => answer,
        }
    }
}

fn complete_as_of(marker: &Fields) -> Option<Millis> {
    match marker.as_slice() {
        [Some(complete), Some(as_of)] if complete == b"1" => parse_rfc3339(text(as_of)?),
        _ => None,
    }
}

/// Reads the fields; `None` where one of them cannot be read.
fn copied(name: &CounterName, fields: &Fields, complete: Option<Millis>) -> Option<CopiedValue> {
    let [
        Some(value),
        Some(last_updated),
        Some(kind),
        Some(period),
        Some(epoch),
        Some(revision),
        expires_at,
    ] = fields.as_slice()
    else {
        return None;
    };
    let last_updated = parse_rfc3339(text(last_updated)?)?;
    let period = match text(period)? {
        "" => None,
        text => Some(text.parse::<Day>().ok()?),
    };
    // An earlier version did not write this field.
    let expires_at = match text(expires_at.as_deref().unwrap_or_default())? {
        "" => None,
        text => Some(parse_rfc3339(text)?),
    };
    Some(CopiedValue {
        name: name.clone(),
        value: text(value)?.parse().ok()?,
        kind: Kind::of_word(text(kind)?),
        period,
        revision: text(revision)?.parse().ok()?,
        epoch: text(epoch)?.parse().ok()?,
        last_updated,
        expires_at,
        as_of: complete.unwrap_or(last_updated).max(last_updated),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(texts: [&str; 7]) -> Fields {
        texts
            .iter()
            .map(|text| Some(text.as_bytes().to_vec()))
            .collect()
    }

    #[test]
    fn what_redis_says_is_a_value_or_nothing() {
        let name = CounterName::parse("c").unwrap();
        let at = "2026-11-24T10:30:00.000Z";
        let good = ["7", at, "sum", "2026-11-24", "1", "9", ""];
        let value = copied(&name, &fields(good), None).unwrap();
        assert_eq!((value.value, value.revision, value.epoch), (7, 9, 1));
        assert_eq!(value.kind, Some(Kind::Sum));
        assert_eq!((value.as_of, value.expires_at), (value.last_updated, None));
        let mut ends = good;
        ends[6] = at;
        let value = copied(&name, &fields(ends), None).unwrap();
        assert_eq!(value.expires_at, Some(value.last_updated));
        let later = value.last_updated + 5;
        assert_eq!(
            copied(&name, &fields(good), Some(later)).unwrap().as_of,
            later
        );
        // Changed since everything was there.
        let earlier = value.last_updated - 5;
        let changed = copied(&name, &fields(good), Some(earlier)).unwrap();
        assert_eq!(changed.as_of, value.last_updated);
        for (place, text) in [
            (0, "7.5"),
            (0, ""),
            (1, "noon"),
            (3, "2026-13-01"),
            (4, "-1"),
            (5, "x"),
            (6, "soon"),
        ] {
            let mut bad = good;
            bad[place] = text;
            assert_eq!(copied(&name, &fields(bad), None), None, "{bad:?}");
        }
        assert_eq!(copied(&name, &vec![Some(b"7".to_vec()); 3], None), None);
        let mut garbled = fields(good);
        garbled[2] = Some(vec![0xff, 0xfe]);
        assert_eq!(copied(&name, &garbled, None), None);
        let mut absent = fields(good);
        absent[0] = None;
        assert_eq!(copied(&name, &absent, None), None);
    }
}
