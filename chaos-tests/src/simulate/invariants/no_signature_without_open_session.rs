//! A document's share needs a session that a card opened, that the site knows and does not know to be closed, at its time, within its numbers, and a credential that is active (design.md G2, section 8).

use warifu_core::registry::Registry as _;
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
        let SignWork::Document { request, .. } = &given.item.work else { return Ok(()) };
        if ground.suspects.contains(&given.site) {
            return Ok(());
        }
        let body = &request.request;
        let wrong =
            |what: &str| Err(format!("site {} gave a share for number {} of session {}: {what}", given.site, body.seq, body.session));
        let Ok(Some(session)) = ground.truth.session(body.session) else { return wrong("no card has opened it") };
        let statement = &session.statement;
        if given.session_closed != Some(false) {
            return wrong("the site does not know it, or knows that it is closed");
        }
        if given.credential_state != Some(CredentialState::Active) {
            return wrong("the credential is not active");
        }
        if given.clock > statement.not_after || given.clock.plus(SKEW_MILLIS_MAX) < statement.not_before {
            return wrong("it is not its time");
        }
        if body.seq == 0 || body.seq > statement.max_signatures {
            return wrong("the number is none of its");
        }
        if body.signing_time.distance(given.clock) > SKEW_MILLIS_MAX {
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

    #[test]
    fn a_share_for_a_session_that_no_card_has_opened_is_a_breach() {
        assert!(check_all(NoSignatureWithoutOpenSession, &[given(1, 1, |_| {})]).is_err());
    }

    #[test]
    fn a_share_for_a_closed_session_or_an_inactive_credential_is_a_breach() {
        let truth = with_session();
        let check = |change: &dyn Fn(&mut crate::simulate::fact::ShareGiven)| {
            NoSignatureWithoutOpenSession.check(&given(1, 1, |given| in_session(given, change)), &ground(&truth))
        };
        assert_eq!(check(&|_| {}), Ok(()));
        assert!(check(&|given| given.session_closed = Some(true)).is_err());
        assert!(check(&|given| given.credential_state = Some(CredentialState::Suspended)).is_err());
        assert!(check(&|given| given.clock = given.clock.plus(SKEW_MILLIS_MAX + 1)).is_err());
    }
}
