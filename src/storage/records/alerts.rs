//! What is kept of alerts: where each stands that is not ok, notices that were not delivered yet, and silences.
//! All of it lies in `meta`, as a version byte and JSON; there are few such records, and each is small.

use std::ops::ControlFlow;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::counter::{CounterName, Millis};
use crate::storage::Family;
use crate::storage::batch::Batch;
use crate::storage::error::ReadError;
use crate::storage::tables::Tables;

const STATE_PREFIX: &[u8] = b"alert|state|";
const NOTICE_PREFIX: &[u8] = b"alert|notice|";
const SILENCE_PREFIX: &[u8] = b"alert|silence|";

const VERSION: u8 = 1;

/// Where an alert stands, or stood when a notice of it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertRecord {
    /// The word of its phase.
    pub phase: String,
    /// The word of its severity.
    pub severity: String,
    /// When its rule began to hold.
    pub since: Millis,
    /// When it fired.
    #[serde(default)]
    pub fired_at: Option<Millis>,
    /// When it ended.
    #[serde(default)]
    pub ended_at: Option<Millis>,
    /// From when its wait counts, in store time.
    pub waits_from: Millis,
    /// What was found.
    #[serde(default)]
    pub value: Option<i64>,
    /// What was expected.
    #[serde(default)]
    pub expected: Option<i64>,
    /// Why that is wrong, in words.
    #[serde(default)]
    pub why: String,
}

/// A notice that waits to be delivered: of which rule and counter, and how the alert stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeRecord {
    /// The word of the rule.
    pub rule: String,
    /// The counter; `None` for a rule about the server.
    #[serde(default)]
    pub counter: Option<String>,
    /// How the alert stood.
    pub alert: AlertRecord,
}

/// For which counters nothing is told for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilenceRecord {
    /// Names, and beginnings of names with a `*`.
    pub counters: Vec<String>,
    /// From when.
    pub from: Millis,
    /// Until when.
    pub until: Millis,
    /// Why.
    pub reason: String,
}

fn state_key(rule: &str, counter: Option<&CounterName>) -> Vec<u8> {
    let counter = counter.map_or("", CounterName::as_str);
    [STATE_PREFIX, rule.as_bytes(), b"|", counter.as_bytes()].concat()
}

fn numbered(prefix: &[u8], number: u64) -> Vec<u8> {
    [prefix, &number.to_be_bytes()].concat()
}

fn encoded(record: &impl Serialize) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    // Nothing in the records cannot be written as JSON; an empty one would be read as none.
    bytes.extend(serde_json::to_vec(record).unwrap_or_default());
    bytes
}

fn decoded<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes.strip_prefix(&[VERSION])?).ok()
}

impl Batch {
    /// Puts where an alert stands.
    pub(crate) fn put_alert(
        &mut self,
        rule: &str,
        counter: Option<&CounterName>,
        record: &AlertRecord,
    ) {
        self.put(Family::Meta, &state_key(rule, counter), &encoded(record));
    }

    /// Deletes where an alert stood: it is ok.
    pub(crate) fn delete_alert(&mut self, rule: &str, counter: Option<&CounterName>) {
        self.delete(Family::Meta, &state_key(rule, counter));
    }

    /// Puts a notice that waits to be delivered.
    pub fn put_notice(&mut self, number: u64, record: &NoticeRecord) {
        let key = numbered(NOTICE_PREFIX, number);
        self.put(Family::Meta, &key, &encoded(record));
    }

    /// Deletes a notice that waits no more.
    pub fn delete_notice(&mut self, number: u64) {
        self.delete(Family::Meta, &numbered(NOTICE_PREFIX, number));
    }

    /// Puts a silence.
    pub(crate) fn put_silence(&mut self, number: u64, record: &SilenceRecord) {
        let key = numbered(SILENCE_PREFIX, number);
        self.put(Family::Meta, &key, &encoded(record));
    }

    /// Deletes a silence.
    pub(crate) fn delete_silence(&mut self, number: u64) {
        self.delete(Family::Meta, &numbered(SILENCE_PREFIX, number));
    }
}

impl Tables {
    /// Returns where each alert stands that is not ok: rule, counter, record. What cannot be read is logged and
    /// left out, as if it were ok.
    pub(crate) fn alerts(
        &self,
    ) -> Result<Vec<(String, Option<CounterName>, AlertRecord)>, ReadError> {
        let mut found = Vec::new();
        self.each_of(STATE_PREFIX, |rest, record| {
            let rest = std::str::from_utf8(rest).ok()?;
            let (rule, counter) = rest.split_once('|')?;
            let counter = match counter {
                "" => None,
                name => Some(CounterName::parse(name).ok()?),
            };
            found.push((rule.to_owned(), counter, record?));
            Some(())
        })?;
        Ok(found)
    }

