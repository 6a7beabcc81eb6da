//! A Redis Cluster that wants TLS and a user: those of the URL are those of every node, whoever names it.

use std::cell::RefCell;

use super::cluster::{Cluster, PRIMARIES};
use super::{agrees, count, instance, writes_again};
use crate::harness::{certificates, free_port, skipped};

#[test]
fn each_node_of_a_cluster_is_reached_with_the_tls_and_the_user_of_the_url() {
    let test = "each_node_of_a_cluster_is_reached_with_the_tls_and_the_user_of_the_url";
    if module_path!().contains("valkey") {
        return skipped(test, "the Valkey of these tests is built without TLS");
    }
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let path = |name: &str| dir.path().join(name).display().to_string();
    let ports = RefCell::new(Vec::new());
    let cluster = Cluster::of(test, PRIMARIES, || {
        let port = free_port();
        ports.borrow_mut().push(port);
        let port = port.to_string();
        let names = ["server.pem", "server.key", "root.pem"].map(path);
        let [certificate, key, root] = &names;
        let words = ["--tls-port", &port, "--tls-cluster", "yes"];
        let files = ["--tls-cert-file", certificate, "--tls-key-file", key];
        let others = ["--tls-ca-cert-file", root, "--tls-auth-clients", "no"];
        let all = [&words[..], &files, &others].concat();
        all.into_iter().map(str::to_owned).collect()
    });
    let Some(cluster) = cluster else { return };
    let ports = ports.into_inner();
    for node in &cluster.nodes {
        node.say::<()>("ACL SETUSER game on >a-password-of-the-game ~* &* +@all");
    }
    let owner = cluster.owner();
    let [other, last] = [1, 2].map(|more| (owner + more) % PRIMARIES);
    let url = format!(
        "rediss://game:a-password-of-the-game@127.0.0.1:{}/0",
        ports[other]
    );
    let home = tempfile::tempdir().unwrap();
    let server = instance(&home, &cluster.nodes[0])
        .set("redis.url", &url)
        .env("SSL_CERT_FILE", &path("root.pem"))
        .start();
    assert_eq!(count(&mut server.client(), "a"), Some(true));
    let is_there = |node: usize| {
        let clients: String = cluster.nodes[node].say("CLIENT LIST");
        let at = format!("laddr=127.0.0.1:{} ", ports[node]);
        let mut lines = clients.lines();
        lines.any(|line| line.contains(&at) && line.contains("user=game"))
    };
    assert!(is_there(owner));
    let mut slot = cluster.begins_to_move_to(last);
    slot.port = ports[last];
    slot.ends();
    writes_again(&server);
    assert!(is_there(last));
    agrees(&[&server], "a", 1);
}
