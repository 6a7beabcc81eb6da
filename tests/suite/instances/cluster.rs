//! The log in a Redis Cluster of three primaries, each with a replica: nodes die, take over and hand over, and what was
//! acknowledged is counted once.

use std::time::Duration;

use serde_json::json;

use super::faults::counts_exactly;
use super::{agrees, count, instance, program, value, writes_again};
use crate::harness::{
    Client, PATIENCE, REDIS_PASSWORD, Redis, Server, Setup, eventually, free_port, skipped,
};

pub(super) const PRIMARIES: usize = 3;

/// How many counts are many.
pub(super) const MANY: i64 = 200;

/// Whose slot has the log.
const CELL: &str = "{counterd:0}:cell";

/// Primaries, then a replica of each in the same order, if any.
pub(super) struct Cluster {
    pub(super) nodes: Vec<Redis>,
}

impl Cluster {
    fn new(test: &str) -> Option<Self> {
        Self::of(test, 2 * PRIMARIES, Vec::new)
    }

    /// One of so many nodes, each with further arguments.
    pub(super) fn of(test: &str, nodes: usize, more: impl Fn() -> Vec<String>) -> Option<Self> {
        let start = |program: &std::path::Path| {
            let more = more();
            let bus = free_port().to_string();
            let mut all = vec!["--cluster-enabled", "yes", "--cluster-port", &bus];
            all.extend(["--cluster-node-timeout", "2000"]);
            all.extend(["--cluster-replica-validity-factor", "0"]);
            all.extend(["--appendonly", "yes", "--appendfsync", "always"]);
            all.extend(["--masterauth", REDIS_PASSWORD]);
            all.extend(["--repl-diskless-sync-delay", "0"]);
            all.extend(more.iter().map(String::as_str));
            let node = Redis::of(program, &all)?;
            Ok((node, bus))
        };
        let started = program().and_then(|program| {
            let nodes = (0..nodes).map(|_| start(&program));
            nodes.collect::<Result<Vec<_>, String>>()
        });
        let started = started.map_err(|reason| skipped(test, &reason)).ok()?;
        let (nodes, buses): (Vec<_>, Vec<_>) = started.into_iter().unzip();
        let cluster = Self { nodes };
        cluster.join(&buses);
        Some(cluster)
    }

    /// Makes one Cluster of the nodes.
    fn join(&self, buses: &[String]) {
        let [first, ..] = &self.nodes[..] else {
            unreachable!()
        };
        for (at, (node, bus)) in self.nodes.iter().zip(buses).enumerate() {
            node.say::<()>(&format!("CLUSTER SET-CONFIG-EPOCH {}", at + 1));
            if at < PRIMARIES {
                let bound = |at: usize| 16_384 * at / PRIMARIES;
                let (from, to) = (bound(at), bound(at + 1) - 1);
                node.say::<()>(&format!("CLUSTER ADDSLOTSRANGE {from} {to}"));
            }
            if at > 0 {
                let port = node.port();
                first.say::<()>(&format!("CLUSTER MEET 127.0.0.1 {port} {bus}"));
            }
        }
        let all = self.nodes.len();
        self.each_says("CLUSTER INFO", &format!("cluster_known_nodes:{all}\r"));
        for at in PRIMARIES..all {
            let of = self.id(at - PRIMARIES);
            eventually("it knows its primary", PATIENCE, || {
                let nodes: String = self.nodes[at].say("CLUSTER NODES");
                nodes.contains(&of).then_some(())
            });
            self.nodes[at].say::<()>(&format!("CLUSTER REPLICATE {of}"));
        }
        self.is_whole();
    }

    /// Waits until every node serves, and every primary has its replica.
    pub(super) fn is_whole(&self) {
        self.each_says("CLUSTER INFO", "cluster_state:ok\r");
        eventually("every primary has a replica", PATIENCE, || {
            let said = |node: &Redis| node.say::<String>("INFO replication");
            let said: Vec<_> = self.nodes.iter().map(said).collect();
            let online = said.iter().filter(|said| said.contains("state=online"));
            let up = said
                .iter()
                .filter(|said| said.contains("master_link_status:up"));
            let replicas = self.nodes.len() - PRIMARIES;
            (online.count() == replicas && up.count() == replicas).then_some(())
        });
    }

