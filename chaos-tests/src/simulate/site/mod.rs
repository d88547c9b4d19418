//! One site: its disk, its process with the cores that the daemon drives, and who it is.

mod apply;
mod ceremony;
mod confirm;
mod destroy;
mod import;
mod process;
mod sign;
mod snapshot;
mod stop;
mod storage;

pub(in crate::simulate) use process::Process;

use std::sync::Arc;

use warifu_core::identity::NodeIdentity;
use warifu_core::registry::{ClusterRecord, MemoryStore, Overlay, Registry as _, found};
use warifu_core::signer::MonotonicMillis;
use warifu_protocol::wire::{OrderCall, OrderReply, Read, SignCall, View};
use warifu_protocol::{NodeId, SpkiHash, StoreId, UnixMillis};

use super::disk::{Disk, Survive};
use super::event::{Event, Party, Place, Proposal, Reply, ReplyTo, Request, Then};
use super::fact::Fact;
use super::plan::Mischief;
use super::seed::Dice;
use super::world::World;

/// A site's clockwork: as often as the daemon looks at ceremonies and holds.
const TICK_MILLIS: u64 = 250;
/// Time for a proposal, as the daemon's.
const PROPOSE_DEADLINE: u64 = 8_000;
/// Somebody starts a process again that died, after a while.
const RESTART_MILLIS: (u64, u64) = (200, 6_000);

/// A site.
pub(in crate::simulate) struct Site {
    /// Its keys.
    pub(in crate::simulate) identity: NodeIdentity,
    /// Its TLS identity.
    pub(in crate::simulate) tls_spki: SpkiHash,
    /// Which of its stores this is, from 0.
    pub(in crate::simulate) store_number: u32,
    /// Its disk.
    pub(in crate::simulate) disk: Disk,
    /// What runs.
    pub(in crate::simulate) process: Option<Process>,
    /// Raised by each start and end of the process.
    pub(in crate::simulate) generation: u64,
    /// By how much its wall clock is off.
    pub(in crate::simulate) skew: i64,
    /// How late it hears of entries.
    pub(in crate::simulate) lag: u64,
    /// What it does differently.
    pub(in crate::simulate) mischief: Option<Mischief>,
    /// Its disk takes no writes until then.
    pub(in crate::simulate) full_until: u64,
    /// An image of its disk, to be put back.
    pub(in crate::simulate) image: Option<Disk>,
    /// It was turned away, or stopped for good: only an order brings the site back.
    pub(in crate::simulate) is_lost: bool,
    /// It was started again for an alarm whose cause is gone.
    pub(in crate::simulate) is_tried_again: bool,
    /// The cluster as its administrator told it, for a site on a new store.
    pub(in crate::simulate) roster: Option<Arc<ClusterRecord>>,
    pub(in crate::simulate) dice: Dice,
}

impl Site {
    /// A copy of the site as it is on its disk, not running.
    pub(in crate::simulate) fn twin(&self, dice: Dice) -> Self {
        Self {
            identity: self.identity.clone(),
            tls_spki: self.tls_spki,
            store_number: self.store_number,
            disk: self.disk.clone(),
            process: None,
            generation: 0,
            skew: self.skew,
            lag: self.lag,
            mischief: None,
            full_until: 0,
            image: None,
            is_lost: false,
            is_tried_again: false,
            roster: self.roster.clone(),
            dice,
        }
    }
}

impl World {
    /// Sets every site up with an empty disk.
    pub(super) fn place_sites(&mut self) {
        let ids: Vec<NodeId> = self.people.genesis.body().nodes.iter().map(|node| node.id).collect();
        for node in ids {
            let place = Place { node, copy: 0 };
            let site = self.new_site(node, 0, None);
            self.sites.insert(place, site);
            self.reached.insert(node, place);
        }
    }

    /// A site on a new store.
    pub(super) fn new_site(&self, node: NodeId, store_number: u32, roster: Option<Arc<ClusterRecord>>) -> Site {
        let mut dice = self.tree.rng("site", u64::from(node.get()) << 32 | u64::from(store_number));
        let store = self.store_id(node, store_number);
        let mut registry = MemoryStore::default();
        let mut overlay = Overlay::new(&registry);
        found(&mut overlay, &self.people.genesis).expect("a map in memory does not fail");
        let changes = overlay.into_changes();
        registry.write(&changes);
        let most = self.faults.skew_max;
        let skew = dice.below(2 * most + 1) as i64 - most as i64;
        let lag = dice.below(self.plan.faults.log_lag_max.max(1));
        Site {
            identity: self.people.identity(node, store_number),
            tls_spki: self.people.entry(node, store_number).tls_spki,
            store_number,
            disk: Disk::new(node, self.people.cluster(), store, registry),
            process: None,
            generation: 0,
            skew,
            lag,
            mischief: self.plan.corrupt.get(&node).copied().filter(|_| !self.is_quiet),
            full_until: 0,
            image: None,
            is_lost: false,
            is_tried_again: false,
            roster,
            dice,
        }
    }

