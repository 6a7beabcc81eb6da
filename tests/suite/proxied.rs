//! Behind real proxies, configured as `docs/limits.md` says: each client has its own limit and its own name in the
//! logs, and none can choose its address.
//!
//! Kept out: the limits themselves, which `src/http/tests/rates.rs` and `src/http/rate_limit` test.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::harness::{
    ADMIN, Client, PATIENCE, Server, Setup, eventually, free_port, skipped, tail,
};

/// The other proxy of the table of cases, as a client of the real one.
const OUTER_PROXY: u8 = 2;

#[derive(Clone, Copy, Debug)]
enum Kind {
    Nginx,
    Haproxy,
}

impl Kind {
    fn program(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
        }
    }

    fn command(self) -> Command {
        let name = self.program();
        let places = ["/usr/sbin", "/sbin"].map(|dir| Path::new(dir).join(name));
        let found = places.into_iter().find(|place| place.exists());
        Command::new(found.unwrap_or_else(|| name.into()))
    }

    /// The whole configuration: the docs' part, at this port, and what makes it a process of the test's own.
    fn configuration(self, home: &Path, port: u16, server: SocketAddr) -> String {
        let docs =
            fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/limits.md")).unwrap();
        let begin = format!("```{}\n", self.program());
        let (_, rest) = docs
            .split_once(&begin)
            .expect("docs/limits.md has a block of it");
        let (block, _) = rest.split_once("```").unwrap();
        let block = block.replace("127.0.0.1:8080", &server.to_string());
        match self {
            Self::Nginx => {
                let block = block.replace("listen 80;", &format!("listen 127.0.0.1:{port};"));
                let home = home.display();
                let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                    .map(|name| format!("{name}_temp_path {home}/{name};\n"));
                format!(
                    "daemon off;\nmaster_process off;\npid {home}/pid;\nerror_log {home}/errors;\nevents {{}}\n\
                     http {{\naccess_log off;\n{}{block}}}\n",
                    temporary.concat()
                )
            }
            Self::Haproxy => block.replace("bind :80\n", &format!("bind 127.0.0.1:{port}\n")),
        }
    }
}

/// A running proxy; dropped, it is killed.
struct Proxy {
    child: Child,
    address: SocketAddr,
    home: tempfile::TempDir,
}

impl Proxy {
    /// Starts one before the server; `None`, and a line that says so, where it is not installed.
    fn before(kind: Kind, server: &Server) -> Option<Self> {
        if !kind
            .command()
            .arg("-v")
            .output()
            .is_ok_and(|told| told.status.success())
        {
            skipped("proxied", &format!("no {} is installed", kind.program()));
            return None;
        }
        let home = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let file = home.path().join("conf");
        let text = kind.configuration(home.path(), address.port(), server.address());
        fs::write(&file, text).unwrap();
        let output = fs::File::create(home.path().join("output")).unwrap();
        let mut command = kind.command();
        match kind {
            Kind::Nginx => command.arg("-c").arg(&file).arg("-p").arg(home.path()),
            Kind::Haproxy => command.arg("-db").arg("-f").arg(&file),
        };
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output);
        let child = command.spawn().unwrap();
        let proxy = Self {
            child,
            address,
            home,
        };
        eventually("the proxy passes requests on", PATIENCE, || {
            let answer = proxy.client(9).request("GET", "/readyz", &[], b"").ok()?;
            (answer.status == 200).then_some(())
        });
        Some(proxy)
    }

    /// A client at 127.0.0.`last`.
    fn client(&self, last: u8) -> Client {
        Client::new(self.address).from(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!(
                "the proxy's output:\n{}",
                tail(&self.home.path().join("output"))
            );
        }
    }
}

fn each_client_has_its_own_limit(kind: Kind) {
    let home = tempfile::tempdir().unwrap();
    let server = Setup::new(home.path())
        .set("limits.per_ip", "3/h")
        .set("limits.trusted_proxies", "127.0.0.1")
        .set("log.access", "all")
        .start();
    let Some(proxy) = Proxy::before(kind, &server) else {
        return;
    };
    let path = "/api/v1/counter/games/increment";
    let up = |last: u8, headers: &[(&str, &str)]| {
        let answer = proxy.client(last).request("POST", path, headers, b"");
        answer.unwrap()
    };
    for _ in 0..3 {
        up(3, &[]).ok();
    }
    let refused = up(3, &[]);
    refused.refused(429, "rate_limited");
    assert_eq!(
        refused.header("ratelimit"),
        Some("\"ip_writes\";r=0;t=1200")
    );
    // Nobody gets another's limit, or none, by saying that it is another.
    for claim in ["198.51.100.9", "127.0.0.4", "127.0.0.1", "garbage"] {
        let claimed = up(3, &[("x-forwarded-for", claim)]);
        claimed.refused(429, "rate_limited");
        let twice = [("x-forwarded-for", claim), ("X-Forwarded-For", claim)];
        up(3, &twice).refused(429, "rate_limited");
    }
    up(4, &[("x-request-id", "the-other")]).ok();
    let mut admin = proxy.client(5).with_token(ADMIN);
    admin.define("new", &json!({"kind": "sum"}));
    let log = eventually("the lines are written", PATIENCE, || {
        let log = server.output();
        let has = |parts: &[&str]| {
            let mut lines = log.lines();
            lines.any(|line| parts.iter().all(|part| line.contains(part)))
        };
        let all = has(&["request_id=the-other", "peer=127.0.0.4"])
            && has(&[" audit: ", "peer=127.0.0.5 ", "action=\"define\""])
            && has(&["route=define", "peer=127.0.0.5"]);
        all.then(|| log.clone())
    });
    let requests = || log.lines().filter(|line| line.contains(" request: "));
    let of_refused = requests().filter(|line| line.contains("status=429"));
    assert!(of_refused.clone().count() >= 9, "{log}");
    assert!(
        of_refused
            .clone()
            .all(|line| line.ends_with(" peer=127.0.0.3")),
        "{log}"
    );
    drop(proxy);
    server.stop();
}

