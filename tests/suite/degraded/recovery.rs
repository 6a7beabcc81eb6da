//! How a server without a store comes by one: never by making a new one beside what is damaged or lost
//! sight of.

use std::fs;

use serde_json::json;

use super::{Copies, claim_stale, count_a_little, damage, mode, setup, text, wait_for_copies};
use crate::harness::{PATIENCE, Setup, at_once, eventually};

fn opened(client: &mut crate::harness::Client) {
    eventually("the store is open", PATIENCE, || {
        (client.get("/readyz?writes").status == 200).then_some(())
    });
}

#[test]
fn recover_puts_the_store_right_while_its_server_reads_elsewhere_under_load() {
    let Some(copies) =
        Copies::new("recover_puts_the_store_right_while_its_server_reads_elsewhere_under_load")
    else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let setup = setup(home.path(), &copies);
    let server = setup.start();
    count_a_little(&server, &copies);
    server.kill9();
    damage(&setup);
    let server = setup.start();
    let epoch = server.client().get("/api/v1/counter/gauge").ok()["epoch"]
        .as_u64()
        .unwrap();
    let recovered = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Meanwhile: every answer is the copy's, or the store's of the new epoch.
            at_once(8, |_| {
                let mut client = server.client();
                let mut fresh = 0;
                let mut stale = 0;
                while fresh < 50 {
                    let reading = client.get("/api/v1/counter/gauge");
                    if reading.status == 404 {
                        // Given up by the recovery.
                        fresh += 1;
                        continue;
                    }
                    let reading = reading.ok();
                    if reading["stale"] == true {
                        assert_eq!(fresh, 0, "a copy after the store");
                        claim_stale(&reading, 7, "redis");
                        stale += 1;
                    } else {
                        assert!(reading["epoch"].as_u64().unwrap() > epoch, "{reading}");
                        fresh += 1;
                    }
                    let write = client.post("/api/v1/counter/other/increment", &json!({}));
                    assert!(
                        write.status == 200 || write.code() == "read_only",
                        "{}",
                        write.text()
                    );
                }
                assert!(stale > 0 || recovered.load(std::sync::atomic::Ordering::SeqCst));
            });
        });
        let shown = setup.command("mode").output().unwrap();
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(shown.contains("no_store"), "{shown}");
        let output = setup.command("recover").output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        recovered.store(true, std::sync::atomic::Ordering::SeqCst);
        opened(&mut server.client());
    });
    // The copies follow the new epoch.
    wait_for_copies(&server, &copies);
    let refused = setup.command("inspect").output().unwrap();
    assert!(refused.status.success(), "the new socket answers");
    server.stop();
    assert!(!setup.data().join("socket").exists());
}

#[test]
fn a_directory_that_is_lost_sight_of_is_not_begun_anew_and_is_found_again() {
    let Some(copies) =
        Copies::new("a_directory_that_is_lost_sight_of_is_not_begun_anew_and_is_found_again")
    else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let setup = setup(home.path(), &copies);
    let server = setup.start();
    count_a_little(&server, &copies);
    server.stop();
    let away = home.path().join("away");
    // The directory, then only the store in it, as with a volume that is not mounted.
    for (from, what) in [
        (setup.data().to_owned(), "directory"),
        (setup.data().join("store"), "store"),
    ] {
        fs::rename(&from, &away).unwrap();
        let server = setup.start();
        let mut client = server.client();
        claim_stale(&client.get("/api/v1/counter/gauge").ok(), 7, "redis");
        eventually("it was tried again", PATIENCE, || {
            // Nothing is made, however often it is tried.
            assert!(!from.exists(), "the {what} was made");
            let tries = mode(&mut client)["since"].is_string();
            tries.then_some(())
        });
        assert!(
            server.output().contains("there is no store in"),
            "{}",
            server.output()
        );
        for copy in ["redis", "postgres"] {
            let lag = mode(&mut client)["lags"][copy].clone();
            assert_eq!(lag["up"], false, "{lag}");
            assert!(text(&lag["error"]).starts_with("not tried yet"), "{lag}");
        }
        let checked = setup.command("check").output().unwrap();
        let checked = String::from_utf8(checked.stdout).unwrap();
        let told = "FAULT  store           none here, but redis has values of one";
        assert!(checked.contains(told), "{checked}");
        assert!(!from.exists());
        fs::rename(&away, &from).unwrap();
        opened(&mut client);
        assert_eq!(client.value("gauge"), 7);
        eventually("the copies are written", PATIENCE, || {
            let lags = mode(&mut client)["lags"].clone();
            let there = |copy: &str| lags[copy]["up"] == true && lags[copy]["error"].is_null();
            (there("redis") && there("postgres")).then_some(())
        });
        server.stop();
    }
}

#[test]
fn a_first_start_makes_a_store_once_every_copy_says_that_there_was_none() {
    let Some(mut copies) =
        Copies::new("a_first_start_makes_a_store_once_every_copy_says_that_there_was_none")
    else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let setup = setup(home.path(), &copies);
    // Redis comes later, as containers may.
    copies.redis.kill();
    let mut server = setup.spawn();
    eventually("it says what it waits for, and listens", PATIENCE, || {
        assert!(server.try_exit().is_none());
        let output = server.output();
        let says = |text| output.contains(text);
        (says("whether redis has values") && says("counterd::serve: ready")).then_some(())
    });
    let mut client = server.client();
    client.get("/readyz").refused(503, "unknown_here");
    client
        .get("/api/v1/counter/online_players")
        .refused(503, "unknown_here");
    copies.redis.start();
    opened(&mut client);
    assert_eq!(client.value("online_players"), 0);
    server.stop();
}