    fn each_says(&self, question: &str, wanted: &str) {
        for node in &self.nodes {
            eventually(wanted, PATIENCE, || {
                node.say::<String>(question).contains(wanted).then_some(())
            });
        }
    }

    fn id(&self, node: usize) -> String {
        self.nodes[node].say("CLUSTER MYID")
    }

    /// Which node has the log, if any that is up says that it has.
    fn owner_now(&self) -> Option<usize> {
        self.holder(CELL)
    }

    /// Which node serves the slot of a key, if any that is up says that it does.
    pub(super) fn holder(&self, key: &str) -> Option<usize> {
        let has = |node: &Redis| {
            let mut connection = node.connect().ok()?;
            redis::cmd("EXISTS")
                .arg(key)
                .query::<u64>(&mut connection)
                .ok()
        };
        self.nodes.iter().position(|node| has(node).is_some())
    }

    pub(super) fn owner(&self) -> usize {
        eventually("a node has the log", PATIENCE, || self.owner_now())
    }

    /// The replica of a node as they were made.
    pub(super) fn partner(node: usize) -> usize {
        (node + PRIMARIES) % (2 * PRIMARIES)
    }

    /// Kills the node that has the log, waits until its replica has it, and starts it again as the replica of that.
    fn fails_over(&mut self) {
        let dead = self.owner();
        self.nodes[dead].kill();
        eventually("its replica takes over", PATIENCE, || {
            self.owner_now()
                .filter(|&owner| owner == Self::partner(dead))
        });
        self.nodes[dead].start();
        self.is_whole();
    }

    /// Has a replica take over from its primary, which helps it.
    fn hands_over_to(&self, next: usize) {
        eventually("the replica takes over", 2 * PATIENCE, || {
            self.nodes[next].say::<()>("CLUSTER FAILOVER");
            // The primary gives it up after five seconds, where the two miss each other.
            let begun = std::time::Instant::now();
            while begun.elapsed() < Duration::from_secs(6) {
                if self.owner_now() == Some(next) {
                    return Some(());
                }
            }
            None
        });
    }

    /// Begins to move the slot of the log to another primary.
    pub(super) fn begins_to_move_to(&self, to: usize) -> Move<'_> {
        let from = self.owner();
        let moved = Move {
            slot: self.nodes[from].say(&format!("CLUSTER KEYSLOT {CELL}")),
            ids: [from, to].map(|node| self.id(node)),
            from: &self.nodes[from],
            to: &self.nodes[to],
            port: self.nodes[to].port(),
        };
        let (slot, [from_id, _]) = (moved.slot, &moved.ids);
        let importing = format!("CLUSTER SETSLOT {slot} IMPORTING {from_id}");
        moved.to.say::<()>(&importing);
        moved.gives_away();
        moved
    }

    /// An instance that is told of these nodes alone, and waits for replicas.
    pub(super) fn instance(&self, home: &tempfile::TempDir, nodes: &[usize]) -> Setup {
        instance(home, &self.nodes[0])
            .set("redis.url", &self.url(nodes))
            .set("redis.ack", "replicas")
            .set("redis.timeout", "5s")
    }

    pub(super) fn url(&self, nodes: &[usize]) -> String {
        let hosts = nodes.iter().map(|&node| self.nodes[node].port());
        let hosts: Vec<_> = hosts.map(|port| format!("127.0.0.1:{port}")).collect();
        format!("redis://:{REDIS_PASSWORD}@{}/0", hosts.join(","))
    }
}

/// A move of the slot of the log that is under way.
pub(super) struct Move<'a> {
    slot: u64,
    ids: [String; 2],
    from: &'a Redis,
    to: &'a Redis,
    /// Where the keys are sent to.
    pub(super) port: u16,
}

