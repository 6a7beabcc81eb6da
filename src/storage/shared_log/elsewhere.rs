//! Whether a node of the Cluster to which nobody is sent has keys of the slot of the log: a failover amid a move of the slot
//! leaves them there. A log whose keys are all there looks as if there was none.

use std::collections::HashMap;
use std::time::Instant;

use redis::{Cmd, ConnectionAddr, FromRedisValue, Value};

use super::link::Link;
use super::nodes::beside;
use crate::storage::shared_log_error::SharedLogError;

/// What `CLUSTER SHARDS` says of a shard, and of each node of it.
type Told = HashMap<String, Value>;

/// Checks, where the node that has the slot of `cell` has no cell, that no other primary of a Cluster has keys of that slot.
///
/// # Errors
/// [`SharedLogError::Elsewhere`] where one has, [`SharedLogError::Redis`] where not all of them can be asked.
pub(super) fn check(link: &mut Link, limit: Instant, cell: &str) -> Result<(), SharedLogError> {
    // Who was asked for the cell told whether it is in a Cluster.
    if !link.is_cluster() {
        return Ok(());
    }
    let slot: u64 = link.ask_there(limit, cluster("KEYSLOT").arg(cell))?;
    // `CLUSTER SLOTS` does not tell of a primary that has no slot yet.
    let shards: Vec<Told> = link.ask_there(limit, &cluster("SHARDS"))?;
    // Answered, so the connection is still there.
    let by = link.node().cloned();
    let by = by.ok_or(SharedLogError::Unreadable("which node answers"))?;
    let mut has_owner = false;
    for shard in shards {
        let slots: Vec<u64> = part(&shard, "slots").unwrap_or_default();
        let is_in = |ends: &[u64]| matches!(ends, [from, to] if (*from..=*to).contains(&slot));
        if slots.chunks(2).any(is_in) {
            has_owner = true;
            continue;
        }
        let nodes: Vec<Told> = part(&shard, "nodes").unwrap_or_default();
        for node in nodes.iter().filter_map(|node| primary(node, &by)) {
            let mut count = cluster("COUNTKEYSINSLOT");
            let keys = link.ask_at::<u64>(&node, limit, count.arg(slot));
            let keys = keys.map_err(|error| {
                SharedLogError::Redis(format!(
                    "{node} may have its keys and cannot be asked ({error}): start it, or CLUSTER FORGET it"
                ))
            })?;
            if keys > 0 {
                let (key, node) = (cell.to_owned(), node.to_string());
                return Err(SharedLogError::Elsewhere { key, node });
            }
        }
    }
    if !has_owner {
        // Some versions answer with nothing where there is something.
        let said = "CLUSTER SHARDS does not tell of the node that has its slot";
        return Err(SharedLogError::Redis(said.to_owned()));
    }
    Ok(())
}

fn cluster(word: &str) -> Cmd {
    let mut call = redis::cmd("CLUSTER");
    call.arg(word);
    call
}

fn part<T: FromRedisValue>(told: &Told, name: &str) -> Option<T> {
    redis::from_redis_value(told.get(name)?.clone()).ok()
}

/// Returns the address of a node, as one told it that is at `by`; `None` where it is a replica.
fn primary(node: &Told, by: &ConnectionAddr) -> Option<ConnectionAddr> {
    let port = match by {
        ConnectionAddr::TcpTls { .. } => part(node, "tls-port"),
        _ => part(node, "port"),
    };
    let is_one = part::<String>(node, "role").as_deref() == Some("master");
    let host: Option<String> = part(node, "endpoint");
    port.filter(|_| is_one)
        .map(|port| beside(by, host.unwrap_or_default(), port))
}
