//! Several logs in one Cluster, each with instances of its own: they share the counters between them by their names.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use serde_json::json;
use tempfile::TempDir;

use super::cluster::{Cluster, MANY, PRIMARIES, homes};
use super::{agrees, count, value};
use crate::harness::{PATIENCE, Server, at_once, eventually};

/// A log, what its clients were told, and those who count into it.
struct Log {
    counter: &'static str,
    /// The key whose slot has the log.
    cell: String,
    servers: Vec<Server>,
    acked: AtomicI64,
    unknown: AtomicI64,
    refused: AtomicI64,
}

impl Log {
    /// Starts two instances that count the names which begin so; so does `redis.prefix` of theirs.
    fn start(cluster: &Cluster, homes: &[TempDir; 2], prefix: &str, counter: &'static str) -> Self {
        let start = |home| {
            let setup = cluster.instance(home, &[0, 1, 2]);
            setup
                .set("redis.prefix", prefix)
                .set("counters.names", &format!("{prefix}*"))
                .start()
        };
        Self {
            counter,
            cell: format!("{{{prefix}counterd:0}}:cell"),
            servers: homes.iter().map(start).collect(),
            acked: AtomicI64::new(0),
            unknown: AtomicI64::new(0),
            refused: AtomicI64::new(0),
        }
    }

    /// Has one client count at one of its instances until that is over.
    fn counts(&self, client: usize, is_over: &AtomicBool) {
        let mut http = self.servers[client % 2].client();
        let mut counts_once = || {
            let (told, done) = match count(&mut http, self.counter) {
                Some(true) => (&self.acked, Some(())),
                Some(false) => (&self.refused, None),
                None => (&self.unknown, None),
            };
            told.fetch_add(1, Ordering::Relaxed);
            done
        };
        while !is_over.load(Ordering::Relaxed) {
            eventually("it counts", 2 * PATIENCE, &mut counts_once);
        }
    }

    /// Waits until so many more were acknowledged.
    fn goes_on(&self, by: i64) {
        let so_far = self.acked.load(Ordering::Relaxed);
        eventually("clients count", PATIENCE, || {
            (self.acked.load(Ordering::Relaxed) >= so_far + by).then_some(())
        });
    }

    fn refuses(&self) {
        let so_far = self.refused.load(Ordering::Relaxed);
        eventually("writes are refused", PATIENCE, || {
            (self.refused.load(Ordering::Relaxed) > so_far).then_some(())
        });
    }

    /// Claims that each of its instances refuses a counter of another log.
    fn refuses_that_of(&self, other: &Self) {
        for server in &self.servers {
            let mut client = server.client();
            let path = format!("/api/v1/counter/{}/increment", other.counter);
            let refused = client.post(&path, &json!({}));
            refused.refused(409, "not_counted_here");
            let operation = |name| json!({"op": "increment", "name": name});
            let batch = json!({"operations": [operation(self.counter), operation(other.counter)]});
            let refused = client.post("/api/v1/batch", &batch);
            refused.refused(409, "not_counted_here");
        }
    }

    /// Claims that its instances say what its clients were told, and know nothing of another log.
    fn is_exact(&self, other: &Self) {
        let told = |what: &AtomicI64| what.load(Ordering::Relaxed);
        let (acked, unknown) = (told(&self.acked), told(&self.unknown));
        let found = value(&self.servers[0], self.counter);
        assert!(
            (acked..=acked + unknown).contains(&found),
            "{}: {acked} acknowledged, {unknown} unknown, {found} counted",
            self.counter
        );
        let servers: Vec<_> = self.servers.iter().collect();
        agrees(&servers, self.counter, found);
        let path = format!("/api/v1/counter/{}", other.counter);
        for server in servers {
            server.client().get(&path).refused(404, "unknown_counter");
        }
    }
}

/// Says so at the end, also when a test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_primary_that_dies_stops_the_log_that_it_has_and_no_other() {
    let test = "a_primary_that_dies_stops_the_log_that_it_has_and_no_other";
    // Else the Cluster serves no slot while one of them has no primary.
    let more = || {
        ["--cluster-require-full-coverage", "no"]
            .map(str::to_owned)
            .into()
    };
    let Some(mut cluster) = Cluster::of(test, 2 * PRIMARIES, more) else {
        return;
    };
    let homes = [homes(), homes()];
    let lobby = Log::start(&cluster, &homes[0], "lobby:", "lobby:players");
    let shop = Log::start(&cluster, &homes[1], "shop:", "shop:sales");
    let primary = cluster.holder(&lobby.cell).unwrap();
    assert_ne!(cluster.holder(&shop.cell), Some(primary));
    let replica = Cluster::partner(primary);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _over = Over(&is_over);
        scope.spawn(|| at_once(4, |client| lobby.counts(client, &is_over)));
        scope.spawn(|| at_once(4, |client| shop.counts(client, &is_over)));
        for log in [&lobby, &shop] {
            log.goes_on(MANY);
        }
        lobby.refuses_that_of(&shop);
        shop.refuses_that_of(&lobby);

        cluster.nodes[primary].kill();
        lobby.refuses();
        shop.goes_on(MANY);
        eventually("the replica takes over", PATIENCE, || {
            (cluster.holder(&lobby.cell) == Some(replica)).then_some(())
        });
        cluster.nodes[primary].start();
        cluster.is_whole();
        lobby.goes_on(MANY);

        // Nobody has the slot until one of the two is back.
        cluster.nodes[primary].kill();
        cluster.nodes[replica].kill();
        lobby.refuses();
        shop.goes_on(3 * MANY);
        lobby.refuses_that_of(&shop);
        shop.refuses_that_of(&lobby);
        cluster.nodes[replica].start();
        cluster.nodes[primary].start();
        cluster.is_whole();
        for log in [&lobby, &shop] {
            log.goes_on(MANY);
        }
    });
    lobby.is_exact(&shop);
    shop.is_exact(&lobby);
    // It counted all the time.
    let trouble = [shop.refused, shop.unknown].map(AtomicI64::into_inner);
    assert_eq!(trouble, [0, 0], "refused, unknown");
}
