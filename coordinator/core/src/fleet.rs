//! All nodes: their health, their commitments, and who of them signs next.

use std::collections::{BTreeMap, BTreeSet};

use rand_core::RngCore;
use warifu_protocol::{NodeId, Threshold};

use crate::MonotonicMillis;
use crate::commitments::{Commitments, Pool};
use crate::health::Health;
use crate::limits::{HEDGE_MILLIS_MAX, HEDGE_MILLIS_MIN};

/// What the coordinator knows of its nodes.
///
/// - From the network: [`Fleet::add_commitments`], [`Fleet::call_started`], [`Fleet::call_answered`], [`Fleet::call_failed`],
///   [`Fleet::status_answered`].
/// - From [`Effect::Note`](crate::Effect::Note): [`Fleet::note`].
/// - To do: [`Fleet::commitments_wanted`].
/// - To look at: [`Fleet::view`], [`Fleet::signers_ready`].
#[derive(Debug)]
pub struct Fleet {
    nodes: BTreeMap<NodeId, Member>,
}

#[derive(Debug, Default)]
struct Member {
    health: Health,
    pool: Pool,
}

/// Something that was learned about a node from an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NodeNote {
    /// It cannot sign for this long.
    Unready {
        /// In milliseconds.
        millis: u64,
    },
    /// It does not know the nonces that it gave: it was restarted, or they are too old.
    CommitmentsGone,
    /// It is overdue.
    Slow,
    /// It gave a signature share, or commitments, that are false.
    Culprit,
}

/// Fewer nodes than the threshold can be asked now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{available} of the {needed} nodes that must sign can be asked now")]
pub struct TooFewSigners {
    /// How many can.
    pub available: usize,
    /// t.
    pub needed: usize,
}

/// What there is to see of one node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeView {
    /// Whether its last call was answered.
    pub answering: bool,
    /// Whether it may be chosen now.
    pub usable: bool,
    /// Whether it is left out for a false share.
    pub excluded: bool,
    /// Unused commitments.
    pub commitments: usize,
    /// Its latency in microseconds, once measured.
    pub latency_micros: Option<u64>,
}

/// A signer set, each with its commitments, and when an answer of it is overdue.
pub(crate) struct Chosen {
    pub(crate) signers: BTreeMap<NodeId, Commitments>,
    pub(crate) overdue_millis: u64,
}

impl Fleet {
    /// Nodes of which nothing is known yet.
    #[must_use]
    pub fn new(nodes: impl IntoIterator<Item = NodeId>) -> Self {
        Self { nodes: nodes.into_iter().map(|node| (node, Member::default())).collect() }
    }

    /// Takes over a changed roster: what is known of those that stay is kept, and those that left are never chosen again.
    pub fn set_nodes(&mut self, nodes: impl IntoIterator<Item = NodeId>) {
        let mut before = std::mem::take(&mut self.nodes);
        self.nodes = nodes.into_iter().map(|node| (node, before.remove(&node).unwrap_or_default())).collect();
    }

    /// Puts a node's commitments into its pool; `asked` is when the call that brought them was sent, and `wanted` what
    /// [`Fleet::commitments_wanted`] had said.
    pub fn add_commitments(&mut self, node: NodeId, asked: MonotonicMillis, wanted: usize, fresh: Vec<Commitments>) {
        if let Some(member) = self.nodes.get_mut(&node) {
            member.pool.arrived(wanted);
            member.pool.add(asked, fresh);
        }
    }

    /// How many commitments to ask of this node now, 0 to `COMMITMENTS_PER_REPLY_MAX`. Whatever is asked for must be reported by
    /// [`Fleet::add_commitments`], also when none came.
    pub fn commitments_wanted(&mut self, node: NodeId, now: MonotonicMillis) -> usize {
        match self.nodes.get_mut(&node) {
            Some(member) if !member.health.is_excluded(now) => member.pool.ask(now),
            Some(_) | None => 0,
        }
    }

    /// So many signatures of t nodes each are about to be asked for: the pools are filled for them before they find them empty.
    pub fn announce(&mut self, signatures: usize, threshold: Threshold, now: MonotonicMillis) {
        let of_each = (signatures * usize::from(threshold.0)).div_ceil(self.nodes.len().max(1));
        for member in self.nodes.values_mut() {
            member.pool.announce(of_each, now);
        }
    }

    /// A call for commitments is on its way that costs the node as much as so many items. Items themselves count from the moment that their signers
    /// are chosen, so that a burst of documents spreads over all nodes; each must be reported as answered, failed or dropped.
    pub fn call_started(&mut self, node: NodeId, items: u64) {
        if let Some(member) = self.nodes.get_mut(&node) {
            member.health.call_started(items);
        }
    }

    /// It was answered after `micros`.
    pub fn call_answered(&mut self, node: NodeId, items: u64, micros: u64) {
        if let Some(member) = self.nodes.get_mut(&node) {
            member.health.call_answered(items, micros);
        }
    }

