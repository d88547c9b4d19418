//! What this node holds, in memory: every signature share asks it last.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::{RwLock, RwLockReadGuard};
use warifu_core::signer::MonotonicMillis;
use warifu_core::stopping::{HoldSchedule, HoldStep};
use warifu_protocol::{Refusal, StopCommand, StopId, StopKind, StopObject, UnixMillis, weaken};

use crate::local::{HoldEnd, HoldRecord};

/// An object that is no longer held is remembered for this long: work that was checked before the hold may still wait for the disk.
const REMEMBERED_MILLIS: u64 = 60_000;

/// The holds of this node. A share that is being made delays the next hold until it is made, so that none is made after the receipt.
#[derive(Debug)]
pub struct Holds {
    /// Place of this node in the roster.
    rank: u64,
    index: RwLock<Index>,
}

#[derive(Debug, Default)]
struct Index {
    /// Grows with each hold that is taken or ended.
    taken: u64,
    objects: BTreeMap<StopObject, Held>,
    open: BTreeMap<StopId, OpenHold>,
}

#[derive(Debug, Default)]
struct Held {
    open: BTreeSet<StopId>,
    /// [`Index::taken`] when it was last held or let go.
    taken: u64,
    lowered: Option<MonotonicMillis>,
}

/// A stop that the log does not have yet.
#[derive(Debug, Clone)]
pub struct OpenHold {
    /// The stop.
    pub stop: StopCommand,
    /// What is held.
    pub object: StopObject,
    /// Whether the state knew the object when it was held.
    pub known: bool,
    kind: StopKind,
    schedule: HoldSchedule,
}

/// A moment, to tell whether a hold was taken or ended since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HoldMark(u64);

/// While it lives no hold is taken.
#[derive(Debug)]
pub struct Signing<'a>(RwLockReadGuard<'a, Index>);

impl Holds {
    /// Takes up what the disk remembers, for the node that is `rank`th in the roster.
    #[must_use]
    pub fn new(records: Vec<HoldRecord>, rank: u64, now: MonotonicMillis) -> Self {
        let holds = Self { rank, index: RwLock::default() };
        for record in records {
            holds.hold(record.stop, record.known, now);
        }
        holds
    }

    /// This moment.
    #[must_use]
    pub fn mark(&self) -> HoldMark {
        HoldMark(self.index.read().taken)
    }

    /// Keeps holds from being taken while a share is made.
    #[must_use]
    pub fn signing(&self) -> Signing<'_> {
        Signing(self.index.read())
    }

    /// Holds an object from now on, and waits for shares that are being made. Nothing for a command that stops nothing.
    pub fn hold(&self, stop: StopCommand, known: bool, now: MonotonicMillis) {
        let Some((object, kind)) = stop.target() else { return };
        let (id, schedule) = (stop.id(), HoldSchedule::new(now, self.rank));
        let mut index = self.index.write();
        index.note(object);
        index.objects.entry(object).or_default().open.insert(id);
        index.open.entry(id).or_insert(OpenHold { stop, object, known, kind, schedule });
    }

    /// Notes that the state refuses an object from now on: work that was checked before gives no share.
    pub fn note(&self, object: StopObject, now: MonotonicMillis) {
        let mut index = self.index.write();
        index.note(object);
        index.objects.entry(object).or_default().lowered.get_or_insert(now);
    }

    /// Ends holds.
    pub fn end(&self, stops: impl IntoIterator<Item = StopId>, now: MonotonicMillis) {
        let mut index = self.index.write();
        for stop in stops {
            let Some(hold) = index.open.remove(&stop) else { continue };
            // Work may wait that was checked against the state from before the stop was in it.
            index.note(hold.object);
            if let Some(held) = index.objects.get_mut(&hold.object) {
                held.open.remove(&stop);
                held.lowered = held.open.is_empty().then_some(now);
            }
        }
    }

    /// Forgets objects that have not been held for a while.
    pub fn tidy(&self, now: MonotonicMillis) {
        let is_old = |lowered: MonotonicMillis| now.0.saturating_sub(lowered.0) > REMEMBERED_MILLIS;
        self.index.write().objects.retain(|_, held| !held.open.is_empty() || !held.lowered.is_none_or(is_old));
    }

    /// Number of stops that the log does not have yet, and how many of them are of objects that the state did not know.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let index = self.index.read();
        (index.open.len(), index.open.values().filter(|hold| !hold.known).count())
    }

    /// All stops that the log does not have yet.
    #[must_use]
    pub fn open(&self) -> Vec<(StopId, OpenHold)> {
        self.index.read().open.iter().map(|(id, hold)| (*id, hold.clone())).collect()
    }

    /// What is due now.
    pub fn steps(&self, now: MonotonicMillis) -> Vec<(StopCommand, HoldStep)> {
        let mut index = self.index.write();
        let steps = index.open.values_mut().map(|hold| (hold.stop.clone(), hold.schedule.step(now)));
        steps.filter(|(_, step)| *step != HoldStep::default()).collect()
    }

    /// The holds that an applied entry ends: the stop's own, and those of earlier stops of the same object that can no longer be logged.
    ///
    /// A copy of the stop that the log refused for its approvals ends nothing. One that took effect is noted, held before or not: work that was checked
    /// against the state from before gives no share.
    #[must_use]
    pub fn ended_by(
        &self,
        stop: &StopCommand,
        (index, at): (u64, UnixMillis),
        refusal: Option<&Refusal>,
        now: MonotonicMillis,
    ) -> Vec<(StopId, HoldEnd)> {
        if let (None, Some((object, _))) = (refusal, stop.target()) {
            self.note(object, now);
        }
        let how = match refusal {
            None | Some(Refusal::OrderReplayed) => HoldEnd::Logged(index),
            Some(Refusal::CredentialState { .. } | Refusal::CredentialUnknown { .. } | Refusal::SessionUnknown | Refusal::CardUnbound) => {
                HoldEnd::Refused(index)
            }
            Some(_) => return Vec::new(),
        };
        let id = stop.id();
        let holds = self.index.read();
        let mut ended = Vec::new();
        if holds.open.contains_key(&id) {
            ended.push((id, how));
        }
        if let (None, Some((object, kind))) = (refusal, stop.target()) {
            let earlier = holds.open.iter().filter(|(other, hold)| {
                let expired = matches!(&hold.stop, StopCommand::Order(order) if order.body.not_after < at);
                **other != id && hold.object == object && hold.kind <= kind && expired
            });
            ended.extend(earlier.map(|(other, _)| (*other, HoldEnd::Logged(index))));
        }
        ended
    }
}

