//! A holder has at most one credential that is not destroyed (design.md section 6).

use std::collections::BTreeSet;

use warifu_protocol::wire::CredentialState;

use super::{Ground, Invariant};
use crate::simulate::fact::Fact;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct OneActiveCredentialPerHolder;

impl Invariant for OneActiveCredentialPerHolder {
    fn name(&self) -> &'static str {
        "one_active_credential_per_holder"
    }

    fn check(&mut self, fact: &Fact, ground: &Ground<'_>) -> Result<(), String> {
        if !matches!(fact, Fact::Committed { .. }) {
            return Ok(());
        }
        let mut holders = BTreeSet::new();
        for (id, record) in ground.credentials {
            if record.state != CredentialState::Destroyed && !holders.insert(&record.holder) {
                return Err(format!("holder {} has {id} beside another credential", record.holder));
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
    fn two_living_credentials_of_one_holder_are_a_breach() {
        let mut truth = with_credential(|_| {});
        let entry = committed(1, "", None, None, Vec::new());
        assert_eq!(OneActiveCredentialPerHolder.check(&entry, &ground(&truth)), Ok(()));
        add_credential(&mut truth, warifu_protocol::CredentialId::new([0xdd; 16]), |_| {});
        assert!(OneActiveCredentialPerHolder.check(&entry, &ground(&truth)).is_err());
    }
}
