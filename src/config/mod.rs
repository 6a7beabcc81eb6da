//! The configuration: defaults < `counterd.toml` < environment < flags, merged by hand so that each
//! effective value knows where it comes from and each mistake where it was made.
//!
//! Nothing here opens the data directory, binds a socket or looks at a clock.

mod counters;
mod forms;
mod layers;
mod mistakes;
mod reader;
mod resolve;
mod rows;
mod show;
mod table;

use secrecy::ExposeSecret;

use crate::words::words;

pub use counters::CounterEntry;
pub use layers::Override;
pub use mistakes::{ConfigErrors, Mistake, SettingSource, Warning};
pub use rows::Key;
pub use table::{
    AuthConfig, CalendarConfig, Config, CountersConfig, DegradedConfig, LogConfig, PostgresConfig,
    RedisConfig, SamplesConfig, ServerConfig, StorageConfig, WriterConfig, all_keys,
};

words! {
    /// What stores the counts.
    StorageEngine {
        /// The embedded RocksDB.
        RocksDb = "rocksdb",
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