    /// The node said how it is, which took `micros`.
    pub fn status_answered(&mut self, node: NodeId, micros: u64) {
        if let Some(member) = self.nodes.get_mut(&node) {
            member.health.status_answered(micros);
        }
    }

    /// It was not answered, or with nonsense. A node that went away took its nonces with it, and asking for new ones tells when it is back.
    pub fn call_failed(&mut self, node: NodeId, items: u64, now: MonotonicMillis) {
        if let Some(member) = self.nodes.get_mut(&node) {
            member.health.call_failed(items, now);
            member.pool.clear();
        }
    }

    /// Items were dropped before they were sent.
    pub fn items_dropped(&mut self, node: NodeId, items: u64) {
        if let Some(member) = self.nodes.get_mut(&node) {
            member.health.call_over(items);
        }
    }

    /// The node said itself that it is confirmed and well.
    pub fn ready(&mut self, node: NodeId) {
        if let Some(member) = self.nodes.get_mut(&node) {
            member.health.ready();
        }
    }

    /// Takes a note.
    pub fn note(&mut self, node: NodeId, now: MonotonicMillis, note: NodeNote) {
        let Some(member) = self.nodes.get_mut(&node) else { return };
        match note {
            NodeNote::Unready { millis } => member.health.unready(now, millis),
            NodeNote::CommitmentsGone => member.pool.clear(),
            NodeNote::Slow => member.health.suspect(now),
            NodeNote::Culprit => {
                member.health.exclude(now);
                member.pool.clear();
            }
        }
    }

    /// What there is to see of a node.
    #[must_use]
    pub fn view(&self, node: NodeId, now: MonotonicMillis) -> Option<NodeView> {
        self.nodes.get(&node).map(|member| NodeView {
            answering: member.health.is_answering(),
            usable: member.may_be_chosen(now),
            excluded: member.health.is_excluded(now),
            commitments: member.pool.available(now),
            latency_micros: member.health.latency_micros(),
        })
    }

    /// Nodes that can be asked for a signature share now and answered when they were last asked anything. One that did not is still tried when its
    /// pause is over, but not counted on.
    #[must_use]
    pub fn signers_ready(&self, now: MonotonicMillis) -> usize {
        self.nodes.values().filter(|member| member.may_be_chosen(now) && member.health.is_answering()).count()
    }

    /// All nodes, the ones that answer soonest first: an order in which to ask for anything that any node can answer.
    #[must_use]
    pub fn by_health(&self, now: MonotonicMillis) -> Vec<NodeId> {
        let mut nodes: Vec<_> = self.nodes.keys().copied().collect();
        nodes.sort_by_key(|node| {
            self.nodes.get(node).map(|member| {
                let health = &member.health;
                (health.is_excluded(now), !health.is_answering(), health.is_suspected(now), health.expected_micros())
            })
        });
        nodes
    }

    /// Whether the node is in the roster.
    pub(crate) fn has(&self, node: NodeId) -> bool {
        self.nodes.contains_key(&node)
    }

    /// Takes commitments of t holders out of their pools: those who are expected to answer soonest, with a little chance in it so that equals share
    /// the load.
    pub(crate) fn choose(
        &mut self,
        threshold: Threshold,
        holders: &BTreeSet<NodeId>,
        avoid: &BTreeSet<NodeId>,
        now: MonotonicMillis,
        rng: &mut impl RngCore,
    ) -> Result<Chosen, TooFewSigners> {
        let needed = usize::from(threshold.0);
        let mut candidates = Vec::with_capacity(holders.len());
        for node in holders.difference(avoid) {
            let Some(member) = self.nodes.get(node) else { continue };
            if member.may_be_chosen(now) {
                let expected = member.health.expected_micros();
                // Up to a quarter, and half a millisecond so that idle nodes alternate too.
                let chance = u64::from(rng.next_u32()) % (expected / 4 + 500);
                candidates.push((member.health.is_suspected(now), expected.saturating_add(chance), *node));
            }
        }
        candidates.sort_unstable();
        candidates.truncate(needed);
        if candidates.len() < needed {
            return Err(TooFewSigners { available: candidates.len(), needed });
        }
        let mut chosen = Chosen { signers: BTreeMap::new(), overdue_millis: HEDGE_MILLIS_MIN };
        for (_, _, node) in candidates {
            let member = self.nodes.get_mut(&node).expect("candidates are members");
            let overdue = (member.health.overdue_micros() / 1_000).clamp(HEDGE_MILLIS_MIN, HEDGE_MILLIS_MAX);
            chosen.overdue_millis = chosen.overdue_millis.max(overdue);
            member.health.call_started(1);
            let commitments = member.pool.take(now).expect("a candidate's pool has one that is alive");
            chosen.signers.insert(node, commitments);
        }
        Ok(chosen)
    }
}

impl Member {
    fn may_be_chosen(&self, now: MonotonicMillis) -> bool {
        self.health.may_sign(now) && self.pool.has_any(now)
    }
}
