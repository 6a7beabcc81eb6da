//! The configuration: defaults < `counterd.toml` < environment < flags, merged by hand so that each
//! effective value knows where it comes from and each mistake where it was made.
//!
//! Nothing here opens the data directory, binds a socket or looks at a clock.

mod alerts;
mod counters;
mod forms;
mod layers;
mod mistakes;
mod reader;
mod rows;
mod table;

use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use secrecy::ExposeSecret;

use crate::alerts::AlertRules;
use crate::counter::CountedNames;

use layers::Layers;
use mistakes::Report;
use reader::Reader;

pub use counters::CounterEntry;
pub use layers::Override;
pub use mistakes::{ConfigErrors, Mistake, SettingSource, Warning};
pub use rows::Key;
pub use table::{
    AlertsConfig, AuthConfig, CalendarConfig, Config, CountersConfig, DegradedConfig, LimitsConfig,
    LogConfig, PostgresConfig, RedisConfig, SamplesConfig, ServerConfig, StorageConfig,
    WriterConfig, all_keys,
};

/// Samples are kept at least so long while rules compare with earlier weeks.
pub const SEASON: Duration = Duration::from_secs(22 * 24 * 3600);

/// Tokens shorter than this are guessed too easily.
const SHORT_TOKEN: usize = 16;

words! {
    /// What stores the counts.
    StorageEngine {
        /// The embedded RocksDB.
        RocksDb = "rocksdb",
        /// A log in Redis that several instances share.
        Redis = "redis",
    }
}

words! {
    /// The least severe events that are logged. A later one logs more.
    #[derive(PartialOrd, Ord)]
    LogLevel {
        /// What failed.
        Error = "error",
        /// And what may fail.
        Warn = "warn",
        /// And what happened.
        Info = "info",
        /// And how.
        Debug = "debug",
        /// And everything else.
        Trace = "trace",
    }
}

impl Config {
    /// Returns the configuration from all layers, and what should be known about it.
    ///
    /// `environment` is the process's, of which the `COUNTERD_*` variables and `TZ` are looked at;
    /// without a `file` none is read. The error lists everything that is wrong, not just the first.
    pub fn load(
        overrides: &[Override],
        environment: &[(OsString, OsString)],
        file: Option<&Path>,
    ) -> Result<(Config, Vec<Warning>), ConfigErrors> {
        let mut layers = Layers::default();
        if let Some(path) = file {
            layers.add_file(path);
        }
        layers.add_environment(environment);
        layers.add_flags(overrides);

        let tz = environment.iter().find(|(name, _)| name == "TZ");
        let tz = tz.map(|(_, value)| value.to_string_lossy());
        let mut report = layers.report;
        let defined = counters::read(&mut layers.written, &mut report);
        let alert_rules = alerts::read(&mut layers.written, &mut report);
        let mut reader = Reader::new(layers.written, &mut report);
        reader.tz = tz.as_deref();
        let mut config = Config::read(&mut reader, defined);
        if let Some(config) = &mut config {
            config.file = file.map(Path::to_path_buf);
            config.alert_rules = alert_rules;
            judge_names(config, &mut report);
            judge_together(config, &mut report);
        }
        match config {
            Some(config) if report.mistakes.is_empty() => Ok((config, report.warnings)),
            Some(_) | None => Err(report.into_errors()),
        }
    }

    /// Returns the names that this server counts.
    pub fn counted_names(&self) -> CountedNames {
        CountedNames::new(self.counters.names.clone())
    }

    /// Returns where the effective value of a key comes from.
    pub fn source(&self, key: &str) -> &SettingSource {
        self.sources.get(key).unwrap_or(&SettingSource::Default)
    }

    /// Returns whether anybody on the network may write: it listens elsewhere than on the loopback, and
    /// no write token is set.
    pub fn open_to_the_network(&self) -> bool {
        !self.server.listen.ip().is_loopback() && self.auth.write_token.is_empty()
    }
}

/// Leaves out the counters that are built in and not counted here. One that is defined and not counted is a mistake.
fn judge_names(config: &mut Config, report: &mut Report) {
    let counted = config.counted_names();
    config.defined_counters.retain(|entry| {
        let is_counted = counted.has(&entry.name);
        if !is_counted && entry.source != SettingSource::Default {
            let name = &entry.name;
            let text =
                format!("counter {name} is none that this server counts: add it to counters.names");
            report.mistake(&entry.source, text);
        }
        is_counted
    });
}

