//! What is written in a layer takes effect, and printing shows it; the fixture of all config tests.

use std::collections::BTreeSet;
use std::ffi::OsString;

use super::*;

mod alerts;
mod counters;
mod mistakes;
mod secrets;
mod shipped;

pub(super) const SECRET: &str = "correct-horse-battery-staple";

/// What a test writes in each layer.
#[derive(Default, Clone)]
struct Written<'t> {
    file: Option<&'t str>,
    environment: Vec<(&'t str, &'t str)>,
    flags: Vec<(&'t str, &'t str, &'t str)>,
}

impl Written<'_> {
    fn load(&self) -> Result<(Config, Vec<Warning>), ConfigErrors> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("counterd.toml");
        if let Some(text) = self.file {
            std::fs::write(&path, text).unwrap();
        }
        let mut environment: Vec<(OsString, OsString)> = vec![("TZ".into(), "Asia/Taipei".into())];
        for (name, value) in &self.environment {
            environment.push((name.into(), value.into()));
        }
        let flags = self.flags.iter();
        let flags: Vec<Override> = flags
            .map(|(flag, key, value)| Override::new(flag, key, value))
            .collect();
        let file = self.file.map(|_| path.as_path());
        let loaded = Config::load(&flags, &environment, file);
        loaded.map_err(|errors| {
            let strip = |text: String| text.replace(&format!("{}/", dir.path().display()), "");
            ConfigErrors(
                errors
                    .0
                    .into_iter()
                    .map(|mistake| Mistake {
                        place: strip(mistake.place),
                        text: strip(mistake.text),
                    })
                    .collect(),
            )
        })
    }

    /// All mistakes, one a line.
    fn mistakes(&self) -> String {
        self.load().map(|_| ()).unwrap_err().to_string()
    }
}

fn file(text: &str) -> Written<'_> {
    Written {
        file: Some(text),
        ..Written::default()
    }
}

fn environment<'t>(name: &'t str, value: &'t str) -> Written<'t> {
    Written {
        environment: vec![(name, value)],
        ..Written::default()
    }
}

fn flag<'t>(flag: &'t str, key: &'t str, value: &'t str) -> Written<'t> {
    Written {
        flags: vec![(flag, key, value)],
        ..Written::default()
    }
}

fn value_of(config: &Config, key: &str) -> (String, SettingSource) {
    let mut entries = config.entries().into_iter();
    let (_, value) = entries.find(|(known, _)| known.name == key).unwrap();
    (value, config.source(key).clone())
}

#[test]
fn without_anything_written_the_defaults_run() {
    let (config, warnings) = Written::default().load().unwrap();
    assert_eq!(warnings, []);
    for key in all_keys().filter(|key| key.default.is_some()) {
        let (_, source) = value_of(&config, key.name);
        assert_eq!(source, SettingSource::Default, "{}", key.name);
    }
    assert_eq!(config.calendar.timezone, "Asia/Taipei");
    assert_eq!(
        config.source("calendar.timezone"),
        &SettingSource::Machine("TZ".to_owned())
    );
    assert!(config.auth.admin_token.is_empty());
    assert!(!config.open_to_the_network());
    assert_eq!(config.storage.min_free, None);
}

#[test]
fn every_key_is_printed_in_the_order_of_the_table() {
    let (config, _) = Written::default().load().unwrap();
    let printed: Vec<&str> = config.entries().iter().map(|(key, _)| key.name).collect();
    let table: Vec<&str> = all_keys()
        .map(|key| key.name)
        .filter(|name| !name.ends_with("_file"))
        .collect();
    assert_eq!(printed, table);
    let distinct: BTreeSet<&str> = all_keys().map(|key| key.name).collect();
    assert_eq!(distinct.len(), all_keys().count());
}

#[test]
fn each_layer_overrides_the_one_below_and_says_so() {
    let mut written = file("# first\n[server]\nmax_headers = 70\n");
    let key = "server.max_headers";
    let (config, _) = written.load().unwrap();
    let (value, source) = value_of(&config, key);
    assert_eq!(value, "70");
    let SettingSource::File(name, 3) = source else {
        panic!("{source:?}");
    };
    assert!(name.ends_with("/counterd.toml"), "{name}");

    written
        .environment
        .push(("COUNTERD_SERVER__MAX_HEADERS", "80"));
    let (config, _) = written.load().unwrap();
    assert_eq!(
        value_of(&config, key),
        (
            "80".to_owned(),
            SettingSource::Variable("COUNTERD_SERVER__MAX_HEADERS".to_owned())
        )
    );

    written.flags.push(("--set server.max_headers", key, "90"));
    let (config, _) = written.load().unwrap();
    assert_eq!(
        value_of(&config, key),
        (
            "90".to_owned(),
            SettingSource::Flag("--set server.max_headers".to_owned())
        )
    );
    assert_eq!(config.server.max_headers, 90);
}

/// The limits that a key's form has: `1 to 256`, or its words.
fn limits(key: &Key) -> Vec<String> {
    let wanted = key.form.wanted();
    if let Some(words) = wanted.strip_prefix("one of ") {
        return words.split(", ").map(str::to_owned).collect();
    }
    let range = wanted.split_once(" from ").map(|(_, range)| range);
    let range = range.and_then(|range| range.split(',').next());
    range.into_iter().map(str::to_owned).collect()
}

