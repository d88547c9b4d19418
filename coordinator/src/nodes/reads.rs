//! Reads of applied state. One node's word is no proof, so a reading counts when f+1 nodes agree on it.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, sleep, timeout_at};
use warifu_protocol::wire::{OrderCall, OrderReply, Read, View};

use super::fleet::{Nodes, encode};
use crate::limits::{READ_CALL_DEADLINE, READ_GRACE, READ_SETTLE, READ_SETTLE_PAUSE};

/// Why there is no reading.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReadError {
    /// Too few nodes answered, or too few of those that did agree.
    #[error("{agreeing} of {answered} nodes that answered agree; {needed} must")]
    NoAgreement {
        /// Size of the largest group.
        agreeing: usize,
        /// Answers.
        answered: usize,
        /// f+1.
        needed: usize,
    },
}

/// One round of answers.
struct Round {
    /// Number of nodes that gave each answer.
    groups: BTreeMap<Vec<u8>, (Option<View>, usize)>,
    answered: usize,
}

impl Nodes {
    /// Reads until f+1 nodes agree and no other node says anything else, or for a short while: then the newest that f+1 agree on counts. An entry
    /// that was applied before this call is so seen as soon as f+1 nodes have applied it.
    pub(crate) async fn read(self: &Arc<Self>, read: &Read) -> Result<Option<View>, ReadError> {
        let until = Instant::now() + READ_SETTLE;
        loop {
            let round = self.read_round(read).await;
            if round.groups.len() == 1 || Instant::now() >= until {
                return round.agreed(self.facts.honest_quorum());
            }
            sleep(READ_SETTLE_PAUSE).await;
        }
    }

    async fn read_round(self: &Arc<Self>, read: &Read) -> Round {
        let order = self.fleet.lock().by_health(self.clock.now());
        let mut asked: FuturesUnordered<_> = order
            .into_iter()
            .map(|node| {
                let (nodes, call) = (Arc::clone(self), OrderCall::Read(read.clone()));
                async move { nodes.ask(node, &call, READ_CALL_DEADLINE).await }
            })
            .collect();
        let mut round = Round { groups: BTreeMap::new(), answered: 0 };
        let mut until = Instant::now() + READ_CALL_DEADLINE;
        while let Ok(Some(reply)) = timeout_at(until, asked.next()).await {
            let Ok(OrderReply::View(view)) = reply else { continue };
            round.answered += 1;
            let group = round.groups.entry(encode(&view)).or_insert((view, 0));
            group.1 += 1;
            if group.1 == self.facts.honest_quorum() {
                until = until.min(Instant::now() + READ_GRACE);
            }
        }
        round
    }
}

impl Round {
    fn agreed(self, needed: usize) -> Result<Option<View>, ReadError> {
        let agreeing = self.groups.values().map(|(_, size)| *size).max().unwrap_or(0);
        let newest =
            self.groups.into_values().filter(|(_, size)| *size >= needed).max_by_key(|(view, size)| (newness(view.as_ref()), *size));
        match newest {
            Some((view, _)) => Ok(view),
            None => Err(ReadError::NoAgreement { agreeing, answered: self.answered, needed }),
        }
    }
}

/// What grows when an object changes. Something is newer than nothing.
fn newness(view: Option<&View>) -> u64 {
    match view {
        None => 0,
        Some(View::Credential(view)) => 1 + view.version.0,
        Some(View::ObjectVersion(version)) => 1 + version.0,
        Some(View::History(events)) => 1 + events.last().map_or(0, |event| event.index),
        Some(View::Session(view)) => 1 + u64::from(view.closed),
        Some(View::Ceremony(view)) => {
            let steps = view.round1.len() + view.confirmed.len() + usize::from(view.done || view.failed);
            1 + u64::from(view.attempt) * 64 + steps as u64
        }
        Some(View::Credentials(views)) => 1 + views.iter().map(|view| view.version.0).sum::<u64>() + views.len() as u64,
        Some(View::Crls(views)) => 1 + views.iter().map(|view| view.this_update.0).max().unwrap_or(0),
        Some(View::OrderApplied(_)) => 1,
        Some(View::RosterOrders(orders)) => 1 + orders.len() as u64,
    }
}

#[cfg(test)]
mod tests {
    use warifu_protocol::ObjectVersion;

    use super::*;

    fn round(answers: &[Option<u64>]) -> Round {
        let mut round = Round { groups: BTreeMap::new(), answered: answers.len() };
        for answer in answers {
            let view = answer.map(|version| View::ObjectVersion(ObjectVersion(version)));
            round.groups.entry(encode(&view)).or_insert((view, 0)).1 += 1;
        }
        round
    }

    #[test]
    fn a_reading_needs_the_agreement_of_one_more_than_may_lie() {
        let version = |number| Some(View::ObjectVersion(ObjectVersion(number)));
        let table = [
            (vec![Some(1), Some(1), Some(9)], 2, Ok(version(1))),
            (vec![Some(1), Some(1), Some(2), Some(2), Some(9)], 2, Ok(version(2))),
            (vec![None, None, None, Some(2), Some(2)], 2, Ok(version(2))),
            (vec![None, None, Some(7)], 2, Ok(None)),
            (vec![Some(3)], 1, Ok(version(3))),
            (vec![Some(3)], 2, Err(ReadError::NoAgreement { agreeing: 1, answered: 1, needed: 2 })),
            (vec![Some(1), Some(2), Some(3)], 2, Err(ReadError::NoAgreement { agreeing: 1, answered: 3, needed: 2 })),
            (vec![], 1, Err(ReadError::NoAgreement { agreeing: 0, answered: 0, needed: 1 })),
        ];
        for (answers, needed, expected) in table {
            assert_eq!(round(&answers).agreed(needed), expected, "{answers:?}");
        }
    }
}
