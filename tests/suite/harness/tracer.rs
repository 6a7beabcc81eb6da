//! strace, which makes system calls fail.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::{PATIENCE, Server, eventually};

/// strace on a server that runs already; dropped, it lets go.
pub struct Tracer(Child);

impl Tracer {
    pub fn attach(server: &Server, arguments: &[String]) -> Self {
        let mut command = Command::new("strace");
        // Only for what it starts itself.
        let arguments = arguments
            .iter()
            .filter(|argument| *argument != "--seccomp-bpf");
        command
            .args(arguments)
            .arg("-p")
            .arg(server.pid().to_string());
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let tasks = format!("/proc/{}/task", server.pid());
        eventually("strace traces every thread", PATIENCE, || {
            let mut threads = std::fs::read_dir(&tasks).ok()?;
            let traced = |task: PathBuf| {
                let status = std::fs::read_to_string(task.join("status")).unwrap_or_default();
                !status.contains("TracerPid:\t0\n")
            };
            threads
                .all(|task| task.is_ok_and(|task| traced(task.path())))
                .then_some(())
        });
        Self(child)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // An error says that it has ended with what it traced.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether strace is there and may trace.
pub fn can_trace() -> Result<(), String> {
    let probe = Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "true"])
        .output();
    match probe {
        Err(error) => Err(format!("strace: {error}")),
        Ok(done) if !done.status.success() => {
            Err(String::from_utf8_lossy(&done.stderr).trim().to_owned())
        }
        Ok(_) => Ok(()),
    }
}
