//! What a site has in memory, and how it comes to have it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use parking_lot::Mutex;
use rand_core::SeedableRng as _;
use warifu_core::ceremony::repair::Repairs;
use warifu_core::ceremony::{Backlog, Dkg, DueRefreshes, Imports};
use warifu_core::signer::NoncePools;
use warifu_node::gate::Gate;
use warifu_node::holds::Holds;
use warifu_node::local::{AuditWrite, HoldRecord};
use warifu_node::rate::RateBound;
use warifu_node::replicated::OwnStart;
use warifu_protocol::wire::{CeremonyCall, CeremonyReply};
use warifu_protocol::{AuditEntry, AuditEvent, BootId, NodeId};

use super::confirm::Confirming;
use super::storage::{Queued, StateWait};
use crate::simulate::disk::{LocalWrite, StateWrite};
use crate::simulate::event::{Effects, Event, Party, Place, Reply, Request, Then};
use crate::simulate::fact::Fact;
use crate::simulate::sealing::Sealing;
use crate::simulate::seed::Dice;
use crate::simulate::world::World;

/// Refusals written to the audit log in one second, as the daemon's.
const REFUSALS_AUDITED_PER_SECOND: u32 = 200;
/// Time for a peer to say what it remembers, as the daemon's.
const ADMISSION_DEADLINE: u64 = 2_000;
/// Latest start of a store that an order admitted and that has not started yet.
const NEVER_STARTED: BootId = BootId::new([0; BootId::LEN]);

/// A running process.
pub(in crate::simulate) struct Process {
    /// Whether it may sign.
    pub(in crate::simulate) gate: Gate,
    /// What it holds.
    pub(in crate::simulate) holds: Holds,
    /// Its nonces.
    pub(in crate::simulate) pools: Mutex<NoncePools>,
    pub(super) refusals: RateBound,
    pub(super) dkg: Dkg,
    pub(super) repairs: Repairs,
    pub(super) imports: Imports<Sealing>,
    pub(super) backlog: Backlog,
    pub(super) due: DueRefreshes,
    pub(super) dice: Dice,
    /// Last index that it has heard of.
    pub(in crate::simulate) known: u64,
    pub(super) is_applying: bool,
    pub(super) own_start: Option<OwnStart>,
    pub(super) confirming: Confirming,
    pub(super) effects: Effects,
    pub(super) is_busy: bool,
    pub(super) local: VecDeque<Queued<LocalWrite, super::storage::LocalWait>>,
    pub(super) state: VecDeque<Queued<StateWrite, StateWait>>,
    pub(super) local_done_at: u64,
    pub(super) state_done_at: u64,
    pub(super) local_failed: bool,
    pub(super) state_failed: bool,
    pub(super) shred_at: Option<u64>,
    pub(super) is_destroying: bool,
    pub(super) sweep_at: u64,
    pub(super) checkpoint: (u64, u64),
    /// A snapshot that others are asked about.
    pub(super) judging: Option<Box<super::snapshot::Judging>>,
    /// Who sent a forged one, and when.
    pub(super) forgers: BTreeMap<NodeId, u64>,
}

impl Process {
    /// Whether peers are still asked whether they remember more of the store than there is.
    pub(super) const fn is_admitting(&self) -> bool {
        matches!(self.confirming, Confirming::Admission { .. })
    }

    /// Whether a store has failed: nothing is written until the next start.
    pub(in crate::simulate) const fn has_failed(&self) -> bool {
        self.local_failed || self.state_failed
    }

    /// The entry of its start, while it asks others for their roots there.
    #[cfg(test)]
    pub(in crate::simulate) const fn gathers_at(&self) -> Option<u64> {
        match self.confirming {
            Confirming::Gathering { index, .. } => Some(index),
            _ => None,
        }
    }

    /// Nobody confirms it any more.
    #[cfg(test)]
    pub(in crate::simulate) fn keep_unconfirmed(&mut self, boot: BootId) {
        self.gate.unconfirm(boot);
        self.confirming = Confirming::Over;
    }

    /// How far its confirmation is, in words.
    pub(in crate::simulate) fn confirmation(&self) -> String {
        self.confirming.stage()
    }

    /// Writes that were not told to be done.
    pub(super) fn writes_under_way(self) -> (VecDeque<LocalWrite>, VecDeque<StateWrite>) {
        let local = self.local.into_iter().filter_map(|queued| queued.is_sound().then_some(queued.write)).collect();
        let state = self.state.into_iter().filter_map(|queued| queued.is_sound().then_some(queued.write)).collect();
        (local, state)
    }
}

