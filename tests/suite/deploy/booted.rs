//! The unit as it is shipped, under a real systemd that runs as process 1 of its own namespaces.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::json;

use super::unit;
use crate::harness::{Client, Database, PATIENCE, Redis, eventually, free_port, skipped};

const ADMIN: &str = "an-admin-token-of-the-unit";

/// A systemd with nothing but the unit; dropped, it is killed with everything in it.
struct Machine {
    home: tempfile::TempDir,
    cgroup: PathBuf,
    process: Child,
}

/// Where control groups of version 2 are mounted.
fn cgroups() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let place = fields.next()?;
        (fields.next()? == "cgroup2").then(|| PathBuf::from(place))
    })
}

impl Machine {
    /// Boots it; none, and why, where that cannot be done.
    fn boot(drop_in: &str, secrets: &[(&str, &str)]) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("namespaces of its own need root".to_owned());
        }
        if !Path::new("/usr/lib/systemd/systemd").exists() {
            return Err("systemd is not installed".to_owned());
        }
        let probe = [
            "--mount", "--uts", "--ipc", "--pid", "--cgroup", "--fork", "true",
        ];
        let probe = Command::new("unshare").args(probe).output();
        if !probe.is_ok_and(|done| done.status.success()) {
            return Err("no namespaces can be made".to_owned());
        }
        let cgroups = cgroups().ok_or("no control groups of version 2 are mounted")?;
        let cgroup = cgroups.join(format!("counterd-test-{}", std::process::id()));
        std::fs::create_dir(&cgroup).map_err(|error| format!("a control group: {error}"))?;
        let home = tempfile::tempdir().unwrap();
        let etc = home.path().join("etc/counterd");
        std::fs::create_dir_all(&etc).unwrap();
        std::fs::write(
            etc.join("counterd.toml"),
            "[calendar]\ntimezone = \"UTC\"\n",
        )
        .unwrap();
        for (name, secret) in secrets {
            let path = etc.join(name);
            std::fs::write(&path, format!("{secret}\n")).unwrap();
            let own = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(path, own).unwrap();
        }
        std::fs::write(home.path().join("drop-in"), drop_in).unwrap();
        let output = std::fs::File::create(home.path().join("output")).unwrap();
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let process = Command::new(manifest.join("tests/suite/deploy/boot.sh"))
            .arg(home.path())
            .arg(&cgroup)
            .arg(env!("CARGO_BIN_EXE_counterd"))
            .arg(unit())
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Ok(Self {
            home,
            cgroup,
            process,
        })
    }

    /// Its process 1, as it is known out here.
    fn init(&self) -> Option<u32> {
        let own = self.process.id();
        let children = std::fs::read_to_string(format!("/proc/{own}/task/{own}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    }

    /// Runs a program in it.
    fn run(&self, words: &[&str]) -> Output {
        let init = self.init().expect("it runs").to_string();
        Command::new("nsenter")
            .args(["--target", &init, "--mount", "--pid", "--"])
            .args(words)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/usr/sbin")
            .output()
            .unwrap()
    }

    /// A command of counterd's, as the service's user.
    #[track_caller]
    fn counterd(&self, words: &[&str]) {
        let user = [
            "setpriv",
            "--reuid=10001",
            "--regid=10001",
            "--clear-groups",
            "counterd",
        ];
        let mut all = user.to_vec();
        all.extend(words);
        all.extend(["--data-dir", "/var/lib/counterd"]);
        let done = self.run(&all);
        assert!(done.status.success(), "{words:?}: {done:?}");
    }

    fn systemctl(&self, verb: &str) -> Output {
        self.run(&["systemctl", verb, "counterd.service"])
    }

    fn property(&self, name: &str) -> String {
        let shown = self.run(&[
            "systemctl",
            "show",
            "--value",
            "--property",
            name,
            "counterd.service",
        ]);
        String::from_utf8(shown.stdout).unwrap().trim().to_owned()
    }

    /// Waits until the unit is in a state; panics with what was printed when it failed instead.
    #[track_caller]
    fn wait_for(&self, state: &str) {
        eventually(state, PATIENCE, || {
            // Process 1 is a shell until all is mounted.
            let name = std::fs::read_to_string(format!("/proc/{}/comm", self.init()?)).ok()?;
            let now = (name.trim() == "systemd").then(|| self.property("ActiveState"))?;
            assert!(
                now != "failed" || state == "failed",
                "{}: {}",
                self.property("Result"),
                self.printed()
            );
            (now == state).then_some(())
        });
    }

    fn printed(&self) -> String {
        let files = [
            self.home.path().join("output"),
            self.home.path().join("log/out"),
        ];
        files.map(|file| crate::harness::tail(&file)).concat()
    }

    /// The service's process, as it is known out here.
    fn service(&self) -> u32 {
        let file = std::fs::read_dir(self.cgroup.join("system.slice/counterd.service"));
        assert!(file.is_ok(), "it has a control group");
        let path = self
            .cgroup
            .join("system.slice/counterd.service/cgroup.procs");
        std::fs::read_to_string(path)
            .unwrap()
            .trim()
            .parse()
            .unwrap()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.printed());
        }
        // Its process 1 goes with it, and with that all the others.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let begun = std::time::Instant::now();
        while self.cgroup.exists() && begun.elapsed() < PATIENCE {
            let _ = Command::new("find")
                .arg(&self.cgroup)
                .args(["-depth", "-type", "d", "-exec", "rmdir", "{}", "+"])
                .stderr(Stdio::null())
                .status();
        }
    }
}

