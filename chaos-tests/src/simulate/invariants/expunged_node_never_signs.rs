//! A site that was replaced or removed gives no share on the store that it had once it has applied the order that says so (design.md sections 5 and 6).

use std::collections::{BTreeMap, BTreeSet};

use warifu_protocol::{Command, LogEntry, NodeId, OrderCommand, StoreId};

use super::{Ground, Invariant};
use crate::simulate::fact::Fact;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct ExpungedNodeNeverSigns {
    replaced: Vec<(NodeId, u64, StoreId)>,
    /// Stores of sites that were removed, and the entry that did it.
    removed: BTreeMap<StoreId, u64>,
    stores: BTreeMap<NodeId, BTreeSet<StoreId>>,
}

impl Invariant for ExpungedNodeNeverSigns {
    fn name(&self) -> &'static str {
        "expunged_node_never_signs"
    }

    fn check(&mut self, fact: &Fact, _: &Ground<'_>) -> Result<(), String> {
        match fact {
            Fact::Committed { index, refused: None, bytes, .. } => {
                let Ok(Command::Order(order)) = LogEntry::decode(&bytes.0).map(|entry| entry.command) else { return Ok(()) };
                match order.body.order {
                    OrderCommand::ReplaceStore { node, store } => self.replaced.push((node.id, *index, store)),
                    OrderCommand::UpdateRoster { nodes, .. } => {
                        let gone = self.stores.iter().filter(|(site, _)| nodes.iter().all(|node| node.id != **site));
                        self.replaced.retain(|(site, ..)| nodes.iter().any(|node| node.id == *site));
                        for store in gone.flat_map(|(_, stores)| stores) {
                            self.removed.entry(*store).or_insert(*index);
                        }
                    }
                    _ => {}
                }
            }
            Fact::Started { site, store, .. } => {
                self.stores.entry(*site).or_default().insert(*store);
            }
            Fact::ShareGiven(given) => {
                let late = self.replaced.iter().rfind(|(node, index, _)| *node == given.site && given.applied >= *index);
                if let Some((_, index, store)) = late
                    && given.store != *store
                {
                    return Err(format!("site {} gave a share on a store that entry {index} ended", given.site));
                }
                if let Some(index) = self.removed.get(&given.store).filter(|index| given.applied >= **index) {
                    return Err(format!("site {} gave a share and was removed by entry {index}", given.site));
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
        let mut invariant = ExpungedNodeNeverSigns { replaced: vec![(node(1), 5, store)], ..ExpungedNodeNeverSigns::default() };
        let truth = warifu_core::registry::MemoryStore::default();
        assert_eq!(invariant.check(&given(1, 1, |given| given.applied = 4), &ground(&truth)), Ok(()), "it has not heard of it");
        let fresh = given(1, 2, |given| {
            given.applied = 6;
            given.store = store;
        });
        assert_eq!(invariant.check(&fresh, &ground(&truth)), Ok(()));
        assert!(invariant.check(&given(1, 3, |given| given.applied = 5), &ground(&truth)).is_err());
    }

    #[test]
    fn a_share_from_a_store_of_a_removed_site_is_a_breach_and_one_from_its_next_store_is_not() {
        let (old, fresh) = (StoreId::new([1; 16]), StoreId::new([2; 16]));
        let removed = || ExpungedNodeNeverSigns { removed: BTreeMap::from([(old, 5)]), ..ExpungedNodeNeverSigns::default() };
        let at = |store, applied| {
            given(1, 1, |given| {
                given.store = store;
                given.applied = applied;
            })
        };
        assert_eq!(check_all(removed(), &[at(old, 4), at(fresh, 6)]), Ok(()));
        assert!(check_all(removed(), &[at(old, 5)]).is_err());
    }
}
