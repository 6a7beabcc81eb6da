//! `counterd log`: what a running server logs besides requests is seen and changed while it runs.

use crate::harness::{PATIENCE, Server, Setup, eventually};

/// What the command prints, and how it ends.
fn log(setup: &Setup, arguments: &[&str]) -> (Option<i32>, String, String) {
    let ran = setup.command("log").args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (ran.status.code(), text(&ran.stdout), text(&ran.stderr))
}

/// Asks for the mode that it has, which is an audit line.
fn be_normal(server: &Server, setup: &Setup) {
    let ran = setup.command("mode").arg("normal").output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    eventually("the audit line of the mode", PATIENCE, || {
        server.output().contains("action=\"mode\"").then_some(())
    });
}

#[test]
fn a_level_is_shown_changed_and_brought_back() {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path());
    let nobody = log(&setup, &[]);
    assert_eq!(nobody.0, Some(1), "{nobody:?}");
    assert!(nobody.2.contains("no server has"), "{nobody:?}");

    let server = setup.start();
    assert_eq!(
        log(&setup, &[]),
        (Some(0), "info\n".to_owned(), String::new())
    );
    let changed = log(&setup, &["warn,counterd::serve=debug"]);
    assert_eq!(changed.0, Some(0), "{changed:?}");
    assert!(
        changed.1.starts_with("warn,counterd::serve=debug\n") && changed.1.contains("info"),
        "{changed:?}"
    );
    assert_eq!(log(&setup, &[]), changed);
    // What administrators do is told at any level, this change too.
    let audit = server.output();
    let audit = audit.lines().find(|line| line.contains("action=\"log\""));
    let audit = audit.expect("an audit line of the change");
    for part in [
        "audit:",
        "before=\"info\"",
        "after=\"warn,counterd::serve=debug\"",
    ] {
        assert!(audit.contains(part), "{audit}");
    }
    // Still told: the part that says it is at `debug`.
    reload_is_told(&server);
    // And by that the level of the configuration is in force again.
    assert_eq!(log(&setup, &[]).1, "info\n");

    assert_eq!(log(&setup, &["off"]).0, Some(0));
    be_normal(&server, &setup);
    server.signal(libc::SIGHUP);
    eventually("the reload brings the level back", PATIENCE, || {
        (log(&setup, &[]).1 == "info\n").then_some(())
    });
    server.stop();
    // A restart begins with the configuration's level too.
    let server = setup.clone().set("log.level", "error").start();
    assert_eq!(log(&setup, &[]).1, "error\n");
    server.stop();
}

fn reload_is_told(server: &Server) {
    let told = || server.output().matches("configuration reloaded").count();
    let before = told();
    server.signal(libc::SIGHUP);
    eventually("the reload is told", PATIENCE, || {
        (told() > before).then_some(())
    });
}

#[test]
fn a_level_that_makes_no_sense_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path());
    let server = setup.start();
    for wrong in [
        "loud",
        "info,",
        "counterd=loud",
        "info,audit=off",
        "a[b]=info",
    ] {
        let (code, out, told) = log(&setup, &[wrong]);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{wrong}");
        assert!(told.contains("debug"), "{wrong}: {told}");
    }
    assert_eq!(log(&setup, &[]).1, "info\n");
    server.stop();
}