/// The unit's own setting answers with an error where the filter says no; here the process would be
/// killed, so that nothing that is refused goes unseen.
fn drop_in(port: u16) -> String {
    format!(
        "[Service]\n\
         Environment=COUNTERD_SERVER__LISTEN=127.0.0.1:{port}\n\
         Environment=COUNTERD_STORAGE__MEMORY=32MiB COUNTERD_STORAGE__MIN_FREE=1MiB\n\
         Environment=COUNTERD_POSTGRES__INTERVAL=100ms COUNTERD_REDIS__MIRROR=true\n\
         LoadCredential=postgres-url:/etc/counterd/postgres-url\n\
         Environment=COUNTERD_POSTGRES__URL_FILE=%d/postgres-url\n\
         LoadCredential=redis-url:/etc/counterd/redis-url\n\
         Environment=COUNTERD_REDIS__URL_FILE=%d/redis-url\n\
         ReadWritePaths=/backups\n\
         StandardOutput=append:/var/log/out\n\
         StandardError=append:/var/log/out\n\
         SystemCallErrorNumber=kill\n"
    )
}

#[test]
fn the_unit_runs_counterd_with_all_that_it_does() {
    let test = "the_unit_runs_counterd_with_all_that_it_does";
    let parts = Database::new().and_then(|database| Ok((database, Redis::new()?)));
    let (database, redis) = match parts {
        Ok(parts) => parts,
        Err(reason) => return skipped(test, &reason),
    };
    let port = free_port();
    let named = |url: String| url.replace("127.0.0.1", "localhost");
    let secrets = [
        ("admin-token", ADMIN),
        ("postgres-url", &named(database.url())),
        ("redis-url", &named(redis.url())),
    ];
    let machine = match Machine::boot(&drop_in(port), &secrets) {
        Ok(machine) => machine,
        Err(reason) => return skipped(test, &reason),
    };
    machine.wait_for("active");
    // Type=notify: active is ready.
    let mut client = Client::new(([127, 0, 0, 1], port).into()).with_token(ADMIN);
    assert_eq!(client.get("/readyz").status, 200);
    restricted(machine.service());

    let increment = |client: &mut Client| {
        client.post("/api/v1/counter/a/increment", &json!({})).ok()["current_value"].clone()
    };
    assert_eq!(increment(&mut client), 1);
    client
        .post(
            "/api/v1/counter/a/adjust",
            &json!({"value": 5, "reason": "test"}),
        )
        .ok();
    eventually("it is exported", PATIENCE, || {
        let row = "SELECT current_value FROM counters WHERE name = 'a'";
        (database.try_sql(row).ok()? == "5").then_some(())
    });
    eventually("it is mirrored", PATIENCE, || {
        (redis.say::<Option<i64>>("GET counter:a") == Some(5)).then_some(())
    });
    let metrics = client.get("/metrics").text();
    for metric in [
        "resident_memory_bytes",
        "open_fds",
        "threads",
        "uptime_seconds",
        "cpu_seconds_total",
    ] {
        let name = format!("\ncounterd_process_{metric} ");
        assert!(
            metrics.contains(&name),
            "{metric} is there as without a unit"
        );
    }
    machine.counterd(&["backup", "/backups"]);
    machine.counterd(&["compact"]);
    machine.counterd(&["mode", "read_only"]);
    machine.counterd(&["mode", "normal"]);

    let first = machine.service();
    let killed = machine.run(&["systemctl", "kill", "--signal=KILL", "counterd.service"]);
    assert!(killed.status.success(), "{killed:?}");
    eventually("it is started again", PATIENCE, || {
        (machine.property("NRestarts") == "1").then_some(())
    });
    machine.wait_for("active");
    assert_ne!(machine.service(), first);
    let mut client = Client::new(([127, 0, 0, 1], port).into()).with_token(ADMIN);
    assert_eq!(increment(&mut client), 6);

    let stopped = machine.systemctl("stop");
    assert!(stopped.status.success(), "{stopped:?}");
    assert_eq!(machine.property("ActiveState"), "inactive");
    assert_eq!(machine.property("Result"), "success");
    assert_eq!(machine.property("ExecMainStatus"), "0");

    // A configuration that is wrong does not mend itself: one try.
    let wrong = "echo 'nonsense = 1' >>/etc/counterd/counterd.toml";
    assert!(machine.run(&["sh", "-c", wrong]).status.success());
    assert!(!machine.systemctl("start").status.success());
    machine.wait_for("failed");
    assert_eq!(machine.property("ExecMainStatus"), "78");
    assert_eq!(machine.property("NRestarts"), "0");
}

/// What the kernel says of the process.
fn restricted(service: u32) {
    let status = std::fs::read_to_string(format!("/proc/{service}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name} in {status}"))
            .split_whitespace()
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(field("Name:"), "counterd");
    assert_eq!(field("Uid:"), "10001");
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Seccomp:"), "2", "filtered");
    for set in ["CapEff:", "CapPrm:", "CapBnd:"] {
        assert!(field(set).bytes().all(|digit| digit == b'0'), "{set}");
    }
}