#[test]
fn what_is_no_matter_of_the_store_is_no_degraded_start() {
    let Some(copies) = Copies::new("what_is_no_matter_of_the_store_is_no_degraded_start") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let setup = setup(home.path(), &copies);
    let server = setup.start();
    count_a_little(&server, &copies);
    // Another server has the store.
    let other = Setup::new(home.path()).data_dir(setup.data());
    let other = other
        .set("degraded.start", "true")
        .set("redis.url", &copies.redis.url());
    let mut second = other.spawn();
    assert_eq!(second.wait_exit(PATIENCE).code(), Some(1));
    server.kill9();
    // Without degraded.start a damaged store keeps the server down.
    damage(&setup);
    let mut down = setup.clone().set("degraded.start", "false").spawn();
    assert_eq!(down.wait_exit(PATIENCE).code(), Some(1));
    // With nothing to read it is a mistake of the configuration.
    let mut alone = Setup::new(home.path())
        .set("degraded.start", "true")
        .spawn();
    assert_eq!(alone.wait_exit(PATIENCE).code(), Some(78));
}

#[test]
fn once_a_copy_has_shown_a_store_none_is_made_even_if_the_copy_is_emptied() {
    let Some(copies) =
        Copies::new("once_a_copy_has_shown_a_store_none_is_made_even_if_the_copy_is_emptied")
    else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let setup = setup(home.path(), &copies).without("postgres.url");
    let server = setup.start();
    server
        .client()
        .post("/api/v1/counter/gauge/increment", &json!({"value": 7}))
        .ok();
    eventually("the mirror has it", PATIENCE, || {
        let lags = server.client().get("/readyz?verbose").ok()["lags"].clone();
        (lags["redis"]["up"] == true && lags["redis"]["revisions"] == 0).then_some(())
    });
    server.stop();
    let away = home.path().join("away");
    fs::rename(setup.data(), &away).unwrap();
    let server = setup.start();
    let mut client = server.client();
    claim_stale(&client.get("/api/v1/counter/gauge").ok(), 7, "redis");
    copies.redis.say::<()>("FLUSHALL");
    eventually("it says that there is a store no more", PATIENCE, || {
        server
            .output()
            .contains("which was there before")
            .then_some(())
    });
    assert!(!setup.data().exists());
    eventually("an emptied mirror is none", PATIENCE, || {
        (client.get("/readyz").status == 503).then_some(())
    });
    fs::rename(&away, setup.data()).unwrap();
    opened(&mut client);
    assert_eq!(client.value("gauge"), 7);
    server.stop();
}

#[test]
fn a_store_that_contradicts_the_configuration_ends_a_degraded_server() {
    let Some(copies) =
        Copies::new("a_store_that_contradicts_the_configuration_ends_a_degraded_server")
    else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("counterd.toml");
    fs::write(&file, "").unwrap();
    let setup = setup(home.path(), &copies)
        .arg("--config")
        .arg(file.to_str().unwrap());
    let server = setup.start();
    count_a_little(&server, &copies);
    server.kill9();
    let (log, whole) = damage(&setup);
    fs::write(&file, "[[counter]]\nname = \"gauge\"\nkind = \"sum\"\n").unwrap();
    let mut server = setup.start();
    claim_stale(
        &server.client().get("/api/v1/counter/gauge").ok(),
        7,
        "redis",
    );
    fs::write(log, whole).unwrap();
    assert_eq!(server.wait_exit(PATIENCE).code(), Some(78));
    assert!(
        server
            .output()
            .contains("the configuration contradicts the store")
    );
}

#[test]
fn a_second_server_beside_one_without_a_store_is_an_error_and_harms_nothing() {
    let Some(copies) =
        Copies::new("a_second_server_beside_one_without_a_store_is_an_error_and_harms_nothing")
    else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let setup = setup(home.path(), &copies);
    let server = setup.start();
    count_a_little(&server, &copies);
    server.kill9();
    let (log, whole) = damage(&setup);
    let server = setup.start();
    let other = Setup::new(home.path()).data_dir(setup.data());
    let other = other
        .set("degraded.start", "true")
        .set("redis.url", &copies.redis.url());
    let mut second = other.spawn();
    assert_eq!(second.wait_exit(PATIENCE).code(), Some(1));
    assert!(
        second.output().contains("another server answers"),
        "{}",
        second.output()
    );
    let shown = setup.command("mode").output().unwrap();
    assert!(String::from_utf8_lossy(&shown.stdout).contains("no_store"));
    // Whoever looks for the reason may have it log more.
    for level in [&["debug"][..], &[]] {
        let shown = setup.command("log").args(level).output().unwrap();
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(
            text.starts_with("debug\n") && text.ends_with("info\n"),
            "{shown:?}"
        );
    }
    fs::write(log, whole).unwrap();
    opened(&mut server.client());
    wait_for_copies(&server, &copies);
    assert!(setup.command("inspect").output().unwrap().status.success());
    server.stop();
}
