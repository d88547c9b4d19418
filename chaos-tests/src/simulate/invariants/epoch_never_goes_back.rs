//! The epoch of a credential's shares only grows (design.md section 7).

use std::collections::BTreeMap;

use warifu_protocol::{CredentialId, Epoch};

use super::{Ground, Invariant};
use crate::simulate::fact::Fact;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct EpochNeverGoesBack {
    epochs: BTreeMap<CredentialId, Epoch>,
}

impl Invariant for EpochNeverGoesBack {
    fn name(&self) -> &'static str {
        "epoch_never_goes_back"
    }

    fn check(&mut self, fact: &Fact, ground: &Ground<'_>) -> Result<(), String> {
        if !matches!(fact, Fact::Committed { .. }) {
            return Ok(());
        }
        for (id, record) in ground.credentials {
            if self.epochs.insert(*id, record.epoch).is_some_and(|before| before > record.epoch) {
                return Err(format!("credential {id} went back to epoch {}", record.epoch.0));
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
    fn an_epoch_that_goes_back_is_a_breach() {
        let mut invariant = EpochNeverGoesBack::default();
        let (second, first) = (with_credential(|record| record.epoch = Epoch(2)), with_credential(|_| {}));
        let entry = committed(1, "", None, None, Vec::new());
        assert_eq!(invariant.check(&entry, &ground(&second)), Ok(()));
        assert_eq!(invariant.check(&entry, &ground(&second)), Ok(()));
        assert!(invariant.check(&entry, &ground(&first)).is_err());
    }
}
