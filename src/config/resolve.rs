//! From the layers to the typed configuration, and what depends on several keys.

use std::ffi::OsString;
use std::path::Path;

use super::counters;
use super::layers::{Layers, Override};
use super::mistakes::{ConfigErrors, Report, Warning};
use super::reader::Reader;
use super::table::Config;

/// Tokens shorter than this are guessed too easily.
const SHORT_TOKEN: usize = 16;

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
        let mut reader = Reader::new(layers.written, &mut report);
        reader.tz = tz.as_deref();
        let mut config = Config::read(&mut reader, defined);
        if let Some(config) = &mut config {
            config.file = file.map(Path::to_path_buf);
            judge_together(config, &mut report);
        }
        match config {
            Some(config) if report.mistakes.is_empty() => Ok((config, report.warnings)),
            Some(_) | None => Err(report.into_errors()),
        }
    }
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
    if config.degraded.start && !redis_is_set && !postgres_is_set {
        let text = "degraded.start is true, and neither redis.url nor postgres.url is set: there is no copy to serve";
        report.mistake(place("degraded.start"), text);
    }
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
