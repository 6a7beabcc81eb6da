//! Days with very many users: what the export costs, and that it stays exact. Counts are claimed,
//! memory too; rates are printed.

use std::time::{Instant, SystemTime};

use crate::harness::{PATIENCE, Setup, eventually};

use super::database;
use super::house::{DAY, House};

/// Resident memory of a process, in MB: now, and the most it was.
fn resident(pid: u32) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib / 1024
    };
    (field("VmRSS"), field("VmHWM"))
}

fn users() -> u64 {
    match std::env::var("COUNTERD_SOAK_USERS") {
        Ok(text) => text.parse().expect("COUNTERD_SOAK_USERS is a number"),
        Err(_) => 5_000_000,
    }
}

#[test]
#[ignore = "takes a minute: script/soak postgres runs it"]
fn a_day_of_millions_of_users_is_copied_in_little_memory() {
    let test = "a_day_of_millions_of_users_is_copied_in_little_memory";
    let Some(database) = database(test) else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let count = users();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let yesterday = i64::try_from(now.unwrap().as_millis()).unwrap() - DAY;
    let house = House::open(&home.path().join("data"), yesterday);
    for thousand in 0..count / 1000 {
        let of_it = (0..1000).map(|number| format!("user-{:012}", thousand * 1000 + number));
        house.users("dau", of_it);
    }
    house.next_day();
    house.stop();

    let setup = Setup::new(home.path());
    let server = setup.start();
    let mut client = server.client();
    for _ in 0..1000 {
        client.get("/api/v1/counter/online");
    }
    let (idle, _) = resident(server.pid());
    server.stop();

    let setup = setup
        .set("postgres.url", &database.url())
        .set("postgres.interval", "100ms");
    let begun = Instant::now();
    let server = setup.start();
    eventually("the day is there", 20 * PATIENCE, || {
        let there = database
            .try_sql("SELECT final_value FROM counter_history WHERE counter_name = 'dau'")
            .ok()?;
        (!there.is_empty()).then_some(())
    });
    let took = begun.elapsed();
    let (_, most) = resident(server.pid());
    let begun = Instant::now();
    let day = database.sql("SELECT date FROM counter_history WHERE counter_name = 'dau'");
    let again = setup
        .command("export")
        .args(["--date", &day, "--counter", "dau"])
        .output()
        .unwrap();
    let compared = begun.elapsed();
    let told = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(told.contains("1 unchanged"), "{told}");
    let (_, most_in_the_end) = resident(server.pid());
    server.stop();
    let size = database.number("SELECT pg_total_relation_size('counter_history_users') / 1000000");
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = count as f64 / took.as_secs_f64();
    println!(
        "{count} users: copied in {took:.1?} ({rate:.0} a second), compared in {compared:.1?}; resident {idle} MB idle, {most} MB at most, {most_in_the_end} MB with the comparison; {size} MB in the database"
    );
    assert_eq!(
        database.number("SELECT count(DISTINCT user_id) FROM counter_history_users"),
        i64::try_from(count).unwrap()
    );
    assert!(
        most_in_the_end < idle + 50,
        "{most_in_the_end} MB, {idle} idle"
    );
}
