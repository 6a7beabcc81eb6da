//! The body of an increment or decrement: how much, who, and metadata.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::metadata;
use super::object::{object, text, wanted};
use crate::counter::{MAX_WEIGHT, SessionId, UserId};
use crate::http::error::Problem;

/// What the amount of an increment or decrement must be.
pub(super) const AMOUNT: &str =
    "a whole number from 1 to 9223372036854775807, without fraction, exponent or quotes";

/// What the weight of a lease must be.
pub(super) const WEIGHT: &str =
    "a whole number from 0 to 2147483647, without fraction, exponent or quotes";

/// What the value of an operation of a batch must be, before it is known which it is.
const AMOUNT_OR_WEIGHT: &str = "a whole number from 1 to 9223372036854775807 (of a heartbeat from 0 to 2147483647), \
                                without fraction, exponent or quotes";

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
    /// Of a heartbeat or a leave alone.
    #[serde(skip)]
    pub(in crate::http) session: Option<SessionId>,
}

/// The body of a heartbeat.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Heartbeat {
    #[serde(deserialize_with = "weight")]
    value: Option<i64>,
    #[serde(deserialize_with = "user_id")]
    user_id: Option<UserId>,
    #[serde(deserialize_with = "session")]
    session: Option<SessionId>,
}

/// The body of a leave.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Leave {
    #[serde(deserialize_with = "user_id")]
    user_id: Option<UserId>,
    #[serde(deserialize_with = "session")]
    session: Option<SessionId>,
}

/// Reads the body of a heartbeat.
pub(in crate::http) fn heartbeat(body: &[u8]) -> Result<Change<'_>, Problem> {
    let Heartbeat {
        value,
        user_id,
        session,
    } = object(body)?;
    Ok(Change {
        value,
        user_id,
        session,
        metadata: None,
    })
}

/// Reads the body of a leave.
pub(in crate::http) fn leave(body: &[u8]) -> Result<Change<'_>, Problem> {
    let Leave { user_id, session } = object(body)?;
    Ok(Change {
        user_id,
        session,
        ..Change::default()
    })
}

/// Reads the body of an increment or decrement. An empty one is allowed.
pub(in crate::http) fn change(body: &[u8]) -> Result<Change<'_>, Problem> {
    let change: Change<'_> = object(body)?;
    change.metadata.map_or(Ok(()), metadata::check)?;
    Ok(change)
}

/// Reads a whole number from 1 on.
fn amount<'de, D: Deserializer<'de>>(json: D) -> Result<Option<i64>, D::Error> {
    match Option::<i64>::deserialize(json) {
        Ok(amount @ (None | Some(1..))) => Ok(amount),
        Ok(Some(_)) | Err(_) => Err(wanted(AMOUNT)),
    }
}

/// Reads a user id.
pub(super) fn user_id<'de, D: Deserializer<'de>>(json: D) -> Result<Option<UserId>, D::Error> {
    let rule = "1 to 128 bytes of UTF-8 without control characters";
    let read = |text: Cow<'_, str>| UserId::parse(&text).map_err(|_| wanted(rule));
    text(json)?.map(read).transpose()
}

/// Reads the value of an operation of a batch, before it is known which it is; `None` where it is absent.
pub(super) fn amount_or_weight<'de, D: Deserializer<'de>>(
    json: D,
) -> Result<Option<i64>, D::Error> {
    match Option::<i64>::deserialize(json) {
        Ok(value @ (None | Some(0..))) => Ok(value),
        Ok(Some(_)) | Err(_) => Err(wanted(AMOUNT_OR_WEIGHT)),
    }
}

/// Reads the weight of a lease; `None` where it is absent.
fn weight<'de, D: Deserializer<'de>>(json: D) -> Result<Option<i64>, D::Error> {
    match Option::<i64>::deserialize(json) {
        Ok(weight @ (None | Some(0..=MAX_WEIGHT))) => Ok(weight),
        Ok(Some(_)) | Err(_) => Err(wanted(WEIGHT)),
    }
}

/// Reads which log-in of a user it is; `None` where it is absent.
pub(super) fn session<'de, D: Deserializer<'de>>(json: D) -> Result<Option<SessionId>, D::Error> {
    let rule = "1 to 128 bytes of UTF-8 without control characters";
    let read = |text: Cow<'_, str>| SessionId::parse(&text).map_err(|_| wanted(rule));
    text(json)?.map(read).transpose()
}
