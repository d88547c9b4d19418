//! A stop that an honest site gave its receipt for gets into the log, whoever leads (design.md section 6: a leader that leaves a held order unlogged is replaced).

use std::collections::BTreeSet;

use warifu_protocol::StopId;

use super::{Ground, Invariant};
use crate::simulate::fact::Fact;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct HeldOrderSurvivesACensoringLeader {
    given: BTreeSet<StopId>,
}

impl Invariant for HeldOrderSurvivesACensoringLeader {
    fn name(&self) -> &'static str {
        "held_order_survives_a_censoring_leader"
    }

    fn check(&mut self, fact: &Fact, ground: &Ground<'_>) -> Result<(), String> {
        match fact {
            Fact::ReceiptGiven { site, stop, .. } if !ground.suspects.contains(site) => {
                self.given.insert(*stop);
            }
            Fact::Healed { open_holds } => {
                if let Some(stop) = open_holds.iter().find(|stop| self.given.contains(stop)) {
                    return Err(format!("stop {stop} was receipted and never came into the log"));
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
    fn a_receipted_stop_that_never_comes_into_the_log_is_a_breach() {
        let stop = StopId::new([4; 32]);
        let receipt = |site| Fact::ReceiptGiven {
            site: node(site),
            stop,
            object: warifu_protocol::StopObject::Credential(CREDENTIAL),
            kind: warifu_protocol::StopKind::Revoke,
        };
        let invariant = HeldOrderSurvivesACensoringLeader::default;
        assert_eq!(check_all(invariant(), &[receipt(1), Fact::Healed { open_holds: vec![] }]), Ok(()));
        assert!(check_all(invariant(), &[receipt(1), Fact::Healed { open_holds: vec![stop] }]).is_err());
    }
}
