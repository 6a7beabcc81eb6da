//! The export and its reader through a real PgBouncer, which gives out sessions or single transactions.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use counterd::export::postgres::{
    PostgresOptions, PostgresReader, PostgresUrl, SchemaState, check,
};

use super::days::claim_equal;
use super::{database, options, wait};
use crate::harness::{Database, PASSWORD, PATIENCE, eventually, free_port, skipped};
use crate::house::{House, NOON, name};

/// A running pooler in front of a database; dropped, it is killed.
struct Pooler {
    _home: tempfile::TempDir,
    port: u16,
    child: Child,
}

impl Pooler {
    /// Starts one that gives out `mode`s, never the same connection twice in a row; the error says why
    /// there is none.
    fn new(database: &Database, mode: &str) -> Result<Self, String> {
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"].map(PathBuf::from);
        let program = program.into_iter().find(|path| path.exists());
        let program = program.ok_or("no PgBouncer is installed")?;
        let home = tempfile::tempdir().unwrap();
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(home.path(), open).unwrap();
        let (port, users) = (free_port(), home.path().join("users"));
        std::fs::write(&users, format!("\"postgres\" \"{PASSWORD}\"\n")).unwrap();
        let settings = home.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nauth_type = scram-sha-256\nauth_file = {}\nunix_socket_dir =\n\
             pool_mode = {mode}\nserver_round_robin = 1\nmin_pool_size = 3\ndefault_pool_size = 8\n",
            database.port(),
            users.display()
        );
        std::fs::write(&settings, text).unwrap();
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
            command.arg(program);
            command
        } else {
            Command::new(program)
        };
        let child = command
            .args(["-q".as_ref(), settings.as_os_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pooler = Self {
            _home: home,
            port,
            child,
        };
        eventually("PgBouncer is ready", PATIENCE, || {
            database
                .sql_at(&database.url_through("postgres", port), "SELECT 1")
                .ok()
        });
        Ok(pooler)
    }

    fn options(&self, database: &Database) -> PostgresOptions {
        let url = database.url_through("postgres", self.port);
        PostgresOptions {
            url: PostgresUrl::parse(&url).unwrap(),
            ..options(database)
        }
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // An error says that it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Exports values and days with many users in several rounds, and reads them back.
fn claim_works(test: &str, mode: &str) {
    let Some(database) = database(test) else {
        return;
    };
    let pooler = match Pooler::new(&database, mode) {
        Ok(pooler) => pooler,
        Err(reason) => return skipped(test, &reason),
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    let options = pooler.options(&database);
    assert_eq!(check(&options, None).unwrap(), SchemaState::Absent);
    let mut exporter = house.exporter(options.clone());
    for round in 0..4 {
        house.up("games", 1);
        house.users("dau", (0..10).map(|user| format!("user-{round}-{user}")));
        exporter.catch_up().unwrap();
        house.next_day();
        exporter.catch_up().unwrap();
    }
    claim_equal(&database, &house);
    assert_eq!(check(&options, None).unwrap(), SchemaState::Current);
    // Another one, on connections that were used before.
    let mut second = house.exporter(options.clone());
    house.up("online", 7);
    second.catch_up().unwrap();
    exporter.catch_up().unwrap();
    let timeout = options.timeout;
    let mut reader = PostgresReader::new(options.clone(), timeout);
    let names = [name("online"), name("games")];
    let read = async {
        for _ in 0..4 {
            let read = reader.values(&names).await.unwrap();
            assert_eq!(read.values[0].as_ref().unwrap().value, 7);
            let page = reader.page("", None, 10).await.unwrap();
            assert!(page.values.len() >= 4, "{page:?}");
        }
    };
    wait(read);
    // Settings of ours are left behind on no connection that others get.
    let url = database.url_through("postgres", pooler.port);
    for _ in 0..4 {
        let settings = "SELECT current_setting('statement_timeout'),
            current_setting('default_transaction_read_only'), current_setting('enable_sort')";
        assert_eq!(database.sql_at(&url, settings).unwrap(), "0|off|on");
    }
    house.stop();
}

#[test]
fn a_pooler_of_sessions_makes_no_difference() {
    claim_works("a_pooler_of_sessions_makes_no_difference", "session");
}

#[test]
fn a_pooler_of_transactions_makes_no_difference() {
    claim_works(
        "a_pooler_of_transactions_makes_no_difference",
        "transaction",
    );
}
