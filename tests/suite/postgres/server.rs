//! The real binary beside a database: commands, pages, logs.

use std::process::Output;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::harness::{
    Client, Database, PASSWORD, PATIENCE, Server, Setup, certificates, eventually,
};
use crate::midnight::ShiftedClock;

use super::database;
use super::options;
use crate::house::{DAY, House};

const HOUR: i64 = 3_600_000;

/// 2026-11-25T00:00:00Z.
const MIDNIGHT: i64 = 1_795_564_800_000;

fn setup(home: &std::path::Path, database: &Database) -> Setup {
    Setup::new(home)
        .set("postgres.url", &database.url())
        .set("postgres.interval", "100ms")
        .set("postgres.timeout", "2s")
}

fn run(setup: &Setup, name: &str, arguments: &[&str]) -> Output {
    setup.command(name).args(arguments).output().unwrap()
}

#[track_caller]
fn says(output: &Output, code: i32) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8(text).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

fn lag(client: &mut Client) -> Value {
    client.get("/readyz?verbose").ok()["lags"]["postgres"].clone()
}

fn caught_up(client: &mut Client) {
    eventually("the export has caught up", PATIENCE, || {
        let lag = lag(client);
        (lag["up"] == true && lag["revisions"] == 0 && lag["days"] == 0).then_some(())
    });
}

fn metric(client: &mut Client, name: &str) -> f64 {
    let page = client.get("/metrics").text();
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name}: {page}"))
        .parse()
        .unwrap()
}

#[test]
fn a_server_exports_a_day_and_the_command_changes_nothing_more() {
    let test = "a_server_exports_a_day_and_the_command_changes_nothing_more";
    let Some(database) = database(test) else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let setup = setup(home.path(), &database);
    let Some((setup, clock)) = ShiftedClock::for_server(test, setup, home.path()) else {
        return;
    };
    clock.set(MIDNIGHT - HOUR);
    let found = says(&run(&setup, "check", &[]), 0);
    assert!(found.contains("no schema yet"), "{found}");
    let server = setup.start();
    let mut client = server.client();
    for user in ["a", "b", "c"] {
        let path = "/api/v1/counter/daily_active_users/increment";
        client.post(path, &json!({"user_id": user})).ok();
    }
    client
        .post(
            "/api/v1/counter/total_games_played/increment",
            &json!({"value": 5}),
        )
        .ok();
    caught_up(&mut client);
    assert_eq!(
        database.number("SELECT current_value FROM counters WHERE name = 'total_games_played'"),
        5
    );
    clock.set(MIDNIGHT + HOUR);
    eventually("the day is there", PATIENCE, || {
        let rows = database.number("SELECT count(*) FROM counter_history");
        (rows == 4).then_some(())
    });
    caught_up(&mut client);
    assert_eq!(
        database.sql(
            "SELECT unique_users FROM counter_history WHERE counter_name = 'daily_active_users'"
        ),
        "{a,b,c}"
    );
    assert_eq!(metric(&mut client, "counterd_export_up"), 1.0);
    assert_eq!(metric(&mut client, "counterd_export_day_rows_total"), 4.0);
    assert_eq!(metric(&mut client, "counterd_export_users_total"), 3.0);
    assert!(metric(&mut client, "counterd_export_values_total") >= 5.0);

    claim_commands(&setup, &database);
    server.stop();
    let found = says(&run(&setup, "check", &[]), 0);
    assert!(found.contains("this version's"), "{found}");
    claim_commands(&setup, &database);
}

