//! A whole cluster on virtual time: the queue of what is to come, the network, and who is told what.

use std::collections::{BTreeMap, BTreeSet};

use warifu_core::registry::{CredentialRecord, MemoryStore, Registry as _};
use warifu_protocol::{CredentialId, NodeId, ObjectVersion, UnixMillis};

use super::attack::Adversary;
use super::coordinator::Coordinator;
use super::counters::Counters;
use super::event::{Call, CallId, Event, Fault, Packet, Party, Place, Reply, ReplyTo, Request, Then};
use super::fact::Fact;
use super::invariants::{Ground, Invariants, Violation};
use super::knowledge::Knowledge;
use super::log::TheLog;
use super::people::People;
use super::pki::EPOCH;
use super::plan::{DELAY_USUAL, Faults, Plan};
use super::seed::{Dice, SeedTree};
use super::site::Site;
use super::timeline::Timeline;
use super::trace::Trace;
use super::workload::Workload;

/// Events in one run: a bound on a run that turns in circles.
const EVENTS_MAX: u64 = 2_000_000;

/// Setting a cluster up takes no longer than this; what is not there by then comes with faults.
const WARM_MILLIS_MAX: u64 = 20_000;

/// Longest until every site has deleted the shares of epochs that are over.
const SWEPT_MILLIS: u64 = 5_000;

/// What every run must do in the end.
pub(super) const COMES_TO_REST: &str = "everything_is_well_again_once_faults_are_off";

/// One run.
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) tree: SeedTree,
    pub(super) people: People,
    /// What goes wrong now.
    pub(super) faults: Faults,
    pub(super) now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    scheduled: u64,
    pub(super) sites: BTreeMap<Place, Site>,
    /// Which process messages to a site reach.
    pub(super) reached: BTreeMap<NodeId, Place>,
    /// Sites that were removed.
    pub(super) gone: BTreeSet<NodeId>,
    /// Sites that an order which may yet be applied takes their stores or their place from, and the version of the roster that it is about: it is void under
    /// another.
    pub(super) going: (ObjectVersion, BTreeSet<NodeId>),
    pub(super) coordinators: Vec<Coordinator>,
    pub(super) log: TheLog,
    calls: BTreeMap<CallId, Call>,
    next_call: CallId,
    pub(super) cuts: BTreeMap<(Party, Party), u64>,
    /// When the last message that is, or was, on its way arrives, by sender and recipient.
    last_arrivals: BTreeMap<(Party, Party), u64>,
    network: Dice,
    pub(super) dice: Dice,
    pub(super) workload: Workload,
    pub(super) adversary: Adversary,
    pub(super) known: Knowledge,
    pub(super) trace: Trace,
    invariants: Invariants,
    pub(super) violations: Vec<Violation>,
    /// Every signing share that a site ever had.
    pub(super) secrets: BTreeSet<[u8; 32]>,
    /// Sites that are, or were, not what an honest site is: corrupt, or copied.
    pub(super) suspects: BTreeSet<NodeId>,
    pub(super) counters: Counters,
    pub(super) timeline: Timeline,
    /// Faults have not begun: the cluster is set up.
    pub(super) is_warming: bool,
    pub(super) is_quiet: bool,
    /// Every site that is, or was, in the roster.
    pub(super) sites_ever: BTreeSet<NodeId>,
    /// All credentials in the log's state.
    pub(super) credentials: Vec<(CredentialId, CredentialRecord)>,
}

impl World {
    /// Founds the cluster of a plan; nothing runs yet.
    ///
    /// # Errors
    /// When the genesis or the trial PKI fails.
    pub(super) fn found(plan: Plan, keep_facts: bool) -> anyhow::Result<Self> {
        let tree = SeedTree::new(plan.seed);
        let people = People::found(&plan)?;
        let log = TheLog::found(&people)?;
        let coordinators =
            (0..usize::from(plan.coordinators)).map(|number| Coordinator::new(number, &plan, &tree)).collect::<Result<_, _>>()?;
        let workload = Workload::new(&plan, &tree)?;
        let suspects = plan.corrupt.keys().copied().collect();
        let mut world = Self {
            faults: plan.faults.clone(),
            now: 0,
            queue: BTreeMap::new(),
            scheduled: 0,
            sites: BTreeMap::new(),
            reached: BTreeMap::new(),
            gone: BTreeSet::new(),
            going: (ObjectVersion::default(), BTreeSet::new()),
            coordinators,
            log,
            calls: BTreeMap::new(),
            next_call: 0,
            cuts: BTreeMap::new(),
            last_arrivals: BTreeMap::new(),
            network: tree.rng("network", 0),
            dice: tree.rng("world", 0),
            workload,
            adversary: Adversary::new(&tree),
            known: Knowledge::default(),
            trace: Trace::new(keep_facts),
            invariants: Invariants::all(),
            violations: Vec::new(),
            secrets: BTreeSet::new(),
            suspects,
            counters: Counters::default(),
            timeline: Timeline::default(),
            is_warming: true,
            is_quiet: false,
            sites_ever: BTreeSet::new(),
            credentials: Vec::new(),
            plan,
            tree,
            people,
        };
        world.place_sites();
        world.sites_ever = world.reached.keys().copied().collect();
        let cards: Vec<_> = world.workload.holders.iter().map(|holder| holder.card.clone()).collect();
        cards.iter().for_each(|card| world.know_card(card));
        Ok(world)
    }

