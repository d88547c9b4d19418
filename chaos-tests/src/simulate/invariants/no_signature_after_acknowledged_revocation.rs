//! Once a stop is acknowledged, with at most f liars no t sites are left that start to sign, and none can finish after the nonces of before are dead (design.md G6).
//!
//! Checked at each honest share: of a signature that was begun after the acknowledgement, or is still incomplete after the drain, the honest shares never complete it.

use std::collections::{BTreeMap, BTreeSet};

use warifu_core::registry::Registry as _;
use warifu_protocol::wire::SignWork;
use warifu_protocol::{
    Command, CredentialId, LogEntry, NodeId, OrderCommand, SessionId, Sha256, StopId, StopKind, StopObject, UnixMillis, canonical,
};

use super::{Ground, Invariant};
use crate::simulate::fact::{Fact, ShareGiven};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct NoSignatureAfterAcknowledgedRevocation {
    /// Stops of each object: since when acknowledged, and until when drained.
    stopped: BTreeMap<(StopObject, StopId), (UnixMillis, UnixMillis)>,
    /// Where the log has each stop, and where it lifted suspensions.
    logged: BTreeMap<StopId, u64>,
    resumed: BTreeMap<StopObject, u64>,
    /// Shares of each signer set: since when, and by whom.
    sets: BTreeMap<Sha256, (UnixMillis, BTreeSet<NodeId>)>,
}

impl Invariant for NoSignatureAfterAcknowledgedRevocation {
    fn name(&self) -> &'static str {
        "no_signature_after_acknowledged_revocation"
    }

    fn check(&mut self, fact: &Fact, ground: &Ground<'_>) -> Result<(), String> {
        match fact {
            // A card's stop is of its sessions, which are found through the credential; those are not told apart here.
            Fact::StopAcknowledged { stop, object, kind, until } if !matches!(kind, StopKind::SuspendBinding) => {
                // The last receipts of a suspension may come when it is lifted already.
                let is_lifted = self.logged.get(stop).zip(self.resumed.get(object)).is_some_and(|(stop, resumed)| stop < resumed);
                if !is_lifted {
                    self.stopped.entry((*object, *stop)).or_insert((ground.now, *until));
                }
            }
            // A resume lifts the suspensions that the log has before it, and nothing else does.
            Fact::Committed { index, refused: None, bytes, .. } => {
                let Ok(command) = LogEntry::decode(&bytes.0).map(|entry| entry.command) else { return Ok(()) };
                if let Some(stop) = command.as_stop() {
                    self.logged.entry(stop.id()).or_insert(*index);
                } else if let Command::Order(order) = command
                    && let OrderCommand::Resume { credential } = order.body.order
                {
                    let object = StopObject::Credential(credential);
                    self.resumed.insert(object, *index);
                    self.stopped.retain(|(stopped, stop), _| *stopped != object || !self.logged.contains_key(stop));
                }
            }
            Fact::ShareGiven(given) if ground.suspects.len() <= usize::from(ground.liars) => return self.look(given, ground),
            _ => {}
        }
        Ok(())
    }
}