impl Move<'_> {
    /// Has its node know that it is moved.
    pub(super) fn gives_away(&self) {
        let (slot, [_, to]) = (self.slot, &self.ids);
        let migrating = format!("CLUSTER SETSLOT {slot} MIGRATING {to}");
        self.from.say::<()>(&migrating);
    }

    /// Has its node forget that it is moved, as after a failover.
    pub(super) fn is_forgotten(&self) {
        let stable = format!("CLUSTER SETSLOT {} STABLE", self.slot);
        self.from.say::<()>(&stable);
    }

    /// The keys that are still to be moved.
    pub(super) fn keys(&self) -> Vec<String> {
        let list = format!("CLUSTER GETKEYSINSLOT {} 1000", self.slot);
        self.from.say(&list)
    }

    pub(super) fn moves(&self, key: &str) {
        let auth = format!("AUTH {REDIS_PASSWORD}");
        // What comes and goes by itself may be at both; anything else must not be.
        let replace = if key.ends_with(":lease") || key.ends_with(":up") {
            "REPLACE "
        } else {
            ""
        };
        let port = self.port;
        let call = format!("MIGRATE 127.0.0.1 {port} {key} 0 5000 {replace}{auth}");
        self.from.say::<String>(&call);
    }

    /// How many records a key holds.
    fn holds(&self, key: &str) -> u64 {
        let length = redis::cmd("HLEN")
            .arg(key)
            .query(&mut self.from.connect().unwrap());
        length.unwrap_or(0)
    }

    /// Whether somebody is in the middle of reading records.
    fn is_scanned(&self) -> Option<()> {
        let clients: String = self.from.say("CLIENT LIST");
        clients.contains("cmd=hscan").then_some(())
    }

    /// Moves all that is left, and says so to both.
    pub(super) fn ends(self) {
        // The lease comes and goes meanwhile.
        while let Some(key) = self.keys().first() {
            self.moves(key);
        }
        let (slot, [_, to]) = (self.slot, &self.ids);
        for node in [self.to, self.from] {
            node.say::<()>(&format!("CLUSTER SETSLOT {slot} NODE {to}"));
        }
    }
}

fn read(client: &mut Client) -> serde_json::Value {
    client.get("/api/v1/counter/a").ok()
}

fn refuses(server: &Server) {
    let mut client = server.client();
    eventually("writes are refused", PATIENCE, || {
        (count(&mut client, "again") == Some(false)).then_some(())
    });
}

pub(super) fn homes() -> [tempfile::TempDir; 2] {
    [0, 1].map(|_| tempfile::tempdir().unwrap())
}

/// Starts an instance that lists the node that has the log, and one that lists another primary.
fn started(cluster: &Cluster, homes: &[tempfile::TempDir; 2]) -> Vec<Server> {
    let owner = cluster.owner();
    let listed = [owner, (owner + 1) % PRIMARIES];
    let both = homes.iter().zip(listed);
    both.map(|(home, node)| cluster.instance(home, &[node]).start())
        .collect()
}

#[test]
fn instances_find_the_node_that_has_the_log_by_any_node_and_check_names_it() {
    let test = "instances_find_the_node_that_has_the_log_by_any_node_and_check_names_it";
    let Some(cluster) = Cluster::new(test) else {
        return;
    };
    let homes = homes();
    let owner = cluster.owner();
    let other = (owner + 1) % PRIMARIES;
    // Neither has the log: the one is a primary of other slots, the other a replica of that.
    let setup = cluster.instance(&homes[0], &[other]);
    let servers = [
        setup.start(),
        cluster
            .instance(&homes[1], &[Cluster::partner(other)])
            .start(),
    ];
    for server in &servers {
        assert_eq!(count(&mut server.client(), "a"), Some(true));
    }
    agrees(&[&servers[0], &servers[1]], "a", 2);
    let checked = setup.command("check").output().unwrap();
    let text = String::from_utf8_lossy(&checked.stdout).into_owned();
    let at = format!(
        "it is at 127.0.0.1:{} of a Cluster",
        cluster.nodes[owner].port()
    );
    assert!(checked.status.success() && text.contains(&at), "{text}");
    // A setting of that node is judged, whoever is listed.
    cluster.nodes[owner].say::<()>("CONFIG SET maxmemory-policy allkeys-lru");
    let checked = setup.command("check").output().unwrap();
    let text = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(
        !checked.status.success() && text.contains("maxmemory-policy is \"allkeys-lru\""),
        "{text}"
    );
}

/// Has instances count exactly while the node that has the log changes twice.
fn counts_exactly_while(test: &str, changes: impl Fn(&mut Cluster, &[Server])) {
    let Some(mut cluster) = Cluster::new(test) else {
        return;
    };
    let homes = homes();
    let servers = started(&cluster, &homes);
    counts_exactly(&servers, |told| {
        for _ in 0..2 {
            told.goes_on(MANY);
            changes(&mut cluster, &servers);
        }
        told.goes_on(MANY);
    });
    for server in &servers {
        assert!(!server.output().contains("Redis lost some"));
    }
}