impl World {
    pub(in crate::simulate) fn start_site(&mut self, place: Place) {
        let (rank, boot_now) = (u64::from(place.node.get()) - 1, self.boot_clock());
        let Some(site) = self.sites.get_mut(&place) else { return };
        if site.process.is_some() || site.is_lost {
            return;
        }
        let sealing = self.people.sealing_for(self.people.entry(place.node, site.store_number).sealing_key.as_slice());
        site.generation += 1;
        let generation = site.generation;
        let boot = BootId::new(site.dice.bytes());
        let left = site.disk.open(boot);
        let held: Vec<HoldRecord> = site.disk.local.holds.values().filter(|record| record.ended.is_none()).cloned().collect();
        let mut dice = Dice(rand_chacha::ChaCha20Rng::from_seed(site.dice.bytes()));
        let identity = site.identity.clone();
        site.process = Some(Process {
            gate: Gate::new(boot),
            holds: Holds::new(held, rank, boot_now),
            pools: Mutex::new(NoncePools::new(&mut dice.0)),
            refusals: RateBound::new(REFUSALS_AUDITED_PER_SECOND),
            dkg: Dkg::new(identity.clone()),
            repairs: Repairs::new(identity.clone()),
            imports: Imports::new(identity.clone(), sealing),
            due: DueRefreshes::new(identity),
            backlog: Backlog::new(place.node),
            known: site.disk.log_through.max(site.disk.state.applied),
            dice,
            is_applying: false,
            own_start: None,
            confirming: Confirming::Admission { waits: BTreeSet::new(), other_store: 0, outdated: 0 },
            effects: Effects::new(),
            is_busy: false,
            local: VecDeque::new(),
            state: VecDeque::new(),
            local_done_at: 0,
            state_done_at: 0,
            local_failed: false,
            state_failed: false,
            shred_at: None,
            is_destroying: false,
            sweep_at: 0,
            checkpoint: (self.now, 0),
            judging: None,
            forgers: BTreeMap::new(),
        });
        let store = site.disk.local.starts.store;
        let incarnation = site.disk.local.starts.incarnation;
        for outcome in left {
            self.tell_stored(place, &outcome);
        }
        self.tell(Fact::Started { site: place.node, store, boot });
        let event = AuditEvent::Started { store, incarnation, boot, version: "simulated".to_owned() };
        let entry = AuditWrite::plain(AuditEntry::new(self.clock_of(place), event));
        self.write_local(place, LocalWrite::Audit(vec![entry]), super::storage::LocalWait::Nothing);
        self.judge_self(place);
        self.after(1, Event::Tick { place, generation });
        self.ask_what_is_remembered(place);
    }

    /// Before it joins, a node asks the others what they remember of it.
    fn ask_what_is_remembered(&mut self, place: Place) {
        let others: BTreeSet<NodeId> = self
            .cluster_of(place)
            .map(|cluster| cluster.node_ids())
            .unwrap_or_default()
            .into_iter()
            .filter(|node| *node != place.node)
            .collect();
        if let Some(process) = self.sites.get_mut(&place).and_then(|site| site.process.as_mut()) {
            process.confirming = Confirming::Admission { waits: others.clone(), other_store: 0, outdated: 0 };
        }
        for node in others {
            self.call(Party::Site(place), node, Request::Ceremony(CeremonyCall::Remembered), ADMISSION_DEADLINE, Then::Remembered(node));
        }
    }

    pub(super) fn remembered_answered(&mut self, place: Place, node: NodeId, reply: Option<Reply>) {
        let needed = self.cluster_of(place).map_or(1, |cluster| usize::from(cluster.liars) + 1);
        let Some(site) = self.sites.get_mut(&place) else { return };
        let Some(process) = site.process.as_mut() else { return };
        let Confirming::Admission { waits, other_store, outdated } = &mut process.confirming else { return };
        if !waits.remove(&node) {
            return;
        }
        let starts = &site.disk.local.starts;
        if let Some(Reply::Ceremony(CeremonyReply::Remembered(Some(remembered)))) = reply {
            if remembered.store != starts.store {
                *other_store += 1;
            } else if remembered.boot != NEVER_STARTED && !starts.boots.contains(&remembered.boot) {
                *outdated += 1;
            }
        }
        if *other_store >= needed || *outdated >= needed {
            site.process = None;
            site.generation += 1;
            site.is_lost = true;
            self.tell(Fact::TurnedAway { site: place.node });
        } else if waits.is_empty() {
            process.confirming = Confirming::Announce;
            self.apply_next(place);
        }
    }

    /// Whether the node still belongs to the cluster, as far as its own state says.
    pub(super) fn judge_self(&self, place: Place) {
        let (Some(cluster), Some(site)) = (self.cluster_of(place), self.sites.get(&place)) else { return };
        let Some(process) = &site.process else { return };
        match cluster.node(place.node) {
            Some(entry) if entry.identity == site.identity.public_key() && entry.tls_spki == site.tls_spki => {}
            Some(_) | None => process.gate.retire("it was replaced or removed by order".to_owned()),
        }
    }
}
