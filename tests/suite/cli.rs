//! The binary's edge: exit codes, what goes to which stream, and what `config` and `check` say.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use assert_cmd::Command;
use counterd::storage::DataDirLock;

use super::harness::{Setup, SmallDisk, skipped};

const SECRET: &str = "correct-horse-battery-staple";

/// What one run of the program did.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

/// The program in an empty directory of its own, without the test's environment.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Home {
        Home(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    fn run(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
        let output = Command::new(env!("CARGO_BIN_EXE_counterd"))
            .args(arguments)
            .env_clear()
            .env("TZ", "Europe/Berlin")
            // Nobody can tell who listens at the default port meanwhile.
            .envs(
                (arguments.first() == Some(&"check"))
                    .then_some(("COUNTERD_SERVER__LISTEN", "127.0.0.1:0")),
            )
            .envs(environment.iter().copied())
            .current_dir(self.path())
            .output()
            .unwrap();
        Ran {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

#[test]
fn help_and_version_are_done_and_wrong_usage_is_2() {
    let home = Home::new();
    for arguments in [
        &["--help"][..],
        &["serve", "--help"],
        &["mode", "-h"],
        &["--version"],
        &["version"],
        &["completions", "bash"],
    ] {
        let ran = home.run(arguments, &[]);
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.err);
        assert!(!ran.out.is_empty() && ran.err.is_empty(), "{arguments:?}");
    }
    for arguments in [
        &[][..],
        &["srve"],
        &["serve", "--prot", "1"],
        &["serve", "--set", "no equals sign"],
        &["mode", "sideways"],
        &["mode", "--accept-clock"],
        &["repair", "online_players"],
        &["repair", "Not A Name", "--value", "1"],
        &["completions", "tcsh"],
    ] {
        let ran = home.run(arguments, &[]);
        assert_eq!(ran.code, 2, "{arguments:?}");
        assert!(ran.out.is_empty() && !ran.err.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_wrong_configuration_is_78_for_every_command_that_reads_it() {
    let home = Home::new();
    home.write("counterd.toml", "[server]\nlistn = 1\n");
    for command in ["serve", "config", "check", "mode", "repair", "recover"] {
        let ran = home.run(&[command], &[]);
        assert_eq!(ran.code, 78, "{command}: {}", ran.err);
        assert!(ran.out.is_empty(), "{command}");
        assert_eq!(
            ran.err,
            "counterd: the configuration is wrong:\ncounterd.toml:2: unknown key server.listn; did \
             you mean server.listen?\n",
            "{command}"
        );
    }
    let ran = home.run(&["config", "--config", "other.toml"], &[]);
    assert_eq!(ran.code, 78);
    assert!(
        ran.err.contains("other.toml: cannot be read"),
        "{}",
        ran.err
    );
}

#[test]
fn config_prints_each_value_with_its_source_and_no_secret() {
    let home = Home::new();
    home.write("counterd.toml", "[log]\nlevel = \"warn\"\n");
    let ran = home.run(
        &["config", "--listen", "127.0.0.1:9", "--set", "log.queue=99"],
        &[
            ("COUNTERD_AUTH__ADMIN_TOKEN", SECRET),
            ("COUNTERD_PORT", "tcp://10.0.0.1:8080"),
        ],
    );
    assert_eq!(ran.code, 0, "{}", ran.err);
    let ends = |key: &str| {
        let line = ran.out.lines().find(|line| line.starts_with(key)).unwrap();
        let (value, source) = line.split_once("  # ").unwrap();
        let value = value.split_once(" = ").unwrap().1;
        (value.trim().to_owned(), source.to_owned())
    };
    let is = |key, value: &str, source: &str| {
        assert_eq!(ends(key), (value.to_owned(), source.to_owned()));
    };
    is("server.listen ", "\"127.0.0.1:9\"", "--listen");
    is("log.queue ", "99", "--set log.queue");
    is("log.level ", "\"warn\"", "counterd.toml:2");
    is(
        "calendar.timezone ",
        "\"Europe/Berlin\"",
        "default, from TZ",
    );
    is("auth.admin_token ", "(set)", "COUNTERD_AUTH__ADMIN_TOKEN");
    is("auth.write_token ", "(not set)", "default");
    assert!(
        ran.err.starts_with("warning: COUNTERD_PORT: "),
        "{}",
        ran.err
    );
    assert!(!ran.out.contains(SECRET) && !ran.err.contains(SECRET));
}

#[test]
fn a_secret_on_the_command_line_is_refused_and_not_repeated() {
    let home = Home::new();
    let set = format!("auth.admin_token={SECRET}");
    for (arguments, code) in [
        (&["config", "--set", &set][..], 78),
        (&["config", "--set", SECRET], 2),
    ] {
        let ran = home.run(arguments, &[]);
        assert_eq!(ran.code, code);
        assert!(!ran.err.contains(SECRET), "{}", ran.err);
    }
}

#[test]
fn check_finds_nothing_wrong_in_an_empty_directory_and_changes_nothing() {
    let home = Home::new();
    let ran = home.run(&["check", "--set", "storage.min_free=1MiB"], &[]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    for expected in [
        "ok     configuration   no file, defaults; 4 counters defined\n",
        "ok     time zone       Europe/Berlin (default, from TZ); tz data 20",
        "ok     data directory  ./data is not there yet and can be made\n",
    ] {
        assert!(
            ran.out.contains(expected),
            "{expected} is not in\n{}",
            ran.out
        );
    }
    assert!(ran.out.contains("; the next begins 20"), "{}", ran.out);
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn check_tells_limits_and_warns_where_all_clients_would_be_one() {
    let home = Home::new();
    let check = |settings: &[&str]| {
        let settings = settings.iter().flat_map(|setting| ["--set", setting]);
        let arguments: Vec<&str> = ["check"].into_iter().chain(settings).collect();
        home.run(&arguments, &[]).out
    };
    let none = check(&[]);
    assert!(!none.contains("limit"), "{none}");
    let alone = check(&["limits.per_ip=100/s"]);
    let told = "ok     limits          100/s for an address; clients are known by their connection";
    assert!(alone.contains(told), "{alone}");
    let warned = "limits.per_ip is set, and the server listens on a loopback address";
    assert!(alone.contains(warned), "{alone}");
    let proxied = [
        "limits.per_ip=100/s",
        "limits.per_user=5/h",
        "limits.trusted_proxies=127.0.0.1",
    ];
    let proxied = check(&proxied);
    let told = "100/s for an address, 5/h for a user; clients are known by X-Forwarded-For from 1 networks";
    assert!(
        proxied.contains(told) && !proxied.contains("loopback"),
        "{proxied}"
    );
    let open = check(&["limits.trusted_proxies=::/0"]);
    assert!(
        open.contains("limits.trusted_proxies holds every address"),
        "{open}"
    );
}

#[test]
fn check_ends_with_3_when_it_finds_a_fault() {
    let home = Home::new();
    home.write("data", "a file where a directory should be");
    let ran = home.run(&["check"], &[]);
    assert_eq!(ran.code, 3, "{}", ran.out);
    assert!(
        ran.out
            .contains("FAULT  data directory  ./data is not a directory"),
        "{}",
        ran.out
    );
    assert_eq!(ran.err, "counterd: check found a fault\n");

    let ran = home.run(&["check", "--data-dir", "data/below"], &[]);
    assert_eq!(ran.code, 3, "{}", ran.out);

    let enough = ["check", "--data-dir", "x", "--set", "storage.min_free=1TiB"];
    let ran = home.run(&enough, &[]);
    assert_eq!(ran.code, 3, "{}", ran.out);
    assert!(ran.out.contains("writes would be refused"), "{}", ran.out);
}

#[test]
fn check_sees_a_directory_that_cannot_be_written_to() {
    let home = Home::new();
    let dir = home.path().join("sealed");
    std::fs::create_dir(&dir).unwrap();
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o500)).unwrap();
    if std::fs::write(dir.join("probe"), "").is_ok() {
        println!("SKIPPED: this user may write anywhere");
        return;
    }
    let ran = home.run(&["check", "--data-dir", "sealed"], &[]);
    assert_eq!(ran.code, 3, "{}", ran.out);
    assert!(
        ran.out.contains("sealed cannot be written to"),
        "{}",
        ran.out
    );
}

#[test]
fn check_sees_a_disk_that_takes_nothing_and_leaves_nothing_on_one_that_does() {
    let test = "check_sees_a_disk_that_takes_nothing_and_leaves_nothing_on_one_that_does";
    let disk = match SmallDisk::new(16) {
        Ok(disk) => disk,
        Err(reason) => return skipped(test, &reason),
    };
    let home = Home::new();
    let dir = disk.path().join("data");
    std::fs::create_dir(&dir).unwrap();
    let shown = dir.display().to_string();
    let check = || home.run(&["check", "--data-dir", &shown], &[]).out;
    let told = check();
    assert!(
        told.contains(&format!("{shown} can be written to")),
        "{told}"
    );
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
    // The rights are as they were; the disk is not.
    disk.cut_power();
    let told = check();
    let fault = format!("FAULT  data directory  {shown} cannot be written to: ");
    assert!(told.contains(&fault), "{told}");
}

#[test]
fn check_says_who_has_the_store_open() {
    let home = Home::new();
    let data_dir = home.path().join("data");
    let said = |expected: &str| {
        let ran = home.run(&["check", "--set", "storage.min_free=1MiB"], &[]);
        assert_eq!(ran.code, 0, "{}", ran.out);
        assert!(ran.out.contains(expected), "{}", ran.out);
    };
    let held = DataDirLock::take(&data_dir).unwrap();
    said(&format!(
        "ok     store           in use by process {}\n",
        std::process::id()
    ));
    drop(held);
    said("ok     store           none yet; the first start makes it\n");
    DataDirLock::take(&data_dir).unwrap();
}

#[test]
fn check_looks_into_a_store_that_nobody_has_open_and_leaves_it_as_it_was() {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path());
    setup.start().stop();
    let check = || {
        let output = setup.command("check").output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    let everything = || {
        let mut files: Vec<_> = std::fs::read_dir(setup.data().join("store/db"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), std::fs::read(path).unwrap()))
            .collect();
        files.sort();
        files
    };
    let before = everything();
    let (code, told) = check();
    assert_eq!(code, Some(0), "{told}");
    assert!(
        told.contains("ok     store           not in use, and sound: epoch "),
        "{told}"
    );
    assert!(before == everything(), "check changed the store");

    std::fs::remove_file(setup.data().join("store/ACKED")).unwrap();
    let (code, told) = check();
    assert_eq!(code, Some(3), "{told}");
    assert!(
        told.contains("FAULT  store") && told.contains("ACKED is missing"),
        "{told}"
    );
}

#[test]
fn a_store_is_refused_under_another_zone_that_nobody_wrote() {
    let home = tempfile::tempdir().unwrap();
    let berlin = Setup::new(home.path()).set("calendar.timezone", "Europe/Berlin");
    berlin.start().stop();
    let opened = |setup: &Setup, command: &str, zone_is_written: bool| {
        let mut command = setup.command(command);
        if !zone_is_written {
            // The machine's zone, which is UTC there.
            command.env_remove("COUNTERD_CALENDAR__TIMEZONE");
        }
        let output = command.output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, told) = opened(&berlin, "serve", false);
    assert_eq!(code, Some(78), "{told}");
    assert!(
        told.contains("Europe/Berlin") && told.contains("UTC"),
        "{told}"
    );
    // A command that serves nobody takes the store's zone.
    let found = (Some(0), String::new());
    assert_eq!(opened(&berlin, "repair", false), found);
    // Written down, another zone is what somebody wants.
    assert_eq!(opened(&Setup::new(home.path()), "repair", true), found);
}

#[test]
fn another_name_of_the_zone_is_the_same_zone() {
    let home = tempfile::tempdir().unwrap();
    let kyiv = Setup::new(home.path()).set("calendar.timezone", "Europe/Kyiv");
    kyiv.start().stop();
    let machine = Setup::new(home.path())
        .without("calendar.timezone")
        .env("TZ", "Europe/Kiev");
    machine.start().stop();
    // A zone with other rules that the configuration names is told.
    let berlin = kyiv.set("calendar.timezone", "Europe/Berlin").start();
    let told = berlin.output();
    assert_eq!(
        told.matches("days were counted in another zone").count(),
        1,
        "{told}"
    );
    berlin.stop();
}

#[test]
fn check_tells_what_a_start_would_stumble_over() {
    let home = Home::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ran = home.run(&["check", "--listen", &address], &[]);
    assert_eq!(ran.code, 3, "{}", ran.out);
    let told = format!("FAULT  address         {address} cannot be listened on: ");
    assert!(ran.out.contains(&told), "{}", ran.out);

    let ran = home.run(&["check", "--listen", "0.0.0.0:0"], &[]);
    assert!(
        ran.out
            .contains("warn   address         anyone who reaches"),
        "{}",
        ran.out
    );

    let ran = home.run(&["check", "--data-dir", "/proc/nope"], &[]);
    assert_eq!(ran.code, 3, "{}", ran.out);
    assert!(
        ran.out
            .contains("FAULT  data directory  /proc cannot be written to"),
        "{}",
        ran.out
    );

    home.write("token", SECRET);
    let path = home.path().join("token");
    let file = [("COUNTERD_AUTH__WRITE_TOKEN_FILE", path.to_str().unwrap())];
    for (mode, told) in [(0o644, true), (0o640, false)] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let ran = home.run(&["check"], &file);
        assert_eq!(
            ran.out.contains("may be used by every user"),
            told,
            "{}",
            ran.out
        );
    }
    if Path::new("/dev/shm").is_dir() {
        let shm = tempfile::tempdir_in("/dev/shm").unwrap();
        let ran = home.run(&["check", "--data-dir", shm.path().to_str().unwrap()], &[]);
        assert!(ran.out.contains("is on tmpfs"), "{}", ran.out);
    }
}

#[test]
fn check_compares_zone_and_counters_with_the_store_as_a_start_does() {
    let home = tempfile::tempdir().unwrap();
    let defined = |kind: &str| {
        let file = home.path().join(kind);
        let text = format!("[[counter]]\nname = \"songs\"\nkind = \"{kind}\"\n");
        std::fs::write(&file, text).unwrap();
        let setup = Setup::new(home.path());
        setup.arg("--config").arg(file.to_str().unwrap())
    };
    let kyiv = defined("sum").set("calendar.timezone", "Europe/Kyiv");
    kyiv.start().stop();
    let ran = |setup: &Setup, kind: &str, command| {
        let file = home.path().join(kind);
        let mut command = setup.command(command);
        let output = command.arg("--config").arg(file).output().unwrap();
        let told = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(told).unwrap())
    };
    let (code, told) = ran(&kyiv, "sum", "check");
    assert_eq!(code, Some(0), "{told}");

    let berlin = defined("sum").set("calendar.timezone", "Europe/Berlin");
    let (code, told) = ran(&berlin, "sum", "check");
    assert_eq!(code, Some(0), "{told}");
    let changes =
        "days were counted in the zone Europe/Kyiv so far; a start changes it to Europe/Berlin";
    assert!(told.contains(changes), "{told}");

    let machine = defined("sum")
        .without("calendar.timezone")
        .env("TZ", "Europe/Berlin");
    let gauge = defined("gauge").set("calendar.timezone", "Europe/Kyiv");
    for (setup, kind, why) in [
        (
            machine,
            "sum",
            "days were counted in the zone Europe/Kyiv so far, and the machine's zone is now",
        ),
        (gauge, "gauge", "[[counter]] songs is a gauge"),
    ] {
        let (code, told) = ran(&setup, kind, "check");
        assert_eq!(code, Some(3), "{told}");
        assert!(
            told.contains("FAULT  store") && told.contains(why),
            "{told}"
        );
        let (code, told) = ran(&setup, kind, "serve");
        assert_eq!(code, Some(78), "{told}");
        assert!(told.contains(why), "{told}");
    }
}

#[test]
fn an_address_in_use_is_told_once_and_before_a_store_is_made() {
    let home = Home::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ran = home.run(&["serve", "--listen", &address], &[]);
    assert_eq!(ran.code, 1);
    let told =
        format!("counterd: cannot listen on {address}: Address already in use (os error 98)\n");
    assert_eq!(ran.err, told);
    assert!(!home.path().join("data").exists());
}

#[test]
fn a_directory_that_cannot_be_made_is_told_once() {
    let home = Home::new();
    home.write("file", "");
    let ran = home.run(
        &[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--data-dir",
            "file/data",
        ],
        &[],
    );
    assert_eq!(ran.code, 1);
    assert_eq!(
        ran.err,
        "counterd: cannot create file/data: Not a directory (os error 20)\n"
    );
}
