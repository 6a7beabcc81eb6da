//! The body of an increment or decrement: how much, who, and metadata.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::metadata;
use super::object::{object, text, wanted};
use crate::counter::UserId;
use crate::http::error::Problem;

/// The body of an increment or decrement.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::http) struct Change<'a> {
    /// By how much; 1 when absent.
    #[serde(deserialize_with = "amount")]
    pub(in crate::http) value: Option<i64>,
    #[serde(deserialize_with = "user_id")]
    pub(in crate::http) user_id: Option<UserId>,
    /// Checked, and of use only to tell two requests apart.
    #[serde(borrow)]
    pub(in crate::http) metadata: Option<&'a RawValue>,
}

/// Reads the body of an increment or decrement. An empty one is allowed.
pub(in crate::http) fn change(body: &[u8]) -> Result<Change<'_>, Problem> {
    let change: Change<'_> = object(body)?;
    change.metadata.map_or(Ok(()), metadata::check)?;
    Ok(change)
}

/// Reads a whole number from 1 on.
pub(super) fn amount<'de, D: Deserializer<'de>>(json: D) -> Result<Option<i64>, D::Error> {
    match Option::<i64>::deserialize(json) {
        Ok(amount @ (None | Some(1..))) => Ok(amount),
        Ok(Some(_)) | Err(_) => Err(wanted(
            "a whole number from 1 to 9223372036854775807, without fraction, exponent or quotes",
        )),
    }
}

/// Reads a user id.
pub(super) fn user_id<'de, D: Deserializer<'de>>(json: D) -> Result<Option<UserId>, D::Error> {
    let rule = "1 to 128 bytes of UTF-8 without control characters";
    let read = |text: Cow<'_, str>| UserId::parse(&text).map_err(|_| wanted(rule));
    text(json)?.map(read).transpose()
}