    /// The id that a site's `store_number`th store has.
    pub(super) fn store_id(&self, node: NodeId, store_number: u32) -> StoreId {
        StoreId::new(self.tree.rng("store", u64::from(node.get()) << 32 | u64::from(store_number)).bytes())
    }

    /// A site's wall clock.
    pub(super) fn clock_of(&self, place: Place) -> UnixMillis {
        let skew = self.sites.get(&place).map_or(0, |site| site.skew);
        UnixMillis(self.unix().0.saturating_add_signed(skew))
    }

    /// The clock of a site that only goes on.
    pub(super) const fn boot_clock(&self) -> MonotonicMillis {
        // A machine is up for a while before its node is.
        MonotonicMillis(self.now + 1_000_000)
    }

    pub(super) fn is_running(&self, place: Place) -> bool {
        self.sites.get(&place).is_some_and(|site| site.process.as_ref().is_some_and(|process| !process.is_admitting()))
    }

    /// The cluster as a site knows it.
    pub(super) fn cluster_of(&self, place: Place) -> Option<&Arc<ClusterRecord>> {
        let site = self.sites.get(&place)?;
        let applied = &site.disk.state.cluster;
        Some(site.roster.as_ref().filter(|roster| roster.revision() > applied.revision()).unwrap_or(applied))
    }

    /// Whether whoever asks or waits has `place` in its roster, with these keys: the transport takes nobody else.
    pub(super) fn is_of_roster(&self, asker: Party, place: Place) -> bool {
        let cluster = match asker {
            Party::Site(asker) => self.cluster_of(asker),
            Party::Coordinator(_) => Some(self.log.cluster()),
        };
        let Some(site) = self.sites.get(&place) else { return false };
        cluster.is_some_and(|cluster| cluster.node(place.node).is_some_and(|entry| entry.identity == site.identity.public_key()))
    }

    /// Whether consensus counts this process as the site's.
    pub(super) fn is_member(&self, place: Place) -> bool {
        let Some(site) = self.sites.get(&place) else { return false };
        let entry = self.log.cluster().node(place.node);
        self.reached.get(&place.node) == Some(&place) && entry.is_some_and(|entry| entry.identity == site.identity.public_key())
    }

    /// The process dies here.
    pub(super) fn crash(&mut self, place: Place) {
        let Some(site) = self.sites.get_mut(&place) else { return };
        let Some(process) = site.process.take() else { return };
        site.generation += 1;
        let boot = process.gate.boot();
        let (local, state) = process.writes_under_way();
        let mut drawn = |under_way: usize| site.dice.below(under_way as u64 + 1) as usize;
        let survive = Survive { local: drawn(local.len()), state: drawn(state.len()) };
        // Something of one store is there, and something of the other is not.
        let is_apart = (survive.local > 0 && survive.state < state.len()) || (survive.state > 0 && survive.local < local.len());
        self.counters.injected("stores torn apart by a crash", u64::from(is_apart));
        site.disk.crash(local, state, survive);
        self.counters.injected("process killed", 1);
        self.tell(Fact::Crashed { site: place.node, boot });
        if self.log.leader == Some(place.node) && self.reached.get(&place.node) == Some(&place) {
            self.depose();
        }
        if place.copy == 0 {
            let (least, most) = RESTART_MILLIS;
            let after = self.dice.between(least, most);
            self.after(after, Event::Start(place));
        }
    }

    /// The process may die at this effect. Says whether it did.
    pub(super) fn dies_here(&mut self, place: Place) -> bool {
        let dies = self.sites.get_mut(&place).is_some_and(|site| site.process.is_some() && site.dice.permille(self.faults.crash_at_effect));
        if dies {
            self.crash(place);
        }
        dies
    }

    pub(super) fn site_tick(&mut self, place: Place, generation: u64) {
        if self.sites.get(&place).is_none_or(|site| site.generation != generation || site.process.is_none()) {
            return;
        }
        let jitter = self.dice.below(20);
        self.after(TICK_MILLIS + jitter, Event::Tick { place, generation });
        if !self.is_running(place) {
            return;
        }
        let boot_now = self.boot_clock();
        if let Some(process) = self.sites.get(&place).and_then(|site| site.process.as_ref()) {
            process.pools.lock().drop_expired(boot_now);
        }
        self.confirm_tick(place);
        self.look_at_snapshot(place);
        self.ceremony_step(place);
        self.holds_tick(place);
        self.destroy_tick(place);
        self.offer_checkpoint(place);
    }

