//! A nonce pair is bound to one message: the audit log never names two for it (design.md G8, section 9).

use std::collections::BTreeMap;

use warifu_protocol::{NodeId, NonceId, Sha256};

use super::{Ground, Invariant};
use crate::simulate::fact::Fact;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct OneMessagePerNonce {
    messages: BTreeMap<(NodeId, NonceId), Sha256>,
}

impl Invariant for OneMessagePerNonce {
    fn name(&self) -> &'static str {
        "one_message_per_nonce"
    }

    fn check(&mut self, fact: &Fact, _: &Ground<'_>) -> Result<(), String> {
        let Fact::AuditDurable { site, nonce, rendered } = fact else { return Ok(()) };
        match self.messages.insert((*site, *nonce), *rendered) {
            Some(before) if before != *rendered => Err(format!("site {site} recorded nonce {nonce} for two messages")),
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn a_nonce_that_is_recorded_for_two_messages_is_a_breach() {
        assert_eq!(check_all(OneMessagePerNonce::default(), &[durable(1, 7, 1), durable(1, 7, 1), durable(2, 7, 2)]), Ok(()));
        assert!(check_all(OneMessagePerNonce::default(), &[durable(1, 7, 1), durable(1, 7, 2)]).is_err());
    }
}
