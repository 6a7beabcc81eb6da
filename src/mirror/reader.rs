//! Reading the mirror back, for a server that has no store to read.

use redis::Script;

use super::link::{Wire, text};
use super::{MirrorError, MirrorOptions, Result};
use crate::calendar::Day;
use crate::counter::{
    CopiedPage, CopiedValue, CopiedValues, CounterName, Kind, Millis, parse_rfc3339,
};

/// Counters in one call: Redis serves nobody else while it runs.
const COUNTERS_IN_A_CALL: usize = 250;

/// Reads values out of Redis on one connection, which is opened when it is needed.
pub struct MirrorReader {
    options: MirrorOptions,
    wire: Option<Wire>,
}

/// Fields as the script answers them.
type Fields = Vec<Option<Vec<u8>>>;

impl MirrorReader {
    /// Prepares questions to that Redis. Each may take `redis.timeout`, connecting too.
    pub fn new(options: MirrorOptions) -> Self {
        Self {
            options,
            wire: None,
        }
    }

    /// Closes the connection until the next question.
    pub fn rest(&mut self) {
        self.wire = None;
    }

    /// Reads counters, each as it was at one moment.
    ///
    /// # Errors
    /// When Redis cannot be asked in time.
    pub async fn values(&mut self, names: &[CounterName]) -> Result<CopiedValues> {
        self.ask(async |wire| values(wire, names).await).await
    }

    /// Reads up to `limit` counters after `cursor` that begin with `prefix`, in the order of names.
    ///
    /// # Errors
    /// When Redis cannot be asked in time, or does not have the names that were written.
    pub async fn page(
        &mut self,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<CopiedPage> {
        self.ask(async |wire| {
            // One name more shows whether there is another page.
            let mut names = names(wire, prefix, cursor, limit.saturating_add(1)).await?;
            let more = names.len() > limit;
            names.truncate(limit);
            let CopiedValues { as_of, values } = values(wire, &names).await?;
            // The next page begins after the last name, whether or not that has a value.
            let next = names.last().filter(|_| more).map(CounterName::to_string);
            Ok(CopiedPage {
                as_of,
                values: values.into_iter().flatten().collect(),
                next,
            })
        })
        .await
    }

    /// Returns whether a mirror has ever written here.
    ///
    /// # Errors
    /// When Redis cannot be asked in time.
    pub async fn is_written(&mut self) -> Result<bool> {
        self.ask(async |wire| {
            let [marker, _] = wire.keys.ours();
            wire.ask(redis::cmd("EXISTS").arg(marker)).await
        })
        .await
    }

    /// Asks on the open connection, or on a new one, within the time that both may take.
    async fn ask<T>(&mut self, question: impl AsyncFnOnce(&Wire) -> Result<T>) -> Result<T> {
        // Taken out of its place: after a question that is cut off, the state of the connection is unknown.
        let wire = self.wire.take();
        let limit = self.options.timeout;
        let answered = tokio::time::timeout(limit, async {
            let wire = match wire {
                Some(wire) => wire,
                None => Wire::open(&self.options).await?,
            };
            let answer = question(&wire).await?;
            Ok((answer, wire))
        });
        let (answer, wire) = answered.await.unwrap_or(Err(MirrorError::Late(limit)))?;
        self.wire = Some(wire);
        Ok(answer)
    }
}

async fn values(wire: &Wire, names: &[CounterName]) -> Result<CopiedValues> {
    let script = Script::new(include_str!("read.lua"));
    let [marker, _] = wire.keys.ours();
    let (mut values, mut times) = (Vec::new(), Vec::new());
    // Without any name, the marker is read all the same.
    let parts = names.chunks(COUNTERS_IN_A_CALL);
    for part in parts.chain(names.is_empty().then_some(names)) {
        let mut call = script.key(&marker);
        for name in part {
            call.key(&wire.keys.of(name.as_str()));
        }
        let answer: Vec<Fields> = wire.call(&call).await?;
        let mut answer = answer.into_iter();
        let as_of = answer.next().as_ref().and_then(complete_as_of);
        let copied = |(name, fields): (_, Fields)| copied(name, &fields, as_of);
        values.extend(part.iter().zip(answer).map(copied));
        times.push(as_of);
    }
    let as_of = times.into_iter().min().flatten();
    Ok(CopiedValues { as_of, values })
}

async fn names(
    wire: &Wire,
    prefix: &str,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Vec<CounterName>> {
    let from = match cursor {
        Some(cursor) if cursor >= prefix => format!("({cursor}"),
        Some(_) | None => format!("[{prefix}"),
    };
    // Names are ASCII: all that begin with the prefix come before this byte.
    let to = format!("({prefix}\u{7f}");
    let script = Script::new(include_str!("names.lua"));
    let mut call = script.key(&wire.keys.ours());
    let names: Vec<Vec<u8>> = wire.call(call.arg(from).arg(to).arg(limit)).await?;
    // An answer begins with `ok`; without it the list is not the one that the mirror wrote.
    let Some((_, names)) = names.split_first() else {
        return Err(MirrorError::Names);
    };
    let names = names.iter().filter_map(|name| text(name));
    Ok(names
        .filter_map(|name| CounterName::parse(name).ok())
        .collect())
}

/// Returns when Redis last had everything; `None` while it is being filled, and after it was emptied.
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
