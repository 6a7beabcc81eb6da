//! The image and the compose file. Without a container engine the image cannot be built here; then the
//! entry point that the Dockerfile names is run as the image would run it: that user, that environment,
//! as process 1, with that health check, ended by that signal.

mod cluster;
mod compose;
mod kubernetes;
mod watch;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::harness::{Client, PATIENCE, eventually, free_port, skipped};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The last stage of the Dockerfile: its instructions, with continued lines joined.
fn image() -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join("Dockerfile")).unwrap();
    let text = text.replace("\\\n", " ");
    let last = text.rfind("\nFROM ").unwrap();
    let lines = text[last..].lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .filter_map(|line| line.split_once(' '))
        .map(|(word, rest)| (word.to_owned(), rest.trim().to_owned()))
        .collect()
}

fn of_image(word: &str) -> String {
    let mut found = image().into_iter().filter(|(one, _)| one == word);
    let (_, rest) = found.next().unwrap_or_else(|| panic!("no {word}"));
    rest
}

/// The list that an instruction holds in JSON.
fn list(text: &str) -> Vec<String> {
    let begin = text.find('[').unwrap();
    serde_json::from_str(&text[begin..]).unwrap()
}

fn environment() -> BTreeMap<String, String> {
    let text = of_image("ENV");
    let pairs = text.split_whitespace().map(|pair| {
        let (name, value) = pair.split_once('=').unwrap();
        (name.to_owned(), value.to_owned())
    });
    pairs.collect()
}

/// The binary where another user may run it, and a data directory of that user's.
struct Place {
    home: tempfile::TempDir,
    port: u16,
    user: String,
}

impl Place {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let place = Self {
            home,
            port: free_port(),
            user: of_image("USER"),
        };
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(place.home.path(), open.clone()).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_counterd"), place.binary()).unwrap();
        fs::set_permissions(place.binary(), open).unwrap();
        let data = place.home.path().join("data");
        fs::create_dir(&data).unwrap();
        let (uid, gid) = place.user.split_once(':').unwrap();
        let (uid, gid) = (uid.parse().unwrap(), gid.parse().unwrap());
        std::os::unix::fs::chown(&data, Some(uid), Some(gid)).unwrap();
        place
    }

    fn binary(&self) -> PathBuf {
        self.home.path().join("counterd")
    }

    fn secret(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home.path().join(name);
        fs::write(&path, format!("{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        path
    }

    /// As the image runs it, but for the paths and the port, which are this machine's.
    fn command(&self, words: &[String], wrapper: &[&str]) -> Command {
        let (uid, gid) = self.user.split_once(':').unwrap();
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", uid, "--regid", gid, "--clear-groups"])
            .args(["--inh-caps=-all", "--no-new-privs", "--"])
            .args(wrapper)
            .arg(self.binary())
            .args(&words[1..])
            .env_clear()
            .current_dir(self.home.path().join("data"))
            .stdin(Stdio::null());
        for (name, value) in environment() {
            let value = match name.as_str() {
                "COUNTERD_STORAGE__DATA_DIR" => self.home.path().join("data").display().to_string(),
                "COUNTERD_SERVER__LISTEN" => value.replace(":8080", &format!(":{}", self.port)),
                _ => panic!("{name}: say here what it is on this machine"),
            };
            command.env(name, value);
        }
        command.env("COUNTERD_STORAGE__MIN_FREE", "1MiB");
        command
    }

    fn entry(&self) -> Vec<String> {
        let mut words = list(&of_image("ENTRYPOINT"));
        words.extend(list(&of_image("CMD")));
        words
    }

    fn health(&self) -> std::process::Output {
        let words = list(&of_image("HEALTHCHECK"));
        assert_eq!(words[0], list(&of_image("ENTRYPOINT"))[0]);
        self.command(&words, &[]).output().unwrap()
    }
}

struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether this process may become another user and make process namespaces.
fn may_contain() -> Result<(), String> {
    let probe = Command::new("unshare")
        .args([
            "--pid",
            "--fork",
            "--kill-child",
            "setpriv",
            "--reuid",
            "10001",
            "--clear-groups",
            "true",
        ])
        .output();
    match probe {
        Err(error) => Err(format!("unshare: {error}")),
        Ok(done) if done.status.success() => Ok(()),
        Ok(done) => Err(String::from_utf8_lossy(&done.stderr).trim().to_owned()),
    }
}

/// The process in the namespace: the child of the one that made it.
fn child_of(pid: u32) -> Option<i32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

#[test]
fn the_image_is_built_by_an_engine() {
    const NAME: &str = "the_image_is_built_by_an_engine";
    let engine = ["docker", "podman"].into_iter().find(|engine| {
        let info = Command::new(engine).arg("info").output();
        info.is_ok_and(|info| info.status.success())
    });
    let Some(engine) = engine else {
        return skipped(NAME, "no container engine runs here");
    };
    if std::env::var_os("COUNTERD_BUILD_IMAGE").is_none() {
        return skipped(
            NAME,
            "a build of RocksDB; ask for it with COUNTERD_BUILD_IMAGE=1",
        );
    }
    let built = Command::new(engine)
        .args(["build", "--tag", "counterd-test", "."])
        .current_dir(root())
        .status();
    assert!(built.unwrap().success());
    let told = Command::new(engine)
        .args(["run", "--rm", "counterd-test", "version"])
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&told.stdout).contains("counterd "),
        "{told:?}"
    );
}

