//! The systemd unit: what systemd itself says about it, and the real binary under it.

mod booted;
mod notified;
mod restricted;

use std::path::PathBuf;
use std::process::{Command, Output};

use crate::harness::skipped;

fn unit() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy/counterd.service")
}

fn unit_text() -> String {
    std::fs::read_to_string(unit()).unwrap()
}

/// All values that the unit gives a name, in order.
fn settings(name: &str) -> Vec<String> {
    let text = unit_text();
    let lines = text.lines().filter_map(|line| line.split_once('='));
    lines
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
        .collect()
}

fn analyze(arguments: &[&str]) -> Option<Output> {
    Command::new("systemd-analyze")
        .args(["--no-pager", "--man=no"])
        .args(arguments)
        .output()
        .ok()
}

/// systemd-analyze, or a line that says that it is not here.
fn analyzed(test: &str, arguments: &[&str]) -> Option<Output> {
    let done = analyze(arguments);
    if done.is_none() {
        skipped(test, "systemd-analyze is not here");
    }
    done
}

/// A root with systemd's own units, the binary where the unit wants it, and a unit of this text.
fn root_with(text: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let units = root.path().join("etc/systemd/system");
    let binaries = root.path().join("usr/local/bin");
    let shipped = root.path().join("usr/lib/systemd");
    let tools = root.path().join("bin");
    for dir in [&units, &binaries, &shipped, &tools] {
        std::fs::create_dir_all(dir).unwrap();
    }
    // What reloads it.
    std::fs::copy("/bin/kill", tools.join("kill")).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_counterd"), binaries.join("counterd")).unwrap();
    let copied = Command::new("cp")
        .args(["-r", "/usr/lib/systemd/system"])
        .arg(&shipped)
        .status();
    assert!(copied.unwrap().success());
    std::fs::write(units.join("counterd.service"), text).unwrap();
    root
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let test = "systemd_finds_nothing_wrong_with_the_unit";
    let verify = |text: &str| {
        let root = root_with(text);
        let root = format!("--root={}", root.path().display());
        let done = analyzed(test, &["verify", &root, "counterd.service"])?;
        let told = String::from_utf8_lossy(&done.stderr).into_owned();
        Some((done.status.code(), told))
    };
    let Some(verdict) = verify(&unit_text()) else {
        return;
    };
    assert_eq!(verdict, (Some(0), String::new()));
    // What is wrong is seen.
    let text = unit_text();
    for (right, wrong) in [
        ("ProtectHome=", "ProtectHomes="),
        ("/usr/local/bin/counterd", "/usr/local/bin/counter"),
        ("After=network-online.target", "Requires=nothing.service"),
        ("TimeoutStopSec=70s", "TimeoutStopSec=long"),
    ] {
        assert!(text.contains(right));
        let (code, told) = verify(&text.replace(right, wrong)).unwrap();
        assert!(code != Some(0) || !told.is_empty(), "{wrong} is not seen");
    }
}

/// The exposure by systemd's own measure, from 0 to 10.
#[test]
fn the_unit_leaves_little_exposed() {
    let test = "the_unit_leaves_little_exposed";
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("counterd.service");
    let review = |text: &str| {
        std::fs::write(&path, text).unwrap();
        // In tenths.
        let limit = "--threshold=15";
        analyzed(
            test,
            &["security", "--offline=yes", limit, path.to_str().unwrap()],
        )
    };
    let text = unit_text();
    let Some(done) = review(&text) else {
        return;
    };
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stdout)
    );
    assert!(done.stderr.is_empty(), "{done:?}");
    for name in ["SystemCallFilter=", "CapabilityBoundingSet="] {
        let lines = text.lines().filter(|line| !line.starts_with(name));
        let without = lines.map(|line| format!("{line}\n")).collect::<String>();
        assert!(without.len() < text.len());
        assert!(
            !review(&without).unwrap().status.success(),
            "without {name}"
        );
    }
}

/// What the unit says about the program is what the program does.
#[test]
fn the_unit_fits_the_program() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("counterd.toml");
    std::fs::write(&config, "[calendar]\ntimezone = \"UTC\"\n").unwrap();
    let token = home.path().join("admin-token");
    std::fs::write(&token, "an-admin-token-of-tests\n").unwrap();
    let start = settings("ExecStart");
    let words: Vec<&str> = start[0].split(' ').collect();
    assert_eq!(words[..3], ["/usr/local/bin/counterd", "serve", "--config"]);
    let mut command = crate::harness::counterd();
    command.args(["config", "--config"]).arg(&config);
    for pair in settings("Environment") {
        let (name, value) = pair.split_once('=').unwrap();
        command.env(name, value.replace("%d", home.path().to_str().unwrap()));
    }
    let shown = command.output().unwrap();
    assert!(shown.status.success(), "{shown:?}");
    let shown = String::from_utf8(shown.stdout).unwrap();
    let state = format!("/var/lib/{}", settings("StateDirectory")[0]);
    assert!(shown.contains(&state), "{shown}");
    for credential in settings("LoadCredential") {
        let file = format!("_FILE=%d/{}", credential.split(':').next().unwrap());
        assert!(
            settings("Environment")
                .iter()
                .any(|pair| pair.ends_with(&file)),
            "{file}"
        );
    }
    // Usage and configuration, as docs/operations.md has them.
    assert_eq!(settings("RestartPreventExitStatus"), ["2 78"]);
    let stop = settings("TimeoutStopSec")[0]
        .strip_suffix('s')
        .unwrap()
        .parse::<u32>();
    let drain = shown
        .lines()
        .find(|line| line.contains("drain_timeout"))
        .unwrap();
    assert!(drain.contains("30s"), "{drain}");
    assert!(stop.unwrap() > 2 * 30);
}
