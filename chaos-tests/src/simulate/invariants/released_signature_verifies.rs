//! Whatever a coordinator gives out verifies strictly under the credential's key (design.md section 9).

use ed25519_dalek::{Signature, VerifyingKey};
use warifu_core::registry::Registry as _;

use super::{Ground, Invariant};
use crate::simulate::cost::{self, Of};
use crate::simulate::fact::Fact;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct ReleasedSignatureVerifies;

impl Invariant for ReleasedSignatureVerifies {
    fn name(&self) -> &'static str {
        "released_signature_verifies"
    }

    fn check(&mut self, fact: &Fact, ground: &Ground<'_>) -> Result<(), String> {
        let Fact::Signed(released) = fact else { return Ok(()) };
        let key = ground.truth.credential(released.credential).ok().flatten().and_then(|record| record.key);
        let verifies = key.and_then(|key| VerifyingKey::from_bytes(&key.group_key).ok()).is_some_and(|key| {
            let signature = Signature::from_bytes(&released.signature);
            cost::of(Of::Signatures, || key.verify_strict(&released.message.0, &signature)).is_ok()
        });
        if verifies {
            Ok(())
        } else {
            Err(format!("{} gave out a signature of {} that does not verify", released.coordinator, released.credential))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::simulate::fact::Released;

    #[test]
    fn a_signature_that_does_not_verify_is_a_breach() {
        assert!(check_all(ReleasedSignatureVerifies, &[signed(&[1, 2, 3])]).is_err(), "the state knows no such credential");
        let dealt = Dealt::new();
        let truth = with_credential(|record| record.key = Some(dealt.key()));
        let check = |change: &dyn Fn(&mut Released)| {
            let Fact::Signed(mut released) = signed(&[1, 2, 3]) else { unreachable!("that is what it makes") };
            released.signature = dealt.sign(MESSAGE).signature;
            change(&mut released);
            ReleasedSignatureVerifies.check(&Fact::Signed(released), &ground(&truth))
        };
        assert_eq!(check(&|_| {}), Ok(()));
        assert!(check(&|released| released.signature[0] ^= 1).is_err(), "a bit of its point");
        assert!(check(&|released| released.signature[32] ^= 1).is_err(), "a bit of its scalar");
        assert!(check(&|released| released.message.0[0] ^= 1).is_err(), "a bit of the message");
    }
}