#[test]
fn the_entry_point_runs_as_its_user_is_healthy_and_ends_well_as_process_1() {
    const NAME: &str = "the_entry_point_runs_as_its_user_is_healthy_and_ends_well_as_process_1";
    if let Err(reason) = may_contain() {
        return skipped(NAME, &reason);
    }
    assert_eq!(of_image("STOPSIGNAL"), "SIGTERM");
    let place = Place::new();
    let before = place.health();
    assert_eq!(before.status.code(), Some(1), "nobody is there: {before:?}");
    let admin = place.secret("admin_token", "the-admin-token-of-containers");
    let url = place.secret("postgres_url", "postgres://counterd@127.0.0.1:1/counterd");
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--"]);
    let inner = place.command(&place.entry(), &[]);
    command
        .arg(inner.get_program())
        .args(inner.get_args())
        .env_clear()
        .current_dir(inner.get_current_dir().unwrap())
        .envs(
            inner
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        // As docker-compose.yml gives them.
        .env("COUNTERD_AUTH__ADMIN_TOKEN_FILE", admin)
        .env("COUNTERD_POSTGRES__URL_FILE", url)
        .env("COUNTERD_CALENDAR__TIMEZONE", "UTC")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut server = Ends(command.spawn().unwrap());
    eventually("the health check is content", PATIENCE, || {
        assert!(server.0.try_wait().unwrap().is_none(), "it ended");
        (place.health().status.code() == Some(0)).then_some(())
    });
    let inside = child_of(server.0.id()).unwrap();
    let status = fs::read_to_string(format!("/proc/{inside}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap()
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        field("NSpid:").last().unwrap(),
        "1",
        "it is process 1 there"
    );
    let (uid, _) = place.user.split_once(':').unwrap();
    assert!(
        uid != "0" && field("Uid:").iter().all(|one| one == uid),
        "{status}"
    );

    let address = format!("127.0.0.1:{}", place.port).parse().unwrap();
    let mut client = Client::new(address);
    client
        .post("/api/v1/counter/c/increment", &json!({"value": 3}))
        .ok();
    let mut admin = Client::new(address).with_token("the-admin-token-of-containers");
    admin
        .post(
            "/api/v1/counter/c/adjust",
            &json!({"value": 5, "reason": "test"}),
        )
        .ok();
    let data = place.home.path().join("data");
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(data.join("store")).unwrap());
    assert_eq!(owner.to_string(), uid);

    // SAFETY: kill(2) takes no pointer; the process is the one we started, seen a moment ago.
    assert_eq!(unsafe { libc::kill(inside, libc::SIGTERM) }, 0);
    let ended = eventually("it ends", PATIENCE, || server.0.try_wait().unwrap());
    // unshare passes on how its child ended.
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    let again = place.health();
    assert_eq!(again.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&again.stderr).contains("no answer"),
        "{again:?}"
    );
}

#[test]
fn the_health_check_says_whether_writes_are_served() {
    let home = tempfile::tempdir().unwrap();
    let setup = crate::harness::Setup::new(home.path());
    let server = setup.start();
    let health = |arguments: &[&str]| {
        let ran = setup.command("health").args(arguments).output().unwrap();
        (
            ran.status.code(),
            String::from_utf8_lossy(&ran.stderr).into_owned(),
        )
    };
    assert_eq!(health(&[]), (Some(0), String::new()));
    assert_eq!(health(&["--writes"]).0, Some(0));
    assert!(
        setup
            .command("mode")
            .arg("read_only")
            .output()
            .unwrap()
            .status
            .success()
    );
    assert_eq!(health(&[]).0, Some(0));
    let (code, told) = health(&["--writes"]);
    assert_eq!(code, Some(1));
    assert!(told.contains("503") && told.contains("operator"), "{told}");
    server.stop();
}

#[test]
fn an_image_holds_nothing_of_the_builder_s_and_runs_as_nobody_in_particular() {
    let user = of_image("USER");
    assert!(
        !user.starts_with('0') && !user.starts_with("root"),
        "{user}"
    );
    assert_eq!(list(&of_image("ENTRYPOINT")), ["/usr/local/bin/counterd"]);
    assert_eq!(
        of_image("COPY"),
        "--from=build /counterd /usr/local/bin/counterd"
    );
    let ignored = fs::read_to_string(root().join(".dockerignore")).unwrap();
    let rules: Vec<&str> = ignored
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    assert_eq!(rules[0], "*", "only what is named gets in");
    for never in ["!secrets", "!data", "!.git", "!target"] {
        assert!(!rules.contains(&never), "{never}");
    }
}
