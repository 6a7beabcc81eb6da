//! A real PostgreSQL of the test's own: in a directory and at a port of its own, ended by its pid.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::{PATIENCE, eventually, free_port};

/// The password of its superuser, which nothing may print.
pub const PASSWORD: &str = "a-password-of-tests";

/// A running database server; dropped, it is killed.
pub struct Database {
    home: tempfile::TempDir,
    data: PathBuf,
    bin: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl Database {
    /// Makes and starts one; none, and why, where there is no PostgreSQL.
    pub fn new() -> Result<Self, String> {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        Self::within(home, data)
    }

    /// Keeps its data elsewhere, such as on a small disk.
    pub fn within(home: tempfile::TempDir, data: PathBuf) -> Result<Self, String> {
        let bin = binaries().ok_or("no PostgreSQL is installed")?;
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(home.path(), open).unwrap();
        std::fs::create_dir_all(&data).unwrap();
        let password = home.path().join("password");
        std::fs::write(&password, PASSWORD).unwrap();
        let mut database = Self {
            home,
            data,
            bin,
            port: free_port(),
            child: None,
        };
        database.give_away(&password)?;
        database.init(&database.data)?;
        database.start();
        Ok(database)
    }

    fn init(&self, data: &Path) -> Result<(), String> {
        self.give_away(data)?;
        let mut init = self.as_owner("initdb");
        init.args(["-N", "-E", "UTF8", "--locale=C.UTF-8", "-U", "postgres"])
            .args(["-A", "scram-sha-256", "--pwfile"])
            .arg(self.home.path().join("password"))
            .arg("-D")
            .arg(data);
        let done = init.output().map_err(|error| error.to_string())?;
        if !done.status.success() {
            return Err(String::from_utf8_lossy(&done.stderr).into_owned());
        }
        Ok(())
    }

    /// Makes what [`Database::start_anew`] starts: it takes a while.
    pub fn prepare_anew(&self) -> Result<(), String> {
        let data = self.data.with_extension("empty");
        std::fs::create_dir(&data).unwrap();
        self.init(&data)
    }

    /// Starts an empty one in its place, after it was killed, with what `statement` makes.
    pub fn start_anew(&mut self, statement: &str) {
        std::fs::rename(&self.data, self.data.with_extension("old")).unwrap();
        std::fs::rename(self.data.with_extension("empty"), &self.data).unwrap();
        self.start();
        self.sql(statement);
    }

    /// Makes sure that it runs: one that ended by itself is started again.
    pub fn revive(&mut self) {
        if self.has_ended() {
            return self.start();
        }
        eventually("PostgreSQL is ready", PATIENCE, || {
            self.try_sql("SELECT 1").ok()
        });
    }

    /// Whether it ended by itself.
    pub fn has_ended(&mut self) -> bool {
        let ended = |child: &mut Child| child.try_wait().unwrap().is_some();
        self.child.as_mut().is_none_or(ended)
    }

    /// Refuses that role from now on, also on the connections that it has.
    pub fn refuse(&self, role: &str) {
        let rules = std::fs::read_to_string(self.rules()).unwrap();
        let refusal = format!("host all {role} 127.0.0.1/32 reject\n");
        self.set_rules(&(refusal + &rules));
        self.sql(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
        ));
    }

    /// Takes it in again.
    pub fn admit(&self) {
        let rules = std::fs::read_to_string(self.rules()).unwrap();
        let (_, rules) = rules.split_once('\n').unwrap();
        self.set_rules(rules);
    }

