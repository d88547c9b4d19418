//! Each signature is on record at every honest site that took part (design.md G7).

use std::collections::BTreeSet;

use warifu_protocol::{NodeId, Sha256, canonical};

use super::{Ground, Invariant};
use crate::simulate::fact::Fact;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct AuditOnTSitesForEachSignature {
    recorded: BTreeSet<(NodeId, Sha256)>,
}

impl Invariant for AuditOnTSitesForEachSignature {
    fn name(&self) -> &'static str {
        "audit_on_t_sites_for_each_signature"
    }

    fn check(&mut self, fact: &Fact, ground: &Ground<'_>) -> Result<(), String> {
        match fact {
            Fact::AuditDurable { site, rendered, .. } => {
                self.recorded.insert((*site, *rendered));
            }
            Fact::Signed(released) => {
                let rendered = Sha256::new(canonical::sha256(&released.message.0));
                let honest = released.signers.iter().filter(|site| !ground.suspects.contains(site));
                if let Some(site) = honest.into_iter().find(|site| !self.recorded.contains(&(**site, rendered))) {
                    return Err(format!("site {site} took part in a signature and has no record of it"));
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
    fn a_signature_that_an_honest_signer_has_no_record_of_is_a_breach() {
        let recorded =
            |site| Fact::AuditDurable { site: node(site), nonce: nonce(site), rendered: Sha256::new(canonical::sha256(MESSAGE)) };
        let invariant = AuditOnTSitesForEachSignature::default;
        assert_eq!(check_all(invariant(), &[recorded(1), recorded(2), signed(&[1, 2, SUSPECT])]), Ok(()));
        assert!(check_all(invariant(), &[recorded(1), signed(&[1, 2, SUSPECT])]).is_err());
    }
}
