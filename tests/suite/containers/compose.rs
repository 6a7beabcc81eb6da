//! The compose file: what it says, and what it runs, run here as it would: those commands, users,
//! environment and secrets, on this machine's ports.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{Ends, Place, may_contain, root};
use crate::harness::{Client, Database, PATIENCE, eventually, free_port, skipped};

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
    // It is ended before them, with what is exported last; and it waits for nobody's health.
    assert_eq!(counterd["depends_on"], json!(["postgres", "redis"]));
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
        ("restart: unless-stopped", "restart: 7"),
        ("    restart:", "    restarts:"),
    ] {
        fs::write(&wrong, text.replace(from, to)).unwrap();
        assert!(!validated(&wrong).unwrap().0, "{to} is not seen");
    }
}

/// The compose file as JSON, or why it cannot be had.
pub(super) fn compose() -> Result<Value, String> {
    composed("docker-compose.yml")
}

/// The same for another file of the repository.
pub(super) fn composed(file: &str) -> Result<Value, String> {
    let (valid, text) =
        validated(&root().join(file)).ok_or("python3 with jsonschema and yaml is not here")?;
    assert!(valid, "{text}");
    Ok(serde_json::from_str(text.lines().last().unwrap()).unwrap())
}

/// What deploy/make-secrets makes, by name.
pub(super) fn secrets(dir: &Path) -> BTreeMap<String, String> {
    let made = Command::new(root().join("deploy/make-secrets"))
        .arg(dir)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let entries = fs::read_dir(dir).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        (name, text.trim_end().to_owned())
    });
    entries.collect()
}

/// The Redis of the compose file, with its secret in a file and on a port of this machine.
struct ComposedRedis {
    service: Value,
    secret: PathBuf,
    port: u16,
    /// Before the others in which programs are found.
    path: Option<PathBuf>,
}

impl ComposedRedis {
    fn here(&self, script: &Value) -> String {
        script
            .as_str()
            .unwrap()
            .replace("$$", "$")
            .replace("/run/secrets/redis_password", self.secret.to_str().unwrap())
            .replace("port 6379", &format!("port {}", self.port))
            .replace("redis-cli", &format!("redis-cli -p {}", self.port))
    }

    fn start(&self) -> Ends {
        let command = self.service["command"].as_array().unwrap();
        assert_eq!(command[0], "sh");
        let user = self.service["user"].as_str().unwrap();
        let mut sh = if rustix::process::geteuid().is_root() {
            let mut sh = Command::new("setpriv");
            sh.args(["--reuid", user, "--regid", user, "--clear-groups"]);
            sh.args([
                "--inh-caps=-all",
                "--bounding-set=-all",
                "--no-new-privs",
                "sh",
            ]);
            sh
        } else {
            Command::new("sh")
        };
        if let Some(first) = &self.path {
            let others = std::env::var("PATH").unwrap();
            sh.env("PATH", format!("{}:{others}", first.display()));
        }
        let server = sh
            .args([command[1].as_str().unwrap(), &self.here(&command[2])])
            // Its own directory is not to be written to.
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        Ends(server.unwrap())
    }

    fn is_healthy(&self) -> bool {
        let script = self.here(&self.service["healthcheck"]["test"][1]);
        shell(&script).0
    }
}

fn shell(script: &str) -> (bool, String) {
    let done = Command::new("sh").arg("-c").arg(script).output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    (done.status.success(), text)
}

/// The command lines of all processes that show `secret`.
pub(super) fn shown_by_ps(secret: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .map(|words| String::from_utf8_lossy(&words).replace('\0', " "))
        .filter(|words| words.contains(secret))
        .collect()
}