    /// Takes connections over TLS only, with `server.key` and `server.pem` of that directory.
    pub fn serve_tls(&self, certificates: &Path) {
        for name in ["server.key", "server.pem"] {
            let copy = self.data.join(name);
            std::fs::copy(certificates.join(name), &copy).unwrap();
            std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o600)).unwrap();
            self.give_away(&copy).unwrap();
        }
        self.sql("ALTER SYSTEM SET ssl_cert_file = 'server.pem'");
        self.sql("ALTER SYSTEM SET ssl = on");
        // `psql`, by which the test asks, prefers TLS by itself.
        let rules = std::fs::read_to_string(self.rules()).unwrap();
        self.set_rules(&format!("hostnossl all all 127.0.0.1/32 reject\n{rules}"));
    }

    fn rules(&self) -> PathBuf {
        self.data.join("pg_hba.conf")
    }

    fn set_rules(&self, rules: &str) {
        std::fs::write(self.rules(), rules).unwrap();
        let loaded = "SELECT extract(epoch FROM pg_conf_load_time())";
        let before = self.sql(loaded);
        self.sql("SELECT pg_reload_conf()");
        eventually("the rules are read", PATIENCE, || {
            (self.sql(loaded) != before).then_some(())
        });
    }

    /// Who owns the data: not root, whom PostgreSQL does not serve.
    fn give_away(&self, path: &Path) -> Result<(), String> {
        if !is_root() {
            return Ok(());
        }
        let done = Command::new("chown").arg("postgres").arg(path).status();
        match done {
            Ok(status) if status.success() => Ok(()),
            other => Err(format!("chown postgres: {other:?}")),
        }
    }

    fn as_owner(&self, program: &str) -> Command {
        let program = self.bin.join(program);
        if !is_root() {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
            .arg(program);
        command
    }

    /// Starts it again after it was stopped or killed.
    pub fn start(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.home.path().join("log"))
            .unwrap();
        let mut command = self.as_owner("postgres");
        command
            .arg("-D")
            .arg(&self.data)
            .args(["-p", &self.port.to_string()])
            .args(["-c", "listen_addresses=127.0.0.1"])
            .args(["-c", "unix_socket_directories="])
            .args(["-c", "fsync=off", "-c", "shared_buffers=64MB"])
            .args(["-c", "max_wal_size=256MB", "-c", "timezone=Asia/Tokyo"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        self.child = Some(command.spawn().unwrap());
        eventually("PostgreSQL is ready", PATIENCE, || {
            self.try_sql("SELECT 1").ok()
        });
    }

    /// Kills it as a crash would: SIGQUIT is its immediate shutdown, all processes at once.
    pub fn crash(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(child.id(), libc::SIGQUIT);
            child.wait().unwrap();
        }
    }

    /// Stops all its processes where they are.
    pub fn pause(&self) {
        for pid in self.processes() {
            signal(pid, libc::SIGSTOP);
        }
    }

    /// Lets them go on.
    pub fn resume(&self) {
        for pid in self.processes() {
            signal(pid, libc::SIGCONT);
        }
    }

    /// The server and the processes that serve its connections.
    fn processes(&self) -> Vec<u32> {
        let Some(server) = self.child.as_ref().map(Child::id) else {
            return Vec::new();
        };
        let mut found = vec![server];
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let parent = stat
                .rsplit_once(')')
                .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
            if parent == Some(server) {
                found.push(pid);
            }
        }
        found
    }

    /// The URL of a database of it.
    pub fn url(&self) -> String {
        self.url_as("postgres", PASSWORD, "postgres")
    }

    pub fn url_as(&self, user: &str, password: &str, database: &str) -> String {
        format!(
            "postgres://{user}:{password}@127.0.0.1:{}/{database}",
            self.port
        )
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a role with the superuser's password, at another port, which leads to it.
    pub fn url_through(&self, role: &str, port: u16) -> String {
        format!("postgres://{role}:{PASSWORD}@127.0.0.1:{port}/postgres")
    }

    /// What a statement prints: a line a row, `|` between columns.
    #[track_caller]
    pub fn sql(&self, statement: &str) -> String {
        self.try_sql(statement)
            .unwrap_or_else(|error| panic!("{statement}: {error}"))
    }

    pub fn try_sql(&self, statement: &str) -> Result<String, String> {
        self.sql_at(&self.url(), statement)
    }

    pub fn sql_at(&self, url: &str, statement: &str) -> Result<String, String> {
        let ran = Command::new(self.bin.join("psql"))
            .args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c"])
            .arg(statement)
            .arg(url)
            .env("PGCONNECT_TIMEOUT", "5")
            .output()
            .unwrap();
        if ran.status.success() {
            Ok(String::from_utf8(ran.stdout).unwrap().trim_end().to_owned())
        } else {
            Err(String::from_utf8_lossy(&ran.stderr).into_owned())
        }
    }

    /// What psql shows to people.
    pub fn shown(&self, statement: &str) -> String {
        let ran = Command::new(self.bin.join("psql"))
            .args([
                "-X",
                "-q",
                "-P",
                "footer=off",
                "-v",
                "ON_ERROR_STOP=1",
                "-c",
            ])
            .arg(statement)
            .arg(self.url())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{statement}: {errors}");
        String::from_utf8(ran.stdout).unwrap()
    }

    /// The first column of the first row, as a number.
    #[track_caller]
    pub fn number(&self, statement: &str) -> i64 {
        let text = self.sql(statement);
        text.parse()
            .unwrap_or_else(|_| panic!("{statement}: {text:?}"))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.resume();
        self.crash();
        if std::thread::panicking() {
            eprintln!(
                "PostgreSQL's log:\n{}",
                super::tail(&self.home.path().join("log"))
            );
        }
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn signal(pid: u32, signal: i32) {
    // SAFETY: kill(2) takes no pointer; the process is ours, or it is gone, which is no harm.
    unsafe { libc::kill(i32::try_from(pid).unwrap(), signal) };
}

/// The directory of the newest PostgreSQL from 15 on.
fn binaries() -> Option<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            let bin = entry.path().join("bin");
            (version >= 15 && bin.join("initdb").exists()).then_some((version, bin))
        })
        .collect();
    versions.sort();
    versions.pop().map(|(_, bin)| bin)
}
