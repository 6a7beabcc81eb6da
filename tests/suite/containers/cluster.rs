//! The compose file of several instances over a Redis Cluster: what it says, and what it runs, run here as it would: those
//! commands, environment and secrets, at this machine's addresses.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::compose::{composed, secrets, shown_by_ps};
use super::{Ends, root};
use crate::harness::{Client, PATIENCE, Server, Setup, eventually, free_port, skipped};

const FILE: &str = "deploy/cluster/docker-compose.yml";

const NODES: [u8; 6] = [1, 2, 3, 4, 5, 6];

/// The parts of the file that run here, at addresses of this machine.
struct Here {
    compose: Value,
    home: tempfile::TempDir,
    secrets: BTreeMap<String, PathBuf>,
    /// The port of each node.
    ports: Vec<u16>,
}

impl Here {
    fn new(compose: Value) -> Self {
        let home = tempfile::tempdir().unwrap();
        let ports: Vec<u16> = NODES.iter().map(|_| free_port()).collect();
        let mut here = Self {
            compose,
            home,
            secrets: BTreeMap::new(),
            ports,
        };
        for (name, text) in secrets(&here.home.path().join("made")) {
            let path = here.home.path().join(&name);
            fs::write(&path, here.moved(&text)).unwrap();
            here.secrets.insert(name, path);
        }
        here
    }

    /// A text with the addresses and secrets of this machine.
    fn moved(&self, text: &str) -> String {
        let mut text = text.replace("$$", "$");
        for (node, port) in NODES.iter().zip(&self.ports) {
            let there = format!("172.31.251.{}", 10 + node);
            text = text.replace(&format!("{there}:6379"), &format!("127.0.0.1:{port}"));
        }
        for (name, path) in &self.secrets {
            text = text.replace(&format!("/run/secrets/{name}"), &path.display().to_string());
        }
        assert!(!text.contains("172.31.251."), "{text}");
        text
    }

    fn command(&self, service: &str) -> Vec<String> {
        let words = self.compose["services"][service]["command"].as_array();
        let words = words.unwrap().iter();
        words
            .map(|word| self.moved(word.as_str().unwrap()))
            .collect()
    }

    fn node(&self, node: usize) -> Ends {
        let port = self.ports[node];
        let data = self.home.path().join(format!("redis-{port}"));
        fs::create_dir_all(&data).unwrap();
        let words = self.command(&format!("redis-{}", node + 1));
        let script = words.last().unwrap();
        let script = script.replace("port 6379", &format!("port {port}"));
        let script = script.replace("dir /data", &format!("dir {}", data.display()));
        // Another one than 10,000 above, which may be somebody's.
        let bus = format!("cluster-enabled yes\ncluster-port {}", free_port());
        let script = script.replace("cluster-enabled yes", &bus);
        let mut server = Command::new("sh");
        server.args(["-c", &script]).stdin(Stdio::null());
        Ends(server.stdout(Stdio::null()).spawn().unwrap())
    }

    /// Makes one Cluster of the nodes; as often as it is run.
    fn joins(&self) {
        let words = self.command("cluster");
        let done = Command::new(&words[0]).args(&words[1..]).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    }

    fn instance(&self, number: u8) -> Server {
        let home = self.home.path().join(format!("counterd-{number}"));
        fs::create_dir_all(&home).unwrap();
        let mut setup = Setup::new(&home).without("auth.admin_token");
        let service = &self.compose["services"][format!("counterd-{number}")];
        for (name, value) in service["environment"].as_object().unwrap() {
            let value = value.as_str().unwrap();
            if name != "COUNTERD_CALENDAR__TIMEZONE" {
                setup = setup.env(name, &self.moved_network(value));
            }
        }
        setup.start()
    }

    fn moved_network(&self, value: &str) -> String {
        self.moved(&value.replace("172.31.251.0/24", "127.0.0.1"))
    }
}

fn proxy(home: &Path, servers: &[Server; 2]) -> (Ends, Client) {
    let text = fs::read_to_string(root().join("deploy/cluster/haproxy.cfg")).unwrap();
    let port = free_port();
    let mut text = text.replace("bind :8080\n", &format!("bind 127.0.0.1:{port}\n"));
    for (number, server) in servers.iter().enumerate() {
        let there = format!("counterd-{}:8080", number + 1);
        assert!(text.contains(&there));
        text = text.replace(&there, &server.address().to_string());
    }
    let file = home.join("haproxy.cfg");
    fs::write(&file, text).unwrap();
    let mut proxy = Command::new("haproxy");
    proxy.arg("-db").arg("-f").arg(&file).stdin(Stdio::null());
    let proxy = Ends(proxy.spawn().unwrap());
    (proxy, Client::new(([127, 0, 0, 1], port).into()))
}

