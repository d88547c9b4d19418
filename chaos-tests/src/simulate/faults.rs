//! Faults that come by themselves, how they end, and when everything is well again.

use warifu_core::registry::{CredentialRecord, Registry as _, StoreNumbers};
use warifu_protocol::wire::CredentialState;
use warifu_protocol::{CredentialId, Epoch, NodeId, StopId, StopKind, StopObject};

use super::event::{Event, Fault, Party, Place};
use super::fact::Fact;
use super::knowledge::is_over_for_good;
use super::people::desk;
use super::plan::Faults;
use super::workload::Acknowledged;
use super::world::World;

/// How long a cut lasts.
const CUT_MILLIS: (u64, u64) = (300, 8_000);
/// How long a disk is full.
const FULL_MILLIS: (u64, u64) = (500, 6_000);
/// How long a copy of a site runs.
const COPY_MILLIS: (u64, u64) = (2_000, 12_000);
/// A site that is set back may be cut off for so long that it hears from nobody before it joins: its restart and all questions.
const UNHEARD_MILLIS: u64 = 9_000;
/// From taking an image of a disk to putting it back.
const IMAGE_MILLIS: (u64, u64) = (200, 15_000);

impl World {
    pub(super) fn fault(&mut self, fault: Fault) {
        let every = match fault {
            Fault::Cut => self.faults.cut_every,
            Fault::Crash => self.faults.crash_every,
            Fault::Full => self.faults.full_every,
            Fault::Restore => self.faults.restore_every,
            Fault::Clone => self.faults.clone_every,
            Fault::Jump => self.faults.jump_every,
            Fault::CoordinatorCrash => self.faults.coordinator_crash_every,
            Fault::Election => self.faults.election_every,
            Fault::Attack => self.faults.attack_every,
            Fault::Replace => self.faults.replace_every,
            Fault::Rot => self.faults.rot_every,
            Fault::Roster => self.faults.roster_every,
        };
        if every == 0 {
            return;
        }
        let after = 1 + self.dice.below(2 * every);
        self.after(after, Event::Fault(fault));
        // An adversary that is on asks all the time.
        if fault != Fault::Attack {
            self.timeline.mark(fault.name(), self.now);
        }
        match fault {
            Fault::Cut => self.cut(),
            Fault::Crash => {
                if let Some(place) = self.pick_site() {
                    self.crash(place);
                }
            }
            Fault::Full => self.fill_disk(),
            Fault::Restore => self.restore(),
            Fault::Clone => self.copy_site(),
            Fault::Jump => self.jump(),
            Fault::CoordinatorCrash => {
                let number = self.dice.below(self.coordinators.len() as u64) as usize;
                self.crash_coordinator(number);
            }
            Fault::Election => {
                self.counters.injected("leader changed", 1);
                self.depose();
            }
            Fault::Attack => self.attack(),
            Fault::Replace => {
                if let Some(place) = self.pick_site().filter(|place| self.can_spare(place.node)) {
                    self.replace_site(place.node);
                }
            }
            Fault::Rot => self.lose_share(),
            Fault::Roster => self.change_roster(),
        }
    }

    fn pick_site(&mut self) -> Option<Place> {
        let places: Vec<Place> = self.reached.values().copied().collect();
        self.dice.pick(&places).copied()
    }

    fn cut(&mut self) {
        let mut parties: Vec<Party> = self.reached.values().map(|place| Party::Site(*place)).collect();
        parties.extend((0..self.coordinators.len()).map(Party::Coordinator));
        let (least, most) = CUT_MILLIS;
        let until = self.now + self.dice.between(least, most);
        let (from, to) = (self.dice.pick(&parties).copied(), self.dice.pick(&parties).copied());
        let (Some(from), Some(to)) = (from, to) else { return };
        if from == to {
            // A whole site is cut off, both ways.
            for other in parties {
                self.cuts.insert((from, other), until);
                self.cuts.insert((other, from), until);
            }
            self.counters.injected("site cut off", 1);
        } else {
            self.cuts.insert((from, to), until);
            self.counters.injected("one-way cut", 1);
        }
    }

    fn fill_disk(&mut self) {
        let (least, most) = FULL_MILLIS;
        let until = self.now + self.dice.between(least, most);
        if let Some(site) = self.pick_site().and_then(|place| self.sites.get_mut(&place)) {
            site.full_until = until;
            self.counters.injected("disk full", 1);
        }
    }

