//! Sites that another fault of the round has, and how many more may be away beside them.

use std::collections::BTreeSet;

use warifu_protocol::NodeId;

use crate::scene::{self, NODES, THRESHOLD};

/// Sites that another fault of this round has: nobody else touches them, waits for them, or counts on them.
#[derive(Debug, Default)]
pub(super) struct Taken(BTreeSet<NodeId>);

impl Taken {
    /// n - t
    pub(super) const SPARE: usize = (NODES - THRESHOLD) as usize;

    pub(super) fn take(&mut self, node: NodeId) {
        self.0.insert(node);
    }

    pub(super) fn give_back(&mut self, node: NodeId) {
        self.0.remove(&node);
    }

    pub(super) fn has(&self, node: NodeId) -> bool {
        self.0.contains(&node)
    }

    pub(super) const fn nodes(&self) -> &BTreeSet<NodeId> {
        &self.0
    }

    /// The nodes that no other fault has.
    pub(super) fn free(&self) -> Vec<NodeId> {
        scene::nodes().into_iter().filter(|node| !self.has(*node)).collect()
    }

    /// As many as may be away beside those that another fault has: n - t in sum.
    pub(super) fn spare(&self) -> usize {
        Self::SPARE.saturating_sub(self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_a_second_fault_no_more_than_n_minus_t_sites_are_away_in_sum_and_none_has_two_faults() {
        let mut taken = Taken::default();
        for (count, node) in scene::nodes().into_iter().take(Taken::SPARE).enumerate() {
            assert_eq!(taken.spare() + count, usize::from(NODES - THRESHOLD));
            taken.take(node);
            assert!(!taken.free().contains(&node) && taken.free().len() == usize::from(NODES) - count - 1);
        }
        assert_eq!(taken.spare(), 0);
        let first = scene::nodes().remove(0);
        taken.give_back(first);
        assert!(taken.spare() == 1 && taken.free().contains(&first));
    }
}
