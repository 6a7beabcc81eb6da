//! Every mistake is told, with its place and what to do.

use std::path::Path;

use super::*;

#[test]
fn unknown_keys_say_where_and_what_was_meant() {
    for (text, said) in [
        (
            "[server]\n\nlisten_on = \"127.0.0.1:1\"\n",
            "counterd.toml:3: unknown key server.listen_on; did you mean server.listen?",
        ),
        (
            "server.max_conections = 5",
            "counterd.toml:1: unknown key server.max_conections; did you mean \
             server.max_connections?",
        ),
        (
            "listen = \"127.0.0.1:1\"",
            "counterd.toml:1: unknown key listen; did you mean server.listen?",
        ),
        (
            "[srever]\nlisten = \"127.0.0.1:1\"",
            "counterd.toml:1: unknown key srever; did you mean server?",
        ),
        (
            "[counters]\ndata_dir = \"x\"",
            "counterd.toml:2: unknown key counters.data_dir; did you mean storage.data_dir?",
        ),
        ("zzz = 1", "counterd.toml:1: unknown key zzz"),
        (
            "server = 5",
            "counterd.toml:1: server is a section: write [server]",
        ),
    ] {
        assert_eq!(file(text).mistakes(), said);
    }
    assert_eq!(
        flag("--set storage.dir", "storage.dir", "x").mistakes(),
        "--set storage.dir: unknown key storage.dir; did you mean storage.data_dir?"
    );
}

#[test]
fn unknown_variables_with_two_underscores_are_mistakes_and_others_a_warning() {
    assert_eq!(
        environment("COUNTERD_SERVER__LISTN", "127.0.0.1:1").mistakes(),
        "COUNTERD_SERVER__LISTN: unknown variable COUNTERD_SERVER__LISTN; did you mean \
         COUNTERD_SERVER__LISTEN?"
    );
    assert_eq!(
        environment("COUNTERD_server__listen", "127.0.0.1:1").mistakes(),
        "COUNTERD_server__listen: unknown variable COUNTERD_server__listen; did you mean \
         COUNTERD_SERVER__LISTEN?"
    );
    assert_eq!(
        environment("COUNTERD_ZZZ__Q", "").mistakes(),
        "COUNTERD_ZZZ__Q: unknown variable COUNTERD_ZZZ__Q"
    );
    let mut kubernetes = environment("COUNTERD_PORT", "tcp://10.0.0.1:8080");
    kubernetes.environment.push(("COUNTER_D__X", "not ours"));
    let (_, warnings) = kubernetes.load().unwrap();
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].place, "COUNTERD_PORT");
}

#[test]
fn a_shared_log_needs_to_know_where_it_is_and_has_no_mirror() {
    assert_eq!(
        file("storage.engine = \"redis\"").mistakes(),
        "counterd.toml:1: storage.engine is redis, and redis.url is not set: set redis.url or redis.url_file too"
    );
    let both = "storage.engine = \"redis\"\nredis.url = \"redis://h\"\nredis.mirror = true";
    assert_eq!(
        file(both).mistakes(),
        "counterd.toml:3: redis.mirror is for storage.engine = \"rocksdb\": with \"redis\" the counts are in Redis already"
    );
    let mirror = "redis.mirror = true\nredis.url = \"redis://u:hunter2@h1,h2\"";
    assert_eq!(
        file(mirror).mistakes(),
        "counterd.toml:2: redis.url lists several nodes, which is for storage.engine = \"redis\": name the one that has the mirror"
    );
    let (_, warnings) = file("storage.engine = \"redis\"\nredis.url = \"redis://h1,h2\"")
        .load()
        .unwrap();
    assert!(
        warnings[0].text.contains("is a trial"),
        "{}",
        warnings[0].text
    );
}

#[test]
fn a_prefix_leaves_the_hash_tag_of_a_shared_log_whole() {
    for prefix in ["}", "{", "{game}:", "a}b"] {
        assert_eq!(
            file(&format!("redis.prefix = \"{prefix}\"")).mistakes(),
            format!(
                "counterd.toml:1: redis.prefix: want up to 100 visible ASCII characters without {{ and }}, found \"{prefix}\""
            )
        );
    }
    let (config, _) = file("redis.prefix = \"game:\"").load().unwrap();
    assert_eq!(config.redis.prefix, "game:");
}