    fn jump(&mut self) {
        let most = 2 * self.faults.skew_max.max(3_000);
        let skew = self.dice.below(2 * most + 1) as i64 - most as i64;
        let Some(place) = self.pick_site() else { return };
        let Some(site) = self.sites.get_mut(&place) else { return };
        let by = site.skew.abs_diff(skew);
        site.skew = skew;
        if by > warifu_node::clock::JUMP.as_millis() as u64
            && let Some(process) = &site.process
        {
            process.pools.lock().drop_all();
        }
        self.counters.injected("clock jumped", 1);
    }

    /// Takes an image of a disk, or puts one back. No more sites at once are set back than may lie.
    fn restore(&mut self) {
        let held: Vec<Place> = self.sites.iter().filter(|(_, site)| site.image.is_some()).map(|(place, _)| *place).collect();
        let Some(place) = held.first().copied() else {
            if let Some(place) = self.pick_site()
                && let Some(site) = self.sites.get_mut(&place).filter(|site| !site.is_lost && site.mischief.is_none())
            {
                site.image = Some(site.disk.clone());
                let (least, most) = IMAGE_MILLIS;
                let after = self.dice.between(least, most);
                self.after(after, Event::Fault(Fault::Restore));
            }
            return;
        };
        if !self.may_be_set_back(place.node) || !self.can_spare(place.node) {
            if let Some(site) = self.sites.get_mut(&place) {
                site.image = None;
            }
            return;
        }
        self.crash(place);
        let remembered = self.truth().node(place.node).ok().flatten();
        let Some(site) = self.sites.get_mut(&place) else { return };
        if site.process.is_some() {
            return;
        }
        let Some(image) = site.image.take() else { return };
        if image.local.starts.store != site.disk.local.starts.store {
            return;
        }
        site.disk = image;
        let is_less = remembered.is_some_and(|record| site.disk.is_less_than(&record));
        self.suspects.insert(place.node);
        self.counters.injected("old disk put back", 1);
        self.tell(Fact::Disk { site: place.node, what: "an old image was put back", is_less });
        if self.dice.permille(500) {
            // Nobody tells it what they remember: then the log must.
            let others: Vec<Party> = self.reached.values().filter(|other| **other != place).map(|other| Party::Site(*other)).collect();
            for other in others {
                self.cuts.insert((Party::Site(place), other), self.now + UNHEARD_MILLIS);
                self.cuts.insert((other, Party::Site(place)), self.now + UNHEARD_MILLIS);
            }
        }
    }

    /// Whether no more sites are set back or copied at once than may lie, with this one.
    fn may_be_set_back(&self, node: NodeId) -> bool {
        let set_back = self.suspects.iter().filter(|node| !self.plan.corrupt.contains_key(node)).count();
        set_back < usize::from(self.plan.liars.max(1)) || self.suspects.contains(&node)
    }

    /// Whether t other sites are left that hold their shares of every key, in the log and on their disks, and a majority of the voters, none of them set
    /// back, copied or about to go themselves: more is not survived, and need not be, also before there is a key: sites that all start anew need t to be
    /// let in. A disk may have a share of an attempt at key generation that came to nothing.
    pub(super) fn can_spare(&self, node: NodeId) -> bool {
        let stores = StoreNumbers::of(self.log.cluster());
        let is_sound = |node: NodeId| self.plan.corrupt.contains_key(&node) || !self.suspects.contains(&node);
        let is_whole = |place: &Place| place.node != node && is_sound(place.node) && !self.may_go(place.node);
        let others = self.reached.values().copied().filter(is_whole).filter_map(|place| Some((place.node, self.sites.get(&place)?)));
        let others: Vec<_> = others.filter(|(_, site)| !site.is_lost).collect();
        let threshold = usize::from(self.plan.threshold);
        let is_sparing = |(id, record): &(CredentialId, CredentialRecord)| {
            let has_share = |(node, site): &&(NodeId, &super::site::Site)| {
                stores.holds(&record.holders, *node) && site.disk.local.shares.contains_key(&(*id, record.epoch))
            };
            !record.needs_shares() || others.iter().filter(has_share).count() >= threshold
        };
        let voters = self.voters();
        let left = others.iter().filter(|(node, _)| voters.contains(node)).count();
        others.len() >= threshold && left * 2 > voters.len() && self.credentials.iter().all(is_sparing)
    }

