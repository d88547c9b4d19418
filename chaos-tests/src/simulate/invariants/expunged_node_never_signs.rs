//! A site that was replaced or removed gives no share once it has applied the order that says so (design.md sections 5 and 6).

use warifu_core::registry::Registry as _;
use warifu_protocol::{Command, LogEntry, NodeId, OrderCommand, StoreId};

use super::{Ground, Invariant};
use crate::simulate::fact::Fact;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct ExpungedNodeNeverSigns {
    replaced: Vec<(NodeId, u64, StoreId)>,
}

impl Invariant for ExpungedNodeNeverSigns {
    fn name(&self) -> &'static str {
        "expunged_node_never_signs"
    }

    fn check(&mut self, fact: &Fact, ground: &Ground<'_>) -> Result<(), String> {
        match fact {
            Fact::Committed { index, refused: None, bytes, .. } => {
                if let Ok(Command::Order(order)) = LogEntry::decode(&bytes.0).map(|entry| entry.command)
                    && let OrderCommand::ReplaceStore { node, store } = order.body.order
                {
                    self.replaced.push((node.id, *index, store));
                }
            }
            Fact::ShareGiven(given) => {
                let late = self.replaced.iter().rfind(|(node, index, _)| *node == given.site && given.applied >= *index);
                if let Some((_, index, store)) = late
                    && given.store != *store
                {
                    return Err(format!("site {} gave a share on a store that entry {index} ended", given.site));
                }
                let is_member = ground.truth.cluster().is_ok_and(|cluster| cluster.node(given.site).is_some());
                if !is_member && given.applied > 0 && !ground.truth.0.is_empty() {
                    return Err(format!("site {} is not in the roster and gave a share", given.site));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn a_share_from_a_store_that_an_order_ended_is_a_breach() {
        let store = StoreId::new([9; 16]);
        let mut invariant = ExpungedNodeNeverSigns { replaced: vec![(node(1), 5, store)] };
        let truth = warifu_core::registry::MemoryStore::default();
        assert_eq!(invariant.check(&given(1, 1, |given| given.applied = 4), &ground(&truth)), Ok(()), "it has not heard of it");
        let fresh = given(1, 2, |given| {
            given.applied = 6;
            given.store = store;
        });
        assert_eq!(invariant.check(&fresh, &ground(&truth)), Ok(()));
        assert!(invariant.check(&given(1, 3, |given| given.applied = 5), &ground(&truth)).is_err());
    }
}
