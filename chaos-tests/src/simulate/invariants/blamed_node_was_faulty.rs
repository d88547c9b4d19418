//! Nobody honest is blamed for a lie: no coordinator blames a site for a false share, and no accusation in the log or contradiction in a repair costs a site
//! its part in a ceremony, unless the site is corrupt (design.md section 9, step 4, and section 7).

use warifu_core::registry::{Registry as _, RepairRecord};
use warifu_protocol::{CeremonyId, Command, LogEntry, NodeId};

use super::{Ground, Invariant};
use crate::simulate::fact::Fact;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct BlamedNodeWasFaulty;

impl Invariant for BlamedNodeWasFaulty {
    fn name(&self) -> &'static str {
        "blamed_node_was_faulty"
    }

    fn check(&mut self, fact: &Fact, ground: &Ground<'_>) -> Result<(), String> {
        match fact {
            Fact::Blamed { coordinator, site } if !ground.suspects.contains(site) => {
                Err(format!("{coordinator} blamed site {site}, which is honest"))
            }
            Fact::Committed { index, refused: None, bytes, .. } => {
                let Ok(command) = LogEntry::decode(&bytes.0).map(|entry| entry.command) else { return Ok(()) };
                let expelled = expelled(&command, ground);
                let honest = expelled.into_iter().find(|site| !ground.suspects.contains(site));
                honest.map_or(Ok(()), |site| Err(format!("entry {index} ({}) expels site {site}, which is honest", command.kind())))
            }
            _ => Ok(()),
        }
    }
}

/// Whom a command that the log took has cost its part in a ceremony, as the state after it says.
fn expelled(command: &Command, ground: &Ground<'_>) -> Vec<NodeId> {
    match command {
        Command::CeremonyAccused(signed) => {
            let (accuser, body) = (signed.node, &signed.body);
            let participants = ground.truth.ceremony(body.ceremony).ok().flatten().map(|record| record.participants);
            let is_out = |site: &NodeId| participants.as_ref().is_some_and(|participants| !participants.contains(site));
            [accuser, body.culprit].into_iter().filter(is_out).collect()
        }
        // The log takes an accusation in a repair only if the accused lied.
        Command::RepairAccused(signed) => vec![signed.body.part.node],
        Command::RepairCommitted(signed) => expelled_from(signed.body.ceremony, ground),
        _ => Vec::new(),
    }
}

fn expelled_from(repair: CeremonyId, ground: &Ground<'_>) -> Vec<NodeId> {
    let Some(record) = ground.truth.repair(repair).ok().flatten() else { return Vec::new() };
    let standing = record.candidates.iter().zip(&record.demerits);
    standing.filter(|(_, demerits)| **demerits == RepairRecord::EXPELLED).map(|(site, _)| *site).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use warifu_core::registry::{CeremonyRecord, CeremonyStep, MemoryStore, encode, key, table};
    use warifu_protocol::{
        Blob, CeremonyAccusation, Epoch, NodeSigned, RepairAccusation, RepairCommitments, RepairPart, RepairPartKind, UnixMillis,
    };

    const CEREMONY: CeremonyId = CeremonyId::new([1; 16]);

    fn said<T>(by: u8, body: T) -> NodeSigned<T> {
        NodeSigned { node: node(by), body, signature: Blob::default() }
    }

    #[test]
    fn an_honest_site_that_is_blamed_is_a_breach() {
        let blamed = |site| Fact::Blamed { coordinator: coordinator(), site: node(site) };
        assert_eq!(check_all(BlamedNodeWasFaulty, &[blamed(SUSPECT)]), Ok(()));
        assert!(check_all(BlamedNodeWasFaulty, &[blamed(1)]).is_err());
    }

    #[test]
    fn an_honest_site_that_an_accusation_leaves_out_of_a_ceremony_is_a_breach_accused_or_accuser() {
        let check = |accuser, culprit, participants: &[u8], is_refused: bool| {
            let body = CeremonyAccusation { ceremony: CEREMONY, attempt: 1, culprit: node(culprit), credential: CREDENTIAL, round2: None };
            let accusation = Command::CeremonyAccused(said(accuser, body));
            let mut truth = MemoryStore::default();
            let record = CeremonyRecord {
                kind: warifu_core::registry::CeremonyKind::Generate,
                opened_by: None,
                candidates: Vec::new(),
                attempt: 2,
                credentials: vec![CREDENTIAL],
                participants: participants.iter().map(|site| node(*site)).collect(),
                deadline: UnixMillis(0),
                step: CeremonyStep::Round1,
                round1: Vec::new(),
                round2: Vec::new(),
                confirmed: Vec::new(),
                outcomes: Vec::new(),
                receipts: Vec::new(),
            };
            truth.0.insert(key(table::CEREMONY, &[CEREMONY.as_ref()]), encode(&record));
            let fact = if is_refused { refused(7, &accusation) } else { logged(7, &accusation) };
            BlamedNodeWasFaulty.check(&fact, &ground(&truth))
        };
        assert_eq!(check(SUSPECT, 1, &[1, 2, 3, 4], false), Ok(()), "the liar is left out");
        assert_eq!(check(1, SUSPECT, &[1, 2, 3, 4], false), Ok(()), "the liar is left out");
        assert_eq!(check(SUSPECT, 1, &[1, 2, 3, 4, SUSPECT], false), Ok(()), "all begin again");
        assert!(check(SUSPECT, 1, &[2, 3, 4, SUSPECT], false).is_err());
        assert!(check(1, SUSPECT, &[2, 3, 4, SUSPECT], false).is_err());
        assert_eq!(check(SUSPECT, 1, &[2, 3, 4, SUSPECT], true), Ok(()), "it was not in the ceremony before either");
    }

    #[test]
    fn an_honest_helper_that_is_expelled_from_a_repair_is_a_breach() {
        let accused = |by, whom| {
            let body = RepairPart { ceremony: CEREMONY, attempt: 1, to: node(by), kind: RepairPartKind::Delta, hashes: Vec::new() };
            Command::RepairAccused(said(by, RepairAccusation { part: said(whom, body), place: 0, scalar: [0; 32] }))
        };
        assert_eq!(check_all(BlamedNodeWasFaulty, &[logged(1, &accused(1, SUSPECT)), refused(2, &accused(SUSPECT, 1))]), Ok(()));
        assert!(check_all(BlamedNodeWasFaulty, &[logged(1, &accused(SUSPECT, 1))]).is_err());
        let committed = |demerits: [u32; 2]| {
            let record = RepairRecord {
                receiver: node(3),
                store_number: 1,
                credentials: vec![(CREDENTIAL, Epoch(1))],
                candidates: vec![node(1), node(SUSPECT)],
                demerits: demerits.to_vec(),
                attempt: 2,
                helpers: Vec::new(),
                committed: Vec::new(),
                deadline: UnixMillis(0),
            };
            let mut truth = MemoryStore::default();
            truth.0.insert(key(table::REPAIR, &[CEREMONY.as_ref()]), encode(&record));
            let commitments = RepairCommitments { ceremony: CEREMONY, attempt: 1, commitments: Vec::new() };
            BlamedNodeWasFaulty.check(&logged(1, &Command::RepairCommitted(said(1, commitments))), &ground(&truth))
        };
        assert_eq!(committed([3, RepairRecord::EXPELLED]), Ok(()));
        assert!(committed([RepairRecord::EXPELLED, 0]).is_err());
    }
}
