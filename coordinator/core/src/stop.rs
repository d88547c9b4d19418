//! A stop as the nodes have answered so far: who obeys, who is missing, and when it is over.

use std::collections::BTreeMap;

use warifu_protocol::limits::NONCE_LIFE_MILLIS;
use warifu_protocol::wire::StopAnswer;
use warifu_protocol::{
    ClusterId, Gone, NodeEntry, NodeId, NodeSigned, Receipt, ReceiptQuorum, Refusal, StopCommand, StopKind, StopObject, UnixMillis,
    check_gone, check_receipt,
};

/// Whose receipts count, and how many it takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StopRules {
    /// The cluster.
    pub cluster: ClusterId,
    /// Its sites.
    pub nodes: Vec<NodeEntry>,
    /// n, t and f.
    pub quorum: ReceiptQuorum,
    /// How far a node's clock may be from this machine's.
    pub clock_skew_millis_max: u64,
}

/// One stop on its way to all nodes.
#[derive(Clone, Debug)]
pub struct StopProgress {
    rules: StopRules,
    stop: StopCommand,
    object: StopObject,
    kind: StopKind,
    obeyed: BTreeMap<NodeId, Obeyed>,
    missing: BTreeMap<NodeId, Missing>,
    logged: Option<u64>,
    gone: BTreeMap<NodeId, NodeSigned<Gone>>,
}

#[derive(Clone, Debug)]
struct Obeyed {
    receipt: NodeSigned<Receipt>,
    /// By then the node held the object, by this machine's clock.
    by: UnixMillis,
}

#[derive(Clone, Debug)]
struct Missing {
    reason: String,
    refusal: Option<Refusal>,
}

/// How far a stop is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StopState {
    /// Too few receipts: t nodes could still start a signature.
    Incomplete,
    /// No t nodes are left that would start one; shares given before may still be completed until then.
    Draining {
        /// When the last nonce of before is dead.
        until: UnixMillis,
    },
    /// Nothing can be completed any more.
    Done {
        /// Since when.
        since: UnixMillis,
    },
}

impl StopProgress {
    /// Why a node is missing that has not answered yet.
    pub const NOT_ASKED: &'static str = "not asked yet";

    /// Starts without receipts; `None` for an order that stops nothing.
    #[must_use]
    pub fn new(rules: StopRules, stop: StopCommand) -> Option<Self> {
        let (object, kind) = stop.target()?;
        let missing = rules.nodes.iter().map(|node| (node.id, Missing { reason: Self::NOT_ASKED.to_owned(), refusal: None })).collect();
        Some(Self { rules, stop, object, kind, obeyed: BTreeMap::new(), missing, logged: None, gone: BTreeMap::new() })
    }

    /// Takes a node's answer. A receipt that does not count is a reason why the node is missing.
    pub fn answered(&mut self, now: UnixMillis, node: NodeId, answer: StopAnswer) {
        let (reason, refusal) = match answer {
            StopAnswer::Obeyed(receipt) => return self.receipt(now, node, receipt),
            StopAnswer::Unconfirmed => ("it holds the object, but is not confirmed since its start".to_owned(), None),
            StopAnswer::Refused(refusal) => (refusal.to_string(), Some(refusal)),
            StopAnswer::Failed { reason } => (reason, None),
        };
        self.note(node, reason, refusal);
    }

    /// Takes a receipt of this node.
    pub fn receipt(&mut self, now: UnixMillis, node: NodeId, receipt: NodeSigned<Receipt>) {
        if receipt.node != node {
            return self.note(node, format!("it gave a receipt in the name of node {}", receipt.node), None);
        }
        match check_receipt(self.rules.cluster, &self.rules.nodes, &self.stop, &receipt) {
            Ok(()) => {
                // The receipt is here, so the hold is not later than now. If the node's clock is right within the skew, it is not later
                // than what the receipt says and the skew either: a coordinator that hears of the stop late need not wait again.
                let by = now.min(receipt.body.held_since.plus(self.rules.clock_skew_millis_max));
                self.missing.remove(&node);
                let obeyed = self.obeyed.entry(node).or_insert(Obeyed { receipt, by });
                obeyed.by = obeyed.by.min(by);
            }
            Err(error) => self.note(node, error.to_string(), None),
        }
    }

    /// Takes this node's word that nothing of a destroyed credential is left; one that does not hold is left out.
    pub fn gone(&mut self, node: NodeId, gone: NodeSigned<Gone>) {
        if gone.node == node && check_gone(self.rules.cluster, &self.rules.nodes, &self.stop, &gone).is_ok() {
            self.gone.insert(node, gone);
        }
    }

    /// Which nodes said so, ascending.
    #[must_use]
    pub fn all_gone(&self) -> Vec<NodeSigned<Gone>> {
        self.gone.values().cloned().collect()
    }

    /// Notes that a node gave no answer.
    pub fn failed(&mut self, node: NodeId, reason: String) {
        self.note(node, reason, None);
    }

    /// Notes that the log has the stop.
    pub fn logged(&mut self, index: u64) {
        self.logged.get_or_insert(index);
    }

    /// Where the log has the stop, if it is known to.
    #[must_use]
    pub const fn logged_at(&self) -> Option<u64> {
        self.logged
    }

    /// The stop itself.
    #[must_use]
    pub const fn stop(&self) -> &StopCommand {
        &self.stop
    }

    /// What is stopped, and how it ends.
    #[must_use]
    pub const fn target(&self) -> (StopObject, StopKind) {
        (self.object, self.kind)
    }

    /// n, t and f.
    #[must_use]
    pub const fn quorum(&self) -> ReceiptQuorum {
        self.rules.quorum
    }

    /// The receipts that count, ascending by node.
    #[must_use]
    pub fn receipts(&self) -> Vec<NodeSigned<Receipt>> {
        self.obeyed.values().map(|obeyed| obeyed.receipt.clone()).collect()
    }

    /// The nodes without one, ascending, and why.
    #[must_use]
    pub fn missing(&self) -> Vec<(NodeId, String)> {
        self.missing.iter().map(|(node, missing)| (*node, missing.reason.clone())).collect()
    }

    /// The refusal that so many nodes gave that the rest cannot complete the stop, the words being those of the first.
    #[must_use]
    pub fn refused(&self) -> Option<Refusal> {
        let refusals: Vec<&Refusal> = self.missing.values().filter_map(|missing| missing.refusal.as_ref()).collect();
        let can_still = self.rules.quorum.nodes.saturating_sub(refusals.len());
        refusals.first().filter(|_| can_still < self.rules.quorum.needed()).map(|refusal| (*refusal).clone())
    }

    /// How far it is.
    #[must_use]
    pub fn state(&self, now: UnixMillis) -> StopState {
        let mut by: Vec<UnixMillis> = self.obeyed.values().map(|obeyed| obeyed.by).collect();
        by.sort_unstable();
        let Some(last) = self.rules.quorum.needed().checked_sub(1).and_then(|place| by.get(place)) else { return StopState::Incomplete };
        let until = last.plus(NONCE_LIFE_MILLIS);
        if now < until { StopState::Draining { until } } else { StopState::Done { since: until } }
    }

    fn note(&mut self, node: NodeId, reason: String, refusal: Option<Refusal>) {
        if let Some(missing) = self.missing.get_mut(&node) {
            *missing = Missing { reason, refusal };
        }
    }
}
