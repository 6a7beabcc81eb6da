//! From the layers to the typed configuration: defaults are filled in, tokens are fetched, and what
//! depends on several keys is judged.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::keys::{Shape, find};
use super::layers::{Layers, Override};
use super::mistakes::{ConfigErrors, Report, Source, Warning};
use super::values::{self, Raw, Value};
use super::{
    AccessLog, AuthConfig, CalendarConfig, Config, CountersConfig, DegradedConfig, Engine,
    LogConfig, LogFormat, LogLevel, MinFree, PostgresConfig, RedisConfig, SamplesConfig,
    ServerConfig, StorageConfig, WriterConfig, counters,
};
use crate::calendar::{DayStart, MachineZone, machine_zone};

/// Tokens shorter than this are guessed too easily.
const SHORT_TOKEN: usize = 16;

pub(super) fn load(
    overrides: &[Override],
    environment: &[(OsString, OsString)],
    file: Option<&Path>,
) -> Result<(Config, Vec<Warning>), ConfigErrors> {
    let mut report = Report::default();
    let mut layers = Layers::default();
    if let Some(path) = file {
        layers.add_file(path, &mut report);
    }
    layers.add_environment(environment, &mut report);
    layers.add_flags(overrides, &mut report);

    let tz = environment
        .iter()
        .find(|(name, _)| name == "TZ")
        .map(|(_, value)| value.to_string_lossy().into_owned());
    let zone = machine_zone(tz.as_deref(), Path::new("/etc/localtime"));
    let defined = counters::with_built_in(std::mem::take(&mut layers.counters));
    let mut resolver = Resolver {
        layers,
        sources: BTreeMap::new(),
        report,
    };
    let mut config = Config {
        server: resolver.server(),
        writer: WriterConfig {
            queue: resolver.size("writer.queue"),
        },
        storage: resolver.storage(),
        counters: CountersConfig {
            auto_create: resolver.switch("counters.auto_create"),
            max: resolver.number("counters.max"),
            gone_for: resolver.span("counters.gone_for"),
            recent_users: resolver.size("counters.recent_users"),
        },
        calendar: resolver.calendar(zone),
        samples: SamplesConfig {
            retention: resolver.span("samples.retention"),
            max_counters: resolver.size("samples.max_counters"),
        },
        postgres: PostgresConfig {
            url: resolver.secret("postgres.url", "postgres.url_file"),
            interval: resolver.span("postgres.interval"),
            timeout: resolver.span("postgres.timeout"),
            export_users: resolver.switch("postgres.export_users"),
            unique_users_inline: resolver.number("postgres.unique_users_inline"),
        },
        redis: resolver.redis(),
        degraded: DegradedConfig {
            start: resolver.switch("degraded.start"),
            timeout: resolver.span("degraded.timeout"),
            cache_for: resolver.span("degraded.cache_for"),
        },
        auth: resolver.auth(),
        log: resolver.log(),
        defined_counters: defined,
        sources: BTreeMap::new(),
    };
    resolver.judge_together(&config);
    let Resolver {
        sources, report, ..
    } = resolver;
    config.sources = sources;
    if report.mistakes.is_empty() {
        Ok((config, report.warnings))
    } else {
        Err(ConfigErrors(report.mistakes))
    }
}

/// Takes each key's value out of the layers, or its default out of the table. A value of another
/// type than asked for cannot be, since the table checked it; what stands in for it is reported.
struct Resolver {
    layers: Layers,
    sources: BTreeMap<&'static str, Source>,
    report: Report,
}

impl Resolver {
    /// The value and where it comes from; `None` where nothing was written and there is no default.
    fn value(&mut self, name: &'static str) -> Option<Value> {
        if let Some((value, source)) = self.layers.take(name) {
            self.sources.insert(name, source);
            return Some(value);
        }
        self.sources.insert(name, Source::Default);
        let key = find(name)?;
        let raw = default_raw(key.shape, key.default?);
        match values::read(key.shape, raw) {
            Ok(value) => Some(value),
            Err(error) => {
                self.report.mistake(name, format!("bad default: {error}"));
                None
            }
        }
    }

    fn misread<T>(&mut self, name: &str, stand_in: T) -> T {
        self.report
            .mistake(name, "is read as another type than its own");
        stand_in
    }

    fn number(&mut self, name: &'static str) -> u64 {
        match self.value(name) {
            Some(Value::Number(number)) => number,
            _ => self.misread(name, 0),
        }
    }

    fn size(&mut self, name: &'static str) -> usize {
        usize::try_from(self.number(name)).unwrap_or(usize::MAX)
    }

    fn days(&mut self, name: &'static str) -> u32 {
        u32::try_from(self.number(name)).unwrap_or(u32::MAX)
    }

    fn switch(&mut self, name: &'static str) -> bool {
        match self.value(name) {
            Some(Value::Switch(on)) => on,
            _ => self.misread(name, false),
        }
    }

