//! A directory that others may write to: nothing goes through their links, waits for their pipes, or
//! stands where anybody could replace it.

use std::os::unix::fs::{PermissionsExt, symlink};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o7777
}

/// A file of somebody else's, with what it holds.
fn victim(home: &Home) -> PathBuf {
    let victim = home.data.with_file_name("victim");
    fs::write(&victim, "precious").unwrap();
    victim
}

#[test]
fn nothing_is_written_through_a_link() {
    let (home, mut store) = Home::new();
    put(&mut store, 1, 1000);
    let victim = victim(&home);
    let files = home.backups.join("files");
    fs::create_dir_all(&files).unwrap();
    for name in ["backup-1.json.tmp", "files/CURRENT.tmp"] {
        symlink(&victim, home.backups.join(name)).unwrap();
    }
    let kept = home.data.with_file_name("kept");
    fs::create_dir(&kept).unwrap();
    fs::write(kept.join("letter"), "x").unwrap();
    symlink(&kept, home.backups.join("verify.tmp")).unwrap();
    home.back_up();
    assert!(
        kept.join("letter").exists(),
        "what a link leads to was removed"
    );
    // In the place of what was written: the manifest of the next one, and a file of the pool.
    symlink(&victim, home.backups.join("backup-2.json")).unwrap();
    let current = fs::read_dir(&files)
        .unwrap()
        .map(|file| file.unwrap().path());
    let current = current.filter(|path| path.to_string_lossy().contains("CURRENT."));
    let current: Vec<_> = current.collect();
    fs::remove_file(&current[0]).unwrap();
    symlink(&victim, &current[0]).unwrap();
    let refused = home.restore_to(&home.elsewhere(), false).unwrap_err();
    assert!(refused.to_string().contains("it is a link"), "{refused}");
    assert_eq!(home.back_up().backup, 3);
    assert!(current[0].symlink_metadata().unwrap().is_file());
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
}

#[test]
fn a_lock_or_a_pool_that_is_a_link_is_refused() {
    for name in ["lock", "files"] {
        let (home, _store) = Home::new();
        let victim = victim(&home);
        let there = home.data.with_file_name("there");
        fs::create_dir(&there).unwrap();
        fs::create_dir(&home.backups).unwrap();
        let to = if name == "lock" { &victim } else { &there };
        symlink(to, home.backups.join(name)).unwrap();
        let refused = home.back_up_with(None, &mut |_| Ok(())).unwrap_err();
        let path = home.backups.join(name);
        assert!(
            refused.to_string().contains(path.to_str().unwrap()),
            "{refused}"
        );
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
        assert_eq!(fs::read_dir(&there).unwrap().count(), 0);
    }
}

#[test]
fn a_pipe_with_the_name_of_a_backup_keeps_nobody_waiting() {
    let (home, _store) = Home::new();
    home.back_up();
    let pipe = home.backups.join("backup-2.json");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
    assert_eq!(home.back_up().backup, 3);
    let listed = list(&home.backups).unwrap();
    let error = listed[1].manifest.as_ref().unwrap_err().to_string();
    assert!(error.contains("no regular file"), "{error}");
}

#[test]
fn a_directory_that_anybody_may_write_to_is_refused_and_what_others_may_do_is_told() {
    let (home, mut store) = Home::new();
    put(&mut store, 1, 1000);
    let make = || home.back_up_with(None, &mut |_| Ok(()));
    fs::create_dir(&home.backups).unwrap();
    set_mode(&home.backups, 0o777);
    let refused = make().unwrap_err();
    assert!(
        refused.to_string().starts_with("anyone may write to"),
        "{refused}"
    );
    assert!(refused.to_string().contains("mode 0777"), "{refused}");
    assert_eq!(fs::read_dir(&home.backups).unwrap().count(), 0);
    for (wanted, told) in [
        (0o700, false),
        (0o755, false),
        (0o775, true),
        (0o1777, true),
    ] {
        set_mode(&home.backups, wanted);
        let made = make().unwrap();
        assert_eq!(made.warning.is_some(), told, "{:?}", made.warning);
        assert_eq!(mode(&home.backups), wanted, "an operator's mode stays");
    }
    set_mode(&home.backups.join("files"), 0o777);
    let refused = make().unwrap_err();
    assert!(
        refused.to_string().starts_with("anyone may write to"),
        "{refused}"
    );
    set_mode(&home.backups.join("files"), 0o700);
    for path in everything(&home.backups) {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    fs::remove_dir_all(&home.backups).unwrap();
    make().unwrap();
    for dir in [home.backups.clone(), home.backups.join("files")] {
        assert_eq!(mode(&dir), 0o700, "what is made is for its owner alone");
    }
}