    /// A call reaches a site.
    pub(super) fn asked(&mut self, place: Place, from: ReplyTo, request: Request) {
        if !self.is_running(place) || self.dies_here(place) {
            return;
        }
        if let Party::Site(asker) = from.party
            && !self.is_of_roster(Party::Site(place), asker)
        {
            return;
        }
        match request {
            Request::Sign(coordinator, SignCall::Commitments { count }) => self.give_commitments(place, from, &coordinator, count),
            Request::Sign(coordinator, SignCall::SignBatch { items, refill }) => self.sign_batch(place, from, coordinator, items, refill),
            Request::Order(OrderCall::Propose(command)) => self.propose(place, *command, Proposal::Relay(from)),
            Request::Order(OrderCall::Stop(stop)) => self.obey(place, from, *stop),
            Request::Order(OrderCall::Read(read)) => self.read(place, from, &read),
            Request::Order(OrderCall::Status) => self.give_status(place, from),
            Request::Order(OrderCall::ImportPacket(packet)) => self.take_packet(place, from, &packet),
            Request::Order(OrderCall::Receipts(_)) => {}
            Request::Ceremony(call) => self.ceremony_called(place, from, call),
            Request::Forward(command) => self.take_command(place, command, Some(from)),
        }
    }

    /// An answer reaches a site, or its deadline passed.
    pub(super) fn site_answered(&mut self, place: Place, then: Then, reply: Option<Reply>) {
        match then {
            Then::Round2 { to, ceremony, attempt } => self.round2_answered(place, (to, ceremony, attempt), reply),
            Then::Repair { to, ceremony, attempt, kind } => self.repair_answered(place, (to, ceremony, attempt, kind), reply),
            Then::Root(node) => self.root_answered(place, node, reply),
            Then::Mark(node) => self.mark_answered(place, node, reply),
            Then::Remembered(node) => self.remembered_answered(place, node, reply),
            Then::Proposed(proposal) => self.proposed(place, *proposal, reply),
            Then::Commitments { .. }
            | Then::Item { .. }
            | Then::Hoard(_)
            | Then::Status { .. }
            | Then::View { .. }
            | Then::Stop { .. }
            | Then::Order { .. }
            | Then::Nothing => {}
        }
    }

    /// Brings a command into the log. One that this site, up to date with its log, would refuse is refused without filling the log.
    pub(super) fn propose(&mut self, place: Place, command: warifu_protocol::Command, proposal: Proposal) {
        let Some(leader) = self.log.leader else {
            let reply = Reply::Order(OrderReply::Unknown { reason: "no leader".to_owned() });
            return self.proposed(place, proposal, Some(reply));
        };
        self.call(Party::Site(place), leader, Request::Forward(command), PROPOSE_DEADLINE, Then::Proposed(Box::new(proposal)));
    }

    fn proposed(&mut self, place: Place, proposal: Proposal, reply: Option<Reply>) {
        let reply = match reply {
            Some(Reply::Order(reply)) => reply,
            Some(_) | None => OrderReply::Unknown { reason: "no answer".to_owned() },
        };
        match proposal {
            Proposal::Announcement(boot) => self.announced(place, boot),
            Proposal::Effect(command) => self.effect_proposed(place, &command, &reply),
            Proposal::Relay(to) => self.reply(place, to, Reply::Order(reply)),
            Proposal::Own => {}
        }
    }

    fn read(&mut self, place: Place, from: ReplyTo, read: &Read) {
        let Some(site) = self.sites.get(&place) else { return };
        let state = &site.disk.state.registry;
        let view = match read {
            Read::Credential(id) => state.credential(*id).ok().flatten().map(|record| {
                let stores = state.store_numbers().unwrap_or_default();
                View::Credential(Box::new(record.view(*id, &stores)))
            }),
            Read::Session(id) => state.session(*id).ok().flatten().map(|record| View::Session(Box::new(record.view()))),
            Read::Ceremony(_)
            | Read::ObjectVersion(_)
            | Read::Credentials { .. }
            | Read::Crls
            | Read::RosterOrders { .. }
            | Read::OrderApplied(_)
            | Read::History(_) => None,
        };
        self.reply(place, from, Reply::Order(OrderReply::View(view)));
    }
}