    /// Runs both phases; ends at the first broken invariant.
    pub(super) fn run(&mut self) {
        let sites: Vec<Place> = self.sites.keys().copied().collect();
        for place in sites {
            let after = self.dice.below(200);
            self.after(after, Event::Start(place));
            self.after(after, Event::Replicate(place));
        }
        for coordinator in 0..self.coordinators.len() {
            self.after(100, Event::StartCoordinator(coordinator));
        }
        self.after(0, Event::Elect);
        self.after(300, Event::Work);
        let faults = std::mem::replace(&mut self.faults, Faults::none());
        self.run_until(WARM_MILLIS_MAX, Self::is_warm);
        if !self.violations.is_empty() {
            return;
        }
        self.is_warming = false;
        self.faults = faults;
        self.schedule_faults();
        self.begin_gaps();
        let (began, end) = (self.now, self.now + self.plan.safety_millis);
        self.run_until(end, |_| false);
        self.timeline.phase("faults", began, self.now);
        if !self.violations.is_empty() {
            return;
        }
        self.end_gap();
        self.end_faults();
        let healed = self.run_until(self.now + self.plan.liveness_millis_max(), Self::is_well);
        if self.violations.is_empty() {
            if healed {
                self.counters.healed_after_millis = self.now - end;
                // Time for every site to find what is over.
                self.run_until(self.now + SWEPT_MILLIS, |_| false);
                // A refresh that was due has ended meanwhile.
                // So has a stop that was asked for meanwhile: a hold that stays open is a breach, one that has just begun is none.
                self.run_until(self.now + self.plan.liveness_millis_max(), |world| {
                    world.is_swept() && world.open_holds().is_empty() && world.is_answered()
                });
                let sites = self.reached.values().filter_map(|place| Some((place, self.sites.get(place)?)));
                let left = sites.flat_map(|(place, site)| site.disk.local.shares.keys().map(|(id, epoch)| (place.node, *id, *epoch)));
                let left = left.collect();
                self.tell(Fact::SharesLeft { shares: left });
                let open_holds = self.open_holds();
                let stores = self.reached.values().filter_map(|place| Some((place.node, self.sites.get(place)?.disk.local.starts.store)));
                let stores = stores.collect();
                self.tell(Fact::Healed { open_holds, stores });
            } else {
                let reason = self.why_not_well();
                self.violations.push(Violation { invariant: COMES_TO_REST, what: reason });
            }
        }
    }

    fn run_until(&mut self, end: u64, is_over: impl Fn(&Self) -> bool) -> bool {
        let mut checked_at = self.now;
        while let Some(next) = self.queue.first_entry() {
            if next.key().0 > end {
                break;
            }
            let ((at, _), event) = next.remove_entry();
            self.now = self.now.max(at);
            self.counters.events += 1;
            self.handle(event);
            if !self.violations.is_empty() || self.counters.events > EVENTS_MAX {
                return false;
            }
            // Looking at everything costs more than an event.
            if self.now >= checked_at + 500 {
                checked_at = self.now;
                if is_over(self) {
                    return true;
                }
            }
        }
        self.now = end;
        false
    }

