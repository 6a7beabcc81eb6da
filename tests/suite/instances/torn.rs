//! A move of the slot that was broken off by a failover, with all keys of the log at a node that nobody is sent to: nothing is
//! begun beside them, and nothing is taken for lost.

use super::cluster::{Cluster, PRIMARIES};
use super::{agrees, count, instance};
use crate::harness::{PATIENCE, Setup, eventually};

const SAYS: &str = "is not the node that has the slot";

#[test]
fn no_log_is_made_beside_one_whose_keys_are_all_at_another_node() {
    let test = "no_log_is_made_beside_one_whose_keys_are_all_at_another_node";
    let Some(cluster) = Cluster::of(test, PRIMARIES, Vec::new) else {
        return;
    };
    let homes: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let setup = |home| instance(home, &cluster.nodes[0]).set("redis.url", &cluster.url(&[0]));
    let of_disk = Setup::new(homes[2].path())
        .set("redis.url", &cluster.url(&[0]))
        .set("redis.ack", "primary");
    let disk = of_disk.start();
    assert_eq!(count(&mut disk.client(), "b"), Some(true));
    disk.stop();
    let server = setup(&homes[0]).start();
    assert_eq!(count(&mut server.client(), "a"), Some(true));
    let slot = cluster.begins_to_move_to((cluster.owner() + 1) % PRIMARIES);
    // One comes and goes by itself.
    eventually("all keys are moved", PATIENCE, || {
        slot.keys().iter().for_each(|key| slot.moves(key));
        slot.keys().is_empty().then_some(())
    });
    slot.is_forgotten();
    eventually("the instance says why", PATIENCE, || {
        server.output().contains(SAYS).then_some(())
    });
    server.stop();
    // With a data directory that knows the log, and with one that knows nothing.
    for home in &homes[..2] {
        let mut late = setup(home).spawn();
        assert!(!late.wait_exit(PATIENCE).success());
        assert!(late.output().contains(SAYS), "{}", late.output());
        assert!(!late.output().contains("Redis lost some"));
        let checked = setup(home).command("check").output().unwrap();
        let text = String::from_utf8_lossy(&checked.stdout);
        assert!(!checked.status.success() && text.contains(SAYS), "{text}");
    }
    let mut migrate = of_disk.command("migrate");
    migrate
        .arg("--from")
        .arg(of_disk.data())
        .args(["--to", "redis"]);
    let migrated = migrate.output().unwrap();
    let text = String::from_utf8_lossy(&migrated.stderr);
    assert!(!migrated.status.success() && text.contains(SAYS), "{text}");
    assert_eq!(slot.keys(), [""; 0], "nothing was begun");
    slot.gives_away();
    slot.ends();
    agrees(&[&setup(&homes[1]).start()], "a", 1);
}

#[test]
fn a_log_is_not_made_where_a_node_cannot_say_whether_it_has_keys_of_one() {
    let test = "a_log_is_not_made_where_a_node_cannot_say_whether_it_has_keys_of_one";
    let Some(mut cluster) = Cluster::of(test, PRIMARIES, Vec::new) else {
        return;
    };
    let (home, owner) = (tempfile::tempdir().unwrap(), cluster.owner());
    let away = (owner + 1) % PRIMARIES;
    cluster.nodes[owner].say::<()>("CONFIG SET cluster-require-full-coverage no");
    cluster.nodes[away].kill();
    let setup = instance(&home, &cluster.nodes[0]).set("redis.url", &cluster.url(&[owner]));
    let mut early = setup.spawn();
    assert!(!early.wait_exit(PATIENCE).success());
    let output = early.output();
    assert!(
        output.contains("may have its keys and cannot be asked"),
        "{output}"
    );
    cluster.nodes[away].start();
    assert_eq!(count(&mut setup.start().client(), "a"), Some(true));
}
