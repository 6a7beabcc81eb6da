//! What a running server takes over from a changed configuration: tokens and what is logged. For the rest
//! it says that a restart is needed.

use std::sync::Arc;

use arc_swap::ArcSwap;
use secrecy::{ExposeSecret, SecretString};

use super::{defined, event_level, tokens};
use crate::access_log::{AccessLog, EventLog};
use crate::config::{Config, ConfigErrors, Warning};
use crate::http::Tokens;

/// Reads the configuration again, from all layers.
pub type LoadAgain<'a> = &'a dyn Fn() -> Result<(Config, Vec<Warning>), ConfigErrors>;

/// The parts of a server that can change, and the configuration in force.
pub(super) struct Reload<'a> {
    pub(super) load: LoadAgain<'a>,
    pub(super) config: Config,
    pub(super) tokens: Arc<ArcSwap<Tokens>>,
    pub(super) access_log: AccessLog,
    pub(super) events: EventLog,
}

impl Reload<'_> {
    /// Loads the configuration, takes over what can change, and says what that was. A configuration that
    /// is wrong changes nothing.
    pub(super) fn run(&mut self) {
        let (new, warnings) = match (self.load)() {
            Ok(loaded) => loaded,
            Err(ConfigErrors(mistakes)) => {
                for mistake in mistakes {
                    tracing::error!("{mistake}");
                }
                return tracing::error!("the configuration is wrong, and the one in force stays");
            }
        };
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        let (taken, restart) = differences(&self.config, &new);
        if let Err(error) = self.events.set_level(&event_level(&new)) {
            tracing::error!(%error, "the log level stays");
        }
        self.access_log.choose(new.log.access, new.log.sample);
        self.tokens.store(Arc::new(tokens(&new)));
        // What needs a restart is told at each reload, until there was one.
        self.config.auth = new.auth;
        self.config.log.level = new.log.level;
        self.config.log.access = new.log.access;
        self.config.log.sample = new.log.sample;
        let list = |keys: &[&str]| match keys {
            [] => "nothing".to_owned(),
            keys => keys.join(", "),
        };
        tracing::info!(
            taken = list(&taken),
            needs_a_restart = list(&restart),
            "configuration reloaded"
        );
    }
}

/// Returns the keys that differ: those that a running server takes over, and those that it cannot.
fn differences(old: &Config, new: &Config) -> (Vec<&'static str>, Vec<&'static str>) {
    let entries = old.entries().into_iter().zip(new.entries());
    // Secrets are shown as set or not: tokens are compared below.
    let changed =
        entries.filter(|(old, new)| old.value != new.value && !old.key.ends_with("_token"));
    let takes = ["log.level", "log.access", "log.sample"];
    let (mut taken, mut restart): (Vec<_>, Vec<_>) = changed
        .map(|(old, _)| old.key)
        .partition(|key| takes.contains(key));
    let exposed = |secrets: &[SecretString]| -> Vec<String> {
        let exposed = secrets.iter().map(ExposeSecret::expose_secret);
        exposed.map(str::to_owned).collect()
    };
    for (key, old, new) in [
        (
            "auth.admin_token",
            &old.auth.admin_token,
            &new.auth.admin_token,
        ),
        (
            "auth.write_token",
            &old.auth.write_token,
            &new.auth.write_token,
        ),
        (
            "auth.read_token",
            &old.auth.read_token,
            &new.auth.read_token,
        ),
    ] {
        if exposed(old) != exposed(new) {
            taken.push(key);
        }
    }
    if defined(old) != defined(new) {
        restart.push("[[counter]]");
    }
    (taken, restart)
}
