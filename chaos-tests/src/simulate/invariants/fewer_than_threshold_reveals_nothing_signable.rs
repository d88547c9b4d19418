//! A signature takes t sites, each of which gave a share for it (design.md G4).

use std::collections::BTreeSet;

use warifu_protocol::wire::SignWork;
use warifu_protocol::{CredentialId, NodeId, RequestHash};

use super::{Ground, Invariant};
use crate::simulate::fact::Fact;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct FewerThanThresholdRevealsNothingSignable {
    given: BTreeSet<(NodeId, Result<RequestHash, CredentialId>)>,
}

impl Invariant for FewerThanThresholdRevealsNothingSignable {
    fn name(&self) -> &'static str {
        "fewer_than_threshold_reveals_nothing_signable"
    }

    fn check(&mut self, fact: &Fact, ground: &Ground<'_>) -> Result<(), String> {
        match fact {
            Fact::ShareGiven(given) => {
                let what = match &given.item.work {
                    SignWork::Document { request, .. } => Ok(request.request.hash()),
                    SignWork::Csr { credential } => Err(*credential),
                };
                self.given.insert((given.site, what));
            }
            Fact::Signed(released) => {
                let what = released.request.map(|(_, _, hash)| hash).ok_or(released.credential);
                let signers: BTreeSet<NodeId> = released.signers.iter().copied().collect();
                let silent = signers.iter().find(|site| !self.given.contains(&(**site, what)));
                if let Some(site) = silent {
                    return Err(format!("a signature names site {site}, which gave no share for it"));
                }
                if signers.len() < usize::from(ground.threshold) {
                    return Err(format!("{} sites made a signature", signers.len()));
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
    fn a_signature_of_fewer_than_t_sites_is_a_breach() {
        let shares = [given(1, 1, |_| {}), given(2, 2, |_| {}), given(3, 3, |_| {})];
        let with = |signers: &[u8]| shares.iter().cloned().chain([signed(signers)]).collect::<Vec<_>>();
        assert_eq!(check_all(FewerThanThresholdRevealsNothingSignable::default(), &with(&[1, 2, 3])), Ok(()));
        assert!(check_all(FewerThanThresholdRevealsNothingSignable::default(), &with(&[1, 2])).is_err());
        assert!(check_all(FewerThanThresholdRevealsNothingSignable::default(), &with(&[1, 2, 4])).is_err());
    }
}