    /// Starts a second process on a copy of a site's disk, with the same keys, beside the first. Which of them messages reach is by chance.
    fn copy_site(&mut self) {
        let Some(place) = self.pick_site().filter(|place| place.copy == 0) else { return };
        let copy = Place { copy: 1, ..place };
        if self.sites.contains_key(&copy) || !self.may_be_set_back(place.node) || !self.can_spare(place.node) {
            return;
        }
        let Some(site) = self.sites.get(&place).filter(|site| !site.is_lost && site.mischief.is_none()) else { return };
        let twin = site.twin(self.tree.rng("copy", u64::from(place.node.get()) << 40 | self.now));
        self.suspects.insert(place.node);
        self.sites.insert(copy, twin);
        if self.dice.permille(700) {
            self.reached.insert(place.node, copy);
        }
        self.after(1, Event::Start(copy));
        self.after(1, Event::Replicate(copy));
        let (least, most) = COPY_MILLIS;
        let after = self.dice.between(least, most);
        self.after(after, Event::EndCopy(place.node));
        self.counters.injected("site copied", 1);
    }

    /// The copy of a site is switched off; messages reach the site itself again.
    pub(super) fn end_copy(&mut self, node: NodeId) {
        let copy = Place { node, copy: 1 };
        self.crash(copy);
        if self.sites.remove(&copy).is_some() {
            self.reached.insert(node, Place { node, copy: 0 });
        }
    }

    /// A share is gone from a disk, of a key that every site holds.
    fn lose_share(&mut self) {
        let Some(place) = self.pick_site() else { return };
        let (stores, ids) = (StoreNumbers::of(self.log.cluster()), self.reached.len());
        if !self.can_spare(place.node) {
            return;
        }
        let truth = self.truth();
        let Some(site) = self.sites.get(&place).filter(|site| !site.is_lost) else { return };
        let is_held_by_all = |credential, epoch| {
            let record = truth.credential(credential).ok().flatten().filter(|record| record.epoch == epoch && record.previous.is_none());
            record.is_some_and(|record| record.needs_shares() && stores.holders(&record.holders).len() == ids)
        };
        // One that is gone elsewhere is held until its site has seen that it is.
        let is_on_all_disks = |key: &(CredentialId, Epoch)| {
            self.reached.values().all(|at| self.sites.get(at).is_some_and(|site| site.disk.local.shares.contains_key(key)))
        };
        let mut keys = site.disk.local.shares.keys().copied();
        let Some(key) = keys.find(|key| is_held_by_all(key.0, key.1) && is_on_all_disks(key)) else { return };
        if let Some(site) = self.sites.get_mut(&place) {
            site.disk.local.shares.remove(&key);
            self.counters.injected("share lost from a disk", 1);
        }
    }

    /// From here on nothing goes wrong any more, and everybody is honest.
    pub(super) fn end_faults(&mut self) {
        self.tell(Fact::FaultsOff);
        self.faults = Faults::none();
        self.is_quiet = true;
        self.cuts.clear();
        self.gone.clone().into_iter().for_each(|node| self.switch_off(node));
        let copies: Vec<NodeId> = self.sites.keys().filter(|place| place.copy > 0).map(|place| place.node).collect();
        copies.into_iter().for_each(|node| self.end_copy(node));
        let places: Vec<Place> = self.sites.keys().copied().collect();
        for place in &places {
            if let Some(site) = self.sites.get_mut(place) {
                site.skew = 0;
                site.full_until = 0;
                site.lag = 0;
                site.mischief = None;
                site.image = None;
            }
        }
    }

    /// An operator looks after the sites: a process that is stuck is started again, and a site that was turned away is replaced. An alarm may be
    /// another site's lie: once nobody lies any more, its site is started again first, and replaced if it raises one again.
    fn look_after(&mut self) {
        let places: Vec<Place> = self.reached.values().copied().collect();
        for place in places {
            let is_quiet = self.is_quiet;
            let Some(site) = self.sites.get_mut(&place) else { continue };
            let is_alarmed = site.process.as_ref().is_some_and(|process| process.gate.alarm().is_some());
            if is_alarmed && is_quiet && !std::mem::replace(&mut site.is_tried_again, true) {
                self.crash(place);
            } else if site.is_lost || is_alarmed {
                let member = self.log.cluster().node(place.node).map(|entry| entry.identity);
                if member == Some(site.identity.public_key()) && !self.is_roster_awaited() {
                    self.replace_site(place.node);
                }
            } else if site.process.as_ref().is_some_and(super::site::Process::has_failed) {
                self.crash(place);
            }
        }
    }

