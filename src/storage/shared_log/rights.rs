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
    let mut call = script.call(&[]);
    call.arg(keys);
    let missing: Option<String> = link.call(limit, &script, &call)?;
    match missing {
        None => Ok(()),
        Some(call) => Err(SharedLogError::Setting {
            name: format!("the right of its user to {call}"),
            found: "missing".to_owned(),
            wanted: "given: ACL SETUSER",
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    fn words<'a>(script: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
        let parts = script.split(before).skip(1);
        parts.filter_map(|part| part.split('\'').next())
    }

    #[test]
    fn every_command_of_the_scripts_is_asked_for() {
        let asked: BTreeSet<_> = words(include_str!("rights.lua"), "{'").collect();
        let scripts = [
            include_str!("append.lua"),
            include_str!("confirm.lua"),
            include_str!("create.lua"),
            include_str!("drop.lua"),
            include_str!("drop_records.lua"),
            include_str!("epoch.lua"),
            include_str!("lease.lua"),
            include_str!("lost.lua"),
            include_str!("pulse.lua"),
        ];
        let called = scripts.map(|script| words(script, "redis.call('").collect::<BTreeSet<_>>());
        assert!(called.iter().all(|called| !called.is_empty()));
        let called: BTreeSet<_> = called.into_iter().flatten().collect();
        let missing: Vec<_> = called.difference(&asked).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
