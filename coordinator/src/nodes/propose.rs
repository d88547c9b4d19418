//! Bringing commands into the log. Any node forwards to the leader; every command may be sent again.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, sleep, timeout_at};
use warifu_protocol::wire::{Applied, OrderCall, OrderReply, Verdict};
use warifu_protocol::{Command, NodeId, Refusal};

use super::call::CallFailure;
use super::fleet::{Nodes, Probe};
use crate::limits::{PROPOSE_CALL_DEADLINE, PROPOSE_CALLS_MAX, PROPOSE_DEADLINE, PROPOSE_HEDGE, PROPOSE_PAUSE};

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

/// What a node said instead of a verdict.
struct NoVerdict {
    /// The command may be in the log, or come into it.
    may_be_applied: bool,
    reason: String,
}

impl Nodes {
    /// Asks node after node until one gives the verdict, the leader first if one is known: the next when one fails, and, beside the last, when that
    /// takes longer than a healthy log does. A leader that has lost the others, or its disk, holds a command until its call ends.
    pub(crate) async fn propose(self: &Arc<Self>, command: Command) -> Result<Proposed, ProposeError> {
        let call = OrderCall::Propose(Box::new(command));
        let end = Instant::now() + PROPOSE_DEADLINE;
        let (mut after_unknown, mut reason) = (false, "no node answers".to_owned());
        let (mut calls, mut asked, mut next) = (FuturesUnordered::new(), BTreeSet::new(), VecDeque::new());
        loop {
            let now = Instant::now();
            if now >= end {
                return Err(ProposeError { reason });
            }
            if next.is_empty() {
                next.extend(self.proposal_order());
            }
            next.retain(|node| !asked.contains(node));
            if calls.len() < PROPOSE_CALLS_MAX
                && let Some(node) = next.pop_front()
            {
                // Two may be applied, and the verdict be that of the second.
                after_unknown |= !calls.is_empty();
                asked.insert(node);
                let deadline = PROPOSE_CALL_DEADLINE.min(end - now);
                let answer = self.ask(node, &call, deadline);
                calls.push(async move { (node, answer.await) });
            }
            let wait = if calls.len() < PROPOSE_CALLS_MAX { PROPOSE_HEDGE } else { PROPOSE_CALL_DEADLINE };
            let Ok(answered) = timeout_at(end.min(now + wait), calls.next()).await else { continue };
            if let Some((node, answer)) = answered {
                asked.remove(&node);
                match verdict(node, answer) {
                    Ok(Verdict { index, outcome }) => return Ok(Proposed { index, outcome, after_unknown }),
                    Err(none) => {
                        after_unknown |= none.may_be_applied;
                        reason = none.reason;
                    }
                }
            }
            sleep(PROPOSE_PAUSE).await;
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

fn verdict(node: NodeId, answer: Result<OrderReply, CallFailure>) -> Result<Verdict, NoVerdict> {
    match answer {
        Ok(OrderReply::Verdict(verdict)) => Ok(verdict),
        Ok(OrderReply::Unknown { reason }) => Err(NoVerdict { may_be_applied: true, reason: format!("node {node}: {reason}") }),
        Ok(OrderReply::View(_) | OrderReply::Status(_) | OrderReply::Stop(_) | OrderReply::Receipts(_) | OrderReply::ImportPacket(_)) => {
            Err(NoVerdict { may_be_applied: false, reason: format!("node {node} answered something else than a verdict") })
        }
        Err(CallFailure { reason }) => Err(NoVerdict { may_be_applied: true, reason }),
    }
}
