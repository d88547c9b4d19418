//! A stop that an honest site gave its receipt for, or that a client was told of, gets into the log, whoever leads (design.md section 6: a leader that
//! leaves a held order unlogged is replaced).
//!
//! Checked once everything is well again, against what is in the log and not against what sites still hold: a stop that all of them have lost is a breach.
//! A receipt binds the store that remembers the stop, as long as that is in the roster and was not set back or copied; what a client was told binds the
//! cluster as long as no more sites than f are suspect.
//!
//! A stop ends in one of these ways:
//! - an entry of it took effect, or was refused for the sake of what it stops;
//! - what it stops is over for good by another stop;
//! - it can no longer be logged, as it is past its end by the time of the log, and what it stops is not in the log's state, or was stopped by a later stop
//!   that is at least as strong. Short of that a hold does not expire: a stop that is past its end and was never logged still counts.

use std::collections::{BTreeMap, BTreeSet};

use warifu_core::registry::{Registry as _, is_stop_object_known};
use warifu_protocol::{LogEntry, NodeId, StopCommand, StopId, StopKind, StopObject, StoreId, UnixMillis};

use super::{Ground, Invariant};
use crate::simulate::fact::Fact;
use crate::simulate::knowledge::is_over_for_good;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct HeldOrderSurvivesACensoringLeader {
    stops: BTreeMap<StopId, Stop>,
    /// Receipts of honest sites.
    given: BTreeSet<(StopId, NodeId, StoreId)>,
    /// What clients were told of.
    acknowledged: BTreeSet<StopId>,
    /// Stops that need not be held any longer.
    settled: BTreeSet<StopId>,
}

#[derive(Debug)]
struct Stop {
    object: StopObject,
    kind: StopKind,
    not_after: Option<UnixMillis>,
}

impl Invariant for HeldOrderSurvivesACensoringLeader {
    fn name(&self) -> &'static str {
        "held_order_survives_a_censoring_leader"
    }

    fn check(&mut self, fact: &Fact, ground: &Ground<'_>) -> Result<(), String> {
        match fact {
            Fact::ReceiptGiven { site, store, stop, object, kind, not_after, .. } => {
                self.stops.insert(*stop, Stop { object: *object, kind: *kind, not_after: *not_after });
                if !ground.suspects.contains(site) {
                    self.given.insert((*stop, *site, *store));
                }
            }
            Fact::StopAcknowledged { stop, .. } if is_bound(ground) => {
                self.acknowledged.insert(*stop);
            }
            Fact::Committed { settles: Some(stop), refused, bytes, .. } => {
                self.settled.insert(*stop);
                let command = LogEntry::decode(&bytes.0).ok().filter(|_| refused.is_none()).and_then(|entry| entry.command.as_stop());
                self.settle_earlier(command.as_ref(), ground);
            }
            Fact::Healed { open_holds, stores } => return self.look(open_holds, stores, ground),
            _ => {}
        }
        Ok(())
    }
}

impl HeldOrderSurvivesACensoringLeader {
    /// A stop took effect: those of the same object that are no stronger and past their end have nothing left to do.
    fn settle_earlier(&mut self, later: Option<&StopCommand>, ground: &Ground<'_>) {
        let Some((object, kind)) = later.and_then(StopCommand::target) else { return };
        let earlier = self.stops.iter().filter(|(_, stop)| stop.object == object && stop.kind <= kind && stop.is_past_its_end(ground));
        self.settled.extend(earlier.map(|(id, _)| *id));
    }

    fn look(&self, open_holds: &[StopId], stores: &[(NodeId, StoreId)], ground: &Ground<'_>) -> Result<(), String> {
        let is_over = |id: &StopId| self.settled.contains(id) || self.stops.get(id).is_some_and(|stop| stop.is_over(ground));
        for (stop, site, store) in &self.given {
            let remembers = stores.contains(&(*site, *store)) && !ground.suspects.contains(site);
            if remembers && (open_holds.contains(stop) || !is_over(stop)) {
                return Err(format!("stop {stop} was receipted by site {site} and never came into the log"));
            }
        }
        match self.acknowledged.iter().find(|stop| !is_over(stop)) {
            Some(stop) if is_bound(ground) => Err(format!("a client was told of stop {stop}, which never came into the log")),
            _ => Ok(()),
        }
    }
}

impl Stop {
    fn is_over(&self, ground: &Ground<'_>) -> bool {
        let is_known = || is_stop_object_known(ground.truth, self.object).unwrap_or(true);
        is_over_for_good(ground.truth, self.object, self.kind) || (self.is_past_its_end(ground) && !is_known())
    }

    fn is_past_its_end(&self, ground: &Ground<'_>) -> bool {
        let now = ground.truth.time().unwrap_or_default();
        self.not_after.is_some_and(|not_after| not_after < now)
    }
}