/// With a server and without one.
fn claim_commands(setup: &Setup, database: &Database) {
    // PostgreSQL is the default target when it is configured.
    let told = says(&run(setup, "export", &["--date", "yesterday"]), 0);
    assert!(
        told.contains("0 rows written") && told.contains("4 unchanged"),
        "{told}"
    );
    database.sql("DELETE FROM counter_history WHERE counter_name = 'daily_active_users'");
    let arguments = ["--date", "2026-11-24", "--to", "postgres", "--json"];
    let told: Value = serde_json::from_str(&says(&run(setup, "export", &arguments), 0)).unwrap();
    assert_eq!(
        (&told["written"], &told["unchanged"], &told["users"]),
        (&json!(1), &json!(3), &json!(3))
    );
    // What is for files goes to files.
    let csv = says(
        &run(setup, "export", &["--date", "yesterday", "--users"]),
        0,
    );
    assert!(csv.contains("daily_active_users,true,a\r\n"), "{csv}");

    // Somebody else's row.
    database.sql(
        "DELETE FROM counterd_days WHERE counter_name = 'online_players';
         UPDATE counter_history SET final_value = 77 WHERE counter_name = 'online_players'",
    );
    let told = says(&run(setup, "export", &["--date", "2026-11-24"]), 1);
    assert!(
        told.contains("1 set aside") && told.contains("--rejected"),
        "{told}"
    );
    let rejected = says(&run(setup, "export", &["--rejected"]), 0);
    assert!(
        rejected.contains("2026-11-24") && rejected.contains("online_players"),
        "{rejected}"
    );
    let rejected: Value =
        serde_json::from_str(&says(&run(setup, "export", &["--rejected", "--json"]), 0)).unwrap();
    assert_eq!(rejected[0]["counter"], "online_players");
    let arguments = [
        "--date",
        "2026-11-24",
        "--replace",
        "--counter",
        "online_players",
    ];
    let told = says(&run(setup, "export", &arguments), 0);
    assert!(told.contains("1 rows written"), "{told}");
    let rejected = says(&run(setup, "export", &["--rejected"]), 0);
    assert_eq!(rejected, "no row is set aside\n");

    let nothing = says(&run(setup, "export", &["--date", "2020-01-01"]), 1);
    assert!(nothing.contains("kept from 2026-11-24"), "{nothing}");
    says(
        &run(
            setup,
            "export",
            &["--date", "yesterday", "--to", "csv", "--replace"],
        ),
        2,
    );
    says(
        &run(
            setup,
            "export",
            &["--date", "yesterday", "--to", "postgres", "--output", "x"],
        ),
        2,
    );
}

#[test]
fn without_its_database_a_server_serves_and_says_why_and_never_shows_the_password() {
    let test = "without_its_database_a_server_serves_and_says_why_and_never_shows_the_password";
    let Some(mut database) = database(test) else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let good = setup(home.path(), &database).set("log.level", "trace");
    database.crash();
    let server: Server = good.start();
    let mut client = server.client();
    let lag = eventually("it says why", PATIENCE, || {
        let lag = lag(&mut client);
        // Before the first round there is a reason too.
        lag["since"].is_string().then_some(lag)
    });
    assert_eq!(lag["up"], false);
    assert!(lag["error"].as_str().unwrap().contains("connect"), "{lag}");
    let path = "/api/v1/counter/total_games_played/increment";
    client.post(path, &json!({})).ok();
    assert_eq!(client.get("/readyz").status, 200);
    assert_eq!(metric(&mut client, "counterd_export_up"), 0.0);
    assert!(metric(&mut client, "counterd_export_errors_total") >= 1.0);
    let found = says(&run(&good, "check", &[]), 3);
    assert!(
        found.contains("FAULT") && !found.contains(PASSWORD),
        "{found}"
    );
    database.start();
    caught_up(&mut client);
    assert_eq!(
        database.number("SELECT current_value FROM counters WHERE name = 'total_games_played'"),
        1
    );
    server.stop();
    // URLs that cannot be used are mistakes of the configuration.
    for url in [
        format!("mysql://postgres:{PASSWORD}@localhost/x"),
        format!("{}?pass={PASSWORD}", database.url()),
    ] {
        let bad = good.clone().set("postgres.url", &url);
        let told = says(&run(&bad, "check", &[]), 78);
        assert!(
            told.contains("postgres.url") && !told.contains(PASSWORD),
            "{told}"
        );
    }
    // A wrong password, and a database that is not there.
    let urls = [
        database.url_as("postgres", "wrong-a-password-of-tests", "postgres"),
        database.url_as("postgres", PASSWORD, "nowhere"),
    ];
    for url in urls {
        let bad = good.clone().set("postgres.url", &url);
        let server = bad.start();
        let mut client = server.client();
        eventually("it says why", PATIENCE, || {
            self::lag(&mut client)["since"].is_string().then_some(())
        });
        let page = client.get("/readyz?verbose").text();
        assert!(!page.contains(PASSWORD), "{page}");
        let told = says(&run(&bad, "export", &["--date", "yesterday"]), 1);
        assert!(!told.contains(PASSWORD), "{told}");
        let told = says(&run(&bad, "check", &[]), 3);
        assert!(!told.contains(PASSWORD), "{told}");
        server.stop();
    }
    let output = server_output(home.path());
    assert!(
        output.contains("held up") && output.contains("goes on"),
        "{output}"
    );
    assert!(!output.contains(PASSWORD), "a log shows the password");
    assert_eq!(
        output
            .lines()
            .filter(|line| line.contains("the export to PostgreSQL is held up"))
            // What a database says that is still starting.
            .filter(|line| !line.contains("the database system is"))
            .count(),
        3,
        "one line for each reason:\n{output}"
    );
}