    /// Called now and then.
    pub(super) fn tend(&mut self) {
        self.follow_roster();
        if self.is_quiet || self.dice.permille(300) {
            self.look_after();
        }
    }

    /// Whether the cluster is set up as far as the plan wants before anything goes wrong.
    pub(super) fn is_warm(&self) -> bool {
        let is_equipped =
            self.workload.lists_wanted.is_empty() && self.truth().terminal(desk(self.workload.desk)).is_ok_and(|desk| desk.is_some());
        let is_confirmed =
            |place: &Place| self.sites.get(place).and_then(|site| site.process.as_ref()).is_some_and(|process| process.gate.is_open());
        let has_session = || self.workload.holders.iter().all(|holder| holder.session.as_ref().is_some_and(|session| session.is_open));
        is_equipped && self.reached.values().all(is_confirmed) && (!self.plan.warms_up || has_session())
    }

    /// Whether everything is as it should be some time after the last fault.
    pub(super) fn is_well(&self) -> bool {
        self.why_not_well().is_empty()
    }

    /// What is not well yet; empty when everything is.
    pub(super) fn why_not_well(&self) -> String {
        let last = self.log.last();
        for place in self.reached.values() {
            let Some(site) = self.sites.get(place) else { continue };
            let Some(process) = &site.process else { return format!("site {} does not run", place.node) };
            if !process.gate.is_open() {
                return format!("site {} may not sign: {:?}; it {}", place.node, process.gate.reasons(), process.confirmation());
            }
            if site.disk.state.applied + 3 < last {
                return format!("site {} has applied {} of {last} entries", place.node, site.disk.state.applied);
            }
        }
        let truth = self.truth();
        let credentials = truth.credentials(None, usize::MAX).unwrap_or_default();
        let (stores, ids) = (StoreNumbers::of(self.log.cluster()), self.reached.len());
        for (id, record) in &credentials {
            if record.needs_shares() && stores.holders(&record.holders).len() < ids {
                return format!("credential {id} is held by {:?} only", stores.holders(&record.holders));
            }
            if record.previous.is_some() {
                return format!("credential {id} has two epochs");
            }
            if record.needs_shares() && record.epoch_made.given.iter().any(|site| !self.reached.contains_key(site)) {
                return format!("credential {id} has shares at a site that was removed: {:?}", record.epoch_made.given);
            }
        }
        for acknowledged in &self.workload.acknowledged {
            let is_there = match acknowledged {
                // The record of an order goes once it is past its end.
                Acknowledged::Order(order) => self.known.orders.contains(order),
                Acknowledged::Session(session) => truth.session(*session).is_ok_and(|record| record.is_some()),
                Acknowledged::SessionEnd(session) => is_over_for_good(truth, StopObject::Session(*session), StopKind::CloseSession),
                Acknowledged::Stop(stop, object, kind) => self.known.settled.contains(stop) || is_over_for_good(truth, *object, *kind),
            };
            if !is_there {
                return format!("a client was told of {acknowledged:?}, and the log does not have it");
            }
        }
        for (number, holder) in self.workload.holders.iter().enumerate() {
            let state = truth.credential(holder.credential).ok().flatten().map(|record| record.state);
            if state != Some(CredentialState::Active) || !holder.has_signed {
                return format!("holder {number} has not signed since; credential {} is {state:?}", holder.credential);
            }
        }
        if !self.open_holds().is_empty() {
            return format!("stops are held that the log does not have: {:?}", self.open_holds());
        }
        String::new()
    }

    /// Stops that sites hold and the log does not have.
    pub(super) fn open_holds(&self) -> Vec<StopId> {
        let processes = self.reached.values().filter_map(|place| self.sites.get(place)?.process.as_ref());
        let mut open: Vec<StopId> = processes.flat_map(|process| process.holds.open().into_iter().map(|(stop, _)| stop)).collect();
        open.sort_unstable();
        open.dedup();
        open
    }
}
