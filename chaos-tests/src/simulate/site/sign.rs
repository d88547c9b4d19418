//! Signature shares: the daemon's own batch, between this disk and this network.

use warifu_core::ceremony::OpenShare as _;
use warifu_core::registry::Registry as _;
use warifu_node::local::AuditWrite;
use warifu_node::service::ShareGiver;
use warifu_protocol::limits::{COMMITMENTS_PER_REPLY_MAX, SIGN_BATCH_MAX};
use warifu_protocol::wire::{FreshCommitments, NodeStatus, OrderReply, SignAnswer, SignItem, SignReply, SignWork};
use warifu_protocol::{AuditEvent, Checkpoint, Name, Refusal, Sha256, UnixMillis};

use super::storage::{LocalWait, SignWait};
use crate::simulate::cost::{self, Of};
use crate::simulate::disk::{Disk, LocalOutcome, LocalWrite};
use crate::simulate::event::{Place, Reply, ReplyTo};
use crate::simulate::fact::{Checked, Fact, ShareGiven};
use crate::simulate::mischief;
use crate::simulate::world::World;

impl World {
    pub(super) fn give_commitments(&mut self, place: Place, from: ReplyTo, coordinator: &Name, count: u16) {
        let commitments = self.fresh_commitments(place, coordinator, count);
        self.reply(place, from, Reply::Sign(SignReply { answers: Vec::new(), commitments }));
    }

    fn fresh_commitments(&mut self, place: Place, coordinator: &Name, count: u16) -> Vec<FreshCommitments> {
        let boot_now = self.boot_clock();
        let Some(site) = self.sites.get_mut(&place) else { return Vec::new() };
        let mischief = site.mischief;
        let Some(process) = site.process.as_mut() else { return Vec::new() };
        let count = usize::from(count).min(COMMITMENTS_PER_REPLY_MAX);
        if count == 0 || !process.gate.is_open() {
            return Vec::new();
        }
        let (pools, rng) = (process.pools.get_mut(), &mut process.dice.0);
        let mut fresh = cost::of(Of::Frost, || pools.make(boot_now, coordinator, count, rng));
        mischief::commitments(mischief, &mut fresh, &mut process.dice, &mut self.counters);
        let nonces = fresh.iter().map(|one| one.nonce).collect();
        let boot = process.gate.boot();
        self.tell(Fact::NoncesOffered { site: place.node, boot, coordinator: coordinator.clone(), nonces });
        fresh
    }

    pub(super) fn sign_batch(&mut self, place: Place, from: ReplyTo, coordinator: Name, items: Vec<SignItem>, refill: u16) {
        let (now, boot_now) = (self.clock_of(place), self.boot_clock());
        if items.len() > SIGN_BATCH_MAX {
            let refusal = Refusal::TooLarge { what: "items in a batch".to_owned(), limit: SIGN_BATCH_MAX as u64 };
            let answers = vec![SignAnswer::Refused(refusal); SIGN_BATCH_MAX];
            return self.reply(place, from, Reply::Sign(SignReply { answers, commitments: Vec::new() }));
        }
        let Some(site) = self.sites.get(&place) else { return };
        let Some(process) = &site.process else { return };
        let giver =
            ShareGiver { node: place.node, gate: &process.gate, holds: &process.holds, pools: &process.pools, refusals: &process.refusals };
        let view = || Ok(&site.disk.state.registry);
        let checked = items.iter().map(|item| look(&site.disk, item, now)).collect();
        cost::count(items.len() as u64, 0);
        let (batch, writes) = giver.prepare(view, &coordinator, items.clone(), now, boot_now);
        // What passed every check but that of its numbers had the commitments of its signers read: two points each.
        let is_share = |write: &&AuditWrite| matches!(write.entry.event, AuditEvent::DocumentShare { .. } | AuditEvent::CsrShare { .. });
        cost::count_points((writes.iter().filter(is_share).count() * 2 * usize::from(self.plan.threshold)) as u64);
        let wait = SignWait { batch, items, checked, coordinator, from, refill };
        self.write_local(place, LocalWrite::Audit(writes), LocalWait::Shares(Box::new(wait)));
    }

