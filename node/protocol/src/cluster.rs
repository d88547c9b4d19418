//! The cluster as it stands: its genesis, changed by orders only. Nodes keep it in their state; whoever has the genesis and the orders
//! can follow them offline and comes to the same.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::genesis::{Agreement, GenesisError};
use crate::limits::APPROVALS_MAX;
use crate::mutants::{Mutant, is_on};
use crate::{
    AnchorEntry, ClusterId, CommandClass, CoordinatorEntry, Genesis, Name, NodeEntry, NodeId, ObjectVersion, OfficerEntry, OfficerRole,
    Order, OrderBody, OrderCommand, OrderId, Policy, PublicKey, Refusal, SpkiHash, Threshold,
};

/// Nodes, coordinators, officers, policy and pinned CAs, each part with its version; the genesis is version 1 of each.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClusterRecord {
    /// Its id.
    pub cluster: ClusterId,
    /// t
    pub threshold: Threshold,
    /// f
    pub liars: u8,
    /// Whether t may be less than a majority of the nodes.
    pub minority_threshold: bool,
    /// What it chooses.
    pub policy: Policy,
    /// The sites.
    pub nodes: Vec<NodeEntry>,
    /// The coordinators.
    pub coordinators: Vec<CoordinatorEntry>,
    /// The officers.
    pub officers: Vec<OfficerEntry>,
    /// The pinned CAs.
    pub anchors: Vec<AnchorEntry>,
    /// Raised by each change of nodes, coordinators or officers.
    pub roster_version: ObjectVersion,
    /// Raised by each change of the policy.
    pub policy_version: ObjectVersion,
    /// Raised by each change of the pinned CAs.
    pub anchors_version: ObjectVersion,
    /// Keys of nodes that were removed or replaced; they never come back.
    pub retired: Vec<RetiredNode>,
}

/// A node's keys that count no more.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RetiredNode {
    /// The node that had them.
    pub id: NodeId,
    /// Its TLS identity.
    pub tls_spki: SpkiHash,
    /// Its identity key.
    pub identity: PublicKey,
}

impl ClusterRecord {
    /// The cluster as its founders agreed on it.
    #[must_use]
    pub fn founded(genesis: &Genesis) -> Self {
        let body = genesis.body();
        Self {
            cluster: genesis.cluster(),
            threshold: body.threshold,
            liars: body.liars,
            minority_threshold: body.minority_threshold,
            policy: body.policy.clone(),
            nodes: body.nodes.clone(),
            coordinators: body.coordinators.clone(),
            officers: body.officers.clone(),
            anchors: body.anchors.clone(),
            roster_version: ObjectVersion(1),
            policy_version: ObjectVersion(1),
            anchors_version: ObjectVersion(1),
            retired: Vec::new(),
        }
    }

    /// A site's entry.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&NodeEntry> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// A coordinator's entry.
    #[must_use]
    pub fn coordinator(&self, id: &Name) -> Option<&CoordinatorEntry> {
        self.coordinators.iter().find(|coordinator| coordinator.id == *id)
    }

    /// An officer's entry.
    #[must_use]
    pub fn officer(&self, id: &Name) -> Option<&OfficerEntry> {
        self.officers.iter().find(|officer| officer.id == *id)
    }

    /// All sites, ascending.
    #[must_use]
    pub fn node_ids(&self) -> Vec<NodeId> {
        let mut ids: Vec<_> = self.nodes.iter().map(|node| node.id).collect();
        ids.sort_unstable();
        ids
    }

    /// n−t+1+f: nodes whose receipts make a stop certain.
    #[must_use]
    pub fn stop_quorum(&self) -> usize {
        self.nodes.len() + 1 + usize::from(self.liars) - usize::from(self.threshold.0)
    }

    /// How often a node of this identifier was removed or replaced: shares that it got under a lower number are lost.
    #[must_use]
    pub fn store_number(&self, id: NodeId) -> u32 {
        u32::try_from(self.retired.iter().filter(|retired| retired.id == id).count()).unwrap_or(u32::MAX)
    }