#[test]
fn a_mirror_needs_to_know_where_to() {
    assert_eq!(
        file("redis.mirror = true").mistakes(),
        "counterd.toml:1: redis.mirror is true, and redis.url is not set: set redis.url or redis.url_file too"
    );
    let (config, _) = file("redis.mirror = true\nredis.url = \"redis://a\"")
        .load()
        .unwrap();
    assert!(config.redis.mirror && config.redis.url.is_some());
}

#[test]
fn a_url_that_cannot_be_used_is_told_with_its_line_and_without_its_password() {
    for (line, told) in [
        ("postgres.url = \"mysql://u:hunter2@h/d\"", "postgres://"),
        (
            "postgres.url = \"postgres://u:hunter2@h/d?channel_binding=require\"",
            "channel_binding",
        ),
        ("redis.url = \"http://u:hunter2@h\"", "redis://"),
        (
            "redis.url = \"redis://u:hunter2@h/1?db=2\"",
            "two databases",
        ),
    ] {
        let mistakes = file(&format!("\n{line}")).mistakes();
        let key = line.split(' ').next().unwrap();
        assert!(
            mistakes.starts_with(&format!("counterd.toml:2: {key}: it ")),
            "{mistakes}"
        );
        assert!(mistakes.contains(told), "{mistakes}");
        assert!(!mistakes.contains("hunter2"), "{mistakes}");
    }
    let mistakes = file("redis.mirror = true\nredis.url = \"nowhere\"").mistakes();
    assert_eq!(mistakes.lines().count(), 1, "{mistakes}");
}

#[test]
fn wrong_types_and_ranges_say_what_is_wanted() {
    let count = "want a whole number from 1 to 256";
    for (text, said) in [
        (
            "server.workers = 0",
            format!("server.workers: {count}, found 0"),
        ),
        (
            "server.workers = 257",
            format!("server.workers: {count}, found 257"),
        ),
        (
            "server.workers = -1",
            format!("server.workers: {count}, found -1"),
        ),
        (
            "server.workers = \"8\"",
            format!("server.workers: {count}, found the string \"8\""),
        ),
        (
            "server.workers = 8.0",
            format!("server.workers: {count}, found a fraction"),
        ),
        (
            "server.workers = true",
            format!("server.workers: {count}, found true"),
        ),
        (
            "server.workers = [8]",
            format!("server.workers: {count}, found a list of other things than strings"),
        ),
        (
            "server.workers = 99999999999999999999",
            format!("server.workers: {count}, found a number that is too large"),
        ),
        (
            "[server.workers]\nx = 1",
            format!("server.workers: {count}, found a table"),
        ),
        (
            "counters.auto_create = \"yes\"",
            "counters.auto_create: want true or false, found the string \"yes\"".to_owned(),
        ),
        (
            "counters.auto_create = 1",
            "counters.auto_create: want true or false, found 1".to_owned(),
        ),
        (
            "server.listen = \"localhost\"",
            "server.listen: want an IP address and a port, such as \
         \"127.0.0.1:8080\" or \"[::]:8080\", found \"localhost\""
                .to_owned(),
        ),
        (
            "server.max_body = \"12 parsecs\"",
            "server.max_body: want a size such as \"64MiB\", from \
         1KiB to 16MiB, found the string \"12 parsecs\""
                .to_owned(),
        ),
        (
            "server.max_body = \"17MiB\"",
            "server.max_body: want a size such as \"64MiB\", from 1KiB \
         to 16MiB, found the string \"17MiB\""
                .to_owned(),
        ),
        (
            "server.max_body = 1023",
            "server.max_body: want a size such as \"64MiB\", from 1KiB to \
         16MiB, found 1023"
                .to_owned(),
        ),
        (
            "storage.min_free = \"some\"",
            "storage.min_free: want a size such as \"64MiB\", from 1MiB \
         to 1TiB, or \"auto\", found the string \"some\""
                .to_owned(),
        ),
        (
            "server.idle_timeout = 75",
            "server.idle_timeout: want a duration such as \"30s\" or \
         \"48h\", from 100ms to 1h, found 75"
                .to_owned(),
        ),
        (
            "server.idle_timeout = \"0s\"",
            "server.idle_timeout: want a duration such as \"30s\" or \
         \"48h\", from 100ms to 1h, found \"0s\""
                .to_owned(),
        ),
        (
            "calendar.day_start = \"24:00\"",
            "calendar.day_start: want a time of day as HH:MM, from \
         \"00:00\" to \"23:59\", found \"24:00\""
                .to_owned(),
        ),
        (
            "calendar.day_start = 04:00:00",
            "calendar.day_start: want a time of day as HH:MM, from \
         \"00:00\" to \"23:59\", found a date or time without quotes"
                .to_owned(),
        ),
        (
            "calendar.timezone = \"Europe/Berln\"",
            "calendar.timezone: \"Europe/Berln\": no such time \
         zone; did you mean \"Europe/Berlin\"?"
                .to_owned(),
        ),
        (
            "storage.data_dir = \"\"",
            "storage.data_dir: want a path, found \"\"".to_owned(),
        ),
        (
            "log.format = \"xml\"",
            "log.format: want one of \"text\", \"json\", found \"xml\"".to_owned(),
        ),
        (
            "server.cors_origins = [\"*\"]",
            "server.cors_origins: want a list of origins as browsers \
         write them, such as \"https://example.com\", found \"*\""
                .to_owned(),
        ),
        (
            "server.cors_origins = [\"https://a.example/\"]",
            "server.cors_origins: want a list of \
         origins as browsers write them, such as \"https://example.com\", found \
         \"https://a.example/\""
                .to_owned(),
        ),
        (
            "server.max_body = \"2MiB\"",
            "server.max_batch_body is below server.max_body".to_owned(),
        ),
    ] {
        let place = if said.starts_with("server.max_batch_body") {
            "default"
        } else {
            "counterd.toml:1"
        };
        assert_eq!(file(text).mistakes(), format!("{place}: {said}"), "{text}");
    }
    assert_eq!(
        environment("COUNTERD_SERVER__WORKERS", "many").mistakes(),
        format!("COUNTERD_SERVER__WORKERS: server.workers: {count}, found \"many\"")
    );
}