impl NoSignatureAfterAcknowledgedRevocation {
    fn look(&mut self, given: &ShareGiven, ground: &Ground<'_>) -> Result<(), String> {
        let signers: BTreeSet<NodeId> = given.item.signers.iter().map(|signer| signer.node).collect();
        let set = Sha256::new(canonical::sha256(&postcard::to_stdvec(&given.item).map_err(|error| error.to_string())?));
        let (begun, gave) = self.sets.entry(set).or_insert((ground.now, BTreeSet::new()));
        gave.insert(given.site);
        // Liars are taken to have given theirs.
        let is_complete = signers.iter().all(|site| gave.contains(site) || ground.suspects.contains(site));
        if !is_complete {
            return Ok(());
        }
        let mut objects = Vec::new();
        match &given.item.work {
            SignWork::Csr { credential } => objects.push(StopObject::Credential(*credential)),
            SignWork::Document { request, .. } => {
                let session: SessionId = request.request.session;
                objects.push(StopObject::Session(session));
                let credential: Option<CredentialId> =
                    ground.truth.session(session).ok().flatten().map(|session| session.statement.credential);
                objects.extend(credential.map(StopObject::Credential));
            }
        }
        for object in objects {
            let (first, last) = ((object, StopId::new([0; StopId::LEN])), (object, StopId::new([0xff; StopId::LEN])));
            for (since, until) in self.stopped.range(first..=last).map(|(_, times)| times) {
                if *begun > *since {
                    return Err(format!("a signature for {object} was begun and completed after its stop was acknowledged"));
                }
                if ground.now > *until {
                    return Err(format!("a signature for {object} was completed after the drain of its stop"));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use warifu_protocol::{ClusterId, ObjectVersion, Order, OrderBody, OrderId};

    #[test]
    fn a_set_that_is_begun_after_the_acknowledgement_and_completed_is_a_breach() {
        let truth = with_session();
        let stop = |until| Fact::StopAcknowledged {
            stop: StopId::new([1; 32]),
            object: StopObject::Credential(CREDENTIAL),
            kind: StopKind::Revoke,
            until,
        };
        let share = |site| given(site, site, |given| in_session(given, &|_| {}));
        let mut invariant = NoSignatureAfterAcknowledgedRevocation::default();
        let mut ground = ground(&truth);
        assert_eq!(invariant.check(&share(1), &ground), Ok(()));
        assert_eq!(invariant.check(&stop(NOW.plus(30_000)), &ground), Ok(()));
        ground.now = NOW.plus(1);
        assert_eq!(invariant.check(&share(2), &ground), Ok(()), "it was begun before");
        assert_eq!(invariant.check(&share(3), &ground), Ok(()));

        let mut invariant = NoSignatureAfterAcknowledgedRevocation::default();
        assert_eq!(invariant.check(&stop(NOW.plus(30_000)), &ground), Ok(()));
        ground.now = NOW.plus(2);
        assert_eq!(invariant.check(&share(1), &ground), Ok(()), "one site that has not heard of it cannot sign");
        assert_eq!(invariant.check(&share(2), &ground), Ok(()));
        assert!(invariant.check(&share(3), &ground).is_err());
    }

    #[test]
    fn a_suspension_that_was_lifted_before_its_last_receipts_came_stops_nothing() {
        let truth = with_session();
        let order = |id: u8, order| {
            let (id, cluster) = (OrderId::new([id; 16]), ClusterId::new([7; 32]));
            let body = OrderBody { cluster, id, not_after: NOW.plus(1), object_version: ObjectVersion(0), order };
            Command::Order(Order { body, approvals: Vec::new(), consents: Vec::new() })
        };
        let suspend = order(1, OrderCommand::Suspend { credential: CREDENTIAL });
        let stop = suspend.as_stop().expect("a stop").id();
        let logged =
            |index, command: Command| committed(index, "", None, None, LogEntry::new(NOW, command).encode().expect("a small entry"));
        let resume = || order(2, OrderCommand::Resume { credential: CREDENTIAL });
        let (object, until) = (StopObject::Credential(CREDENTIAL), NOW.plus(30_000));
        let acknowledged = Fact::StopAcknowledged { stop, object, kind: StopKind::Suspend, until };
        let check = |facts: &[Fact]| {
            let mut invariant = NoSignatureAfterAcknowledgedRevocation::default();
            let later = Ground { now: NOW.plus(1), ..ground(&truth) };
            facts.iter().try_for_each(|fact| invariant.check(fact, &ground(&truth)))?;
            (1..=3).try_for_each(|site| invariant.check(&given(site, site, |given| in_session(given, &|_| {})), &later))
        };
        assert_eq!(check(&[logged(1, suspend.clone()), acknowledged.clone(), logged(2, resume())]), Ok(()));
        assert_eq!(check(&[logged(1, suspend.clone()), logged(2, resume()), acknowledged.clone()]), Ok(()));
        assert!(check(&[logged(1, resume()), logged(2, suspend), acknowledged]).is_err(), "a resume before it lifts nothing");
    }

    #[test]
    fn a_set_that_is_completed_after_the_drain_is_a_breach() {
        let truth = with_session();
        let share = |site| given(site, site, |given| in_session(given, &|_| {}));
        let stop = Fact::StopAcknowledged {
            stop: StopId::new([1; 32]),
            object: StopObject::Session(session_id()),
            kind: StopKind::CloseSession,
            until: NOW.plus(30_000),
        };
        let mut invariant = NoSignatureAfterAcknowledgedRevocation::default();
        let mut ground = ground(&truth);
        for site in [1, 2] {
            assert_eq!(invariant.check(&share(site), &ground), Ok(()));
        }
        assert_eq!(invariant.check(&stop, &ground), Ok(()));
        ground.now = NOW.plus(30_001);
        assert!(invariant.check(&share(3), &ground).is_err());
    }
}
