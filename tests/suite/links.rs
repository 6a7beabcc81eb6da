//! Links that others made where counterd writes: nothing is written through them; and directories that
//! everybody may write to are told.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Output;

use counterd::calendar::Calendar;
use counterd::clock::{Clock as _, SystemClock};

use crate::harness::{PATIENCE, Setup, skipped};

/// Whoever else is on the machine.
const OTHER: u32 = 54_321;
const UNTOUCHED: &str = "untouched";

fn victim(home: &Path) -> PathBuf {
    let victim = home.join("victim");
    fs::write(&victim, UNTOUCHED).unwrap();
    victim
}

fn is_untouched(victim: &Path) {
    assert_eq!(fs::read_to_string(victim).unwrap(), UNTOUCHED);
}

/// Starts the server, which refuses; gives what it said.
fn refuses(setup: &Setup) -> String {
    let mut server = setup.spawn();
    let status = server.wait_exit(PATIENCE);
    let said = server.output();
    assert_eq!(status.code(), Some(1), "{said}");
    said
}

#[test]
fn the_reserve_is_made_in_the_place_of_a_link() {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path());
    let victim = victim(home.path());
    fs::create_dir(setup.data()).unwrap();
    let reserve = setup.data().join("reserve");
    symlink(&victim, &reserve).unwrap();
    let server = setup.start();
    is_untouched(&victim);
    assert!(fs::symlink_metadata(&reserve).unwrap().is_file());
    let socket = fs::symlink_metadata(setup.data().join("socket")).unwrap();
    assert!(socket.file_type().is_socket());
    assert_eq!(socket.mode() & 0o777, 0o600);
    server.stop();
}

#[test]
fn lock_log_and_acked_are_not_opened_through_a_link() {
    let home = tempfile::tempdir().unwrap();
    let victim = victim(home.path());
    let setup = Setup::new(home.path());
    setup.start().stop();
    for place in ["lock", "store/ACKED"] {
        let path = setup.data().join(place);
        let kept = home.path().join("kept");
        fs::rename(&path, &kept).unwrap();
        let target = if place == "lock" { &victim } else { &kept };
        symlink(target, &path).unwrap();
        let before = fs::read(&kept).unwrap();
        let said = refuses(&setup);
        assert!(said.contains(path.to_str().unwrap()), "{said}");
        is_untouched(&victim);
        assert!(fs::read(&kept).unwrap() == before, "it was written to");
        fs::rename(&kept, &path).unwrap();
    }
    let logs = home.path().join("logs");
    fs::create_dir(&logs).unwrap();
    let utc = Calendar::new("UTC", "00:00".parse().unwrap()).unwrap();
    let today = utc.day_of(SystemClock.wall_ms());
    // Should midnight pass meanwhile, tomorrow's is one, too.
    for day in [today, today.next()] {
        symlink(&victim, logs.join(format!("counterd-{day}.log"))).unwrap();
    }
    refuses(&setup.clone().set("log.dir", logs.to_str().unwrap()));
    is_untouched(&victim);
    setup.start().stop();
}

fn export(setup: &Setup, output: &Path) -> Output {
    let mut command = setup.command("export");
    command.args([
        "--date",
        "today",
        "--include-open",
        "--to",
        "csv",
        "--output",
    ]);
    command.arg(output).output().unwrap()
}

#[test]
fn an_export_goes_through_no_link_of_another_user() {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path());
    setup.start().stop();
    let victim = victim(home.path());
    let shared = home.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777)).unwrap();
    let [theirs, ours, leads] = ["theirs", "ours", "leads"].map(|name| shared.join(name));
    symlink(&victim, &theirs).unwrap();
    if let Err(error) = lchown(&theirs, Some(OTHER), Some(OTHER)) {
        let test = "an_export_goes_through_no_link_of_another_user";
        return skipped(test, &error.to_string());
    }
    // One of ours that leads to theirs is theirs.
    symlink(&theirs, &leads).unwrap();
    for link in [&theirs, &leads] {
        let done = export(&setup, link);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(1), "{said}");
        assert!(
            said.contains(&format!("is a link that user {OTHER} made")),
            "{said}"
        );
        is_untouched(&victim);
    }
    let target = home.path().join("target");
    symlink(&target, &ours).unwrap();
    let done = export(&setup, &ours);
    assert!(done.status.success(), "{done:?}");
    assert!(fs::symlink_metadata(&ours).unwrap().is_symlink());
    assert!(fs::read_to_string(&target).unwrap().starts_with("date,"));
    let left = fs::read_dir(&shared).unwrap().count();
    assert_eq!(left, 3, "nothing unfinished is left");
}

#[test]
fn a_directory_that_everybody_may_write_to_is_told() {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path());
    fs::create_dir(setup.data()).unwrap();
    fs::set_permissions(setup.data(), fs::Permissions::from_mode(0o777)).unwrap();
    let server = setup.start();
    assert!(
        server
            .output()
            .contains("everybody may write to the directory")
    );
    server.stop();
    let checked = setup.command("check").output().unwrap();
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(
        said.contains("can be written to by everybody (mode 777)"),
        "{said}"
    );
}