    /// Number of orders that changed it since the genesis.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.roster_version.0 + self.policy_version.0 + self.anchors_version.0 - 3
    }

    /// The version that an order must name; `None` if it does not change the cluster record.
    #[must_use]
    pub const fn version_for(&self, command: &OrderCommand) -> Option<ObjectVersion> {
        match command {
            OrderCommand::UpdateRoster { .. } | OrderCommand::ReplaceStore { .. } => Some(self.roster_version),
            OrderCommand::UpdatePolicy { .. } => Some(self.policy_version),
            OrderCommand::UpdateAnchors { .. } => Some(self.anchors_version),
            _ => None,
        }
    }

    /// Counts the officers of the needed role whose signatures verify; any approval that is wrong in any way refuses the order.
    ///
    /// # Errors
    /// The first approval that is wrong, or [`Refusal::ApprovalsMissing`].
    pub fn check_approvals(&self, order: &Order, class: CommandClass) -> Result<(), Refusal> {
        if order.approvals.len() > APPROVALS_MAX {
            return Err(Refusal::TooLarge { what: "approvals".to_owned(), limit: APPROVALS_MAX as u64 });
        }
        let rules = self.policy.rules_for(class);
        let message = order.body.message();
        let mut approved = BTreeSet::new();
        let mut by_role: BTreeMap<OfficerRole, u8> = BTreeMap::new();
        for approval in &order.approvals {
            let officer = self.officer(&approval.officer).ok_or_else(|| Refusal::OfficerUnknown { officer: approval.officer.clone() })?;
            if let Some(first) = rules.first()
                && rules.iter().all(|rule| rule.role != officer.role)
            {
                return Err(Refusal::OfficerRole { officer: approval.officer.clone(), needs: first.role });
            }
            if !approved.insert(&approval.officer) {
                return Err(Refusal::ApprovalDuplicate { officer: approval.officer.clone() });
            }
            if officer.key.verify(&message, approval.signature.as_slice()).is_err() && !is_on(Mutant::SkipApprovalSignature) {
                return Err(Refusal::SignatureInvalid { signer: format!("officer {}", approval.officer) });
            }
            // At most APPROVALS_MAX are counted.
            *by_role.entry(officer.role).or_default() += 1;
        }
        for rule in rules {
            let present = by_role.get(&rule.role).copied().unwrap_or_default();
            if present + u8::from(is_on(Mutant::OneApprovalTooFew)) < rule.count {
                return Err(Refusal::ApprovalsMissing { role: rule.role, needed: rule.count, present });
            }
        }
        Ok(())
    }

    /// Checks that t sites of the present roster consent where the class asks for that; any consent that is wrong refuses the order.
    ///
    /// # Errors
    /// The first consent that is wrong or not asked for, or [`Refusal::ConsentsMissing`].
    pub fn check_consents(&self, order: &Order, class: CommandClass) -> Result<(), Refusal> {
        if !class.needs_consent() {
            return if order.consents.is_empty() { Ok(()) } else { Err(Refusal::ConsentUnneeded) };
        }
        let present = self.verify_consents(order)?;
        let needed = self.threshold.0;
        if present < usize::from(needed) && !is_on(Mutant::SkipConsents) {
            return Err(Refusal::ConsentsMissing { needed, present: present as u8 });
        }
        Ok(())
    }

    /// Number of consents, if each that is there is right.
    ///
    /// # Errors
    /// The first consent that is wrong.
    pub fn verify_consents(&self, order: &Order) -> Result<usize, Refusal> {
        let limit = u64::from(NodeId::MAX);
        if order.consents.len() as u64 > limit {
            return Err(Refusal::TooLarge { what: "consents".to_owned(), limit });
        }
        let digest = order.body.digest();
        let mut seen = BTreeSet::new();
        for consent in &order.consents {
            let node = consent.node;
            let entry = self.node(node).ok_or(Refusal::NodeUnknown { node })?;
            if consent.body.order != digest {
                return Err(Refusal::ConsentForeign { node });
            }
            if !seen.insert(node) {
                return Err(Refusal::ConsentDuplicate { node });
            }
            let invalid = |_| Refusal::SignatureInvalid { signer: format!("node {node} on its consent") };
            consent.verify(self.cluster, &entry.identity).map_err(invalid)?;
        }
        Ok(seen.len())
    }

    /// The cluster after an order that changes it. Says nothing about who approved it.
    ///
    /// # Errors
    /// [`Refusal::RosterRefused`], [`Refusal::PolicyRefused`] or [`Refusal::AnchorsRefused`] with the rule that would be broken;
    /// [`Refusal::ObjectVersionMoved`] for another version.
    pub fn revised(&self, order: &OrderBody) -> Result<Self, Refusal> {
        if let Some(current) = self.version_for(&order.order)
            && current != order.object_version
        {
            return Err(Refusal::ObjectVersionMoved { written: order.object_version, current });
        }
        let mut revised = self.clone();
        match &order.order {
            OrderCommand::UpdatePolicy { policy } => {
                revised.policy = policy.clone();
                revised.policy_version.0 += 1;
                revised.check().map_err(|error| Refusal::PolicyRefused { reason: error.to_string() })?;
            }
            OrderCommand::UpdateAnchors { anchors } => {
                revised.anchors.clone_from(anchors);
                revised.anchors_version.0 += 1;
                revised.check().map_err(|error| Refusal::AnchorsRefused { reason: error.to_string() })?;
            }
            OrderCommand::UpdateRoster { nodes, coordinators, officers } => {
                revised.nodes.clone_from(nodes);
                revised.nodes.sort_by_key(|node| node.id);
                revised.coordinators.clone_from(coordinators);
                revised.officers.clone_from(officers);
                revised.roster_version.0 += 1;
                revised.check().map_err(|error| Refusal::RosterRefused { reason: error.to_string() })?;
                self.check_steps(&revised)?;
                for node in &self.nodes {
                    if revised.node(node.id).is_none() {
                        revised.retire(node);
                    }
                }
                revised.check_retired()?;
            }
            OrderCommand::ReplaceStore { node, .. } => {
                let old = self.node(node.id).ok_or(Refusal::NodeUnknown { node: node.id })?;
                let has_old_keys = old.tls_spki == node.tls_spki || old.identity == node.identity || old.sealing_key == node.sealing_key;
                if has_old_keys && !is_on(Mutant::AcceptOldKeys) {
                    let reason = format!("node {} needs new keys: whoever has its lost disk has the old ones", node.id);
                    return Err(Refusal::RosterRefused { reason });
                }
                revised.nodes.retain(|other| other.id != node.id);
                revised.nodes.push(node.clone());
                revised.nodes.sort_by_key(|node| node.id);
                revised.roster_version.0 += 1;
                revised.check().map_err(|error| Refusal::RosterRefused { reason: error.to_string() })?;
                revised.retire(old);
                revised.check_retired()?;
            }
            _ => return Err(Refusal::Malformed { what: "the order".to_owned(), reason: "it does not change the cluster".to_owned() }),
        }
        Ok(revised)
    }

    /// The cluster after an order, checked as every node checked it when it was applied, but for its time.
    ///
    /// # Errors
    /// Why a node would have refused it.
    pub fn follow(&self, order: &Order) -> Result<Self, Refusal> {
        if order.body.cluster != self.cluster {
            return Err(Refusal::WrongCluster { found: order.body.cluster });
        }
        let class = order.body.order.class();
        self.check_approvals(order, class)?;
        self.check_consents(order, class)?;
        self.revised(&order.body)
    }

    fn check(&self) -> Result<(), GenesisError> {
        Agreement {
            threshold: self.threshold,
            liars: self.liars,
            minority_threshold: self.minority_threshold,
            policy: &self.policy,
            nodes: &self.nodes,
            coordinators: &self.coordinators,
            officers: &self.officers,
            anchors: &self.anchors,
        }
        .check()
    }

    /// One node comes or goes at a time, so that the majorities before and after overlap and at most one share is lost.
    fn check_steps(&self, revised: &Self) -> Result<(), Refusal> {
        let refused = |reason: String| Err(Refusal::RosterRefused { reason });
        let gone = self.nodes.iter().filter(|node| revised.node(node.id).is_none()).count();
        let come = revised.nodes.iter().filter(|node| self.node(node.id).is_none()).count();
        if gone + come > 1 {
            return refused(format!("{come} nodes come and {gone} go; one may come or go at a time"));
        }
        for node in &revised.nodes {
            let Some(old) = self.node(node.id) else { continue };
            if old.tls_spki != node.tls_spki || old.identity != node.identity || old.sealing_key != node.sealing_key {
                return refused(format!("node {} has other keys than before; a lost site is replaced by an order of its own", node.id));
            }
        }
        Ok(())
    }

    fn retire(&mut self, node: &NodeEntry) {
        self.retired.push(RetiredNode { id: node.id, tls_spki: node.tls_spki, identity: node.identity });
    }

    fn check_retired(&self) -> Result<(), Refusal> {
        let nodes = self.nodes.iter().map(|node| (node.tls_spki, node.identity));
        let coordinators = self.coordinators.iter().map(|coordinator| (coordinator.tls_spki, coordinator.identity));
        for (tls_spki, identity) in nodes.chain(coordinators) {
            let retired = self.retired.iter().find(|retired| retired.tls_spki == tls_spki || retired.identity == identity);
            if let Some(old) = retired.filter(|_| !is_on(Mutant::AcceptOldKeys)) {
                let reason = format!("a key of node {} that was removed or replaced comes back; make new keys", old.id);
                return Err(Refusal::RosterRefused { reason });
            }
        }
        Ok(())
    }
}

