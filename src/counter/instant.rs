//! Instants as they are shown and read everywhere, such as `2026-11-24T10:30:00.000Z`.

use serde::de::{Deserialize, Deserializer, Error, Unexpected};
use serde::{Serialize, Serializer};

use super::Millis;

/// Writes an instant in that form.
pub fn rfc3339(at: Millis) -> String {
    chrono::DateTime::from_timestamp_millis(at)
        .unwrap_or_default()
        .to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// Reads an instant from such a text; `None` when it is not one.
pub fn parse_rfc3339(text: &str) -> Option<Millis> {
    let at = chrono::DateTime::parse_from_rfc3339(text).ok()?;
    let at = at.timestamp_millis();
    // Instants of other years cannot be written in this form.
    let year = chrono::Datelike::year(&chrono::DateTime::from_timestamp_millis(at)?);
    (1..=9999).contains(&year).then_some(at)
}

/// Writes a field that holds an instant.
pub(crate) fn serialize_at<S: Serializer>(at: &Millis, json: S) -> Result<S::Ok, S::Error> {
    rfc3339(*at).serialize(json)
}

/// Writes a field that may hold an instant; `None` is `null`.
pub(crate) fn serialize<S: Serializer>(at: &Option<Millis>, json: S) -> Result<S::Ok, S::Error> {
    at.map(rfc3339).serialize(json)
}

/// Reads a field that may hold an instant.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(json: D) -> Result<Option<Millis>, D::Error> {
    let text = Option::<String>::deserialize(json)?;
    let wanted = "an RFC 3339 time such as \"2026-12-24T18:00:00Z\"";
    let instant = text.map(|text| {
        parse_rfc3339(&text).ok_or_else(|| Error::invalid_value(Unexpected::Other("text"), &wanted))
    });
    instant.transpose()
}