fn server_output(home: &std::path::Path) -> String {
    std::fs::read_to_string(home.join("output")).unwrap()
}

#[test]
fn a_role_with_no_more_rights_than_it_needs_is_enough() {
    let test = "a_role_with_no_more_rights_than_it_needs_is_enough";
    let Some(database) = database(test) else {
        return;
    };
    // As docs/postgres.md says it.
    let docs = include_str!("../../../docs/postgres.md");
    let block = |mark: &str| {
        let (_, rest) = docs.split_once(mark).unwrap();
        let (_, rest) = rest.split_once("```sql\n").unwrap();
        rest.split_once("```").unwrap().0.to_owned()
    };
    let statements = block("<!-- roles -->").replace("a long password", PASSWORD);
    for statement in statements.split_inclusive(";\n") {
        let at = if statement.contains("ROLE") || statement.contains("DATABASE") {
            database.url()
        } else {
            database.url_as("postgres", PASSWORD, "counterd")
        };
        database.sql_at(&at, statement).unwrap();
    }
    // The owner makes the tables, at any command or start of its.
    let home = tempfile::tempdir().unwrap();
    let owner = database.url_as("counterd_owner", PASSWORD, "counterd");
    let setup = setup(home.path(), &database).set("postgres.url", &owner);
    let server = setup.start();
    caught_up(&mut server.client());
    server.stop();
    let grants = block("<!-- grants -->");
    database.sql_at(&owner, &grants).unwrap();

    let writer = database.url_as("counterd", PASSWORD, "counterd");
    let setup = setup.set("postgres.url", &writer);
    let server = setup.start();
    let mut client = server.client();
    let path = "/api/v1/counter/total_games_played/increment";
    client.post(path, &json!({})).ok();
    caught_up(&mut client);
    let value = "SELECT current_value FROM counters WHERE name = 'total_games_played'";
    assert_eq!(database.sql_at(&owner, value).unwrap(), "1");
    assert!(
        database.sql_at(&writer, "DROP TABLE counters").is_err()
            && database.sql_at(&writer, "CREATE TABLE x (y int)").is_err()
            && database.sql_at(&writer, "DELETE FROM counters").is_err()
    );
    let reader = database.url_as("reports", PASSWORD, "counterd");
    database
        .sql_at(&reader, "SELECT * FROM counter_daily_summary")
        .unwrap();
    assert!(
        database
            .sql_at(&reader, "SELECT * FROM counter_history_users")
            .is_err(),
        "personal data is not for reports"
    );
    server.stop();
}

#[test]
fn a_server_ends_at_once_though_its_database_is_stopped() {
    let test = "a_server_ends_at_once_though_its_database_is_stopped";
    let Some(database) = database(test) else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let setup = setup(home.path(), &database).set("postgres.timeout", "1h");
    let Some((setup, clock)) = ShiftedClock::for_server(test, setup, home.path()) else {
        return;
    };
    clock.set(MIDNIGHT - HOUR);
    let server = setup.start();
    let mut client = server.client();
    client
        .post("/api/v1/counter/total_games_played/increment", &json!({}))
        .ok();
    clock.set(MIDNIGHT + HOUR);
    eventually("the day is there", PATIENCE, || {
        let rows = database
            .try_sql("SELECT count(*) FROM counter_history")
            .ok()?;
        (rows == "4").then_some(())
    });
    database.pause();
    client
        .post("/api/v1/counter/total_games_played/increment", &json!({}))
        .ok();
    let mut export = setup
        .command("export")
        .args(["--date", "yesterday"])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    eventually("a command works", PATIENCE, || {
        let threads = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
        threads
            .flatten()
            .any(|task| {
                std::fs::read_to_string(task.path().join("comm"))
                    .is_ok_and(|name| name.trim() == "command")
            })
            .then_some(())
    });
    let begun = Instant::now();
    server.stop();
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(export.wait().unwrap().code(), Some(1), "it is told");
    database.resume();
}