/// Orders that do not lead on from the genesis.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("order {order} (number {position}) does not follow: {refusal}")]
pub struct RosterChainError {
    /// Which, from 1.
    pub position: u64,
    /// Its id.
    pub order: OrderId,
    /// Why a node would have refused it.
    #[source]
    pub refusal: Refusal,
}

/// Follows every order that changed a cluster, in the order in which they were applied, from its genesis. Each is checked under the officers,
/// sites and policy before it; expiry is not, since when an order was applied cannot be seen offline.
///
/// A shorter chain is as valid as a longer one, and an order with every signature that was never applied cannot be told from one that was:
/// the result says whom to talk to, and what f + 1 of those say is what stands.
///
/// # Errors
/// [`RosterChainError`] with the first order that does not follow.
pub fn verify_roster_chain(genesis: &Genesis, orders: &[Order]) -> Result<ClusterRecord, RosterChainError> {
    follow_all(ClusterRecord::founded(genesis), orders)
}

/// As [`verify_roster_chain`], from a cluster that is known already.
///
/// # Errors
/// As [`verify_roster_chain`].
pub fn follow_all(start: ClusterRecord, orders: &[Order]) -> Result<ClusterRecord, RosterChainError> {
    orders.iter().zip(1..).try_fold(start, |cluster, (order, position)| {
        cluster.follow(order).map_err(|refusal| RosterChainError { position, order: order.body.id, refusal })
    })
}

