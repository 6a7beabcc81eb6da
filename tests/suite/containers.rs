//! The image and the compose file. Without a container engine the image cannot be built here; then the
//! entry point that the Dockerfile names is run as the image would run it: that user, that environment,
//! as process 1, with that health check, ended by that signal.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

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

/// The validator's verdict on a compose file, and the file as JSON; none where it cannot be had.
fn validated(file: &Path) -> Option<(bool, String)> {
    let pythons = ["/usr/bin/python3", "python3"];
    let python = pythons.into_iter().find(|python| {
        let imports = Command::new(python)
            .args(["-c", "import jsonschema, yaml"])
            .output();
        imports.is_ok_and(|done| done.status.success())
    })?;
    let ran = Command::new(python)
        .arg(root().join("tests/suite/validate_compose.py"))
        .arg(root().join("tests/data/compose_spec.json"))
        .arg(file)
        .output()
        .unwrap();
    let text = String::from_utf8(ran.stdout).unwrap();
    assert!(!text.is_empty(), "{}", String::from_utf8_lossy(&ran.stderr));
    Some((ran.status.success(), text))
}

#[test]
fn the_compose_file_is_valid_and_says_what_the_docs_promise() {
    let file = root().join("docker-compose.yml");
    let Some((valid, text)) = validated(&file) else {
        return skipped(
            "the_compose_file_is_valid_and_says_what_the_docs_promise",
            "python3 with jsonschema and yaml is not here",
        );
    };
    assert!(valid, "{text}");
    let compose: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let counterd = &compose["services"]["counterd"];
    let postgres = &compose["services"]["postgres"];
    assert_eq!(
        counterd["depends_on"]["postgres"]["condition"],
        "service_healthy"
    );
    assert_eq!(
        counterd["depends_on"]["redis"]["condition"],
        "service_healthy"
    );
    let redis = compose["services"]["redis"]["image"].as_str().unwrap();
    assert!(redis.starts_with("redis:7"), "{redis}");
    let image = postgres["image"].as_str().unwrap();
    let version: u32 = image.strip_prefix("postgres:").unwrap()[..2]
        .parse()
        .unwrap();
    assert!(version >= 15, "{image}");
    assert!(
        postgres["healthcheck"]["test"]
            .to_string()
            .contains("pg_isready")
    );
    let named: Vec<String> = compose["volumes"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    for service in [counterd, postgres] {
        for volume in service["volumes"].as_array().unwrap() {
            let name = volume.as_str().unwrap().split(':').next().unwrap();
            assert!(
                named.iter().any(|known| known == name),
                "{volume} is no named volume"
            );
        }
        // Secrets are files of the secrets that the service has, and nothing else is one.
        let secrets: Vec<&str> = service["secrets"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one.as_str().unwrap())
            .collect();
        for (name, value) in service["environment"].as_object().unwrap() {
            let secret = ["TOKEN", "URL", "PASSWORD"]
                .iter()
                .any(|word| name.contains(word));
            assert_eq!(secret, name.ends_with("_FILE"), "{name}");
            if secret {
                let given = value
                    .as_str()
                    .unwrap()
                    .strip_prefix("/run/secrets/")
                    .unwrap();
                assert!(secrets.contains(&given), "{name}");
                assert!(compose["secrets"][given]["file"].is_string(), "{given}");
            }
        }
    }
    // A file that is wrong is seen.
    let home = tempfile::tempdir().unwrap();
    let wrong = home.path().join("wrong.yml");
    let text = fs::read_to_string(&file).unwrap();
    for (from, to) in [
        ("service_healthy", "service_sane"),
        ("    restart:", "    restarts:"),
    ] {
        fs::write(&wrong, text.replace(from, to)).unwrap();
        assert!(!validated(&wrong).unwrap().0, "{to} is not seen");
    }
}

/// The commands of the compose file, run as they stand there but for the secret's place and the port.
#[test]
fn the_redis_of_the_compose_file_starts_with_its_password_and_is_healthy() {
    let test = "the_redis_of_the_compose_file_starts_with_its_password_and_is_healthy";
    let there = Command::new("redis-server").arg("--version").output();
    let Some((_, text)) = validated(&root().join("docker-compose.yml")) else {
        return skipped(test, "python3 with jsonschema and yaml is not here");
    };
    if there.is_err() {
        return skipped(test, "no redis-server is installed");
    }
    let compose: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let redis = &compose["services"]["redis"];
    let home = tempfile::tempdir().unwrap();
    let secret = home.path().join("redis_password");
    fs::write(&secret, "a-password-of-compose\n").unwrap();
    let port = free_port().to_string();
    let here = |command: &Value| {
        let script = command.as_str().unwrap().replace("$$", "$");
        script
            .replace("/run/secrets/redis_password", secret.to_str().unwrap())
            .replace("port 6379", &format!("port {port}"))
            .replace("redis-cli", &format!("redis-cli -p {port}"))
    };
    assert_eq!(redis["command"][0], "sh");
    let mut server = Command::new("sh")
        .arg("-c")
        .arg(here(&redis["command"][2]))
        .current_dir(home.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let run = |script: &str| {
        let done = Command::new("sh").arg("-c").arg(script).output().unwrap();
        (
            done.status.success(),
            String::from_utf8_lossy(&done.stdout).into_owned(),
        )
    };
    let healthy = here(&redis["healthcheck"]["test"][1]);
    let begun = std::time::Instant::now();
    while !run(&healthy).0 && begun.elapsed() < PATIENCE {
        std::thread::yield_now();
    }
    let healthy = run(&healthy).0;
    let without = run(&format!("redis-cli -p {port} ping")).1;
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(healthy);
    assert!(without.contains("NOAUTH"), "{without}");
}

#[test]
fn the_secrets_that_compose_mounts_are_made_once_and_fit_together() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("secrets");
    let make = || {
        let made = Command::new(root().join("deploy/make-secrets"))
            .arg(&dir)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            files.insert(
                name,
                fs::read_to_string(&path).unwrap().trim_end().to_owned(),
            );
        }
        files
    };
    let first = make();
    assert_eq!(make(), first);
    let names: Vec<&str> = first.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "admin_token",
            "postgres_password",
            "postgres_url",
            "redis_password",
            "redis_url",
            "write_token"
        ]
    );
    let url = &first["postgres_url"];
    assert!(url.contains(&first["postgres_password"]) && url.contains("@postgres:5432/"));
    let url = &first["redis_url"];
    assert!(url.contains(&first["redis_password"]) && url.contains("@redis:6379/"));
    assert!(first["admin_token"].len() >= 32 && first["admin_token"] != first["write_token"]);
    let mode = fs::metadata(&dir).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}
