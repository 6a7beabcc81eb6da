//! Whether the user in `redis.url` may call all that the scripts call: a script ends where it may not, and what it did
//! before stays.

use std::time::Instant;

use super::link::{Link, Script};
use crate::storage::shared_log_error::SharedLogError;

/// Checks it for the keys of a cell, in the order of `rights.lua`.
///
/// # Errors
/// When a right is missing, with its name.
pub(super) fn check(
    link: &mut Link,
    limit: Instant,
    keys: &[String],
) -> Result<(), SharedLogError> {
    let script = Script::new(include_str!("rights.lua"));
    let missing: Option<String> = link.call(limit, &script, &script.call(keys))?;
    match missing {
        None => Ok(()),
        Some(call) => Err(SharedLogError::Setting {
            name: format!("the right of its user to {call}"),
            found: "missing".to_owned(),
            wanted: "given: ACL SETUSER",
        }),
    }
}