impl Index {
    fn note(&mut self, object: StopObject) {
        self.taken += 1;
        let taken = self.taken;
        self.objects.entry(object).or_default().taken = taken;
    }

    fn refuses(&self, objects: &[StopObject], since: HoldMark) -> Option<Refusal> {
        weaken!(IgnoreHolds, { return None });
        let stopped = |object: &StopObject| self.objects.get(object).is_some_and(|held| !held.open.is_empty() || held.taken > since.0);
        objects.iter().copied().find(stopped).map(|object| Refusal::Stopped { object })
    }
}

impl Signing<'_> {
    /// Why no share may be made that has to do with these objects, with work that was checked after `since`.
    #[must_use]
    pub fn refuses(&self, objects: &[StopObject], since: HoldMark) -> Option<Refusal> {
        self.0.refuses(objects, since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warifu_protocol::{
        Blob, ClusterId, CredentialId, ObjectVersion, Order, OrderBody, OrderCommand, OrderId, SessionClosing, SessionId,
    };

    const CREDENTIAL: CredentialId = CredentialId::new([1; 16]);
    const SESSION: SessionId = SessionId::new([2; 32]);
    const NOW: MonotonicMillis = MonotonicMillis(1_000);
    const AT: UnixMillis = UnixMillis(5_000);

    fn order(id: u8, not_after: UnixMillis, order: OrderCommand) -> StopCommand {
        let body =
            OrderBody { cluster: ClusterId::new([0; 32]), id: OrderId::new([id; 16]), not_after, object_version: ObjectVersion(0), order };
        StopCommand::Order(Order { body, approvals: Vec::new(), consents: Vec::new() })
    }

    fn suspend(id: u8) -> StopCommand {
        order(id, AT, OrderCommand::Suspend { credential: CREDENTIAL })
    }

    fn closing() -> StopCommand {
        StopCommand::SessionClosing(SessionClosing { session: SESSION, signature: Blob::default() })
    }

    fn refused(holds: &Holds, since: HoldMark) -> Option<StopObject> {
        match holds.signing().refuses(&[StopObject::Credential(CREDENTIAL), StopObject::Session(SESSION)], since) {
            Some(Refusal::Stopped { object }) => Some(object),
            Some(other) => panic!("{other}"),
            None => None,
        }
    }

    #[test]
    fn a_hold_refuses_its_object_until_it_ends_and_nothing_else() {
        let holds = Holds::new(Vec::new(), 0, NOW);
        let before = holds.mark();
        assert_eq!(refused(&holds, before), None);
        holds.hold(suspend(1), true, NOW);
        assert_eq!(refused(&holds, holds.mark()), Some(StopObject::Credential(CREDENTIAL)));
        assert_eq!(holds.signing().refuses(&[StopObject::Credential(CredentialId::new([9; 16]))], before), None);
        holds.hold(closing(), true, NOW);
        holds.end([suspend(1).id()], NOW);
        assert_eq!(refused(&holds, holds.mark()), Some(StopObject::Session(SESSION)));
        assert_eq!(holds.signing().refuses(&[StopObject::Credential(CREDENTIAL)], holds.mark()), None, "a CSR is of no session");
        holds.end([closing().id()], NOW);
        assert_eq!(refused(&holds, holds.mark()), None);
        assert_eq!(holds.counts(), (0, 0));
    }

    #[test]
    fn work_that_was_checked_before_a_stop_gives_no_share_even_when_the_hold_has_ended_since() {
        let holds = Holds::new(Vec::new(), 0, NOW);
        let checked = holds.mark();
        holds.hold(suspend(1), true, NOW);
        let while_held = holds.mark();
        holds.end([suspend(1).id()], NOW);
        for since in [checked, while_held] {
            assert_eq!(refused(&holds, since), Some(StopObject::Credential(CREDENTIAL)), "{since:?}");
        }
        holds.tidy(MonotonicMillis(NOW.0 + REMEMBERED_MILLIS));
        assert!(refused(&holds, checked).is_some(), "its nonces could still live");
        holds.tidy(MonotonicMillis(NOW.0 + REMEMBERED_MILLIS + 1));
        assert_eq!(refused(&holds, holds.mark()), None);

        let checked = holds.mark();
        holds.note(StopObject::Session(SESSION), NOW);
        assert_eq!(refused(&holds, checked), Some(StopObject::Session(SESSION)), "the log was quicker than the stop");
    }

    #[test]
    fn only_the_log_ends_a_hold_and_a_forged_copy_does_not() {
        let holds = Holds::new(Vec::new(), 0, NOW);
        holds.hold(suspend(1), true, NOW);
        let forged = Refusal::SignatureInvalid { signer: "officer op-1".to_owned() };
        let wrong_state = Refusal::CredentialState { state: "generated".to_owned(), needs: "a certificate".to_owned() };
        let (own, id) = (suspend(1), suspend(1).id());
        assert_eq!(holds.ended_by(&own, (7, AT), None, NOW), [(id, HoldEnd::Logged(7))]);
        assert_eq!(holds.ended_by(&own, (7, AT), Some(&Refusal::OrderReplayed), NOW), [(id, HoldEnd::Logged(7))]);
        assert_eq!(holds.ended_by(&own, (7, AT), Some(&wrong_state), NOW), [(id, HoldEnd::Refused(7))]);
        for refusal in [forged, Refusal::OrderExpired { not_after: AT }] {
            assert_eq!(holds.ended_by(&own, (7, AT), Some(&refusal), NOW), []);
        }
        // Another stop of the same object ends it only when it can no longer be logged itself, and if it is as strong.
        let revoke = |id| order(id, AT.plus(1000), OrderCommand::Revoke { credential: CREDENTIAL });
        assert_eq!(holds.ended_by(&revoke(2), (8, AT), None, NOW), []);
        assert_eq!(holds.ended_by(&revoke(2), (8, AT.plus(1)), None, NOW), [(id, HoldEnd::Logged(8))]);
        holds.hold(revoke(2), true, NOW);
        assert_eq!(
            holds.ended_by(&suspend(3), (9, AT.plus(2000)), None, NOW),
            [(id, HoldEnd::Logged(9))],
            "a suspension ends no revocation"
        );
    }

    #[test]
    fn work_that_was_checked_before_the_log_brought_a_stop_gives_no_share() {
        let holds = Holds::new(Vec::new(), 0, NOW);
        let checked = holds.mark();
        assert_eq!(holds.ended_by(&closing(), (7, AT), Some(&Refusal::SessionUnknown), NOW), []);
        assert_eq!(refused(&holds, checked), None, "it did not take effect");
        assert_eq!(holds.ended_by(&closing(), (8, AT), None, NOW), []);
        assert_eq!(refused(&holds, checked), Some(StopObject::Session(SESSION)), "this node was not told of it before");
        assert_eq!(refused(&holds, holds.mark()), None, "from then on the state refuses it");
    }
}
