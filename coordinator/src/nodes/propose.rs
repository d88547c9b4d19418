//! Bringing commands into the log. Any node forwards to the leader; every command may be sent again.

use std::sync::Arc;

use tokio::time::{Instant, sleep};
use warifu_protocol::wire::{Applied, OrderCall, OrderReply};
use warifu_protocol::{Command, NodeId, Refusal};

use super::fleet::{Nodes, Probe};
use crate::limits::{PROPOSE_CALL_DEADLINE, PROPOSE_DEADLINE, PROPOSE_PAUSE};

/// A command's verdict.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Proposed {
    /// Place in the log.
    pub(crate) index: u64,
    /// What came of it.
    pub(crate) outcome: Result<Applied, Refusal>,
    /// An earlier try of the same command had no answer: it may be the one that was applied, and this one the repetition.
    pub(crate) after_unknown: bool,
}

/// No verdict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no node brought the command into the log in time ({reason}); it may still be applied: look, and send the same again")]
pub(crate) struct ProposeError {
    /// What the last node said.
    reason: String,
}

impl Nodes {
    /// Tries node after node until one gives the verdict, the leader first if one is known.
    pub(crate) async fn propose(self: &Arc<Self>, command: Command) -> Result<Proposed, ProposeError> {
        let call = OrderCall::Propose(Box::new(command));
        let started = Instant::now();
        let mut after_unknown = false;
        let mut reason = "no node answers".to_owned();
        loop {
            for node in self.proposal_order() {
                let left = PROPOSE_DEADLINE.saturating_sub(started.elapsed());
                if left.is_zero() {
                    return Err(ProposeError { reason });
                }
                match self.ask(node, &call, left.min(PROPOSE_CALL_DEADLINE)).await {
                    Ok(OrderReply::Verdict(verdict)) => {
                        return Ok(Proposed { index: verdict.index, outcome: verdict.outcome, after_unknown });
                    }
                    Ok(OrderReply::Unknown { reason: why }) => {
                        after_unknown = true;
                        reason = format!("node {node}: {why}");
                    }
                    Ok(
                        OrderReply::View(_)
                        | OrderReply::Status(_)
                        | OrderReply::Stop(_)
                        | OrderReply::Receipts(_)
                        | OrderReply::ImportPacket(_),
                    ) => reason = format!("node {node} answered something else than a verdict"),
                    Err(failure) => {
                        after_unknown = true;
                        reason = failure.reason;
                    }
                }
                sleep(PROPOSE_PAUSE).await;
            }
        }
    }

    fn proposal_order(&self) -> Vec<NodeId> {
        let mut order = self.fleet.lock().by_health(self.clock.now());
        let probes = self.probes.lock();
        let leader = order.iter().find_map(|node| match probes.get(node) {
            Some(Probe::Answered(status)) => status.leader,
            Some(Probe::Failed(_)) | None => None,
        });
        let is_down = |node: &NodeId| matches!(probes.get(node), Some(Probe::Failed(_)));
        order.sort_by_key(|node| (is_down(node), Some(*node) != leader));
        order
    }
}