    /// Returns the notices that wait to be delivered, oldest first. What cannot be read is logged and left out.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn notices(&self) -> Result<Vec<(u64, NoticeRecord)>, ReadError> {
        self.numbered(NOTICE_PREFIX)
    }

    /// Returns the silences, oldest first. What cannot be read is logged and left out.
    pub(crate) fn silences(&self) -> Result<Vec<(u64, SilenceRecord)>, ReadError> {
        self.numbered(SILENCE_PREFIX)
    }

    fn numbered<T: DeserializeOwned>(&self, prefix: &[u8]) -> Result<Vec<(u64, T)>, ReadError> {
        let mut found = Vec::new();
        self.each_of(prefix, |rest, record| {
            found.push((u64::from_be_bytes(rest.try_into().ok()?), record?));
            Some(())
        })?;
        Ok(found)
    }

    /// Calls `take` with the rest of each key that begins so, and the record. It returns `None` for what it
    /// cannot read.
    fn each_of<T: DeserializeOwned>(
        &self,
        prefix: &[u8],
        mut take: impl FnMut(&[u8], Option<T>) -> Option<()>,
    ) -> Result<(), ReadError> {
        self.scan(Family::Meta, prefix, None, |key, value| {
            let Some(rest) = key.strip_prefix(prefix) else {
                return ControlFlow::Break(());
            };
            if take(rest, decoded(value)).is_none() {
                tracing::error!(
                    key = %key.escape_ascii(),
                    "a record of alerts cannot be read; it is left out"
                );
            }
            ControlFlow::Continue(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::batch::Change;

    fn record() -> AlertRecord {
        AlertRecord {
            phase: "firing".to_owned(),
            severity: "critical".to_owned(),
            since: 1000,
            fired_at: Some(61_000),
            ended_at: None,
            waits_from: 5,
            value: Some(300),
            expected: Some(1000),
            why: "less".to_owned(),
        }
    }

    #[test]
    fn records_are_these_bytes() {
        let name = CounterName::parse("ab").unwrap();
        let mut batch = Batch::new();
        batch.put_alert("drop", Some(&name), &record());
        batch.delete_alert("disk", None);
        let notice = NoticeRecord {
            rule: "disk".to_owned(),
            counter: None,
            alert: record(),
        };
        batch.put_notice(258, &notice);
        batch.put_silence(
            1,
            &SilenceRecord {
                counters: vec!["event:*".to_owned()],
                from: 1,
                until: 2,
                reason: "maintenance".to_owned(),
            },
        );
        let changes: Vec<_> = batch.changes().collect();
        let of_alert = r#"{"phase":"firing","severity":"critical","since":1000,"fired_at":61000,"ended_at":null,"waits_from":5,"value":300,"expected":1000,"why":"less"}"#;
        let alert = format!("\u{1}{of_alert}");
        let notice = format!("\u{1}{{\"rule\":\"disk\",\"counter\":null,\"alert\":{of_alert}}}");
        let silence =
            "\u{1}{\"counters\":[\"event:*\"],\"from\":1,\"until\":2,\"reason\":\"maintenance\"}";
        let wanted = [
            (
                Family::Meta,
                &b"alert|state|drop|ab"[..],
                Change::Put(alert.as_bytes()),
            ),
            (Family::Meta, b"alert|state|disk|", Change::Delete),
            (
                Family::Meta,
                b"alert|notice|\0\0\0\0\0\0\x01\x02",
                Change::Put(notice.as_bytes()),
            ),
            (
                Family::Meta,
                b"alert|silence|\0\0\0\0\0\0\0\x01",
                Change::Put(silence.as_bytes()),
            ),
        ];
        assert_eq!(changes, wanted);
    }

    #[test]
    fn a_record_that_a_later_version_added_to_is_read() {
        let bytes = b"\x01{\"phase\":\"pending\",\"severity\":\"info\",\"since\":1,\"waits_from\":2,\"later\":{}}";
        let read: AlertRecord = decoded(bytes).unwrap();
        assert_eq!((read.phase.as_str(), read.fired_at), ("pending", None));
        assert_eq!(decoded::<AlertRecord>(b"\x02{}"), None);
        assert_eq!(decoded::<AlertRecord>(b""), None);
    }
}