#[test]
fn two_instances_over_a_cluster_come_up_behind_haproxy_and_count_on_when_nodes_die() {
    let test = "two_instances_over_a_cluster_come_up_behind_haproxy_and_count_on_when_nodes_die";
    let compose = match composed(FILE) {
        Ok(compose) => compose,
        Err(reason) => return skipped(test, &reason),
    };
    for (program, asks) in [("redis-server", "--version"), ("haproxy", "-v")] {
        if Command::new(program).arg(asks).output().is_err() {
            return skipped(test, &format!("no {program} is installed"));
        }
    }
    let here = Here::new(compose);
    let mut nodes: Vec<Ends> = (0..NODES.len()).map(|node| here.node(node)).collect();
    for port in &here.ports {
        eventually("a node is up", PATIENCE, || {
            std::net::TcpStream::connect(("127.0.0.1", *port)).ok()
        });
    }
    here.joins();
    here.joins();
    let servers = [here.instance(1), here.instance(2)];
    let (_proxy, client) = proxy(here.home.path(), &servers);
    let token = fs::read_to_string(&here.secrets["write_token"]).unwrap();
    let mut client = client.with_token(token.trim());
    let mut count = |want: i64| {
        eventually("haproxy passes counts on", PATIENCE, || {
            let path = "/api/v1/counter/c/increment";
            let answer = client.request(
                "POST",
                path,
                &[("Idempotency-Key", &format!("k{want}"))],
                b"{}",
            );
            let answer = answer.ok().filter(|answer| answer.status < 300)?;
            (answer.json()["current_value"] == want).then_some(())
        });
    };
    count(1);
    // The primary that has the log dies, and then an instance.
    let has_log = |port: &u16| {
        let asks = format!(
            "REDISCLI_AUTH=$(cat {}) redis-cli -p {port}",
            here.secrets["redis_password"].display()
        );
        let asks = format!("{asks} EXISTS {{counterd:0}}:cell");
        let told = Command::new("sh").args(["-c", &asks]).output().unwrap();
        told.stdout == b"1\n"
    };
    let owner = here
        .ports
        .iter()
        .position(has_log)
        .expect("a node has the log");
    nodes[owner].0.kill().unwrap();
    nodes[owner].0.wait().unwrap();
    let others = || here.ports.iter().enumerate().filter(|(at, _)| *at != owner);
    eventually("a replica takes over", PATIENCE, || {
        others().any(|(_, port)| has_log(port)).then_some(())
    });
    nodes[owner] = here.node(owner);
    count(2);
    let [one, two] = servers;
    one.kill9();
    count(3);
    for (name, path) in &here.secrets {
        let secret = fs::read_to_string(path).unwrap();
        assert_eq!(shown_by_ps(secret.trim()), [""; 0], "{name}");
    }
    two.stop();
}

#[test]
fn its_services_have_few_rights_and_secrets_that_are_made() {
    let test = "its_services_have_few_rights_and_secrets_that_are_made";
    let compose = match composed(FILE) {
        Ok(compose) => compose,
        Err(reason) => return skipped(test, &reason),
    };
    let home = tempfile::tempdir().unwrap();
    let made = secrets(&home.path().join("made"));
    let services = compose["services"].as_object().unwrap();
    assert_eq!(services.len(), NODES.len() + 4);
    for (name, service) in services {
        assert_eq!(service["cap_drop"], json!(["ALL"]), "{name}");
        assert_eq!(service["read_only"], true, "{name}");
        assert!(service["logging"].is_object(), "{name}");
        for port in service["ports"].as_array().into_iter().flatten() {
            assert!(port.as_str().unwrap().starts_with("127.0.0.1:"), "{name}");
        }
        for secret in service["secrets"].as_array().into_iter().flatten() {
            let secret = secret.as_str().unwrap();
            assert!(made.contains_key(secret), "{name}: {secret}");
            let file = format!("../../secrets/{secret}");
            assert_eq!(compose["secrets"][secret]["file"], json!(file));
        }
    }
}
