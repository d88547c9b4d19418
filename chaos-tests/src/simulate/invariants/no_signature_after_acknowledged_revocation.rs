//! Once a stop is acknowledged, with at most f liars no t sites are left that start to sign, and none can finish after the nonces of before are dead (design.md G6).
//!
//! Checked at each honest share: of a signature that was begun after the acknowledgement, or is still incomplete after the drain, the honest shares never complete it.

use std::collections::{BTreeMap, BTreeSet};

use warifu_core::registry::Registry as _;
use warifu_protocol::wire::SignWork;
use warifu_protocol::{
    Command, CredentialId, LogEntry, NodeId, OrderCommand, SessionId, Sha256, StopKind, StopObject, UnixMillis, canonical,
};

use super::{Ground, Invariant};
use crate::simulate::fact::{Fact, ShareGiven};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct NoSignatureAfterAcknowledgedRevocation {
    /// Objects that are stopped: since when acknowledged, and until when drained.
    stopped: BTreeMap<StopObject, (UnixMillis, UnixMillis)>,
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
            Fact::StopAcknowledged { object, kind, until, .. } if !matches!(kind, StopKind::SuspendBinding) => {
                self.stopped.entry(*object).or_insert((ground.now, *until));
            }
            // A resume lifts a suspension, and nothing else does.
            Fact::Committed { refused: None, bytes, kind: "credential-resumed", .. } => {
                if let Ok(Command::Order(order)) = LogEntry::decode(&bytes.0).map(|entry| entry.command)
                    && let OrderCommand::Resume { credential } = order.body.order
                {
                    self.stopped.remove(&StopObject::Credential(credential));
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
            let Some((since, until)) = self.stopped.get(&object) else { continue };
            if *begun > *since {
                return Err(format!("a signature for {object} was begun and completed after its stop was acknowledged"));
            }
            if ground.now > *until {
                return Err(format!("a signature for {object} was completed after the drain of its stop"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn a_set_that_is_begun_after_the_acknowledgement_and_completed_is_a_breach() {
        let truth = with_session();
        let stop = |until| Fact::StopAcknowledged {
            stop: warifu_protocol::StopId::new([1; 32]),
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
    fn a_set_that_is_completed_after_the_drain_is_a_breach() {
        let truth = with_session();
        let share = |site| given(site, site, |given| in_session(given, &|_| {}));
        let stop = Fact::StopAcknowledged {
            stop: warifu_protocol::StopId::new([1; 32]),
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
