//! Keys that are due for a refresh by the state alone, and the refreshes that nodes open for them, without an order for each.

use std::collections::{BTreeMap, BTreeSet};

use warifu_protocol::limits::DUE_REFRESHES_OPEN_MAX;
use warifu_protocol::wire::Applied;
use warifu_protocol::{NodeId, NodeSigned, RefreshStart, Refusal, UnixMillis};

use super::apply::{Context, Stop};
use super::nodes::check_signature;
use super::reader::{Registry, decode, encode, key, table};
use super::records::{CredentialRecord, StoreNumbers};
use super::refreshes;
use super::store::{Overlay, StateStore, StateStoreError};

/// Why the shares of a key are to be refreshed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefreshCause {
    /// A node that was given one is not in the roster any more.
    HolderRemoved(NodeId),
    /// A node lost the store that its share was on and has one on another store again: whoever finds the lost disk must find nothing of worth.
    StoreReplaced(NodeId),
    /// An order said so of every key, or of every key of a node.
    Ordered,
    /// They are older than the policy allows.
    Age,
}

/// What says of a credential whether it is due, as the state stands: read once, for many credentials.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefreshRules {
    stores: StoreNumbers,
    /// Whether a node was ever removed or replaced.
    any_gone: bool,
    /// Log index of the latest order for every key, or for those of a node.
    ordered: BTreeMap<Option<NodeId>, u64>,
    /// Log index of the order that admitted each node on its present store.
    replaced: BTreeMap<NodeId, u64>,
    /// Nodes that are being given shares by a repair.
    in_repair: BTreeSet<NodeId>,
    /// Longest age, or 0.
    after_millis: u64,
    now: UnixMillis,
}

impl RefreshRules {
    /// As the state stands.
    ///
    /// # Errors
    /// When the store fails.
    pub fn read<S: StateStore + ?Sized>(state: &S) -> Result<Self, StateStoreError> {
        let cluster = state.cluster()?;
        let ordered = indices_by_node(state, table::REFRESH_ORDERED)?;
        let replaced =
            indices_by_node(state, table::STORE_REPLACED)?.into_iter().filter_map(|(node, index)| Some((node?, index))).collect();
        let in_repair = state.open_repairs()?.into_iter().map(|(_, repair)| repair.receiver).collect();
        Ok(Self {
            stores: StoreNumbers::of(&cluster),
            any_gone: !cluster.retired.is_empty(),
            ordered,
            replaced,
            in_repair,
            after_millis: cluster.policy.refresh_after_millis,
            now: state.time()?,
        })
    }

    /// Whether no credential can be due, whatever it is.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        !self.any_gone && self.replaced.is_empty() && self.ordered.is_empty() && self.after_millis == 0
    }

    /// Why a credential is due, if it is.
    #[must_use]
    pub fn cause(&self, record: &CredentialRecord) -> Option<RefreshCause> {
        if !record.needs_shares() {
            return None;
        }
        let made = &record.epoch_made;
        if let Some(gone) = made.given.iter().find(|node| self.stores.holding(**node).is_none()) {
            return Some(RefreshCause::HolderRemoved(*gone));
        }
        // Repairs go first: what is short of shares needs them more than what has them all needs others.
        let replaced = self.replaced.iter().find(|(node, index)| {
            let holds_again = self.stores.holds(&record.holders, **node) && !self.in_repair.contains(node);
            made.index < **index && made.given.contains(node) && holds_again
        });
        if let Some((node, _)) = replaced {
            return Some(RefreshCause::StoreReplaced(*node));
        }
        let is_meant = |of: &Option<NodeId>| of.is_none_or(|node| made.given.contains(&node));
        if self.ordered.iter().any(|(of, index)| made.index < *index && is_meant(of)) {
            return Some(RefreshCause::Ordered);
        }
        let is_old = self.after_millis > 0 && made.at.plus(self.after_millis) <= self.now;
        is_old.then_some(RefreshCause::Age)
    }
}

/// A node opens a refresh of credentials that are due. Whoever asks, the state decides.
pub(super) fn start<S: StateStore>(
    state: &mut Overlay<'_, S>,
    context: &Context<'_>,
    message: &NodeSigned<RefreshStart>,
) -> Result<Applied, Stop> {
    check_signature(context, message)?;
    let (node, body) = (message.node, &message.body);
    if !Registry::node(state, node)?.is_some_and(|record| record.has_started()) {
        return Err(Refusal::NodeUnknown { node }.into());
    }
    if state.ceremony(body.ceremony)?.is_some() {
        return Err(Refusal::CeremonyDuplicate { node }.into());
    }
    if due_refreshes_open(state)? >= DUE_REFRESHES_OPEN_MAX {
        return Err(Refusal::TooLarge { what: "open refreshes without an order".to_owned(), limit: DUE_REFRESHES_OPEN_MAX as u64 }.into());
    }
    let rules = RefreshRules::read(state)?;
    refreshes::open(state, context, (body.ceremony, Some(node)), &body.credentials, |credential, record| {
        if rules.cause(record).is_some() { Ok(()) } else { Err(Refusal::RefreshNotDue { credential }) }
    })
}

/// Makes every key due that a node had on a store that it lost, as soon as it has a share of it again.
pub(super) fn store_replaced<S: StateStore>(state: &mut Overlay<'_, S>, context: &Context<'_>, node: NodeId) {
    state.put(key(table::STORE_REPLACED, &[&[node.get()]]), encode(&context.index));
}

/// Makes every key due that was last given shares before this order, or every key of a node.
pub(super) fn order_all<S: StateStore>(
    state: &mut Overlay<'_, S>,
    context: &Context<'_>,
    held_by: Option<NodeId>,
) -> Result<Applied, Stop> {
    if let Some(node) = held_by.filter(|node| context.cluster.node(*node).is_none()) {
        return Err(Refusal::NodeUnknown { node }.into());
    }
    let of: &[u8] = &held_by.map(NodeId::get).into_iter().collect::<Vec<_>>();
    state.put(key(table::REFRESH_ORDERED, &[of]), encode(&context.index));
    Ok(Applied::Done)
}

/// Log indices by the node that a key names, or by none.
fn indices_by_node<S: StateStore + ?Sized>(state: &S, table: u8) -> Result<BTreeMap<Option<NodeId>, u64>, StateStoreError> {
    let found = state.scan(&[table], &[table + 1], usize::from(NodeId::MAX) + 1)?;
    found.into_iter().map(|(key, value)| Ok((key.get(1).copied().and_then(NodeId::new), decode(&value)?))).collect()
}

/// How many refreshes are open that no order named.
///
/// # Errors
/// When the store fails.
pub fn due_refreshes_open<S: StateStore>(state: &S) -> Result<usize, StateStoreError> {
    Ok(state.open_ceremonies(usize::MAX)?.iter().filter(|(_, record)| record.opened_by.is_some()).count())
}
