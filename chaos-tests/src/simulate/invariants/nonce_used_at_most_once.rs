//! A nonce pair makes at most one signature share, ever (design.md G8; RFC 9591 section 7.3).

use std::collections::BTreeSet;

use warifu_protocol::{NodeId, NonceId};

use super::{Ground, Invariant};
use crate::simulate::fact::Fact;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct NonceUsedAtMostOnce {
    used: BTreeSet<(NodeId, NonceId)>,
}

impl Invariant for NonceUsedAtMostOnce {
    fn name(&self) -> &'static str {
        "nonce_used_at_most_once"
    }

    fn check(&mut self, fact: &Fact, _: &Ground<'_>) -> Result<(), String> {
        let Fact::ShareGiven(given) = fact else { return Ok(()) };
        // A liar may do what it likes with its own nonces; copies of a site are watched all the more.
        let Some(nonce) = given.nonce() else { return Err(format!("site {} gave a share with a nonce that is not its own", given.site)) };
        if self.used.insert((given.site, nonce)) { Ok(()) } else { Err(format!("site {} used nonce {nonce} twice", given.site)) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn a_nonce_that_makes_two_shares_is_a_breach() {
        let facts = [given(1, 7, |_| {}), given(2, 7, |_| {}), given(1, 8, |_| {})];
        assert_eq!(check_all(NonceUsedAtMostOnce::default(), &facts), Ok(()));
        let facts = [given(1, 7, |_| {}), given(1, 7, |_| {})];
        assert!(check_all(NonceUsedAtMostOnce::default(), &facts).is_err());
    }
}
