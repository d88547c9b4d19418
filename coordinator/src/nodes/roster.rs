//! Follows the cluster's changes: every order that made one is verified from the one before, back to the genesis.

use std::sync::Arc;

use tokio::time::sleep;
use warifu_protocol::cluster::follow_all;
use warifu_protocol::wire::{Read, View};

use super::fleet::Nodes;
use crate::limits::ROSTER_EVERY;

/// Asks f+1 nodes for orders that are not known here yet, and takes them over if they follow.
pub(super) async fn keep_roster(nodes: Arc<Nodes>) {
    loop {
        sleep(ROSTER_EVERY).await;
        let known = nodes.cluster();
        let Ok(Some(View::RosterOrders(orders))) = nodes.read(&Read::RosterOrders { after: known.revision() }).await else { continue };
        if orders.is_empty() {
            continue;
        }
        match follow_all(known.as_ref().clone(), &orders) {
            Ok(cluster) => {
                tracing::info!(revision = cluster.revision(), nodes = ?cluster.node_ids(), "the cluster was changed by order");
                nodes.follow(cluster);
            }
            Err(error) => {
                tracing::error!(%error, "the nodes agree on orders that do not follow from what is known here: nothing is changed")
            }
        }
    }
}