#[test]
fn however_many_rows_are_set_aside_they_are_listed() {
    let test = "however_many_rows_are_set_aside_they_are_listed";
    let Some(database) = database(test) else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let yesterday = i64::try_from(now.unwrap().as_millis()).unwrap() - DAY;
    let house = House::open(&home.path().join("data"), yesterday);
    let mut exporter = house.exporter(options(&database));
    exporter.catch_up().unwrap();
    database.sql(
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS
           $$BEGIN RAISE EXCEPTION '%', repeat('no ', 200); END$$;
         CREATE TRIGGER no BEFORE INSERT ON counter_history FOR EACH ROW EXECUTE FUNCTION no()",
    );
    for number in 0..2600 {
        house.up(&format!("c{number}"), 1);
    }
    house.next_day();
    exporter.catch_up().unwrap();
    drop(exporter);
    house.stop();
    let setup = setup(home.path(), &database);
    let rejected = says(&run(&setup, "export", &["--rejected", "--json"]), 0);
    assert!(rejected.len() > 1 << 20, "more than one line takes");
    let rejected: Value = serde_json::from_str(&rejected).unwrap();
    assert_eq!(rejected.as_array().unwrap().len(), 2604);
    let server = setup.start();
    let rejected = says(&run(&setup, "export", &["--rejected", "--json"]), 0);
    let rejected: Value = serde_json::from_str(&rejected).unwrap();
    assert_eq!(rejected.as_array().unwrap().len(), 2604);
    server.stop();
}

#[test]
fn over_tls_only_a_database_that_a_root_vouches_for_is_spoken_to() {
    let Some(database) = database("over_tls_only_a_database_that_a_root_vouches_for_is_spoken_to")
    else {
        return;
    };
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for dir in &dirs {
        certificates(dir.path());
    }
    let [ours, others] = dirs.each_ref().map(|dir| dir.path().join("root.pem"));
    database.serve_tls(dirs[0].path());
    let home = tempfile::tempdir().unwrap();
    let check = |parameters: &str| {
        let url = format!("{}?{parameters}", database.url());
        let setup = Setup::new(home.path()).set("postgres.url", &url);
        let output = setup.command("check").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find(|line| line.contains("  PostgreSQL  "));
        line.unwrap_or_else(|| panic!("{text}")).to_owned()
    };
    for (parameters, told) in [
        (
            format!("sslmode=verify-full&sslrootcert={}", ours.display()),
            "ok     PostgreSQL      takes writes",
        ),
        (
            format!("sslmode=verify-full&sslrootcert={}", others.display()),
            "FAULT  PostgreSQL",
        ),
        ("sslmode=verify-full".to_owned(), "FAULT  PostgreSQL"),
        (
            "sslmode=require".to_owned(),
            "ok     PostgreSQL      takes writes",
        ),
        ("sslmode=disable".to_owned(), "FAULT  PostgreSQL"),
    ] {
        let line = check(&parameters);
        assert!(line.starts_with(told), "{parameters}: {line}");
        assert!(!line.contains(PASSWORD), "{line}");
    }
}

#[test]
fn two_servers_export_into_one_database_each_into_a_schema_of_its_own() {
    let test = "two_servers_export_into_one_database_each_into_a_schema_of_its_own";
    let Some(database) = database(test) else {
        return;
    };
    let homes = [0, 1].map(|_| tempfile::tempdir().unwrap());
    let start = |(home, part): (&tempfile::TempDir, &str)| {
        database.sql(&format!("CREATE SCHEMA {part}"));
        let url = format!("{}?options[search_path]={part}", database.url());
        let setup = setup(home.path(), &database).set("postgres.url", &url);
        setup.set("counters.names", &format!("{part}:*")).start()
    };
    let parts = ["lobby", "shop"];
    let servers: Vec<_> = homes.iter().zip(parts).map(start).collect();
    for (server, (part, value)) in servers.iter().zip(parts.into_iter().zip([3, 4])) {
        let mut client = server.client();
        let path = format!("/api/v1/counter/{part}:all/increment");
        client.post(&path, &json!({"value": value})).ok();
        caught_up(&mut client);
        let rows = format!("SELECT name || ' ' || current_value FROM {part}.counters");
        assert_eq!(database.sql(&rows), format!("{part}:all {value}"));
    }
    let schemas =
        "SELECT string_agg(DISTINCT schemaname, ' ') FROM pg_tables WHERE tablename = 'counters'";
    assert_eq!(database.sql(schemas), "lobby shop");
}
