//! Which nodes consensus should have: follows the roster and the stores that have started, never what a leader likes.
//!
//! A plan is made only when consensus has reached the one before, so that every membership entry of an honest log is of the plan that
//! stands at that point of the log or of the one before it. Followers accept nothing else.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use warifu_protocol::{ClusterRecord, NodeId, Refusal, Sha256, SpkiHash, weaken};

use super::reader::{Registry, encode, key, read, table};
use super::state_root;
use super::store::{Changes, Overlay, StateStore, StateStoreError};

/// A member as membership entries must name it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PlanMember {
    /// Advertised `host:port`.
    pub address: String,
    /// SPKI hash of its TLS identity.
    pub spki: SpkiHash,
    /// Hash of the signed genesis or roster that named it so.
    pub roster: Sha256,
}

/// One membership.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MembershipPlan {
    /// From 1; each is one more than the one before.
    pub number: u64,
    /// Nodes that vote.
    pub voters: BTreeSet<NodeId>,
    /// Every member; those that do not vote learn until their start on their store is in the log.
    pub nodes: BTreeMap<NodeId, PlanMember>,
}

/// The membership that stands, and the one that consensus may be leaving.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MembershipPlans {
    /// What consensus should have.
    pub current: MembershipPlan,
    /// What it had before.
    pub previous: Option<MembershipPlan>,
    /// Whether a membership entry that says exactly the current plan was applied.
    pub reached: bool,
}

impl MembershipPlans {
    /// Whether a membership entry may stand in the log here: every voter set and every member is of the current plan or the one before.
    #[must_use]
    pub fn allow(&self, voters: &[BTreeSet<NodeId>], nodes: &BTreeMap<NodeId, PlanMember>) -> bool {
        weaken!(AcceptAnyMembership, { return true });
        let plans = || std::iter::once(&self.current).chain(&self.previous);
        let known_set = |set: &BTreeSet<NodeId>| plans().any(|plan| plan.voters == *set);
        let known_node = |(id, node): (&NodeId, &PlanMember)| plans().any(|plan| plan.nodes.get(id) == Some(node));
        !voters.is_empty() && voters.iter().all(known_set) && nodes.iter().all(known_node)
    }

    fn next(self, voters: BTreeSet<NodeId>, nodes: BTreeMap<NodeId, PlanMember>) -> Self {
        let current = MembershipPlan { number: self.current.number + 1, voters, nodes };
        Self { current, previous: Some(self.current), reached: false }
    }
}

/// The founders' membership: consensus begins with it.
pub(super) fn found(cluster: &ClusterRecord) -> MembershipPlans {
    let roster = Sha256::new(*cluster.cluster.as_bytes());
    let nodes = members(cluster, &BTreeMap::new(), roster);
    let current = MembershipPlan { number: 1, voters: nodes.keys().copied().collect(), nodes };
    MembershipPlans { current, previous: None, reached: true }
}

/// Plans the membership for a changed roster. `leaving` lost its store: it votes again only once it has started on the new one.
pub(super) fn follow<S: StateStore>(
    state: &mut Overlay<'_, S>,
    cluster: &ClusterRecord,
    order: Sha256,
    leaving: Option<NodeId>,
) -> Result<Result<(), Refusal>, StateStoreError> {
    let plans = state.membership_plans()?;
    let nodes = members(cluster, &plans.current.nodes, order);
    let voters: BTreeSet<_> = plans.current.voters.iter().copied().filter(|id| nodes.contains_key(id) && Some(*id) != leaving).collect();
    if nodes == plans.current.nodes && voters == plans.current.voters {
        return Ok(Ok(()));
    }
    if !plans.reached {
        return Ok(Err(Refusal::MembershipPending));
    }
    if voters.len() * 2 <= nodes.len() {
        return Ok(Err(Refusal::QuorumLost { voters: voters.len() as u8, nodes: nodes.len() as u8 }));
    }
    write(state, &plans.next(voters, nodes));
    Ok(Ok(()))
}

/// Lets learners vote that have started on the store that the cluster knows, once consensus has reached the plan.
pub(super) fn settle<S: StateStore>(state: &mut Overlay<'_, S>) -> Result<(), StateStoreError> {
    let plans = state.membership_plans()?;
    if !plans.reached {
        return Ok(());
    }
    let mut voters = plans.current.voters.clone();
    for id in plans.current.nodes.keys().filter(|id| !plans.current.voters.contains(id)) {
        if state.node(*id)?.is_some_and(|record| record.has_started()) {
            voters.insert(*id);
        }
    }
    if voters != plans.current.voters {
        let nodes = plans.current.nodes.clone();
        write(state, &plans.next(voters, nodes));
    }
    Ok(())
}

/// Takes note of a membership entry of the log. Nothing happens unless it is exactly the plan.
///
/// # Errors
/// When the store fails.
pub fn membership_applied<S: StateStore>(
    state: &mut Overlay<'_, S>,
    voters: &[BTreeSet<NodeId>],
    nodes: &BTreeMap<NodeId, PlanMember>,
) -> Result<(), StateStoreError> {
    let mut plans = state.membership_plans()?;
    if plans.reached || voters != std::slice::from_ref(&plans.current.voters) || *nodes != plans.current.nodes {
        return Ok(());
    }
    plans.reached = true;
    let changes = {
        let mut pending = Overlay::new(&*state);
        write(&mut pending, &plans);
        settle(&mut pending)?;
        pending.into_changes()
    };
    commit(state, changes)
}

fn commit<S: StateStore>(state: &mut Overlay<'_, S>, changes: Changes) -> Result<(), StateStoreError> {
    let all = {
        let mut merged = Overlay::new(&*state);
        merged.absorb(changes.clone());
        state_root::update(&mut merged, &changes)?;
        merged.into_changes()
    };
    state.absorb(all);
    Ok(())
}

fn members(cluster: &ClusterRecord, before: &BTreeMap<NodeId, PlanMember>, roster: Sha256) -> BTreeMap<NodeId, PlanMember> {
    let member = |node: &warifu_protocol::NodeEntry| match before.get(&node.id) {
        Some(old) if old.address == node.address && old.spki == node.tls_spki => old.clone(),
        Some(_) | None => PlanMember { address: node.address.clone(), spki: node.tls_spki, roster },
    };
    cluster.nodes.iter().map(|node| (node.id, member(node))).collect()
}

pub(super) fn write<S: StateStore>(state: &mut Overlay<'_, S>, plans: &MembershipPlans) {
    state.put(key(table::MEMBERSHIP_PLAN, &[]), encode(plans));
}

pub(super) fn read_plans<S: StateStore + ?Sized>(state: &S) -> Result<MembershipPlans, StateStoreError> {
    read(state, &key(table::MEMBERSHIP_PLAN, &[]))?.ok_or_else(|| StateStoreError { reason: "the state has no membership plan".to_owned() })
}
