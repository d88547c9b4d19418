//! Orders that change the cluster record: policy, pinned CAs, roster, and the store of a lost site.

use warifu_protocol::wire::Applied;
use warifu_protocol::{BootId, ClusterRecord, CredentialId, NodeId, Order, OrderCommand, Refusal, StoreId};

use super::apply::{Context, Stop};
use super::reader::{Registry, encode, key, table};
use super::records::{CredentialRecord, NodeRecord, StoreNumbers};
use super::store::{Overlay, StateStore};
use super::{ceremonies, nodes, plan, refreshes_due, repairs, versions};
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
                leave(state, &Context { cluster: &revised, ..*context }, gone)?;
                state.delete(key(table::NODE, &[&[gone.get()]]));
                versions::forget(state, gone);
            }
            for back in revised.node_ids().into_iter().filter(|id| context.cluster.node(*id).is_none() && revised.store_number(*id) > 0) {
                check_refreshed(state, back)?;
            }
        }
        OrderCommand::ReplaceStore { node, store } => {
            if Registry::node(state, node.id)?.is_some_and(|record| record.store == *store) {
                let reason = format!("store {store} is the one that was lost; found a new one with `warifu-node init --replace`");
                return Err(Refusal::RosterRefused { reason }.into());
            }
            plan::follow(state, &revised, order.body.digest(), Some(node.id))??;
            check_shares(state, &revised, node.id)?;
            leave(state, &Context { cluster: &revised, ..*context }, node.id)?;
            nodes::write(state, node.id, &admitted(*store, revised.store_number(node.id), context.index));
            refreshes_due::store_replaced(state, context, node.id);
        }
        _ => {}
    }
    state.put(key(table::ROSTER_ORDER, &[&revised.revision().to_be_bytes()]), encode(order));
    state.put(key(table::CLUSTER, &[]), encode(&revised));
    versions::settle(state)?;
    Ok(Applied::Done)
}

/// A node leaves the roster, or its store is lost, in the middle of whatever is under way. `context` has the cluster without it.
fn leave<S: StateStore>(state: &mut Overlay<'_, S>, context: &Context<'_>, gone: NodeId) -> Result<(), Stop> {
    ceremonies::leave(state, context, gone)?;
    repairs::leave(state, context, gone)
}

/// What is remembered of a site before its first start on a new store.
const fn admitted(store: StoreId, store_number: u32, index: u64) -> NodeRecord {
    NodeRecord {
        store,
        store_number,
        incarnation: 0,
        boot: BootId::new([0; BootId::LEN]),
        started_at: 0,
        raft_index: 0,
        audit_size: 0,
        audit_root: None,
        shares_word: index,
    }
}

/// Refuses to take a node's shares away from a credential that could not sign, nor be repaired, without them.
fn check_shares<S: StateStore>(state: &Overlay<'_, S>, revised: &ClusterRecord, leaving: NodeId) -> Result<(), Stop> {
    let stores = StoreNumbers::of(revised);
    each_in_use(state, |credential, record| {
        if !record.holders.iter().any(|holding| holding.node == leaving) {
            return Ok(());
        }
        stores.check_left(credential, &record.holders, revised.threshold.0, |holder| holder != leaving)
    })
}

/// Refuses to let the identifier of a removed node come back while shares that the removed one was given still count: they would be taken for
/// those of the new one, and never be refreshed.
fn check_refreshed<S: StateStore>(state: &Overlay<'_, S>, node: NodeId) -> Result<(), Stop> {
    each_in_use(
        state,
        |credential, record| {
            if record.epoch_made.given.contains(&node) { Err(Refusal::RefreshPending { node, credential }) } else { Ok(()) }
        },
    )
}

/// Looks at every credential whose key is in use.
fn each_in_use<S: StateStore>(
    state: &Overlay<'_, S>,
    check: impl Fn(CredentialId, &CredentialRecord) -> Result<(), Refusal>,
) -> Result<(), Stop> {
    let mut after: Option<CredentialId> = None;
    loop {
        let page = state.credentials(after, PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = Some(*last);
        for (credential, record) in page.iter().filter(|(_, record)| record.needs_shares()) {
            check(*credential, record)?;
        }
    }
}
