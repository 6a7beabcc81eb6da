//! A real Redis of the test's own, or another server of its kind: in a directory and at a port of its own, ended by its
//! pid.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::{Client, Cmd, Connection, FromRedisValue, RedisResult};

use super::{PATIENCE, eventually, free_port};

/// The password of its default user, which nothing may print.
pub const REDIS_PASSWORD: &str = "a-redis-password-of-tests";

/// What [`Redis::refuse`] changes it to.
const OTHER_PASSWORD: &str = "another-redis-password-of-tests";

/// A running Redis; dropped, it is killed.
#[derive(Debug)]
pub struct Redis {
    program: PathBuf,
    home: tempfile::TempDir,
    port: u16,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    child: Option<Child>,
}

impl Redis {
    /// Starts an empty one; none, and why, where there is no Redis.
    pub fn new() -> Result<Self, String> {
        Self::with(&[])
    }

    /// The same with further arguments.
    pub fn with(arguments: &[&str]) -> Result<Self, String> {
        Self::of(Path::new("redis-server"), arguments)
    }

    /// The same by another program.
    pub fn of(program: &Path, arguments: &[&str]) -> Result<Self, String> {
        Self::in_environment(program, &[], arguments)
    }

    /// The same with these variables in its environment.
    pub fn in_environment(
        program: &Path,
        environment: &[(&str, String)],
        arguments: &[&str],
    ) -> Result<Self, String> {
        let there = Command::new(program).arg("--version").output();
        if !there.is_ok_and(|there| there.status.success()) {
            return Err(format!("no {} is installed", program.display()));
        }
        let mut redis = Self {
            program: program.to_owned(),
            home: tempfile::tempdir().unwrap(),
            port: free_port(),
            arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
            environment: environment
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
            child: None,
        };
        redis.start();
        Ok(redis)
    }

    /// Starts it again after it was killed, with what was saved last.
    pub fn start(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.home.path().join("log"))
            .unwrap();
        let child = Command::new(&self.program)
            .args(["--port", &self.port.to_string()])
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--requirepass", REDIS_PASSWORD, "--dir"])
            .arg(self.home.path())
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        eventually("Redis is ready", PATIENCE, || {
            let mut connection = self.connect().ok()?;
            redis::cmd("PING").query::<String>(&mut connection).ok()
        });
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // An error says that it has ended by itself.
            let _ = child.kill();
            child.wait().unwrap();
        }
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        let ended = |child: &mut Child| child.try_wait().unwrap().is_some();
        self.child.as_mut().is_none_or(ended)
    }

    /// Stops it where it is.
    pub fn pause(&self) {
        self.signal(libc::SIGSTOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(libc::SIGCONT);
    }

    fn signal(&self, signal: i32) {
        if let Some(child) = &self.child {
            let pid = i32::try_from(child.id()).unwrap();
            // SAFETY: kill(2) takes no pointer; the child is ours and not yet waited for.
            unsafe { libc::kill(pid, signal) };
        }
    }

    /// Writes what it has to its file, from which the next start takes it.
    pub fn save(&self) {
        self.ask::<()>(&mut redis::cmd("SAVE"));
    }

    /// Leaves nothing for the next start.
    pub fn forget_saved(&self) {
        // There may be none.
        let _ = std::fs::remove_file(self.saved());
    }

    /// Has its saves fail, so that it takes no writes: a directory lies where its file would be.
    pub fn break_saving(&self) {
        std::fs::create_dir(self.saved()).unwrap();
        self.ask::<()>(redis::cmd("CONFIG").arg("SET").arg("save").arg("3600 1000"));
        self.say::<()>("BGSAVE");
        eventually("the save has failed", PATIENCE, || {
            let info: String = self.say("INFO persistence");
            info.contains("rdb_last_bgsave_status:err").then_some(())
        });
    }

    /// Has it save nothing again.
    pub fn mend_saving(&self) {
        std::fs::remove_dir(self.saved()).unwrap();
        self.ask::<()>(redis::cmd("CONFIG").arg("SET").arg("save").arg(""));
    }

    fn saved(&self) -> PathBuf {
        self.home.path().join("dump.rdb")
    }

    /// The URL of its database 0.
    pub fn url(&self) -> String {
        self.url_as("", REDIS_PASSWORD, 0)
    }

    pub fn url_as(&self, user: &str, password: &str, database: u8) -> String {
        format!(
            "redis://{user}:{password}@127.0.0.1:{}/{database}",
            self.port
        )
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of its database 0 at another port, which leads to it.
    pub fn url_through(&self, port: u16) -> String {
        format!("redis://:{REDIS_PASSWORD}@127.0.0.1:{port}/0")
    }

    /// Refuses everybody who has the password, from now on.
    pub fn refuse(&self) {
        self.say::<()>(&format!("CONFIG SET requirepass {OTHER_PASSWORD}"));
        let mut connection = self
            .connect_at(&self.url_as("", OTHER_PASSWORD, 0))
            .unwrap();
        let mut kill = redis::cmd("CLIENT");
        kill.arg("KILL")
            .arg("TYPE")
            .arg("normal")
            .arg("SKIPME")
            .arg("yes");
        kill.query::<u64>(&mut connection).unwrap();
    }

    /// Takes them in again.
    pub fn admit(&self) {
        let mut connection = self
            .connect_at(&self.url_as("", OTHER_PASSWORD, 0))
            .unwrap();
        let mut change = redis::cmd("CONFIG");
        change.arg("SET").arg("requirepass").arg(REDIS_PASSWORD);
        change.query::<()>(&mut connection).unwrap();
    }

    pub fn connect(&self) -> RedisResult<Connection> {
        self.connect_at(&self.url())
    }

    pub fn connect_at(&self, url: &str) -> RedisResult<Connection> {
        let client = Client::open(url)?;
        let connection = client.get_connection_with_timeout(Duration::from_secs(5))?;
        connection.set_read_timeout(Some(PATIENCE))?;
        Ok(connection)
    }

    /// What a command answers.
    #[track_caller]
    pub fn ask<T: FromRedisValue>(&self, command: &mut Cmd) -> T {
        let mut connection = self.connect().unwrap();
        command
            .query(&mut connection)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// What a command, written with spaces, answers.
    #[track_caller]
    pub fn say<T: FromRedisValue>(&self, words: &str) -> T {
        let mut words = words.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        for word in words {
            command.arg(word);
        }
        self.ask(&mut command)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.resume();
        self.kill();
        if std::thread::panicking() {
            eprintln!(
                "Redis's log:\n{}",
                super::tail(&self.home.path().join("log"))
            );
        }
    }
}