#[test]
fn each_client_behind_nginx_has_its_own_limit_and_cannot_choose_its_address() {
    each_client_has_its_own_limit(Kind::Nginx);
}

#[test]
fn each_client_behind_haproxy_has_its_own_limit_and_cannot_choose_its_address() {
    each_client_has_its_own_limit(Kind::Haproxy);
}

/// A header of the table of cases, and the client that it names when an outer proxy sent it.
struct Case {
    lines: Vec<Vec<u8>>,
    client: String,
}

/// The cases whose peer is trusted: the outer proxy is that peer here.
fn cases() -> Vec<Case> {
    let outer = format!("127.0.0.{OUTER_PROXY}");
    let rows = include_str!("../client-cases.tsv").lines();
    let case = |row: &str| {
        let [peer, header, client] = row.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{row}");
        };
        let trusted = ["10.", "192.0.2.7", "::1", "2001:db8:ffff:", "::ffff:10."];
        if !trusted.iter().any(|begin| peer.starts_with(begin)) {
            return None;
        }
        let lines = header.split("\\n").map(bytes);
        // The peer, where no address of the header is the client.
        let is_peer = client == peer && !header.contains(peer);
        Some(Case {
            lines: if header == "-" {
                Vec::new()
            } else {
                lines.collect()
            },
            client: if is_peer {
                outer.clone()
            } else {
                client.to_owned()
            },
        })
    };
    rows.filter(|row| !row.starts_with('#'))
        .filter_map(case)
        .collect()
}

/// The bytes of a line of the table.
fn bytes(line: &str) -> Vec<u8> {
    let mut parts = line.split("\\x");
    let mut bytes = parts.next().unwrap().replace("\\t", "\t").into_bytes();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend(part[2..].replace("\\t", "\t").bytes());
    }
    bytes
}

fn every_header_is_read_as_the_table_says(kind: Kind) {
    let home = tempfile::tempdir().unwrap();
    let trusted = "127.0.0.1,127.0.0.2,10.0.0.0/8,192.0.2.7,2001:db8:ffff::/48,::1";
    let server = Setup::new(home.path())
        .set("limits.trusted_proxies", trusted)
        .set("log.access", "all")
        .start();
    let Some(proxy) = Proxy::before(kind, &server) else {
        return;
    };
    let cases = cases();
    assert!(cases.len() >= 60, "{}", cases.len());
    for (number, case) in cases.iter().enumerate() {
        let head = "GET /api/v1/counter/total_games_played HTTP/1.1\r\nhost: h\r\n";
        let mut request = format!("{head}x-request-id: case-{number}\r\n").into_bytes();
        for line in &case.lines {
            request.extend([b"X-Forwarded-For: ", &line[..], b"\r\n"].concat());
        }
        request.extend(b"\r\n");
        let mut client = proxy.client(OUTER_PROXY);
        client.send_raw(&request).unwrap();
        assert_eq!(client.receive().unwrap().status, 200, "case {number}");
    }
    let line_of = |log: &str, number: usize| {
        let id = format!(" request_id=case-{number} ");
        log.lines()
            .find(|line| line.contains(&id))
            .map(str::to_owned)
    };
    let log = eventually("all lines are written", PATIENCE, || {
        let log = server.output();
        let all = (0..cases.len()).all(|number| line_of(&log, number).is_some());
        all.then_some(log)
    });
    for (number, case) in cases.iter().enumerate() {
        let line = line_of(&log, number).unwrap();
        let (_, peer) = line.split_once(" peer=").unwrap();
        let header: Vec<_> = case
            .lines
            .iter()
            .map(|line| String::from_utf8_lossy(line))
            .collect();
        assert_eq!(peer, case.client, "case {number}: {header:?}");
    }
    drop(proxy);
    server.stop();
}

#[test]
fn through_nginx_every_header_is_read_as_the_table_says() {
    every_header_is_read_as_the_table_says(Kind::Nginx);
}

#[test]
fn through_haproxy_every_header_is_read_as_the_table_says() {
    every_header_is_read_as_the_table_says(Kind::Haproxy);
}
