//! A primary and its replica without a Cluster, both in `redis.url`.

use super::{agrees, count, instance, writes_again};
use crate::harness::{PATIENCE, REDIS_PASSWORD, Redis};

fn url(nodes: [&Redis; 2]) -> String {
    let ports = nodes.map(|redis| format!("127.0.0.1:{}", redis.port()));
    format!("redis://:{REDIS_PASSWORD}@{}/0", ports.join(","))
}

#[test]
fn of_a_pair_without_a_cluster_the_one_that_was_promoted_is_found() {
    let test = "of_a_pair_without_a_cluster_the_one_that_was_promoted_is_found";
    let Some(mut primary) = super::log(test) else {
        return;
    };
    let replica = super::replica(&primary);
    let home = tempfile::tempdir().unwrap();
    let setup = instance(&home, &primary).set("redis.url", &url([&replica, &primary]));
    let server = setup.start();
    assert_eq!(count(&mut server.client(), "a"), Some(true));
    primary.kill();
    replica.say::<()>("REPLICAOF NO ONE");
    writes_again(&server);
    agrees(&[&server], "a", 1);
    server.stop();
    // Where both say that they are the primary, nobody knows which one has the log.
    primary.start();
    let mut server = setup.spawn();
    assert!(!server.wait_exit(PATIENCE).success());
    let output = server.output();
    assert!(output.contains("both are primaries"), "{output}");
}

#[test]
fn a_node_that_hangs_keeps_nobody_from_the_primary() {
    let test = "a_node_that_hangs_keeps_nobody_from_the_primary";
    let Some(primary) = super::log(test) else {
        return;
    };
    let replica = super::replica(&primary);
    let home = tempfile::tempdir().unwrap();
    let setup = instance(&home, &primary).set("redis.url", &url([&primary, &replica]));
    replica.pause();
    let server = setup.set("redis.timeout", "2s").start();
    assert_eq!(count(&mut server.client(), "a"), Some(true));
    replica.resume();
}
