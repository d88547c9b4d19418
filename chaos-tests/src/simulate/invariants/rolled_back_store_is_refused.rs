//! A store that has less than the cluster remembers of it is never confirmed (design.md section 6).

use std::collections::BTreeSet;

use warifu_protocol::NodeId;

use super::{Ground, Invariant};
use crate::simulate::fact::Fact;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct RolledBackStoreIsRefused {
    less: BTreeSet<NodeId>,
    replaced: std::collections::BTreeMap<NodeId, warifu_protocol::StoreId>,
}

impl Invariant for RolledBackStoreIsRefused {
    fn name(&self) -> &'static str {
        "rolled_back_store_is_refused"
    }

    fn check(&mut self, fact: &Fact, _: &Ground<'_>) -> Result<(), String> {
        match fact {
            Fact::Disk { site, is_less, .. } => {
                if *is_less {
                    self.less.insert(*site);
                } else {
                    self.less.remove(site);
                }
            }
            // A store of its own: what was said of the one before is over.
            Fact::Started { site, store, .. } if self.replaced.insert(*site, *store).is_some_and(|before| before != *store) => {
                self.less.remove(site);
            }
            Fact::Confirmed { site, .. } if self.less.contains(site) => {
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

    #[test]
    fn a_rolled_back_store_that_is_confirmed_is_a_breach() {
        let disk = |is_less| Fact::Disk { site: node(1), what: "", is_less };
        let started = |byte| Fact::Started {
            site: node(1),
            store: warifu_protocol::StoreId::new([byte; 16]),
            boot: warifu_protocol::BootId::new([0; 16]),
        };
        let confirmed = Fact::Confirmed {
            site: node(1),
            store: warifu_protocol::StoreId::new([1; 16]),
            boot: warifu_protocol::BootId::new([0; 16]),
            index: 1,
            by: vec![],
        };
        let invariant = RolledBackStoreIsRefused::default;
        assert_eq!(check_all(invariant(), &[disk(false), started(1), confirmed.clone()]), Ok(()));
        assert_eq!(check_all(invariant(), &[started(1), disk(true), started(2), confirmed.clone()]), Ok(()), "a new store by order");
        assert!(check_all(invariant(), &[started(1), disk(true), started(1), confirmed]).is_err());
    }
}
