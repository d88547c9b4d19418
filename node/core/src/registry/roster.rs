//! Orders that change the cluster record: policy, pinned CAs, roster, and the store of a lost site.

use warifu_protocol::wire::Applied;
use warifu_protocol::{BootId, ClusterRecord, CredentialId, NodeId, Order, OrderCommand, Refusal, StoreId};

use super::apply::{Context, Stop};
use super::reader::{Registry, encode, key, table};
use super::records::{NodeRecord, StoreNumbers};
use super::store::{Overlay, StateStore};
use super::{nodes, plan};
use crate::pki::TrustAnchor;

/// Credentials that are looked at in one read: bounds memory, since there may be hundreds of thousands.
const PAGE: usize = 1000;

/// Changes the cluster record. Whoever approved and consented was checked before.
pub(super) fn revise<S: StateStore>(state: &mut Overlay<'_, S>, context: &Context<'_>, order: &Order) -> Result<Applied, Stop> {
    let revised = context.cluster.revised(&order.body)?;
    match &order.body.order {
        OrderCommand::UpdateAnchors { anchors } => {
            for anchor in anchors {
                TrustAnchor::from_entry(anchor).map_err(|error| Refusal::AnchorsRefused { reason: error.to_string() })?;
            }
        }
        OrderCommand::UpdateRoster { .. } => {
            plan::follow(state, &revised, order.body.digest(), None)??;
            for gone in context.cluster.node_ids().into_iter().filter(|id| revised.node(*id).is_none()) {
                check_shares(state, &revised, gone)?;
                state.delete(key(table::NODE, &[&[gone.get()]]));
            }
        }
        OrderCommand::ReplaceStore { node, store } => {
            if Registry::node(state, node.id)?.is_some_and(|record| record.store == *store) {
                let reason = format!("store {store} is the one that was lost; found a new one with `warifu-node init --replace`");
                return Err(Refusal::RosterRefused { reason }.into());
            }
            plan::follow(state, &revised, order.body.digest(), Some(node.id))??;
            check_shares(state, &revised, node.id)?;
            nodes::write(state, node.id, &admitted(*store, revised.store_number(node.id)));
        }
        _ => {}
    }
    state.put(key(table::ROSTER_ORDER, &[&revised.revision().to_be_bytes()]), encode(order));
    state.put(key(table::CLUSTER, &[]), encode(&revised));
    Ok(Applied::Done)
}

/// What is remembered of a site before its first start on a new store.
const fn admitted(store: StoreId, store_number: u32) -> NodeRecord {
    NodeRecord {
        store,
        store_number,
        incarnation: 0,
        boot: BootId::new([0; BootId::LEN]),
        started_at: 0,
        raft_index: 0,
        audit_size: 0,
        audit_root: None,
    }
}

/// Refuses to take a node's shares away from a credential that could not sign, nor be repaired, without them.
fn check_shares<S: StateStore>(state: &Overlay<'_, S>, revised: &ClusterRecord, leaving: NodeId) -> Result<(), Stop> {
    let needed = revised.threshold.0;
    let stores = StoreNumbers::of(revised);
    let mut after: Option<CredentialId> = None;
    loop {
        let page = state.credentials(after, PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = Some(*last);
        for (credential, record) in page {
            if !record.needs_shares() || !record.holders.iter().any(|holding| holding.node == leaving) {
                continue;
            }
            let remaining = stores.holders(&record.holders).into_iter().filter(|holder| *holder != leaving).count() as u8;
            if remaining < needed {
                return Err(Refusal::SharesLost { credential, remaining, needed }.into());
            }
        }
    }
}
