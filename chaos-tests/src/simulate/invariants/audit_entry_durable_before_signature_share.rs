//! A share leaves a site only after its audit entry is on that site's disk (design.md G7).

use std::collections::BTreeSet;

use warifu_protocol::{NodeId, NonceId};

use super::{Ground, Invariant};
use crate::simulate::fact::Fact;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct AuditEntryDurableBeforeSignatureShare {
    durable: BTreeSet<(NodeId, NonceId)>,
}

impl Invariant for AuditEntryDurableBeforeSignatureShare {
    fn name(&self) -> &'static str {
        "audit_entry_durable_before_signature_share"
    }

    fn check(&mut self, fact: &Fact, _: &Ground<'_>) -> Result<(), String> {
        match fact {
            Fact::AuditDurable { site, nonce, .. } => {
                self.durable.insert((*site, *nonce));
            }
            Fact::ShareGiven(given) => {
                let is_durable = given.nonce().is_some_and(|nonce| self.durable.contains(&(given.site, nonce)));
                if !is_durable {
                    return Err(format!("site {} gave a share before its audit entry was on the disk", given.site));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn a_share_that_leaves_before_its_audit_entry_is_durable_is_a_breach() {
        let invariant = AuditEntryDurableBeforeSignatureShare::default;
        assert_eq!(check_all(invariant(), &[durable(1, 7, 1), given(1, 7, |_| {})]), Ok(()));
        assert!(check_all(invariant(), &[given(1, 7, |_| {}), durable(1, 7, 1)]).is_err());
        assert!(check_all(invariant(), &[durable(2, 7, 1), given(1, 7, |_| {})]).is_err());
    }
}
