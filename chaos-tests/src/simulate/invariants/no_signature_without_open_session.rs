//! A document's share needs a session that a card opened, that the site knows and does not know to be closed, at its time, within its numbers, and a credential that is active (design.md G2, section 8).

use warifu_core::registry::{CredentialRecord, Registry as _};
use warifu_protocol::wire::{CredentialState, SignWork};

use super::{Ground, Invariant};
use crate::simulate::fact::Fact;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct NoSignatureWithoutOpenSession;

impl Invariant for NoSignatureWithoutOpenSession {
    fn name(&self) -> &'static str {
        "no_signature_without_open_session"
    }

    fn check(&mut self, fact: &Fact, ground: &Ground<'_>) -> Result<(), String> {
        let Fact::ShareGiven(given) = fact else { return Ok(()) };
        let SignWork::Document { request, certificate: named } = &given.item.work else { return Ok(()) };
        if ground.suspects.contains(&given.site) {
            return Ok(());
        }
        let body = &request.request;
        let wrong =
            |what: &str| Err(format!("site {} gave a share for number {} of session {}: {what}", given.site, body.seq, body.session));
        let Ok(Some(session)) = ground.truth.session(body.session) else { return wrong("no card has opened it") };
        let statement = &session.statement;
        let checked = &given.checked;
        if checked.session_closed != Some(false) {
            return wrong("the site does not know it, or knows that it is closed");
        }
        if checked.credential_state != Some(CredentialState::Active) {
            return wrong("the credential is not active");
        }
        if checked.terminal_retired {
            return wrong("its terminal was given up");
        }
        let listed_at = ground.cards.get(&session.card).and_then(|card| card.listed_at);
        if listed_at.is_some_and(|index| index <= checked.applied) {
            return wrong("its card is revoked");
        }
        // What a stop ended while the audit entry was written gives no share either. Lists and the ends of bindings and certificates are no
        // stops: they end what is checked from then on.
        let is_bound = |record: &CredentialRecord| record.authenticators.iter().any(|bound| bound.card == session.card);
        let has_ended = |record: &CredentialRecord| {
            record.certificate_ended || record.certificate.as_ref().is_none_or(|certificate| certificate.hash != *named)
        };
        let credential = ground.truth.credential(statement.credential).ok().flatten();
        let by_stop = listed_at.is_none() && credential.as_ref().is_some_and(|record| is_bound(record) && !has_ended(record));
        if by_stop && (given.session_closed != Some(false) || given.credential_state != Some(CredentialState::Active)) {
            return wrong("it was stopped before the share was made");
        }
        let certificate = credential.and_then(|record| record.certificate);
        if certificate.is_none_or(|certificate| checked.clock > certificate.not_after) {
            return wrong("its certificate is past its end");
        }
        if checked.clock > statement.not_after || checked.clock.plus(SKEW_MILLIS_MAX) < statement.not_before {
            return wrong("it is not its time");
        }
        if body.seq == 0 || body.seq > statement.max_signatures {
            return wrong("the number is none of its");
        }
        if body.signing_time.distance(checked.clock) > SKEW_MILLIS_MAX {
            return wrong("the signing time is not now");
        }
        Ok(())
    }
}

/// Clock skew by the default policy.
const SKEW_MILLIS_MAX: u64 = 30_000;

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::simulate::fact::{CardLife, ShareGiven};
    use std::collections::BTreeMap;
    use warifu_core::registry::{MemoryStore, encode, key, table};

    #[test]
    fn a_share_for_a_session_that_no_card_has_opened_is_a_breach() {
        assert!(check_all(NoSignatureWithoutOpenSession, &[given(1, 1, |_| {})]).is_err());
    }

    #[test]
    fn a_share_for_what_the_site_knows_to_be_over_is_a_breach() {
        let truth = with_session();
        let check = |change: &dyn Fn(&mut ShareGiven)| {
            NoSignatureWithoutOpenSession.check(&given(1, 1, |given| in_session(given, change)), &ground(&truth))
        };
        assert_eq!(check(&|_| {}), Ok(()));
        assert!(check(&|given| given.checked.session_closed = Some(true)).is_err());
        assert!(check(&|given| given.checked.credential_state = Some(CredentialState::Suspended)).is_err());
        assert!(check(&|given| given.checked.terminal_retired = true).is_err());
        assert!(check(&|given| given.checked.clock = NOW.plus(SKEW_MILLIS_MAX + 1)).is_err());
        assert!(check(&|given| given.checked.clock = NOW.plus(CERTIFIED_MILLIS + 1)).is_err());
        assert!(check(&|given| given.session_closed = Some(true)).is_err(), "stopped between check and share");
    }

    #[test]
    fn a_certificate_that_ends_while_the_audit_entry_is_written_is_no_stop() {
        let mut truth = with_session();
        let closed = |given: &mut ShareGiven| given.session_closed = Some(true);
        let check =
            |truth: &MemoryStore| NoSignatureWithoutOpenSession.check(&given(1, 1, |given| in_session(given, &closed)), &ground(truth));
        assert!(check(&truth).is_err());
        let mut record = truth.credential(CREDENTIAL).expect("a map in memory").expect("the credential");
        record.certificate_ended = true;
        truth.0.insert(key(table::CREDENTIAL, &[CREDENTIAL.as_ref()]), encode(&record));
        assert_eq!(check(&truth), Ok(()));
    }

    #[test]
    fn a_share_under_a_card_that_is_on_a_list_is_a_breach_once_the_site_has_the_list() {
        let truth = with_session();
        let listed = BTreeMap::from([(CARD, CardLife { serial: 1, ends: NOW.plus(3_600_000), listed_at: Some(7) })]);
        let check = |applied| {
            let fact = given(1, 1, |given| in_session(given, &|given| given.checked.applied = applied));
            NoSignatureWithoutOpenSession.check(&fact, &Ground { cards: &listed, ..ground(&truth) })
        };
        assert_eq!(check(6), Ok(()));
        assert!(check(7).is_err());
    }
}