    /// The audit entries are on the disk, or cannot be written.
    pub(super) fn sign_recorded(&mut self, place: Place, wait: SignWait, outcome: Option<LocalOutcome>) {
        let SignWait { batch, items, checked, coordinator, from, refill } = wait;
        let boot_now = self.boot_clock();
        let Some(site) = self.sites.get_mut(&place) else { return };
        let Some(process) = &site.process else { return };
        let giver =
            ShareGiver { node: place.node, gate: &process.gate, holds: &process.holds, pools: &process.pools, refusals: &process.refusals };
        let local = &site.disk.local;
        let share = |credential, epoch| local.open_share(credential, epoch).ok_or(SignAnswer::Refused(Refusal::ShareMissing));
        let spends = outcome.map(|outcome| outcome.spends);
        let mut answers = cost::of(Of::Frost, || giver.answer(batch, spends, || boot_now, share));
        mischief::answers(site.mischief, &mut answers, &mut site.dice, &mut self.counters);
        if mischief::falls_silent(site.mischief, &answers, &mut site.dice, &mut self.counters) {
            return;
        }
        for ((item, checked), answer) in items.into_iter().zip(checked).zip(&answers) {
            if let SignAnswer::Share(share) = answer {
                self.share_leaves(place, &coordinator, item, *share, checked);
            }
        }
        let commitments = self.fresh_commitments(place, &coordinator, refill);
        if !self.dies_here(place) {
            self.reply(place, from, Reply::Sign(SignReply { answers, commitments }));
        }
    }

    fn share_leaves(&mut self, place: Place, coordinator: &Name, item: SignItem, share: [u8; 32], checked: Checked) {
        self.counters.shares += 1;
        let clock = self.clock_of(place);
        let Some(site) = self.sites.get(&place) else { return };
        let Some(process) = &site.process else { return };
        let Checked { applied, session_closed, credential_state, .. } = look(&site.disk, &item, clock);
        let given = ShareGiven {
            site: place.node,
            store: site.disk.local.starts.store,
            boot: process.gate.boot(),
            coordinator: coordinator.clone(),
            item,
            share,
            applied,
            session_closed,
            credential_state,
            checked,
        };
        self.tell(Fact::ShareGiven(Box::new(given)));
    }

    pub(super) fn give_status(&mut self, place: Place, from: ReplyTo) {
        let Some(site) = self.sites.get(&place) else { return };
        let Some(process) = &site.process else { return };
        let status = NodeStatus {
            node: place.node,
            cluster: self.people.cluster(),
            boot: process.gate.boot(),
            confirmed: process.gate.is_open(),
            reasons: process.gate.reasons(),
            leader: self.log.leader,
            term: self.log.term,
            applied: site.disk.state.applied,
            last_log: process.known,
            now: self.clock_of(place),
            audit: Checkpoint { size: site.disk.local.audit.len() as u64, root: Sha256::new([0; 32]) },
            shares_given: 0,
            version: "simulated".to_owned(),
        };
        self.reply(place, from, Reply::Order(OrderReply::Status(Box::new(status))));
    }
}

/// What a site's state says of an item.
fn look(disk: &Disk, item: &SignItem, clock: UnixMillis) -> Checked {
    let state = &disk.state.registry;
    let session = match &item.work {
        SignWork::Document { request, .. } => state.session(request.request.session).ok().flatten(),
        SignWork::Csr { .. } => None,
    };
    let credential = match &item.work {
        SignWork::Document { .. } => session.as_ref().map(|session| session.statement.credential),
        SignWork::Csr { credential } => Some(*credential),
    };
    let record = credential.and_then(|credential| state.credential(credential).ok().flatten());
    let is_retired = |terminal| state.terminal(terminal).ok().flatten().is_none_or(|terminal| terminal.retired);
    Checked {
        clock,
        applied: disk.state.applied,
        terminal_retired: session.as_ref().is_some_and(|session| is_retired(session.statement.terminal)),
        session_closed: session.map(|session| session.closed),
        credential_state: record.map(|record| record.state),
    }
}