#[test]
fn a_primary_that_is_killed_under_load_loses_and_doubles_nothing() {
    let test = "a_primary_that_is_killed_under_load_loses_and_doubles_nothing";
    counts_exactly_while(test, |cluster, servers| {
        cluster.fails_over();
        servers.iter().for_each(writes_again);
    });
}

#[test]
fn a_primary_that_hands_over_under_load_loses_and_doubles_nothing() {
    let test = "a_primary_that_hands_over_under_load_loses_and_doubles_nothing";
    counts_exactly_while(test, |cluster, _| {
        let next = Cluster::partner(cluster.owner());
        cluster.hands_over_to(next);
        cluster.is_whole();
    });
}

#[test]
fn a_primary_that_took_over_is_looked_at_before_it_acknowledges_anything() {
    let test = "a_primary_that_took_over_is_looked_at_before_it_acknowledges_anything";
    let Some(cluster) = Cluster::new(test) else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let setup = cluster.instance(&home, &[0]).set("redis.ack", "primary");
    let server = setup.start();
    let mut client = server.client();
    assert_eq!(count(&mut client, "a"), Some(true));
    let next = Cluster::partner(cluster.owner());
    let replica = &cluster.nodes[next];
    replica.say::<()>("CONFIG SET maxmemory-policy allkeys-lru");
    cluster.hands_over_to(next);
    assert_ne!(count(&mut client, "a"), Some(true));
    assert!(
        server
            .output()
            .contains("maxmemory-policy is \"allkeys-lru\"")
    );
    replica.say::<()>("CONFIG SET maxmemory-policy noeviction");
    writes_again(&server);
    // What was not known was sent again, and counted once, or was refused.
    assert!([1, 2].contains(&value(&server, "a")));
}

#[test]
fn a_slot_that_is_moved_under_load_loses_and_doubles_nothing_and_is_no_loss() {
    let test = "a_slot_that_is_moved_under_load_loses_and_doubles_nothing_and_is_no_loss";
    let Some(cluster) = Cluster::new(test) else {
        return;
    };
    let homes = homes();
    let servers = started(&cluster, &homes);
    let first = cluster.owner();
    counts_exactly(&servers, |told| {
        for to in [(first + 1) % PRIMARIES, (first + 2) % PRIMARIES, first] {
            told.goes_on(MANY);
            let slot = cluster.begins_to_move_to(to);
            let keys = slot.keys();
            assert!(keys.len() > 5, "{keys:?}");
            let (half, _) = keys.split_at(keys.len() / 2);
            half.iter().for_each(|key| slot.moves(key));
            for server in &servers {
                refuses(server);
                // Each key alone is found wherever it is.
                assert_eq!(read(&mut server.client())["stale"], false);
            }
            slot.ends();
            servers.iter().for_each(writes_again);
        }
        told.goes_on(MANY);
    });
    for server in &servers {
        let output = server.output();
        assert!(!output.contains("Redis lost some"), "{output}");
        assert!(output.contains("TRYAGAIN"), "{output}");
    }
    // What Redis has is all that was counted.
    let (home, counted) = (tempfile::tempdir().unwrap(), value(&servers[0], "a"));
    let late = cluster.instance(&home, &[first]).start();
    agrees(&[&late], "a", counted);
}

#[test]
fn keys_that_a_failover_left_at_two_nodes_are_not_taken_for_gone() {
    let test = "keys_that_a_failover_left_at_two_nodes_are_not_taken_for_gone";
    let Some(cluster) = Cluster::new(test) else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let setup = cluster.instance(&home, &[0]).set("redis.ack", "primary");
    let setup = setup.set("redis.timeout", "1s");
    let server = setup.start();
    let mut client = server.client();
    let moved = ["counters", "instances", "log", "hashes", "cell"];
    for (before, key) in moved.iter().enumerate() {
        assert_eq!(count(&mut client, "a"), Some(true));
        let to = (cluster.owner() + 1) % PRIMARIES;
        let slot = cluster.begins_to_move_to(to);
        slot.moves(&format!("{{counterd:0}}:{key}"));
        slot.is_forgotten();
        refuses(&server);
        says_that_keys_are_elsewhere(&server, before);
        if *key == "hashes" {
            // Without them it would have nothing to read, and count from there.
            let home = tempfile::tempdir().unwrap();
            let late = cluster.instance(&home, &[0]).set("redis.ack", "primary");
            says_that_keys_are_elsewhere(&late.spawn(), 0);
        }
        slot.gives_away();
        slot.ends();
        writes_again(&server);
    }
    agrees(&[&server], "a", moved.len() as i64);
    // One that is started again does not know of all groups that were acknowledged.
    let slot = cluster.begins_to_move_to((cluster.owner() + 1) % PRIMARIES);
    for key in ["log", "instances"] {
        slot.moves(&format!("{{counterd:0}}:{key}"));
    }
    slot.is_forgotten();
    let before = told_elsewhere(&server);
    server.kill9();
    let server = setup.spawn();
    says_that_keys_are_elsewhere(&server, before);
    assert!(!server.output().contains("Redis lost some"));
    slot.gives_away();
    slot.ends();
    drop(server);
    agrees(&[&setup.start()], "a", moved.len() as i64);
}

