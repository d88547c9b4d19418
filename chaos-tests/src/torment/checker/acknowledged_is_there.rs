//! What a client was told is in the log is in every site's state at the end: sessions are there, stopped ones closed, revoked keys revoked.

use warifu_protocol::StopObject;
use warifu_protocol::wire::CredentialState;

use super::{Evidence, Finding};

pub(super) fn check(evidence: &Evidence) -> Finding {
    let mut finding = Finding::default();
    for state in &evidence.states {
        for session in &evidence.said.opened {
            finding.look(state.sessions.contains_key(session), || format!("node {} does not know session {session}", state.node));
        }
        for stop in &evidence.said.stopped {
            let holds = match stop.object {
                StopObject::Session(session) => state.sessions.get(&session).copied() == Some(true),
                StopObject::Credential(credential) => {
                    matches!(state.credentials.get(&credential), Some(CredentialState::Revoked | CredentialState::Destroyed))
                }
                StopObject::Card { .. } => true,
            };
            finding.look(holds, || format!("the stop of {} was acknowledged, and node {} has it as before", stop.object, state.node));
        }
    }
    finding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torment::checker::testing::{acknowledged, evidence, must_session};

    #[test]
    fn an_acknowledged_session_or_stop_that_a_site_lost_is_seen() {
        let mut evidence = evidence();
        acknowledged(&mut evidence, 1, 4);
        evidence.said.opened.push(must_session(1));
        for state in &mut evidence.states {
            state.sessions.insert(must_session(1), true);
        }
        assert!(check(&evidence).violations.is_empty());
        evidence.states[0].sessions.insert(must_session(1), false);
        assert_eq!(check(&evidence).violations.len(), 1);
        evidence.states[0].sessions.clear();
        assert_eq!(check(&evidence).violations.len(), 2);
    }
}