#[test]
fn the_redis_of_the_compose_file_starts_with_its_password_and_is_healthy() {
    let test = "the_redis_of_the_compose_file_starts_with_its_password_and_is_healthy";
    let compose = match compose() {
        Ok(compose) => compose,
        Err(reason) => return skipped(test, &reason),
    };
    if Command::new("redis-server")
        .arg("--version")
        .output()
        .is_err()
    {
        return skipped(test, "no redis-server is installed");
    }
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let password = "a-password-of-compose";
    let redis = ComposedRedis {
        service: compose["services"]["redis"].clone(),
        secret: home.path().join("redis_password"),
        port: free_port(),
        path: Some(home.path().join("bin")),
    };
    // Redis overwrites its arguments soon after its start: what they were is kept.
    let arguments = home.path().join("arguments");
    fs::write(&arguments, "").unwrap();
    fs::set_permissions(&arguments, fs::Permissions::from_mode(0o666)).unwrap();
    let real = shell("command -v redis-server").1;
    let program = home.path().join("bin/redis-server");
    fs::create_dir(home.path().join("bin")).unwrap();
    let keeps = format!(
        "#!/bin/sh\necho \"$*\" >>{}\nexec {} \"$@\"\n",
        arguments.display(),
        real.trim()
    );
    fs::write(&program, keeps).unwrap();
    for path in [home.path().join("bin"), program] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::write(&redis.secret, format!("{password}\n")).unwrap();
    assert!(!redis.is_healthy(), "nobody is there");
    let server = redis.start();
    eventually("it is healthy", PATIENCE, || {
        redis.is_healthy().then_some(())
    });
    let cli = format!("redis-cli -p {}", redis.port);
    let without = shell(&format!("{cli} ping")).1;
    assert!(without.contains("NOAUTH"), "{without}");
    assert_eq!(shown_by_ps(password), [""; 0]);
    assert_eq!(fs::read_to_string(&arguments).unwrap(), "-\n");
    let name = fs::read_to_string(format!("/proc/{}/comm", server.0.id())).unwrap();
    assert_eq!(name.trim(), "redis-server", "it takes the signals itself");
    let kept = format!("REDISCLI_AUTH={password} {cli} config get save");
    assert_eq!(shell(&kept).1, "save\n\n");
}

