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

    fn started(site: u8, on: StoreId) -> Fact {
        Fact::Started { site: node(site), store: on, boot: warifu_protocol::BootId::new([1; 16]) }
    }

    fn share(site: u8, on: StoreId, applied: u64) -> Fact {
        given(site, 1, |given| {
            given.store = on;
            given.applied = applied;
        })
    }

    #[test]
    fn a_share_from_a_store_that_an_order_ended_is_a_breach() {
        let (old, fresh) = (store(1), StoreId::new([9; 16]));
        let replaced = order(1, OrderCommand::ReplaceStore { node: entry(1), store: fresh });
        let check = |facts: &[Fact]| {
            let before = [started(1, old), started(2, store(2)), logged(5, &replaced)];
            check_all(ExpungedNodeNeverSigns::default(), &[&before[..], facts].concat())
        };
        assert_eq!(check(&[share(1, old, 4)]), Ok(()), "it has not heard of it");
        assert_eq!(check(&[share(1, fresh, 6), share(2, store(2), 6)]), Ok(()));
        assert!(check(&[share(1, old, 5)]).is_err());
        let refused = [started(1, old), refused(5, &replaced), share(1, old, 5)];
        assert_eq!(check_all(ExpungedNodeNeverSigns::default(), &refused), Ok(()), "the order was refused");
        let twice = order(2, OrderCommand::ReplaceStore { node: entry(1), store: StoreId::new([8; 16]) });
        assert!(check(&[logged(7, &twice), share(1, fresh, 7)]).is_err(), "replaced once more");
    }

    #[test]
    fn a_share_from_a_store_of_a_removed_site_is_a_breach_and_one_from_its_next_store_is_not() {
        let (old, fresh) = (store(1), StoreId::new([9; 16]));
        let check = |facts: &[Fact]| {
            let before = [started(1, old), started(2, store(2)), logged(5, &roster(&[2, 3, 4]))];
            check_all(ExpungedNodeNeverSigns::default(), &[&before[..], facts].concat())
        };
        assert_eq!(check(&[share(1, old, 4), share(2, store(2), 6)]), Ok(()));
        assert!(check(&[share(1, old, 5)]).is_err());
        let back = [logged(7, &roster(&[1, 2, 3, 4])), started(1, fresh)];
        assert_eq!(check(&[&back[..], &[share(1, fresh, 8)]].concat()), Ok(()));
        assert!(check(&[&back[..], &[share(1, old, 8)]].concat()).is_err(), "its old store is ended for good");
    }
}
