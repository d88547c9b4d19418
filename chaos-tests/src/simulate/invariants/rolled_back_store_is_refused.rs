//! A store that has less than the cluster remembers of it is never confirmed, and no other store is turned away (design.md section 6).
//!
//! Starts are looked at, not sites: a copy of the site that was made before runs on a disk of its own, which has everything.

use std::collections::{BTreeMap, BTreeSet};

use warifu_core::registry::Registry as _;
use warifu_protocol::{BootId, NodeId, StoreId};

use super::{Ground, Invariant};
use crate::simulate::fact::Fact;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct RolledBackStoreIsRefused {
    /// Sites whose disk has less.
    less: BTreeSet<NodeId>,
    /// Starts on such a disk.
    starts: BTreeSet<BootId>,
    stores: BTreeMap<NodeId, StoreId>,
}

impl Invariant for RolledBackStoreIsRefused {
    fn name(&self) -> &'static str {
        "rolled_back_store_is_refused"
    }

    fn check(&mut self, fact: &Fact, ground: &Ground<'_>) -> Result<(), String> {
        match fact {
            Fact::Disk { site, is_less: true, .. } => {
                self.less.insert(*site);
            }
            Fact::Disk { site, .. } => {
                self.less.remove(site);
            }
            Fact::Started { site, store, boot } => {
                // A store of its own: what was said of the one before is over.
                if self.stores.insert(*site, *store).is_some_and(|before| before != *store) {
                    self.less.remove(site);
                }
                if self.less.contains(site) {
                    self.starts.insert(*boot);
                }
            }
            Fact::Unconfirmed { before, boot, .. } if self.starts.contains(before) => {
                self.starts.insert(*boot);
            }
            Fact::TurnedAway { site } => {
                let store = self.stores.get(site);
                let is_its_own = ground.truth.node(*site).ok().flatten().is_some_and(|record| Some(&record.store) == store);
                if is_its_own && !self.less.contains(site) && !ground.suspects.contains(site) {
                    return Err(format!("site {site} was turned away on a store that has all that the cluster remembers"));
                }
            }
            Fact::Confirmed { site, boot, .. } if self.starts.contains(boot) => {
                return Err(format!("site {site} was confirmed on a store that has less than the cluster remembers"));
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
    use warifu_core::registry::{MemoryStore, NodeRecord, encode, key, table};

    #[test]
    fn a_store_that_has_everything_and_is_turned_away_is_a_breach() {
        let check = |site, remembered, is_less| {
            let record = NodeRecord {
                store: store(remembered),
                store_number: 0,
                incarnation: 1,
                boot: BootId::new([1; 16]),
                started_at: 1,
                raft_index: 1,
                audit_size: 0,
                audit_root: None,
                shares_word: 0,
            };
            let mut truth = MemoryStore::default();
            truth.0.insert(key(table::NODE, &[&[site]]), encode(&record));
            let disk = Fact::Disk { site: node(site), what: "", is_less };
            let started = Fact::Started { site: node(site), store: store(1), boot: BootId::new([1; 16]) };
            let mut invariant = RolledBackStoreIsRefused::default();
            let facts = [disk, started, Fact::TurnedAway { site: node(site) }];
            facts.iter().try_for_each(|fact| invariant.check(fact, &ground(&truth)))
        };
        assert!(check(1, 1, false).is_err());
        assert_eq!(check(1, 1, true), Ok(()), "it has less");
        assert_eq!(check(1, 2, false), Ok(()), "it was replaced");
        assert_eq!(check(SUSPECT, 1, false), Ok(()), "it was copied");
    }

    #[test]
    fn a_rolled_back_store_that_is_confirmed_is_a_breach() {
        let disk = |is_less| Fact::Disk { site: node(1), what: "", is_less };
        let boot = |byte| BootId::new([byte; 16]);
        let started = |store, byte| Fact::Started { site: node(1), store: StoreId::new([store; 16]), boot: boot(byte) };
        let confirmed = |byte| Fact::Confirmed { site: node(1), store: StoreId::new([1; 16]), boot: boot(byte), index: 1, by: vec![] };
        let again = Fact::Unconfirmed { site: node(1), before: boot(2), boot: boot(3) };
        let invariant = RolledBackStoreIsRefused::default;
        assert_eq!(check_all(invariant(), &[disk(false), started(1, 1), confirmed(1)]), Ok(()));
        assert_eq!(check_all(invariant(), &[started(1, 1), disk(true), started(2, 2), confirmed(2)]), Ok(()), "a new store by order");
        assert_eq!(check_all(invariant(), &[started(1, 1), disk(true), started(1, 2), confirmed(1)]), Ok(()), "a copy from before");
        assert!(check_all(invariant(), &[started(1, 1), disk(true), started(1, 2), confirmed(2)]).is_err());
        assert!(check_all(invariant(), &[started(1, 1), disk(true), started(1, 2), again, confirmed(3)]).is_err(), "under another boot id");
    }
}