/// Everything that the compose file starts, in every order: none waits for another.
#[test]
fn the_services_come_up_in_any_order_and_find_each_other() {
    let test = "the_services_come_up_in_any_order_and_find_each_other";
    let parts = may_contain().and_then(|()| Ok((compose()?, Database::new()?)));
    let (compose, mut database) = match parts {
        Ok(parts) => parts,
        Err(reason) => return skipped(test, &reason),
    };
    if Command::new("redis-server")
        .arg("--version")
        .output()
        .is_err()
    {
        return skipped(test, "no redis-server is installed");
    }
    let place = Place::new();
    let made = secrets(&place.home.path().join("secrets"));
    let redis = ComposedRedis {
        service: compose["services"]["redis"].clone(),
        secret: place.secret("redis_password", &made["redis_password"]),
        port: free_port(),
        path: None,
    };
    let environment = &compose["services"]["postgres"]["environment"];
    let user = environment["POSTGRES_USER"].as_str().unwrap();
    let name = environment["POSTGRES_DB"].as_str().unwrap();
    let password = &made["postgres_password"];
    database.sql(&format!("CREATE ROLE {user} LOGIN PASSWORD '{password}'"));
    database.sql(&format!("CREATE DATABASE {name} OWNER {user}"));
    let at = database.url_as(user, password, name);
    let port = at.rsplit(':').next().unwrap().split('/').next().unwrap();
    // Elsewhere the services find each other by name.
    let mut known = made.clone();
    for (url, from, to) in [
        (
            "postgres_url",
            "@postgres:5432/",
            format!("@127.0.0.1:{port}/"),
        ),
        (
            "redis_url",
            "@redis:6379/",
            format!("@127.0.0.1:{}/", redis.port),
        ),
    ] {
        let here = made[url].replace(from, &to);
        assert_ne!(here, made[url]);
        known.insert(url.to_owned(), here);
    }
    let mut mounted = BTreeMap::new();
    for secret in compose["services"]["counterd"]["secrets"]
        .as_array()
        .unwrap()
    {
        let secret = secret.as_str().unwrap();
        mounted.insert(secret, place.secret(secret, &known[secret]));
    }
    let configured = |command: &mut Command| {
        let given = compose["services"]["counterd"]["environment"].as_object();
        for (name, value) in given.unwrap() {
            let value = match value.as_str().unwrap() {
                zone if zone.starts_with("${COUNTERD_TIMEZONE:?") => "UTC".to_owned(),
                value => match value.strip_prefix("/run/secrets/") {
                    Some(secret) => mounted[secret].display().to_string(),
                    None => value.to_owned(),
                },
            };
            command.env(name, value);
        }
    };
    // With copies to read from it is healthy before there is a store: then it does not count yet.
    let health = || {
        let mut words = super::list(&super::of_image("HEALTHCHECK"));
        words.push("--writes".to_owned());
        let mut health = place.command(&words, &[]);
        configured(&mut health);
        health.output().unwrap().status.code()
    };
    let content = |server: &mut Ends| {
        eventually("the health check is content", PATIENCE, || {
            let log = fs::read_to_string(place.home.path().join("log")).unwrap();
            assert!(server.0.try_wait().unwrap().is_none(), "{log}");
            (health() == Some(0)).then_some(())
        });
    };
    let increment = |count: i64, order: &str| {
        let address = ([127, 0, 0, 1], place.port).into();
        let mut client = Client::new(address).with_token(&made["write_token"]);
        let counted = client.post("/api/v1/counter/c/increment", &json!({})).ok();
        assert_eq!(counted["current_value"], count, "{order}");
    };
    database.crash();
    let superuser = database.url_as("postgres", crate::harness::PASSWORD, name);
    let row = "SELECT current_value FROM counters WHERE name = 'c'";
    for (round, order) in ["cpr", "crp", "pcr", "rcp", "prc", "rpc"]
        .iter()
        .enumerate()
    {
        let (mut server, mut mirror) = (None, None);
        let count = i64::try_from(round).unwrap() + 1;
        for one in order.chars() {
            match one {
                'p' => database.start(),
                'r' => {
                    let started = redis.start();
                    eventually("Redis is healthy", PATIENCE, || {
                        redis.is_healthy().then_some(())
                    });
                    mirror = Some(started);
                }
                _ => {
                    let mut command = place.command(&place.entry(), &[]);
                    configured(&mut command);
                    let log = fs::File::create(place.home.path().join("log")).unwrap();
                    command.stdout(log.try_clone().unwrap()).stderr(log);
                    server = Some(Ends(command.spawn().unwrap()));
                    if round > 0 {
                        // Whoever is there or not: it serves, and it counts.
                        content(server.as_mut().unwrap());
                        increment(count, order);
                    } else {
                        // A store that is not there may be one that was lost: the copies are asked.
                        eventually("it waits for the copies", PATIENCE, || {
                            let log = fs::read_to_string(place.home.path().join("log")).unwrap();
                            log.contains("there is no store").then_some(())
                        });
                        assert_eq!(health(), Some(1));
                    }
                }
            }
        }
        if round == 0 {
            content(server.as_mut().unwrap());
            increment(count, order);
        }
        eventually("it is exported", PATIENCE, || {
            let found = database.sql_at(&superuser, row).ok()?;
            (found == count.to_string()).then_some(())
        });
        let read = format!(
            "REDISCLI_AUTH={} redis-cli -p {} get counter:c",
            made["redis_password"], redis.port
        );
        eventually("it is mirrored", PATIENCE, || {
            (shell(&read).1.trim() == count.to_string()).then_some(())
        });
        for (name, secret) in &made {
            assert_eq!(shown_by_ps(secret), [""; 0], "{name}");
        }
        let mut server = server.unwrap();
        // SAFETY: kill(2) takes no pointer; the child is ours and not yet waited for.
        unsafe { libc::kill(i32::try_from(server.0.id()).unwrap(), libc::SIGTERM) };
        let ended = eventually("it ends", PATIENCE, || server.0.try_wait().unwrap());
        assert_eq!(ended.code(), Some(0), "{order}");
        drop(mirror);
        database.crash();
    }
}

#[test]
fn the_secrets_that_compose_mounts_are_made_once_and_fit_together() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("secrets");
    let first = secrets(&dir);
    assert_eq!(secrets(&dir), first);
    let names: Vec<&str> = first.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "admin_token",
            "grafana_password",
            "postgres_password",
            "postgres_url",
            "redis_cluster_url",
            "redis_password",
            "redis_url",
            "write_token"
        ]
    );
    let url = &first["postgres_url"];
    assert!(url.contains(&first["postgres_password"]) && url.contains("@postgres:5432/"));
    let url = &first["redis_url"];
    assert!(url.contains(&first["redis_password"]) && url.contains("@redis:6379/"));
    assert!(first["redis_cluster_url"].contains(&first["redis_password"]));
    assert!(first["admin_token"].len() >= 32 && first["admin_token"] != first["write_token"]);
    let mode = fs::metadata(&dir).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}