/// Whether receipts of liars and of sites that forgot cannot be what a client was told a stop on.
fn is_bound(ground: &Ground<'_>) -> bool {
    ground.suspects.len() <= usize::from(ground.liars)
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use warifu_core::registry::MemoryStore;
    use warifu_protocol::wire::CredentialState;
    use warifu_protocol::{ClusterId, Command, ObjectVersion, Order, OrderBody, OrderCommand, OrderId};

    const OBJECT: StopObject = StopObject::Credential(CREDENTIAL);

    fn suspension(id: u8) -> Command {
        let (id, cluster, order) = (OrderId::new([id; 16]), ClusterId::new([7; 32]), OrderCommand::Suspend { credential: CREDENTIAL });
        let body = OrderBody { cluster, id, not_after: NOW, object_version: ObjectVersion(0), order };
        Command::Order(Order { body, approvals: Vec::new(), consents: Vec::new() })
    }

    fn stop(id: u8) -> StopId {
        suspension(id).as_stop().expect("a stop").id()
    }

    fn receipt(site: u8, id: u8) -> Fact {
        receipted(site, stop(id), OBJECT, StopKind::Suspend)
    }

    fn settled(id: u8) -> Fact {
        let bytes = LogEntry::new(NOW, suspension(id)).encode().expect("a small entry");
        let mut fact = committed(1, "order", None, None, bytes);
        if let Fact::Committed { settles, .. } = &mut fact {
            *settles = Some(stop(id));
        }
        fact
    }

    fn healed(open_holds: &[StopId]) -> Fact {
        Fact::Healed { open_holds: open_holds.to_vec(), stores: (1..=5).map(|site| (node(site), store(site))).collect() }
    }

    fn check(truth: &MemoryStore, facts: &[Fact]) -> Result<(), String> {
        let mut invariant = HeldOrderSurvivesACensoringLeader::default();
        facts.iter().try_for_each(|fact| invariant.check(fact, &ground(truth)))
    }

    #[test]
    fn a_receipted_stop_that_never_comes_into_the_log_is_a_breach_held_or_not() {
        let truth = with_session();
        assert!(check(&truth, &[receipt(1, 1), healed(&[stop(1)])]).is_err());
        assert!(check(&truth, &[receipt(1, 1), healed(&[])]).is_err(), "all sites lost it");
        assert!(check(&truth, &[receipt(1, 1), settled(2), healed(&[])]).is_err(), "another one came");
        assert_eq!(check(&truth, &[receipt(1, 1), settled(1), healed(&[])]), Ok(()));
        assert_eq!(check(&truth, &[settled(1), receipt(1, 1), healed(&[])]), Ok(()), "the log was first");
        assert_eq!(check(&truth, &[receipt(SUSPECT, 1), healed(&[])]), Ok(()), "a liar's");
        let replaced = Fact::Healed { open_holds: Vec::new(), stores: vec![(node(1), store(2))] };
        assert_eq!(check(&truth, &[receipt(1, 1), replaced]), Ok(()), "its disk is gone");
    }

    #[test]
    fn a_stop_that_a_client_was_told_of_and_that_never_comes_into_the_log_is_a_breach_whoever_gave_receipts() {
        let truth = with_session();
        let told = Fact::StopAcknowledged { stop: stop(1), object: OBJECT, kind: StopKind::Suspend, until: NOW };
        assert!(check(&truth, &[told.clone(), healed(&[])]).is_err());
        assert_eq!(check(&truth, &[told, settled(1), healed(&[])]), Ok(()));
    }

    #[test]
    fn a_stop_of_what_is_over_for_good_has_nothing_left_to_do() {
        for (state, is_over) in [
            (CredentialState::Active, false),
            (CredentialState::Suspended, false),
            (CredentialState::Revoked, true),
            (CredentialState::Destroyed, true),
        ] {
            let truth = with_credential(|record| record.state = state);
            assert_eq!(check(&truth, &[receipt(1, 1), healed(&[])]).is_ok(), is_over, "{state:?}");
        }
    }

    #[test]
    fn a_stop_past_its_end_counts_until_another_stopped_the_same_or_there_is_nothing_to_stop() {
        let (before, after) = (NOW, NOW.plus(1));
        let lost = [receipt(1, 1), healed(&[])];
        assert!(check(&with_time(with_session(), after), &lost).is_err(), "the object is known");
        assert!(check(&with_time(MemoryStore::default(), before), &lost).is_err(), "it can still be logged");
        assert_eq!(check(&with_time(MemoryStore::default(), after), &lost), Ok(()));
        let another = [receipt(1, 1), settled(2), healed(&[])];
        assert!(check(&with_time(with_session(), before), &another).is_err());
        assert_eq!(check(&with_time(with_session(), after), &another), Ok(()));
    }
}