/// The orders since the genesis in a file (JSON), for a new site, one that was away, or a coordinator.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RosterFile {
    /// Every order that changed nodes, coordinators, officers, policy or anchors, in the order in which they were applied.
    pub orders: Vec<Order>,
}

/// Largest roster file that is read: hundreds of rosters of fifteen nodes.
pub const ROSTER_FILE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why a roster file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RosterFileError {
    /// Larger than [`ROSTER_FILE_BYTES_MAX`].
    #[error("the roster has {size} bytes, more than {ROSTER_FILE_BYTES_MAX}")]
    TooLarge {
        /// Bytes found.
        size: usize,
    },
    /// Not JSON of the expected form.
    #[error("the roster cannot be read: {reason}")]
    Malformed {
        /// What the parser says.
        reason: String,
    },
    /// Its orders do not lead on from the genesis.
    #[error(transparent)]
    Chain(#[from] RosterChainError),
}

impl RosterFile {
    /// Reads JSON and follows it from the genesis.
    ///
    /// # Errors
    /// [`RosterFileError`].
    pub fn follow(text: &str, genesis: &Genesis) -> Result<ClusterRecord, RosterFileError> {
        if text.len() > ROSTER_FILE_BYTES_MAX {
            return Err(RosterFileError::TooLarge { size: text.len() });
        }
        let file: Self = serde_json::from_str(text).map_err(|error| RosterFileError::Malformed { reason: error.to_string() })?;
        Ok(verify_roster_chain(genesis, &file.orders)?)
    }
}
