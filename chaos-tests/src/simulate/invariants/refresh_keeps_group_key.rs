//! A credential's public key never changes once it is there (design.md section 7).

use std::collections::BTreeMap;

use warifu_protocol::CredentialId;

use super::{Ground, Invariant};
use crate::simulate::fact::Fact;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct RefreshKeepsGroupKey {
    keys: BTreeMap<CredentialId, [u8; 32]>,
}

impl Invariant for RefreshKeepsGroupKey {
    fn name(&self) -> &'static str {
        "refresh_keeps_group_key"
    }

    fn check(&mut self, fact: &Fact, ground: &Ground<'_>) -> Result<(), String> {
        if !matches!(fact, Fact::Committed { .. }) {
            return Ok(());
        }
        for (id, record) in ground.credentials {
            let Some(key) = &record.key else { continue };
            if self.keys.insert(*id, key.group_key).is_some_and(|before| before != key.group_key) {
                return Err(format!("credential {id} has another key"));
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
    fn another_key_is_a_breach() {
        let key = |byte| {
            with_credential(|record| {
                record.key = Some(warifu_core::registry::CredentialKey { group_key: [byte; 32], public_key_package: Vec::new().into() });
            })
        };
        let mut invariant = RefreshKeepsGroupKey::default();
        let entry = committed(1, "", None, None, Vec::new());
        assert_eq!(invariant.check(&entry, &ground(&key(1))), Ok(()));
        assert!(invariant.check(&entry, &ground(&key(2))).is_err());
    }
}
