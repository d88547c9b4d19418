//! When a node that holds a stop on its own acts to bring it into the log.

use warifu_protocol::weaken;

use crate::signer::MonotonicMillis;

/// A stop that the coordinator brings into the log is there sooner than this; the first node that proposes it again does so then.
pub const PROPOSE_AFTER_MILLIS: u64 = 300;
/// Nodes act one after the other with this pause, so that they do not all propose what the first of them brings into the log.
pub const RANK_MILLIS: u64 = 200;
/// Pause after the first proposal: longer than one may take.
pub const PROPOSE_PAUSE_MILLIS: u64 = 10_000;
/// A leader that has not logged a stop for this long is replaced.
pub const LEADER_PATIENCE_MILLIS: u64 = 5_000;
/// Time for an election, after which the next leader is given the stop.
pub const ELECTION_MILLIS: u64 = 2_000;
/// Pauses double up to this: a cluster that cannot log anything is not helped by more elections.
pub const PAUSE_MILLIS_MAX: u64 = 60_000;

/// What is due for one stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HoldStep {
    /// Propose it.
    pub propose: bool,
    /// Have the leader replaced, unless this node is behind or leads itself.
    pub replace_leader: bool,
}

/// The clock of one stop that the log does not have yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HoldSchedule {
    next_proposal: MonotonicMillis,
    proposal_pause: u64,
    next_replacement: MonotonicMillis,
    replacement_pause: u64,
}

impl HoldSchedule {
    /// Starts at `now`, for the node that is `rank`th in the roster, from 0.
    #[must_use]
    pub const fn new(now: MonotonicMillis, rank: u64) -> Self {
        let turn = rank * RANK_MILLIS;
        Self {
            next_proposal: after(now, PROPOSE_AFTER_MILLIS + turn),
            proposal_pause: PROPOSE_PAUSE_MILLIS,
            next_replacement: after(now, LEADER_PATIENCE_MILLIS + turn),
            replacement_pause: LEADER_PATIENCE_MILLIS,
        }
    }

    /// What is due; each thing is said once, and then again after a pause that doubles up to [`PAUSE_MILLIS_MAX`].
    pub fn step(&mut self, now: MonotonicMillis) -> HoldStep {
        weaken!(KeepHoldsUnlogged, { return HoldStep::default() });
        let step = HoldStep { propose: now >= self.next_proposal, replace_leader: now >= self.next_replacement };
        if step.propose {
            self.next_proposal = after(now, self.proposal_pause);
            self.proposal_pause = doubled(self.proposal_pause);
        }
        if step.replace_leader {
            self.replacement_pause = doubled(self.replacement_pause);
            self.next_replacement = after(now, self.replacement_pause);
            self.next_proposal = self.next_proposal.min(after(now, ELECTION_MILLIS));
        }
        step
    }
}

const fn after(now: MonotonicMillis, millis: u64) -> MonotonicMillis {
    MonotonicMillis(now.0.saturating_add(millis))
}

fn doubled(pause: u64) -> u64 {
    (pause * 2).min(PAUSE_MILLIS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_that_does_not_log_a_stop_is_replaced_after_five_seconds_and_its_successor_gets_the_stop() {
        let mut schedule = HoldSchedule::new(MonotonicMillis(1_000), 0);
        let (mut proposals, mut replacements) = (Vec::new(), Vec::new());
        for millis in (0..30_000).step_by(100) {
            let step = schedule.step(MonotonicMillis(1_000 + millis));
            proposals.extend(step.propose.then_some(millis));
            replacements.extend(step.replace_leader.then_some(millis));
        }
        assert_eq!(replacements, [5_000, 15_000], "with a pause that doubles");
        assert_eq!(proposals, [300, 7_000, 17_000], "each new leader hears of it");
    }

    #[test]
    fn nodes_take_turns_and_pauses_are_bounded() {
        let first = HoldSchedule::new(MonotonicMillis(0), 0);
        let third = HoldSchedule::new(MonotonicMillis(0), 2);
        assert_eq!(third.next_proposal.0 - first.next_proposal.0, 2 * RANK_MILLIS);
        let mut schedule = first;
        let (mut now, mut count) = (0, 0);
        while now < 3_600_000 {
            let step = schedule.step(MonotonicMillis(now));
            count += u64::from(step.replace_leader);
            now += 500;
        }
        assert!((60..=65).contains(&count), "about once a minute: {count}");
    }
}