fn told_elsewhere(server: &Server) -> usize {
    server.output().matches("are at different nodes").count()
}

/// Waits until it has said so more than that often.
fn says_that_keys_are_elsewhere(server: &Server, before: usize) {
    eventually("the log says why", PATIENCE, || {
        (told_elsewhere(server) > before).then_some(())
    });
}

#[test]
fn an_instance_that_reads_all_records_while_they_are_moved_misses_none() {
    let test = "an_instance_that_reads_all_records_while_they_are_moved_misses_none";
    let Some(cluster) = Cluster::new(test) else {
        return;
    };
    let homes = homes();
    let start = |home| {
        let setup = cluster.instance(home, &[0]).set("redis.ack", "primary");
        setup
            .set("redis.timeout", "20s")
            .set("redis.max_lag", "20s")
    };
    let first = start(&homes[0]).start();
    let mut client = first.client();
    const USERS: usize = 60_000;
    let counts = |client: &mut Client| {
        for from in (0..USERS).step_by(1000) {
            let count = |user| json!({ "op": "increment", "name": "daily_active_users", "user_id": format!("u{user}") });
            let operations: Vec<_> = (from..from + 1000).map(count).collect();
            let batch = json!({ "operations": operations });
            client.post("/api/v1/batch", &batch).ok();
        }
    };
    counts(&mut client);
    let late = start(&homes[1]).start();
    agrees(&[&first, &late], "daily_active_users", USERS as i64);
    // One that knows the log need not ask whether there is one, which needs all of its keys at one node.
    late.stop();
    let to = (cluster.owner() + 1) % PRIMARIES;
    let slot = cluster.begins_to_move_to(to);
    let keys = slot.keys();
    let users = keys.iter().find(|key| slot.holds(key) as usize == USERS);
    let users = users.expect("a hash of the users");
    let mut late = start(&homes[1]).spawn();
    eventually("the late one reads them", PATIENCE, || slot.is_scanned());
    slot.moves(users);
    slot.ends();
    late.wait_ready();
    // None of them is new to it.
    counts(&mut late.client());
    agrees(&[&first, &late], "daily_active_users", USERS as i64);
}

#[test]
fn while_a_cluster_is_down_writes_are_refused_and_reads_are_stale() {
    let test = "while_a_cluster_is_down_writes_are_refused_and_reads_are_stale";
    let Some(mut cluster) = Cluster::new(test) else {
        return;
    };
    let homes = homes();
    let servers = started(&cluster, &homes);
    for server in &servers {
        assert_eq!(count(&mut server.client(), "a"), Some(true));
    }
    let owner = cluster.owner();
    let others: Vec<_> = (0..PRIMARIES).filter(|&node| node != owner).collect();
    for &node in &others {
        cluster.nodes[node].kill();
    }
    for server in &servers {
        let mut client = server.client();
        eventually("writes are refused", PATIENCE, || {
            let answer = client.post("/api/v1/counter/b/increment", &json!({}));
            (answer.status == 503 && answer.code() == "read_only").then_some(())
        });
        eventually("reads are stale", PATIENCE, || {
            (read(&mut client)["stale"] == true).then_some(())
        });
        assert_eq!(read(&mut client)["value"], 2);
        eventually("the log says why", PATIENCE, || {
            server.output().contains("CLUSTERDOWN").then_some(())
        });
    }
    for &node in &others {
        cluster.nodes[node].start();
    }
    for server in &servers {
        writes_again(server);
        assert_eq!(read(&mut server.client())["stale"], false);
    }
    agrees(&[&servers[0], &servers[1]], "a", 2);
}
