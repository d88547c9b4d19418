//! From the moment at which a site has given its receipt for a stop, it gives no share that has to do with what was stopped, until an order that came
//! after the stop says otherwise and the site has applied it (design.md G6, section 6).

use std::collections::{BTreeMap, BTreeSet};

use warifu_core::registry::Registry as _;
use warifu_protocol::wire::SignWork;
use warifu_protocol::{Command, LogEntry, NodeId, OrderCommand, StopId, StopObject, StoreId};

use super::{Ground, Invariant};
use crate::simulate::fact::Fact;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct StoppedSiteGivesNoShare {
    stores: BTreeMap<NodeId, StoreId>,
    applied: BTreeMap<NodeId, u64>,
    /// Stops that each site has given its receipt for.
    given: BTreeSet<(NodeId, StopObject, StopId)>,
    /// Where the log has each stop.
    logged: BTreeMap<StopId, Logged>,
    /// Where each object was let go, by an order that a stop logged before it does not outlast.
    let_go: BTreeMap<StopObject, Vec<u64>>,
}

#[derive(Clone, Copy, Debug)]
struct Logged {
    index: u64,
    /// The log did not take it: the object is as the log says.
    is_refused: bool,
}

impl Invariant for StoppedSiteGivesNoShare {
    fn name(&self) -> &'static str {
        "stopped_site_gives_no_share"
    }

    fn check(&mut self, fact: &Fact, ground: &Ground<'_>) -> Result<(), String> {
        match fact {
            Fact::Started { site, store, .. } if self.stores.insert(*site, *store).is_some_and(|before| before != *store) => {
                self.given.retain(|(node, ..)| node != site);
                self.applied.remove(site);
            }
            Fact::Applied { site, index, .. } => {
                self.applied.insert(*site, *index);
            }
            // Said by nobody who may: it changes nothing about a stop, even where it names one.
            Fact::Committed { void: None, index, refused, bytes, .. } => self.note(*index, refused.is_some(), &bytes.0),
            Fact::ReceiptGiven { site, stop, object, .. } if !ground.suspects.contains(site) => {
                self.given.insert((*site, *object, *stop));
            }
            Fact::ShareGiven(given) if !ground.suspects.contains(&given.site) => {
                let mut objects = Vec::new();
                match &given.item.work {
                    SignWork::Csr { credential } => objects.push(StopObject::Credential(*credential)),
                    SignWork::Document { request, .. } => {
                        let id = request.request.session;
                        objects.push(StopObject::Session(id));
                        if let Ok(Some(session)) = ground.truth.session(id) {
                            let credential = session.statement.credential;
                            objects.extend([StopObject::Credential(credential), StopObject::Card { credential, card: session.card }]);
                        }
                    }
                }
                for object in objects {
                    if let Some(stop) = self.holds(given.site, object) {
                        return Err(format!("site {} gave a share for {object} after its receipt for stop {stop}", given.site));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl StoppedSiteGivesNoShare {
    fn note(&mut self, index: u64, is_refused: bool, bytes: &[u8]) {
        let Ok(LogEntry { command, .. }) = LogEntry::decode(bytes) else { return };
        if let Some(stop) = command.as_stop() {
            self.logged.entry(stop.id()).or_insert(Logged { index, is_refused });
            return;
        }
        let Command::Order(order) = command else { return };
        let object = match order.body.order {
            OrderCommand::Resume { credential } => StopObject::Credential(credential),
            OrderCommand::ResumeBinding { credential, card } => StopObject::Card { credential, card },
            // A binding that was announced and stopped is over; another of the same card has the word of its officers.
            OrderCommand::BindAuthenticator { binding, .. } | OrderCommand::BindWithNotice { binding, .. } => {
                StopObject::Card { credential: binding.credential, card: binding.card }
            }
            _ => return,
        };
        if !is_refused {
            self.let_go.entry(object).or_default().push(index);
        }
    }

    /// A stop of the object that the site must still obey.
    fn holds(&self, site: NodeId, object: StopObject) -> Option<StopId> {
        let applied = self.applied.get(&site).copied().unwrap_or_default();
        let (least, most) = (StopId::new([0; StopId::LEN]), StopId::new([0xff; StopId::LEN]));
        let stops = self.given.range((site, object, least)..=(site, object, most)).map(|(_, _, stop)| *stop);
        stops.into_iter().find(|stop| {
            let Some(logged) = self.logged.get(stop) else { return true };
            let is_let_go = |indexes: &Vec<u64>| indexes.iter().any(|index| logged.index < *index && *index <= applied);
            let is_over = (logged.is_refused && logged.index <= applied) || self.let_go.get(&object).is_some_and(is_let_go);
            !is_over
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use warifu_protocol::{Sha256, StopKind};

    fn applied(index: u64) -> Fact {
        Fact::Applied { site: node(1), index, root: Sha256::new([0; 32]) }
    }

    #[test]
    fn a_share_after_a_receipt_is_a_breach_until_the_site_has_applied_a_resume_that_came_after_the_stop() {
        let truth = with_session();
        let suspend = order(1, OrderCommand::Suspend { credential: CREDENTIAL });
        let resume = order(2, OrderCommand::Resume { credential: CREDENTIAL });
        let stop = suspend.as_stop().expect("a stop").id();
        let receipt = |site| receipted(site, stop, StopObject::Credential(CREDENTIAL), StopKind::Suspend);
        let share = given(1, 1, |given| in_session(given, &|_| {}));
        let check = |facts: &[Fact]| {
            let mut invariant = StoppedSiteGivesNoShare::default();
            facts.iter().try_for_each(|fact| invariant.check(fact, &ground(&truth)))
        };
        assert_eq!(check(&[receipt(2), share.clone()]), Ok(()), "another site's");
        assert!(check(&[receipt(1), share.clone()]).is_err(), "before the log has it");
        assert!(check(&[receipt(1), logged(1, &suspend), applied(1), share.clone()]).is_err());
        let resumed = [receipt(1), logged(1, &suspend), logged(2, &resume)];
        assert!(check(&[&resumed[..], &[applied(1), share.clone()]].concat()).is_err(), "it has not heard of the resume");
        assert_eq!(check(&[&resumed[..], &[applied(2), share.clone()]].concat()), Ok(()));
        let before = [receipt(1), logged(1, &resume), logged(2, &suspend), applied(2), share];
        assert!(check(&before).is_err(), "a resume that came before does not count");
    }
}