    fn span(&mut self, name: &'static str) -> Duration {
        match self.value(name) {
            Some(Value::Span(span)) => span,
            _ => self.misread(name, Duration::ZERO),
        }
    }

    /// One of `words`, each with what it stands for.
    fn word<T: Copy>(&mut self, name: &'static str, words: &[(&str, T)], stand_in: T) -> T {
        let Some(Value::Word(written)) = self.value(name) else {
            return self.misread(name, stand_in);
        };
        match words.iter().find(|(word, _)| *word == written) {
            Some((_, meaning)) => *meaning,
            None => self.misread(name, stand_in),
        }
    }

    fn path(&mut self, name: &'static str) -> Option<PathBuf> {
        match self.value(name) {
            Some(Value::Path(path)) => Some(path),
            Some(Value::None) | None => None,
            Some(_) => self.misread(name, None),
        }
    }

    fn server(&mut self) -> ServerConfig {
        let listen = match self.value("server.listen") {
            Some(Value::Address(address)) => address,
            _ => self.misread("server.listen", SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        };
        let workers = match self.value("server.workers") {
            Some(Value::Number(number)) => usize::try_from(number).unwrap_or(1),
            _ => {
                let asked = Source::Machine("the machine's cores".to_owned());
                self.sources.insert("server.workers", asked);
                std::thread::available_parallelism().map_or(1, |cores| cores.get().min(256))
            }
        };
        let cors_origins = match self.value("server.cors_origins") {
            Some(Value::Origins(origins)) => origins,
            _ => self.misread("server.cors_origins", Vec::new()),
        };
        ServerConfig {
            listen,
            workers,
            max_connections: self.size("server.max_connections"),
            max_body: self.size("server.max_body"),
            max_batch_body: self.size("server.max_batch_body"),
            max_header_bytes: self.size("server.max_header_bytes"),
            max_headers: self.size("server.max_headers"),
            header_timeout: self.span("server.header_timeout"),
            body_timeout: self.span("server.body_timeout"),
            idle_timeout: self.span("server.idle_timeout"),
            drain_timeout: self.span("server.drain_timeout"),
            cors_origins,
        }
    }

    fn storage(&mut self) -> StorageConfig {
        let engine = match self.value("storage.engine") {
            Some(Value::Word("rocksdb")) => Engine::RocksDb,
            Some(Value::Word(later)) => {
                let source = self.place("storage.engine");
                self.report.mistake(
                    source,
                    format!("storage.engine: {later:?} is not in this version; use \"rocksdb\""),
                );
                Engine::RocksDb
            }
            _ => self.misread("storage.engine", Engine::RocksDb),
        };
        let data_dir = match self.path("storage.data_dir") {
            Some(path) => path,
            None => self.misread("storage.data_dir", PathBuf::new()),
        };
        let min_free = match self.value("storage.min_free") {
            Some(Value::Auto) => MinFree::Auto,
            Some(Value::Number(bytes)) => MinFree::Bytes(bytes),
            _ => self.misread("storage.min_free", MinFree::Auto),
        };
        StorageConfig {
            engine,
            data_dir,
            memory: self.number("storage.memory"),
            min_free,
        }
    }

    fn calendar(&mut self, machine: MachineZone) -> CalendarConfig {
        let timezone = match self.value("calendar.timezone") {
            Some(Value::Zone(name)) => name,
            _ => {
                if let Some(warning) = machine.warning {
                    self.report.warn("calendar.timezone", warning);
                }
                let asked = Source::Machine(machine.found_in);
                self.sources.insert("calendar.timezone", asked);
                machine.name
            }
        };
        let day_start = match self.value("calendar.day_start") {
            Some(Value::TimeOfDay(start)) => start,
            _ => self.misread("calendar.day_start", DayStart::default()),
        };
        CalendarConfig {
            timezone,
            day_start,
            max_clock_jump: self.span("calendar.max_clock_jump"),
            max_away: self.span("calendar.max_away"),
            retention_days: self.days("calendar.retention_days"),
            user_retention_days: self.days("calendar.user_retention_days"),
            max_unexported_days: self.days("calendar.max_unexported_days"),
        }
    }

    fn redis(&mut self) -> RedisConfig {
        RedisConfig {
            url: self.secret("redis.url", "redis.url_file"),
            mirror: self.switch("redis.mirror"),
            users: self.switch("redis.users"),
            interval: self.span("redis.interval"),
            timeout: self.span("redis.timeout"),
            prefix: match self.value("redis.prefix") {
                Some(Value::Prefix(prefix)) => prefix,
                _ => self.misread("redis.prefix", String::new()),
            },
        }
    }

    fn auth(&mut self) -> AuthConfig {
        AuthConfig {
            admin_token: self.token("auth.admin_token", "auth.admin_token_file"),
            write_token: self.token("auth.write_token", "auth.write_token_file"),
            read_token: self.token("auth.read_token", "auth.read_token_file"),
        }
    }

    fn log(&mut self) -> LogConfig {
        LogConfig {
            dir: self.path("log.dir"),
            format: self.word(
                "log.format",
                &[("text", LogFormat::Text), ("json", LogFormat::Json)],
                LogFormat::Text,
            ),
            level: self.word(
                "log.level",
                &[
                    ("error", LogLevel::Error),
                    ("warn", LogLevel::Warn),
                    ("info", LogLevel::Info),
                    ("debug", LogLevel::Debug),
                    ("trace", LogLevel::Trace),
                ],
                LogLevel::Info,
            ),
            access: self.word(
                "log.access",
                &[
                    ("all", AccessLog::All),
                    ("errors", AccessLog::Errors),
                    ("off", AccessLog::Off),
                ],
                AccessLog::All,
            ),
            max_file_size: self.number("log.max_file_size"),
            max_files: self.size("log.max_files"),
            queue: self.size("log.queue"),
        }
    }

    fn token(&mut self, key: &'static str, file_key: &'static str) -> Option<SecretString> {
        let token = self.secret(key, file_key);
        if token
            .as_ref()
            .is_some_and(|token| token.expose_secret().len() < SHORT_TOKEN)
        {
            let text = format!("{key} is short; use at least {SHORT_TOKEN} characters");
            let place = self.place(key);
            self.report.warn(place, text);
        }
        token
    }

    /// A secret from its key or from the file that its `_file` key names: from the higher layer of
    /// the two.
    fn secret(&mut self, key: &'static str, file_key: &'static str) -> Option<SecretString> {
        let written = self.value(key);
        let file = self.path(file_key);
        let (rank, file_rank) = (self.rank(key), self.rank(file_key));
        let from_file = match (&written, &file) {
            (Some(_), Some(_)) if rank == file_rank => {
                let place = self.place(file_key);
                let text = format!("{key} and {file_key} are both set; remove one");
                self.report.mistake(place, text);
                return None;
            }
            (Some(_), Some(_)) => file_rank > rank,
            (None, Some(_)) => true,
            (Some(_) | None, None) => false,
        };
        match (from_file, file, written) {
            (true, Some(path), _) => {
                let source = self.place(file_key);
                let token = read_token(&path).map_err(|error| {
                    let text = format!("{file_key}: {}: {error}", path.display());
                    self.report.mistake(&source, text);
                });
                self.sources.insert(key, source);
                token.ok()
            }
            (_, _, Some(Value::Secret(token))) => Some(token),
            (_, _, Some(_)) => self.misread(key, None),
            (_, _, None) => None,
        }
    }

    fn judge_together(&mut self, config: &Config) {
        let ServerConfig {
            max_body,
            max_batch_body,
            ..
        } = config.server;
        if max_batch_body < max_body {
            let place = self.place("server.max_batch_body");
            let text = "server.max_batch_body is below server.max_body";
            self.report.mistake(place, text);
        }
        // A file that cannot be read is a mistake already.
        let redis_is_set = config.redis.url.is_some() || self.rank("redis.url_file") > 0;
        if config.redis.mirror && !redis_is_set {
            let place = self.place("redis.mirror");
            let text = "redis.mirror is true, and redis.url is not set: set redis.url or redis.url_file too";
            self.report.mistake(place, text);
        }
        let postgres_is_set = config.postgres.url.is_some() || self.rank("postgres.url_file") > 0;
        if config.degraded.start && !redis_is_set && !postgres_is_set {
            let place = self.place("degraded.start");
            let text = "degraded.start is true, and neither redis.url nor postgres.url is set: there is no copy to serve";
            self.report.mistake(place, text);
        }
        let AuthConfig {
            admin_token,
            write_token,
            read_token,
        } = &config.auth;
        let others = [
            ("auth.write_token", write_token),
            ("auth.read_token", read_token),
        ];
        for (key, token) in others {
            if let (Some(admin), Some(token)) = (admin_token, token)
                && admin.expose_secret() == token.expose_secret()
            {
                let place = self.place(key);
                let text = format!("{key} is the admin token: whoever has it may do everything");
                self.report.warn(place, text);
            }
        }
    }

    fn place(&self, name: &str) -> Source {
        self.sources.get(name).cloned().unwrap_or(Source::Default)
    }

    fn rank(&self, name: &str) -> u8 {
        self.sources.get(name).map_or(0, Source::rank)
    }
}

/// A default as the table writes it: TOML without a parser, since strings there have no escapes.
fn default_raw(shape: Shape, text: &str) -> Raw {
    match (text.strip_prefix('"'), shape) {
        (Some(rest), _) => Raw::Text(rest.trim_end_matches('"').to_owned()),
        (None, Shape::Origins) => Raw::List(Vec::new()),
        (None, _) => Raw::Untyped(text.to_owned()),
    }
}

fn read_token(path: &Path) -> Result<SecretString, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    values::secret(line.strip_suffix('\r').unwrap_or(line).to_owned())
}
