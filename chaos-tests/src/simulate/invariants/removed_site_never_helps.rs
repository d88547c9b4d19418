//! A site that was removed can neither join, read nor help: from the entry that removes it on, nothing that it says counts, and no site that has applied
//! that entry sends it anything secret or signs beside it (design.md section 5, G4).

use std::collections::BTreeMap;

use warifu_protocol::{Command, LogEntry, NodeId, OrderCommand};

use super::{Ground, Invariant};
use crate::simulate::fact::Fact;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct RemovedSiteNeverHelps {
    /// Sites that are not in the roster any more, and the entry that removed them.
    removed: BTreeMap<NodeId, u64>,
    applied: BTreeMap<NodeId, u64>,
}

impl Invariant for RemovedSiteNeverHelps {
    fn name(&self) -> &'static str {
        "removed_site_never_helps"
    }

    fn check(&mut self, fact: &Fact, ground: &Ground<'_>) -> Result<(), String> {
        match fact {
            Fact::Committed { index, refused: None, bytes, kind, .. } => {
                let Ok(command) = LogEntry::decode(&bytes.0).map(|entry| entry.command) else { return Ok(()) };
                if let Some(author) = author(&command).filter(|author| self.removed.contains_key(author)) {
                    return Err(format!("entry {index} ({kind}) of site {author} counts, which was removed"));
                }
                if let Command::Order(order) = &command
                    && let OrderCommand::UpdateRoster { nodes, .. } = &order.body.order
                {
                    self.removed.retain(|site, _| nodes.iter().all(|node| node.id != *site));
                    for gone in ground.sites.iter().filter(|site| nodes.iter().all(|node| node.id != **site)) {
                        self.removed.entry(*gone).or_insert(*index);
                    }
                }
            }
            Fact::Applied { site, index, .. } | Fact::SnapshotInstalled { site, index, .. } => {
                self.applied.insert(*site, *index);
            }
            Fact::ScalarsSent { from, to, .. } => {
                let applied = self.applied.get(from).copied().unwrap_or_default();
                // Of a site that was copied, one process may know and the other not.
                if self.is_removed(*to, applied) && !ground.suspects.contains(from) {
                    return Err(format!("site {from} has applied entry {applied} and sent scalars to site {to}, which was removed"));
                }
            }
            Fact::ShareGiven(given) => {
                let applied = given.checked.applied;
                let beside = given.item.signers.iter().map(|signer| signer.node).find(|signer| self.is_removed(*signer, applied));
                if let Some(removed) = beside.filter(|_| !ground.suspects.contains(&given.site)) {
                    return Err(format!(
                        "site {} has applied entry {applied} and signs beside site {removed}, which was removed",
                        given.site
                    ));
                }
            }
            Fact::Confirmed { site, index, .. } if self.is_removed(*site, *index) => {
                return Err(format!("site {site} is confirmed at entry {index} and was removed"));
            }
            _ => {}
        }
        Ok(())
    }
}

impl RemovedSiteNeverHelps {
    /// Whether somebody who has applied so much knows that this site was removed.
    fn is_removed(&self, site: NodeId, applied: u64) -> bool {
        self.removed.get(&site).is_some_and(|index| applied >= *index)
    }
}

/// The site whose word a command is.
const fn author(command: &Command) -> Option<NodeId> {
    Some(match command {
        Command::NodeStarted(signed) => signed.node,
        Command::CheckpointWitnessed(signed) => signed.node,
        Command::CeremonyRound1(signed) => signed.node,
        Command::CeremonyRound2Hash(signed) => signed.node,
        Command::CeremonyConfirm(signed) => signed.node,
        Command::CeremonyAbort(signed) => signed.node,
        Command::CeremonyAccused(signed) => signed.node,
        Command::CeremonyOverdue(signed) => signed.node,
        Command::RepairStarted(signed) => signed.node,
        Command::RepairCommitted(signed) => signed.node,
        Command::RepairAccused(signed) => signed.node,
        Command::RepairConfirmed(signed) => signed.node,
        Command::RepairAborted(signed) => signed.node,
        Command::EpochReceived(signed) => signed.node,
        Command::EpochRetired(signed) => signed.node,
        Command::RefreshStarted(signed) => signed.node,
        Command::SharesLost(signed) => signed.node,
        Command::SharesFound(signed) => signed.node,
        Command::ImportConfirmed(signed) => signed.node,
        Command::ImportAborted(signed) => signed.node,
        Command::Order(_) | Command::SessionOpened(_) | Command::SessionClosed(_) | Command::CrlChunk { .. } => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::simulate::fact::{Sent, Unshown};
    use warifu_protocol::{Blob, BootId, CeremonyId, Checkpoint, NodeSigned, Sha256, StoreId};

    fn said(by: u8) -> Fact {
        let body = Checkpoint { size: 1, root: Sha256::new([1; 32]) };
        let command = Command::CheckpointWitnessed(NodeSigned { node: node(by), body, signature: Blob::default() });
        logged(9, &command)
    }

    fn applied(site: u8, index: u64) -> Fact {
        Fact::Applied { site: node(site), index, root: Sha256::new([0; 32]) }
    }

    fn sent(from: u8, to: u8) -> Fact {
        let (ceremony, scalars) = (CeremonyId::new([1; 16]), Unshown(Vec::new()));
        Fact::ScalarsSent { from: node(from), to: node(to), ceremony, attempt: 1, what: Sent::Round2, scalars }
    }

    fn confirmed(site: u8, index: u64) -> Fact {
        Fact::Confirmed { site: node(site), store: StoreId::new([1; 16]), boot: BootId::new([1; 16]), index, by: Vec::new() }
    }

    /// Site 3 was removed by entry 5.
    fn check(facts: &[Fact]) -> Result<(), String> {
        check_all(RemovedSiteNeverHelps::default(), &[&[logged(5, &roster(&[1, 2, 4, 5]))], facts].concat())
    }

    #[test]
    fn what_a_removed_site_says_counts_for_nothing_and_it_is_not_confirmed() {
        assert_eq!(check(&[said(2), confirmed(3, 4), confirmed(2, 6)]), Ok(()));
        assert!(check(&[said(3)]).is_err());
        let back = logged(7, &roster(&[1, 2, 3, 4, 5]));
        assert_eq!(check(&[back, said(3), confirmed(3, 8)]), Ok(()), "it was taken back");
        let kept = check_all(RemovedSiteNeverHelps::default(), &[refused(5, &roster(&[1, 2, 4, 5])), said(3)]);
        assert_eq!(kept, Ok(()), "the order was refused");
        assert!(check(&[confirmed(3, 6)]).is_err());
    }

    #[test]
    fn whoever_knows_that_a_site_was_removed_sends_it_nothing_and_does_not_sign_beside_it() {
        assert_eq!(check(&[applied(1, 4), sent(1, 3), applied(1, 5), sent(1, 2)]), Ok(()));
        assert!(check(&[applied(1, 5), sent(1, 3)]).is_err());
        assert_eq!(check(&[applied(SUSPECT, 5), sent(SUSPECT, 3)]), Ok(()), "its copy may have applied it");
        let beside = |applied: u64| given(1, 1, |given| in_session(given, &|given| given.checked.applied = applied));
        assert_eq!(check(&[beside(4)]), Ok(()), "it has not heard of it");
        assert!(check(&[beside(5)]).is_err());
    }
}
