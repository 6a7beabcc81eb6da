//! The engine under a server. Modules whose promises hold with each engine are there twice: by themselves, and in
//! `on_shared_log`.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use counterd::mirror::RedisUrl;
use counterd::storage::{Ack, LogAddress, OnLoss};

use super::{PATIENCE, Redis};

/// A server for the tests of this module, with the engine that they run with.
macro_rules! setup {
    ($home:expr) => {
        $crate::harness::Setup::of_module(module_path!(), $home)
    };
}
pub(crate) use setup;

/// What a server keeps its counts with.
#[derive(Clone, Debug)]
pub enum Engine {
    RocksDb,
    /// A log in a Redis of its own, which begins with the first server.
    SharedLog(Arc<OnceLock<Redis>>),
}

impl Engine {
    pub fn of_module(module: &str) -> Self {
        if module.split("::").any(|part| part == "on_shared_log") {
            Self::SharedLog(Arc::default())
        } else {
            Self::RocksDb
        }
    }

    /// The log in Redis; `None` without one.
    pub fn shared_log(&self) -> Option<LogAddress> {
        let Self::SharedLog(redis) = self else {
            return None;
        };
        Some(LogAddress {
            url: RedisUrl::parse(&begun(redis, &[]).url()).unwrap(),
            prefix: String::new(),
            timeout: PATIENCE,
            max_lag: PATIENCE,
            max_clock_skew: Duration::from_secs(2),
            ack: Ack::Primary,
            on_loss: OnLoss::Stop,
            min_replicas: 0,
        })
    }

    /// The variables that say so to a server with this environment.
    pub fn settings(&self, environment: &[(String, String)]) -> Vec<(&'static str, String)> {
        let Self::SharedLog(redis) = self else {
            return Vec::new();
        };
        let redis = begun(redis, environment);
        let setting = |name, value: &str| (name, value.to_owned());
        vec![
            setting("COUNTERD_STORAGE__ENGINE", "redis"),
            setting("COUNTERD_REDIS__URL", &redis.url()),
            setting("COUNTERD_REDIS__ACK", "primary"),
            // A slow machine is no fault of Redis.
            setting("COUNTERD_REDIS__TIMEOUT", "5s"),
            setting("COUNTERD_REDIS__MAX_LAG", "20s"),
        ]
    }
}

/// The Redis, which begins now where it has not.
fn begun<'a>(redis: &'a OnceLock<Redis>, environment: &[(String, String)]) -> &'a Redis {
    redis.get_or_init(|| {
        // It must have the clock of the server.
        let clock = environment
            .iter()
            .filter(|(name, _)| name == "LD_PRELOAD" || name == "TEST_CLOCK_SHIFT")
            .map(|(name, value)| (name.as_str(), value.clone()));
        let arguments = ["--appendonly", "yes", "--appendfsync", "always"];
        let program = Path::new("redis-server");
        Redis::in_environment(program, &clock.collect::<Vec<_>>(), &arguments).unwrap()
    })
}