    /// Goes on for so long.
    #[cfg(test)]
    pub(super) fn run_for(&mut self, millis: u64) {
        self.run_until(self.now + millis, |_| false);
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Packet(packet) => self.arrive(*packet),
            Event::Expire(call) => self.answered(call, None),
            Event::Tick { place, generation } => self.site_tick(place, generation),
            Event::Written { place, generation, store } => self.written(place, generation, store),
            Event::Replicate(place) => self.replicate(place),
            Event::Commit => self.commit(),
            Event::Elect => self.elect(),
            Event::Start(place) => self.start_site(place),
            Event::EndCopy(node) => self.end_copy(node),
            Event::SwitchOff(node) => self.switch_off(node),
            Event::StartCoordinator(coordinator) => self.start_coordinator(coordinator),
            Event::CoordinatorTick { coordinator, generation } => self.coordinator_tick(coordinator, generation),
            Event::Job { coordinator, generation, job } => self.job_due(coordinator, generation, job),
            Event::Work => self.work(),
            Event::Insist(insistence) => self.insist(*insistence),
            Event::Fault(fault) => self.fault(fault),
        }
    }

    /// The true time of day.
    pub(super) const fn unix(&self) -> UnixMillis {
        EPOCH.plus(self.now)
    }

    pub(super) fn after(&mut self, millis: u64, event: Event) {
        self.scheduled += 1;
        self.queue.insert((self.now + millis, self.scheduled), event);
    }

    /// Records what happened, and has every invariant look at it.
    pub(super) fn tell(&mut self, fact: Fact) {
        let ground = Ground {
            sites: &self.sites_ever,
            threshold: self.plan.threshold,
            liars: self.plan.liars,
            now: EPOCH.plus(self.now),
            suspects: &self.suspects,
            truth: self.log.truth(),
            secrets: &self.secrets,
            cards: &self.known.cards,
            credentials: &self.credentials,
        };
        let found = self.invariants.check(&fact, &ground);
        self.counters.checks += self.invariants.count();
        self.violations.extend(found);
        self.trace.record(self.now, fact);
    }

    /// An entry has changed credentials.
    pub(super) fn read_credentials(&mut self) {
        self.credentials = self.log.truth().credentials(None, usize::MAX).unwrap_or_default();
    }

    /// What the log comes to.
    pub(super) const fn truth(&self) -> &MemoryStore {
        self.log.truth()
    }

    /// Calls a site. `then` hears of the answer, or that there was none by the deadline.
    pub(super) fn call(&mut self, from: Party, to: NodeId, request: Request, deadline: u64, then: Then) {
        let Some(generation) = self.generation(from) else { return };
        self.next_call += 1;
        let call = self.next_call;
        self.calls.insert(call, Call { from, generation, then });
        self.after(deadline, Event::Expire(call));
        let reached = self.reached.get(&to).copied().unwrap_or(Place { node: to, copy: 0 });
        self.send(from, Party::Site(reached), Packet::Request { from, to, call, request });
    }

    /// Answers a call.
    pub(super) fn reply(&mut self, from: Place, to: ReplyTo, reply: Reply) {
        let packet = Packet::Reply { from, to: to.party, call: to.call, reply };
        self.send(Party::Site(from), to.party, packet);
    }

    /// Whether a message can get from one to the other now.
    pub(super) fn is_cut(&self, from: Party, to: Party) -> bool {
        self.cuts.get(&(from, to)).is_some_and(|until| self.now < *until)
    }

    fn send(&mut self, from: Party, to: Party, packet: Packet) {
        self.counters.messages += 1;
        if self.is_cut(from, to) {
            self.counters.injected("message cut off", 1);
            return;
        }
        if self.network.permille(self.faults.loss) {
            self.counters.injected("message lost", 1);
            return;
        }
        let copies = 1 + usize::from(self.network.permille(self.faults.duplicate));
        self.counters.injected("message doubled", copies as u64 - 1);
        for _ in 1..copies {
            let delay = 1 + self.network.below(3 * self.faults.delay_max);
            self.carry(from, to, delay, packet.clone());
        }
        let delay = 1 + self.network.below(self.faults.delay_max);
        self.carry(from, to, delay, packet);
    }

    /// Has a message arrive after so long.
    fn carry(&mut self, from: Party, to: Party, delay: u64, packet: Packet) {
        let at = self.now + delay;
        let last = self.last_arrivals.entry((from, to)).or_default();
        self.counters.injected("message late", u64::from(delay > DELAY_USUAL));
        self.counters.injected("message overtook another", u64::from(at < *last && self.faults.delay_max > DELAY_USUAL));
        *last = at.max(*last);
        self.after(delay, Event::Packet(Box::new(packet)));
    }

    fn arrive(&mut self, packet: Packet) {
        match packet {
            Packet::Request { from, to, call, request } => {
                // Whoever has the address now gets it.
                let removed = self.gone.contains(&to).then_some(Place { node: to, copy: 0 });
                let Some(place) = self.reached.get(&to).copied().or(removed) else { return };
                // A caller talks to nobody but who its roster names.
                if self.talks_to(from, place) {
                    self.asked(place, ReplyTo { party: from, call }, request);
                }
            }
            Packet::Reply { from, to, call, reply } => {
                if self.calls.get(&call).is_some_and(|waiting| waiting.from == to) && self.talks_to(to, from) {
                    self.answered(call, Some((from.node, reply)));
                }
            }
        }
    }

    /// The adversary talks to anybody.
    fn talks_to(&self, caller: Party, place: Place) -> bool {
        let is_liar = matches!(caller, Party::Coordinator(number) if self.coordinators.get(number).is_some_and(|one| one.lies));
        is_liar || self.is_of_roster(caller, place)
    }

    fn answered(&mut self, call: CallId, reply: Option<(NodeId, Reply)>) {
        let Some(Call { from, generation, then }) = self.calls.remove(&call) else { return };
        if self.generation(from) != Some(generation) {
            return;
        }
        let reply = reply.map(|(_, reply)| reply);
        match from {
            Party::Site(place) => self.site_answered(place, then, reply),
            Party::Coordinator(coordinator) => self.coordinator_answered(coordinator, then, reply),
        }
    }

    /// The number of a party's running process.
    fn generation(&self, party: Party) -> Option<u64> {
        match party {
            Party::Site(place) => self.sites.get(&place).filter(|site| site.process.is_some()).map(|site| site.generation),
            Party::Coordinator(number) => self.coordinators.get(number).filter(|one| one.is_up).map(|one| one.generation),
        }
    }

    /// Time without a signature counts from here on, where holders can sign already.
    fn begin_gaps(&mut self) {
        self.workload.last_signed_at = self.plan.warms_up.then_some(self.now);
        let off = self.sites.values().filter(|site| site.skew != 0).count();
        self.counters.injected("clock off from the beginning", off as u64);
    }

    /// The time since the last signature, or since faults began if there was none, is a gap too.
    fn end_gap(&mut self) {
        let began = self.now.saturating_sub(self.plan.safety_millis);
        let since = self.now - self.workload.last_signed_at.unwrap_or(began);
        self.counters.longest_gap_millis = self.counters.longest_gap_millis.max(since);
    }

    fn schedule_faults(&mut self) {
        let faults = &self.faults;
        let every = [
            (faults.cut_every, Fault::Cut),
            (faults.crash_every, Fault::Crash),
            (faults.full_every, Fault::Full),
            (faults.restore_every, Fault::Restore),
            (faults.clone_every, Fault::Clone),
            (faults.jump_every, Fault::Jump),
            (faults.coordinator_crash_every, Fault::CoordinatorCrash),
            (faults.election_every, Fault::Election),
            (faults.attack_every, Fault::Attack),
            (faults.replace_every, Fault::Replace),
            (faults.rot_every, Fault::Rot),
            (faults.roster_every, Fault::Roster),
        ];
        for (every, fault) in every.into_iter().filter(|(every, _)| *every > 0) {
            let after = self.dice.below(2 * every);
            self.after(after, Event::Fault(fault));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::SAFETY_MILLIS;
    use super::*;

    fn world(change: impl FnOnce(&mut Plan)) -> World {
        let mut plan = Plan { faults: Faults::none(), ..Plan::draw(1, SAFETY_MILLIS, None) };
        change(&mut plan);
        World::found(plan, false).expect("a world")
    }

    /// Sends so many messages from a coordinator to a site, all at once, and gives what was counted.
    fn sent(world: &mut World, messages: u64) -> BTreeMap<&'static str, u64> {
        let to = *world.reached.keys().next().expect("a site");
        for call in 0..messages {
            let request = Request::Order(warifu_protocol::wire::OrderCall::Status);
            let from = Party::Coordinator(0);
            let place = world.reached[&to];
            world.send(from, Party::Site(place), Packet::Request { from, to, call, request });
        }
        world.counters.faults.clone()
    }

    #[test]
    fn what_befalls_messages_is_counted_apart_and_nothing_is_where_nothing_is_wrong() {
        assert_eq!(sent(&mut world(|_| {}), 50), BTreeMap::new());
        let lost = sent(&mut world(|plan| plan.faults.loss = 1_000), 5);
        assert_eq!(lost, BTreeMap::from([("message lost", 5)]));
        let mut cut = world(|_| {});
        let to = Party::Site(*cut.reached.values().next().expect("a site"));
        cut.cuts.insert((Party::Coordinator(0), to), 1);
        assert_eq!(sent(&mut cut, 5), BTreeMap::from([("message cut off", 5)]));
        let late = sent(&mut world(|plan| plan.faults.delay_max = 400), 50);
        assert!(late["message late"] > 30 && late["message overtook another"] > 10, "{late:?}");
    }

    #[test]
    fn time_without_a_signature_counts_from_the_beginning_of_faults_to_their_end() {
        let gap = |warms_up, signed_at| {
            let mut world = world(|plan| (plan.safety_millis, plan.warms_up) = (10_000, warms_up));
            world.now = 2_000;
            world.begin_gaps();
            if let Some(at) = signed_at {
                world.workload.last_signed_at = Some(at);
            }
            world.now = 12_000;
            world.end_gap();
            world.counters.longest_gap_millis
        };
        assert_eq!(gap(true, Some(5_000)), 7_000, "none after that");
        assert_eq!((gap(true, None), gap(false, None)), (10_000, 10_000), "none at all");
    }
}
