//! A program of another project that runs beside the server and speaks HTTP, such as Prometheus.

use std::ffi::OsStr;
use std::fs;
use std::process::{Child, Command, Stdio};

use super::{Client, PATIENCE, eventually, free_port, tail};

/// A running program; dropped, it is killed, and its last output shown if the test fails.
pub struct Program {
    name: &'static str,
    home: tempfile::TempDir,
    port: u16,
    child: Child,
}

impl Program {
    /// Starts it in `home`, which holds its files, and waits until `/-/ready` says that it is. It is told where to listen as
    /// Prometheus and its relatives are.
    pub fn start(
        name: &'static str,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        home: tempfile::TempDir,
    ) -> Self {
        let port = free_port();
        let log = fs::File::create(home.path().join("log")).unwrap();
        let child = Command::new(name)
            .args(arguments)
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .current_dir(home.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut program = Self {
            name,
            home,
            port,
            child,
        };
        eventually("it is ready", PATIENCE, || {
            let ended = program.child.try_wait().unwrap();
            assert!(ended.is_none(), "{name} ended");
            let answer = program.client().request("GET", "/-/ready", &[], b"");
            answer
                .is_ok_and(|answer| answer.status == 200)
                .then_some(())
        });
        program
    }

    /// A client of its API.
    pub fn client(&self) -> Client {
        Client::new(([127, 0, 0, 1], self.port).into()).with_timeout(PATIENCE)
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // An error says that it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let output = tail(&self.home.path().join("log"));
            eprintln!("the last output of {}:\n{output}", self.name);
        }
    }
}
