//! The real binary as a child process.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use counterd::storage::LogAddress;

use super::engine::Engine;
use super::{Client, PATIENCE, eventually, free_port};

/// The administrator's token of every server started here.
pub const ADMIN: &str = "the-admin-token-of-tests";

/// A server to be started.
#[derive(Clone, Debug)]
pub struct Setup {
    data_dir: PathBuf,
    output: PathBuf,
    port: u16,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
    wrapper: Vec<String>,
    engine: Engine,
}

/// `counterd` with nothing of this process's configuration.
pub fn counterd() -> Command {
    clean(Command::new(env!("CARGO_BIN_EXE_counterd")))
}

fn clean(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        // A bug that was planted is planted in the server too.
        if name.starts_with("COUNTERD_") && name != "COUNTERD_MUTANT" {
            command.env_remove(&*name);
        }
    }
    command.env("TZ", "UTC").stdin(Stdio::null());
    command
}

impl Setup {
    /// A server on `home/data` and a port of its own, in UTC. Its output goes to `home/output`.
    pub fn new(home: &Path) -> Self {
        Self {
            data_dir: home.join("data"),
            output: home.join("output"),
            port: free_port(),
            environment: Vec::new(),
            arguments: Vec::new(),
            wrapper: Vec::new(),
            engine: Engine::RocksDb,
        }
        .set("auth.admin_token", ADMIN)
        .set("calendar.timezone", "UTC")
        .set("storage.min_free", "1MiB")
        .set("storage.memory", "32MiB")
        .set("log.access", "off")
    }

    /// The same with the engine that the tests of this module run with: see [`setup!`](super::setup).
    pub fn of_module(module: &str, home: &Path) -> Self {
        Self {
            engine: Engine::of_module(module),
            ..Self::new(home)
        }
    }

    /// Sets a key of the configuration, by its environment variable.
    pub fn set(self, key: &str, value: &str) -> Self {
        let name = format!("COUNTERD_{}", key.replace('.', "__").to_ascii_uppercase());
        self.env(&name, value)
    }

    /// Leaves a key to its default.
    pub fn without(mut self, key: &str) -> Self {
        let name = format!("COUNTERD_{}", key.replace('.', "__").to_ascii_uppercase());
        self.environment.retain(|(known, _)| *known != name);
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Keeps the data directory elsewhere.
    pub fn data_dir(mut self, data_dir: &Path) -> Self {
        self.data_dir = data_dir.to_owned();
        self
    }

    /// Runs the server as the last argument of another program, which must become it (as `strace -D`
    /// does).
    pub fn under(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        self
    }

    pub fn data(&self) -> &Path {
        &self.data_dir
    }

    /// Whether it counts into a log in Redis.
    pub fn is_on_shared_log(&self) -> bool {
        matches!(self.engine, Engine::SharedLog(_))
    }

    /// The log in Redis that its servers counted into; `None` where it has its own.
    pub fn shared_log(&self) -> Option<LogAddress> {
        self.engine.shared_log()
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Another command of the binary, with the same configuration.
    pub fn command(&self, name: &str) -> Command {
        let mut command = counterd();
        command.arg(name);
        self.configure(&mut command);
        command
    }

    fn configure(&self, command: &mut Command) {
        command
            .env("COUNTERD_SERVER__LISTEN", self.address().to_string())
            .env("COUNTERD_STORAGE__DATA_DIR", &self.data_dir)
            .envs(self.engine.settings(&self.environment))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            // Away from a counterd.toml that may lie where the tests run.
            .current_dir(self.output.parent().unwrap());
    }

    /// Starts it without waiting for anything.
    pub fn spawn(&self) -> Server {
        let mut command = match self.wrapper.split_first() {
            None => Command::new(env!("CARGO_BIN_EXE_counterd")),
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(env!("CARGO_BIN_EXE_counterd"));
                command
            }
        };
        command = clean(command);
        command.arg("serve").args(&self.arguments);
        self.configure(&mut command);
        let output = File::options()
            .create(true)
            .append(true)
            .open(&self.output)
            .unwrap();
        command.stdout(output.try_clone().unwrap()).stderr(output);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Server {
            child,
            setup: self.clone(),
            ended: None,
        }
    }

    /// Starts it and waits until it serves.
    #[track_caller]
    pub fn start(&self) -> Server {
        let mut server = self.spawn();
        server.wait_ready();
        server
    }
}

/// A running server; dropped, it is killed.
pub struct Server {
    child: Child,
    setup: Setup,
    ended: Option<ExitStatus>,
}

impl Server {
    pub fn client(&self) -> Client {
        Client::new(self.address())
    }

    pub fn admin(&self) -> Client {
        self.client().admin()
    }

    pub fn address(&self) -> SocketAddr {
        self.setup.address()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it printed, runs before this one on the same output included.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.setup.output).unwrap_or_default()).into_owned()
    }

    fn last_output(&self) -> String {
        super::tail(&self.setup.output)
    }

    /// Waits until it serves reads; panics with its output when it ends instead.
    #[track_caller]
    pub fn wait_ready(&mut self) {
        let begun = Instant::now();
        let mut client = self.client().with_timeout(Duration::from_secs(5));
        eventually("the server is ready", 2 * PATIENCE, || {
            if let Some(status) = self.try_exit() {
                panic!(
                    "the server ended at its start: {status}\n{}",
                    self.last_output()
                );
            }
            if begun.elapsed() > PATIENCE {
                panic!("the server does not become ready\n{}", self.last_output());
            }
            let answer = client.request("GET", "/readyz", &[], b"");
            answer
                .is_ok_and(|answer| answer.status == 200)
                .then_some(())
        });
    }

    pub fn signal(&self, signal: i32) {
        assert!(
            self.ended.is_none(),
            "it has ended: its pid may be another's"
        );
        let pid = i32::try_from(self.child.id()).unwrap();
        // SAFETY: kill(2) takes no pointer; the child is ours and not yet waited for.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill9(mut self) {
        self.kill();
    }

    fn kill(&mut self) {
        if self.ended.is_none() {
            // An error says that it has ended by itself.
            let _ = self.child.kill();
            self.ended = self.child.wait().ok();
        }
    }

    pub fn try_exit(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().unwrap();
        }
        self.ended
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        eventually("the server ends", limit, || self.try_exit())
    }

    /// SIGTERM; claims that it ends with 0.
    #[track_caller]
    pub fn stop(self) {
        self.signal(libc::SIGTERM);
        self.ended_well();
    }

    /// Claims that it ends with 0, without a signal from here.
    #[track_caller]
    pub fn ended_well(mut self) {
        let status = self.wait_exit(PATIENCE);
        assert_eq!(
            (status.code(), status.signal()),
            (Some(0), None),
            "{}",
            self.last_output()
        );
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("the server's last output:\n{}", self.last_output());
        }
    }
}