#[test]
fn all_mistakes_of_all_layers_are_told_at_once() {
    let mut written =
        file("[server]\nworkers = 0\nlisten = 5\nzzz = 1\n[[counter]]\nkind = \"pie\"\n[alarms]\n");
    written.environment.push(("COUNTERD_LOG__LEVEL", "loud"));
    written
        .flags
        .push(("--day-start", "calendar.day_start", "noon"));
    let mistakes = written.mistakes();
    let places: Vec<&str> = mistakes
        .lines()
        .map(|line| line.split(": ").next().unwrap())
        .collect();
    for place in [
        "counterd.toml:2",
        "counterd.toml:3",
        "counterd.toml:4",
        "counterd.toml:5",
        "counterd.toml:6",
        "counterd.toml:7",
        "COUNTERD_LOG__LEVEL",
        "--day-start",
    ] {
        assert!(places.contains(&place), "{place} is not in:\n{mistakes}");
    }
}

#[test]
fn a_wrong_value_is_reported_though_a_higher_layer_overrides_it() {
    let mut written = file("server.workers = 0");
    written.environment.push(("COUNTERD_SERVER__WORKERS", "2"));
    assert!(
        written
            .mistakes()
            .starts_with("counterd.toml:1: server.workers")
    );
}

#[test]
fn what_is_not_toml_says_where_without_showing_the_line() {
    let text = format!("[auth]\nadmin_token = \"{SECRET}\nwrite_token = \"x\"\n");
    let mistakes = file(&text).mistakes();
    assert!(
        mistakes.starts_with("counterd.toml:2: not TOML: "),
        "{mistakes}"
    );
    assert!(!mistakes.contains(SECRET), "{mistakes}");
    let missing = Config::load(&[], &[], Some(Path::new("/nowhere/counterd.toml")));
    let errors = missing.map(|_| ()).unwrap_err().to_string();
    assert!(
        errors.starts_with("/nowhere/counterd.toml: cannot be read: "),
        "{errors}"
    );
}

#[test]
fn a_key_given_twice_on_the_command_line_is_a_mistake() {
    let mut written = flag("--listen", "server.listen", "127.0.0.1:1");
    written
        .flags
        .push(("--set server.listen", "server.listen", "127.0.0.1:2"));
    assert_eq!(
        written.mistakes(),
        "--set server.listen: server.listen is given twice on the command line"
    );
}
