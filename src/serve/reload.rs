//! What a running server takes over from a changed configuration: tokens, limits of requests and connections,
//! and what is logged. For the rest it says that a restart is needed.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::logs::Logs;
use super::options::{defined, limits, rate_limits, tokens};
use crate::config::{Config, ConfigErrors, Warning};
use crate::http::{HttpServer, Tokens};

/// Reads the configuration again, from all layers.
pub type LoadAgain<'a> = &'a dyn Fn() -> Result<(Config, Vec<Warning>), ConfigErrors>;

/// The keys whose changes a running server takes over, besides tokens.
const TAKEN: [&str; 17] = [
    "log.level",
    "log.access",
    "log.sample",
    "server.max_connections",
    "server.max_body",
    "server.max_batch_body",
    "server.max_body_memory",
    "server.header_timeout",
    "server.body_timeout",
    "server.idle_timeout",
    "limits.per_ip",
    "limits.per_user",
    "limits.burst",
    "limits.wrong_admin_tokens",
    "limits.exempt",
    "limits.trusted_proxies",
    "limits.client_ip_header",
];

/// The parts of a server that can change, the configuration of its start, and the one that was read last.
pub(super) struct Reload<'a> {
    pub(super) load: LoadAgain<'a>,
    pub(super) at_start: &'a Config,
    pub(super) latest: Config,
    pub(super) tokens: Arc<ArcSwap<Tokens>>,
    pub(super) http: &'a HttpServer,
    pub(super) logs: &'a Logs,
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
        let taken = taken(&self.latest, &new);
        // Told at each reload, until there was a restart.
        let restart = needs_restart(self.at_start, &new);
        if let Err(error) = self.logs.events.level.configure(new.log.level.as_str()) {
            tracing::error!(%error, "the log level stays");
        }
        let requests = &self.logs.requests;
        requests.choose(new.log.access, new.log.sample);
        self.tokens.store(Arc::new(tokens(&new)));
        self.http.set_limits(&limits(&new));
        self.http.set_rate_limits(&rate_limits(&new));
        self.latest = new;
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

/// Returns the keys whose values differ, but for tokens: secrets are shown as set or not.
fn changed(old: &Config, new: &Config) -> impl Iterator<Item = &'static str> {
    let entries = old.entries().into_iter().zip(new.entries());
    let changed = entries.filter(|((_, old), (_, new))| old != new);
    let keys = changed.map(|((key, _), _)| key.name);
    keys.filter(|name| !name.ends_with("_token"))
}

fn taken(old: &Config, new: &Config) -> Vec<&'static str> {
    let tokens = old.auth.exposed().into_iter().zip(new.auth.exposed());
    let tokens = tokens.filter_map(|(old, new)| (old != new).then_some(new.0));
    let keys = changed(old, new).filter(|key| TAKEN.contains(key));
    keys.chain(tokens).collect()
}

fn needs_restart(at_start: &Config, new: &Config) -> Vec<&'static str> {
    let keys = changed(at_start, new).filter(|key| !TAKEN.contains(key));
    let counters = (defined(at_start) != defined(new)).then_some("[[counter]]");
    keys.chain(counters).collect()
}
