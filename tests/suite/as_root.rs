//! Commands that root runs on the stopped server of another user: that user's server can open everything
//! afterwards.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::harness::{Setup, skipped};

/// The user of the server, as in the image.
const USER: u32 = 10_001;

/// What does not belong to the user, but for links.
fn strange(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.symlink_metadata().unwrap();
        if metadata.is_dir() {
            found.extend(strange(&path));
        }
        if !metadata.is_symlink() && (metadata.uid(), metadata.gid()) != (USER, USER) {
            found.push(path);
        }
    }
    found
}

fn run(setup: &Setup, arguments: &[&str]) -> String {
    let mut command = setup.command(arguments[0]);
    let ran = command.args(&arguments[1..]).output().unwrap();
    let text = String::from_utf8([ran.stdout, ran.stderr].concat()).unwrap();
    assert!(ran.status.success(), "{arguments:?}: {text}");
    text
}

/// Gives a directory, and what is in it, to the server's user.
fn give(dir: &Path) {
    let owner = format!("{USER}:{USER}");
    let given = Command::new("chown").args(["-R", &owner]).arg(dir).status();
    assert!(given.unwrap().success());
}

#[test]
fn what_root_leaves_belongs_to_the_servers_user() {
    const NAME: &str = "what_root_leaves_belongs_to_the_servers_user";
    if !rustix::process::geteuid().is_root() {
        return skipped(
            NAME,
            "only root can leave files that another user cannot open",
        );
    }
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let setup = Setup::new(home.path());
    let server = setup.start();
    let body = json!({"value": 5});
    server
        .client()
        .post("/api/v1/counter/a/increment", &body)
        .ok();
    server.stop();
    let data = setup.data();
    let backups = home.path().join("backups");
    let dir = backups.to_str().unwrap();
    run(&setup, &["backup", dir]);
    give(data);
    // Nothing goes through a link, nor to a file that has another name elsewhere.
    let secret = home.path().join("secret");
    fs::write(&secret, "x").unwrap();
    symlink(&secret, data.join("link")).unwrap();
    fs::hard_link(&secret, data.join("other-name")).unwrap();
    let theirs = || {
        let mut strange = strange(data);
        strange.retain(|path| !path.ends_with("other-name"));
        assert_eq!(strange, [] as [PathBuf; 0]);
        assert_eq!(secret.metadata().unwrap().uid(), 0);
    };
    run(&setup, &["restore", dir, "--replace"]);
    theirs();
    run(&setup, &["compact"]);
    theirs();
    fs::remove_file(data.join("store/ACKED")).unwrap();
    run(&setup, &["recover"]);
    theirs();
    // One that is not there yet goes to the owner of the directory that it is made in.
    let place = home.path().join("place");
    fs::create_dir(&place).unwrap();
    chown(&place, Some(USER), Some(USER)).unwrap();
    let new = Setup::new(home.path()).data_dir(&place.join("data"));
    run(&new, &["restore", dir]);
    assert_eq!(strange(&place), [] as [PathBuf; 0]);
    // Nor does one leave anything of root's that fails after it has taken the lock.
    let failing = home.path().join("failing");
    fs::create_dir(&failing).unwrap();
    chown(&failing, Some(USER), Some(USER)).unwrap();
    let damaged = home.path().join("damaged");
    let copied = Command::new("cp")
        .arg("-r")
        .args([&backups, &damaged])
        .status();
    assert!(copied.unwrap().success());
    for file in fs::read_dir(damaged.join("files")).unwrap() {
        fs::write(file.unwrap().path(), "x").unwrap();
    }
    let mut restore = Setup::new(home.path())
        .data_dir(&failing)
        .command("restore");
    assert!(!restore.arg(&damaged).status().unwrap().success());
    assert!(failing.join("lock").exists());
    assert_eq!(strange(&failing), [] as [PathBuf; 0]);
    // Where root owns the directory too, it says what another user's server needs.
    let roots = Setup::new(home.path()).data_dir(Path::new("roots"));
    let text = run(&roots, &["restore", dir]);
    assert!(text.contains("chown -R USER"), "{text}");

    let binary = home.path().join("counterd");
    fs::copy(env!("CARGO_BIN_EXE_counterd"), &binary).unwrap();
    let user = USER.to_string();
    let compacted = Command::new("setpriv")
        .args(["--reuid", &user, "--regid", &user, "--clear-groups"])
        .arg(&binary)
        .args(["compact", "--data-dir"])
        .arg(data)
        .env_clear()
        .env("TZ", "UTC")
        .current_dir(home.path())
        .output();
    let compacted = compacted.unwrap();
    let text = String::from_utf8_lossy(&compacted.stderr);
    assert!(compacted.status.success(), "{text}");
}
