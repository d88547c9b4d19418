//! What a client was told once stays so: a number of a session has one document, and its signature is never of another message (design.md section 8).

use std::collections::BTreeMap;

use warifu_protocol::{RequestHash, SessionId};

use super::{Ground, Invariant};
use crate::simulate::fact::Fact;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct AckedRequestHasExactlyOneOutcome {
    signed: BTreeMap<(SessionId, u32), (RequestHash, Vec<u8>)>,
}

impl Invariant for AckedRequestHasExactlyOneOutcome {
    fn name(&self) -> &'static str {
        "acked_request_has_exactly_one_outcome"
    }

    fn check(&mut self, fact: &Fact, _: &Ground<'_>) -> Result<(), String> {
        let Fact::Signed(released) = fact else { return Ok(()) };
        let Some((session, seq, hash)) = released.request else { return Ok(()) };
        let now = (hash, released.message.0.clone());
        match self.signed.insert((session, seq), now.clone()) {
            Some(before) if before != now => Err(format!("number {seq} of session {session} has two outcomes")),
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn two_documents_under_one_number_are_a_breach() {
        let outcome = |byte| {
            let Fact::Signed(mut released) = signed(&[1, 2, 3]) else { unreachable!() };
            released.request = Some((SessionId::new([1; 32]), 1, RequestHash::new([byte; 32])));
            Fact::Signed(released)
        };
        assert_eq!(check_all(AckedRequestHasExactlyOneOutcome::default(), &[outcome(1), outcome(1)]), Ok(()));
        assert!(check_all(AckedRequestHasExactlyOneOutcome::default(), &[outcome(1), outcome(2)]).is_err());
    }
}