/// A value of the key, as a flag takes it.
fn example(key: &Key) -> String {
    let limits = limits(key);
    // Of words the last, which is seldom the default.
    let limit = limits.last().and_then(|limit| limit.split(' ').next());
    match (key.name, limit) {
        // Another one needs a second key.
        ("storage.engine", _) => "rocksdb".to_owned(),
        (_, Some(least)) if key.form.wanted().starts_with("a size") => {
            let least: bytesize::ByteSize = least.parse().unwrap();
            format!("{}B", least.0 * 32)
        }
        ("log.sample", _) => "2".to_owned(),
        (_, Some(least)) => least.trim_matches('"').to_owned(),
        ("limits.per_ip" | "limits.per_user" | "limits.wrong_admin_tokens", _) => "7/m".to_owned(),
        ("limits.exempt" | "limits.trusted_proxies", _) => "192.0.2.0/24".to_owned(),
        ("limits.client_ip_header", _) => "X-Real-IP".to_owned(),
        ("server.listen", _) => "[::1]:9".to_owned(),
        ("server.cors_origins", _) => "https://example.com".to_owned(),
        ("server.hosts", _) => "counters.example.com".to_owned(),
        ("calendar.timezone", _) => "Europe/Berlin".to_owned(),
        ("postgres.url", _) => "postgres://u:p@h/d".to_owned(),
        ("redis.url", _) => "redis://:p@h/1".to_owned(),
        ("alerts.webhook" | "alerts.alertmanager", _) => "https://u:p@h/d".to_owned(),
        ("alerts.server_url" | "alerts.runbook_url", _) => "https://h/d".to_owned(),
        ("redis.prefix", _) => "game:".to_owned(),
        ("storage.data_dir" | "log.dir", _) => "/somewhere/else".to_owned(),
        _ if key.form.is_secret() => SECRET.to_owned(),
        _ => "false".to_owned(),
    }
}

#[test]
fn every_key_can_be_set_in_every_layer() {
    for key in all_keys().filter(|key| !key.name.ends_with("_file")) {
        let example = example(key);
        let variable = key.variable();
        let by_variable = environment(&variable, &example).load().unwrap().0;
        let (shown, source) = value_of(&by_variable, key.name);
        assert_eq!(source, SettingSource::Variable(variable), "{example}");

        let in_file = match key.form.is_secret() {
            true => format!("{} = {example:?}", key.name),
            false => format!("{} = {shown}", key.name),
        };
        let (config, _) = file(&in_file).load().unwrap();
        let (value, source) = value_of(&config, key.name);
        assert_eq!(value, shown, "{in_file}");
        assert!(
            matches!(source, SettingSource::File(_, 1)),
            "{in_file}: {source}"
        );

        if !key.form.is_secret() {
            let (config, _) = flag("--set", key.name, &example).load().unwrap();
            let flagged = SettingSource::Flag("--set".to_owned());
            assert_eq!(value_of(&config, key.name), (shown, flagged));
        }
    }
}

#[test]
fn printed_values_read_back_as_themselves() {
    let (config, _) = Written::default().load().unwrap();
    let text: String = config
        .entries()
        .iter()
        .filter(|(key, _)| !key.form.is_secret())
        .map(|(key, value)| format!("{} = {value}\n", key.name))
        .collect();
    let (again, _) = file(&text).load().unwrap();
    let values = |config: &Config| -> Vec<String> {
        let entries = config.entries();
        entries.into_iter().map(|(_, value)| value).collect()
    };
    assert_eq!(values(&config), values(&again));
}

#[test]
fn limits_are_inclusive_and_units_are_taken() {
    for (text, key, value) in [
        ("server.workers = 1", "server.workers", "1"),
        ("server.workers = 256", "server.workers", "256"),
        ("server.workers = 0x10", "server.workers", "16"),
        ("server.max_body = 1024", "server.max_body", "\"1KiB\""),
        (
            "server.max_body = \"1.5KiB\"",
            "server.max_body",
            "\"1536B\"",
        ),
        (
            "server.max_batch_body = \"64MiB\"",
            "server.max_batch_body",
            "\"64MiB\"",
        ),
        ("storage.memory = \"1 GiB\"", "storage.memory", "\"1GiB\""),
        ("storage.memory = \"512M\"", "storage.memory", "\"512MB\""),
        (
            "storage.min_free = \"auto\"",
            "storage.min_free",
            "\"auto\"",
        ),
        (
            "server.idle_timeout = \"1m 30s\"",
            "server.idle_timeout",
            "\"90s\"",
        ),
        (
            "server.idle_timeout = \"1h\"",
            "server.idle_timeout",
            "\"1h\"",
        ),
        (
            "calendar.timezone = \"europe/berlin\"",
            "calendar.timezone",
            "\"Europe/Berlin\"",
        ),
        ("log.dir = \"\"", "log.dir", "\"\""),
    ] {
        let (config, _) = file(text).load().unwrap();
        assert_eq!(value_of(&config, key).0, value, "{text}");
    }
}

#[test]
fn printing_is_aligned_and_names_every_source() {
    let mut written = file("[calendar]\ntimezone = \"UTC\"\n[[counter]]\nname = \"event_a\"\n");
    written.environment.push(("COUNTERD_LOG__FORMAT", "json"));
    written
        .flags
        .push(("--listen", "server.listen", "127.0.0.1:9"));
    let (config, _) = written.load().unwrap();
    let printed = config.to_string();
    let line = |key: &str| printed.lines().find(|line| line.starts_with(key)).unwrap();
    assert_eq!(
        line("server.listen"),
        "server.listen                = \"127.0.0.1:9\"      # --listen"
    );
    assert!(line("log.format ").ends_with("# COUNTERD_LOG__FORMAT"));
    assert!(line("calendar.timezone").ends_with("counterd.toml:2"));
    assert!(line("calendar.day_start").ends_with("# default"));
    assert!(line("server.workers").ends_with("# default, from the machine's cores"));
    assert!(line("counter.online_players").ends_with("# built in"));
    assert!(line("counter.event_a").ends_with("counterd.toml:3"));
}