/// Judges what depends on several keys.
fn judge_together(config: &Config, report: &mut Report) {
    let place = |name: &str| config.source(name);
    if config.server.max_batch_body < config.server.max_body {
        let text = "server.max_batch_body is below server.max_body";
        report.mistake(place("server.max_batch_body"), text);
    }
    if config.server.max_body_memory < config.server.max_batch_body {
        let text = "server.max_body_memory is below server.max_batch_body";
        report.mistake(place("server.max_body_memory"), text);
    }
    // One that cannot be read is a mistake already.
    let is_set = |key, file_key| place(key).is_written() || place(file_key).is_written();
    let redis_is_set = is_set("redis.url", "redis.url_file");
    let postgres_is_set = is_set("postgres.url", "postgres.url_file");
    if config.redis.mirror && !redis_is_set {
        let text =
            "redis.mirror is true, and redis.url is not set: set redis.url or redis.url_file too";
        report.mistake(place("redis.mirror"), text);
    }
    let nodes = config.redis.url.as_ref().map(|url| &url.target);
    let are_several = nodes.is_some_and(|nodes| !nodes.others.is_empty());
    // Such a URL alone may be for `counterd migrate`.
    let reads_mirror = config.redis.mirror || config.degraded.start;
    if are_several && reads_mirror && config.storage.engine != StorageEngine::Redis {
        let text = "redis.url lists several nodes, which is for storage.engine = \"redis\": name the one that has the mirror";
        let in_file = place("redis.url_file").is_written();
        report.mistake(
            place(if in_file {
                "redis.url_file"
            } else {
                "redis.url"
            }),
            text,
        );
    }
    if config.storage.engine == StorageEngine::Redis {
        if !redis_is_set {
            let text = "storage.engine is redis, and redis.url is not set: set redis.url or redis.url_file too";
            report.mistake(place("storage.engine"), text);
        }
        let text =
            "storage.engine = \"redis\" is a trial: docs/instances.md says what it does not do yet";
        report.warn(place("storage.engine"), text);
        if config.redis.mirror {
            let text = "redis.mirror is for storage.engine = \"rocksdb\": with \"redis\" the counts are in Redis already";
            report.mistake(place("redis.mirror"), text);
        }
    }
    if config.degraded.start && !redis_is_set && !postgres_is_set {
        let text = "degraded.start is true, and neither redis.url nor postgres.url is set: there is no copy to serve";
        report.mistake(place("degraded.start"), text);
    }
    judge_limits(config, report);
    judge_alerts(config, report);
    let roles = config.auth.exposed();
    let [(_, admins), ..] = &roles;
    for (key, tokens) in &roles {
        if tokens.iter().any(|token| token.len() < SHORT_TOKEN) {
            let text = format!("{key} is short; use at least {SHORT_TOKEN} characters");
            report.warn(place(key), text);
        }
        if *key != "auth.admin_token" && tokens.iter().any(|token| admins.contains(token)) {
            let text = format!("{key} is the admin token: whoever has it may do everything");
            report.warn(place(key), text);
        }
    }
}

/// Warns of what alerts lack.
fn judge_alerts(config: &Config, report: &mut Report) {
    let place = |name: &str| config.source(name);
    let rules = AlertRules::new(config.alert_rules.clone());
    if rules.has_seasonal() && config.samples.retention < SEASON {
        let text = "samples.retention is shorter than the three weeks that rules of alerts compare with: 22d are kept";
        report.warn(place("samples.retention"), text);
    }
    let is_set = |key, file_key| place(key).is_written() || place(file_key).is_written();
    if is_set("alerts.secret", "alerts.secret_file")
        && !is_set("alerts.webhook", "alerts.webhook_file")
    {
        let text = "alerts.secret signs what alerts.webhook is told, and that is not set";
        report.warn(place("alerts.secret"), text);
    }
}

/// Warns of limits that would fall on others than those who are meant.
fn judge_limits(config: &Config, report: &mut Report) {
    let limits = &config.limits;
    let place = |name: &str| config.source(name);
    if limits
        .trusted_proxies
        .iter()
        .any(|net| net.prefix_len() == 0)
    {
        let text = "limits.trusted_proxies holds every address: any client may choose the address that it is \
                    known by";
        report.warn(place("limits.trusted_proxies"), text);
    }
    let is_alone = config.server.listen.ip().is_loopback() && limits.trusted_proxies.is_empty();
    if limits.per_ip.is_some() && is_alone {
        let text = "limits.per_ip is set, and the server listens on a loopback address: all clients of a proxy \
                    on this machine have one address, unless limits.trusted_proxies has it";
        report.warn(place("limits.per_ip"), text);
    }
}

impl fmt::Display for Config {
    /// Writes one line for each key, aligned, with its source as a comment; then the counters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.entries();
        let keys = entries.iter().map(|(key, _)| key.name.len());
        let values = entries.iter().map(|(_, value)| value.chars().count());
        let keys = keys.max().unwrap_or(0);
        let values = values.max().unwrap_or(0).min(28);
        for (key, value) in &entries {
            let (name, source) = (key.name, self.source(key.name));
            writeln!(f, "{name:keys$} = {value:values$}  # {source}")?;
        }
        for counter in &self.defined_counters {
            let CounterEntry { name, source, .. } = counter;
            let fields = counter.fields().into_iter();
            let fields: Vec<String> = fields
                .map(|(key, value)| format!("{} = {value}", key.name))
                .collect();
            let source = match source {
                SettingSource::Default => "built in".to_owned(),
                _ => source.to_string(),
            };
            writeln!(
                f,
                "counter.{name} = {{ {} }}  # {source}",
                fields.join(", ")
            )?;
        }
        for entry in &self.alert_rules {
            writeln!(f, "{}", alerts::shown(entry))?;
        }
        Ok(())
    }
}

impl AuthConfig {
    /// Returns the key of each role with its tokens in the clear.
    pub(crate) fn exposed(&self) -> [(&'static str, Vec<&str>); 3] {
        let roles = [
            ("auth.admin_token", &self.admin_token),
            ("auth.write_token", &self.write_token),
            ("auth.read_token", &self.read_token),
        ];
        roles.map(|(key, tokens)| {
            let tokens = tokens.iter().map(ExposeSecret::expose_secret);
            (key, tokens.collect())
        })
    }
}

#[cfg(test)]
mod tests;
