//! Ceremonies, as the daemon drives them: one step at a time, its effects in order, background work only when confirmed.

use frost_ed25519::keys::dkg::round2;
use warifu_core::ceremony::CeremonyEffect;
use warifu_core::registry::{MemoryStore, Registry as _, RepairRecord};
use warifu_protocol::wire::{CeremonyCall, CeremonyReply, OrderReply, Remembered};
use warifu_protocol::{
    Blob, CeremonyId, Command, CredentialId, Epoch, NodeId, Refusal, RepairPartKind, SharesFound, SharesLost, StateRoot,
};

use super::storage::LocalWait;
use crate::simulate::cost::{self, Of};
use crate::simulate::disk::{LocalData, LocalWrite};
use crate::simulate::event::{Party, Place, Proposal, Reply, ReplyTo, Request, Then};
use crate::simulate::fact::{Fact, RepairOf, Sent, Unshown};
use crate::simulate::invariants::Violation;
use crate::simulate::mischief;
use crate::simulate::world::World;

/// Time for a peer to take round-2 packages or parts of a repair, as the daemon's.
const ROUND2_DEADLINE: u64 = 5_000;
/// Credentials in one repair.
const REPAIR_BATCH: usize = 64;
/// Rest between two searches for shares of ended epochs.
const SWEEP_REST: u64 = 2_000;

impl World {
    /// The next step of everything under way, unless effects of the last one wait.
    pub(super) fn ceremony_step(&mut self, place: Place) {
        let (now, away) = (self.clock_of(place), self.now);
        let leads = self.log.leader == Some(place.node);
        let Some(site) = self.sites.get_mut(&place) else { return };
        let (state, shares, mischief) = (&site.disk.state.registry, &site.disk.local, site.mischief);
        let Some(process) = site.process.as_mut() else { return };
        if process.is_busy || !process.effects.is_empty() || process.is_admitting() {
            return;
        }
        let rng = &mut process.dice.0;
        let (mut effects, mut over, mut stuck) = (Vec::new(), Vec::new(), Vec::new());
        if process.gate.is_open() {
            let steps = [
                cost::of_arithmetic(|| process.dkg.step(now, state, shares, rng)),
                cost::of_arithmetic(|| process.repairs.step(now, state, shares, rng)),
                process.imports.step(now, state),
            ];
            for step in steps {
                match step {
                    Ok(step) => effects.extend(step),
                    Err(error) => stuck.push(error.to_string()),
                }
            }
            match process.backlog.next(now, state, REPAIR_BATCH) {
                Ok(credentials) if !credentials.is_empty() => effects.push(CeremonyEffect::Propose(process.repairs.ask(credentials, rng))),
                Ok(_) | Err(_) => {}
            }
            let limit = leads.then_some(REPAIR_BATCH);
            effects.extend(process.due.next(now, state, limit, rng).ok().flatten().map(CeremonyEffect::Propose));
            if away >= process.sweep_at {
                process.sweep_at = away + SWEEP_REST;
                let number = state.node(site.identity.node()).ok().flatten().map_or(0, |record| record.next_shares_word());
                let lost = lost_shares(state, shares, site.identity.node());
                if !lost.is_empty() {
                    effects.push(CeremonyEffect::Propose(Command::SharesLost(site.identity.sign(SharesLost { number, shares: lost }))));
                }
                // A word of its own about a share that the log got late, after the repair, has the log say that it is not here.
                let found = found_shares(state, shares, site.identity.node());
                if !found.is_empty() {
                    effects.push(CeremonyEffect::Propose(Command::SharesFound(site.identity.sign(SharesFound { number, shares: found }))));
                }
                over = shares.shares.keys().copied().filter(|(credential, epoch)| is_over(state, *credential, *epoch)).collect();
            }
        }
        if let Some(mischief) = mischief {
            effects = mischief::distort(mischief, &site.identity, state, effects, &mut process.dice, &mut self.counters);
        }
        process.effects.extend(effects);
        if !self.suspects.contains(&place.node) {
            let stuck = stuck.into_iter().map(|error| format!("site {}: {error}", place.node));
            self.violations.extend(stuck.map(|what| Violation { invariant: "every_ceremony_can_be_run_where_it_takes_place", what }));
        }
        if !over.is_empty() {
            self.write_local(place, LocalWrite::Drop(over), LocalWait::Dropped);
        }
        self.perform_effects(place);
    }

    /// Carries effects out in order, until one has to be waited for.
    fn perform_effects(&mut self, place: Place) {
        loop {
            if self.dies_here(place) {
                return;
            }
            let Some(cluster) = self.cluster_of(place).cloned() else { return };
            let Some(process) = self.sites.get_mut(&place).and_then(|site| site.process.as_mut()) else { return };
            if process.is_busy {
                return;
            }
            let Some(effect) = process.effects.pop_front() else { return };
            if let CeremonyEffect::SendRound2 { to, .. } | CeremonyEffect::SendRepair { to, .. } = &effect
                && cluster.node(*to).is_none()
            {
                // There is nobody of this name in its roster to be called.
                continue;
            }
            match effect {
                CeremonyEffect::StorePending { shares, .. } => {
                    process.is_busy = true;
                    self.write_local(place, LocalWrite::Shares(shares), LocalWait::Ceremony);
                }
                CeremonyEffect::Propose(command) => {
                    process.is_busy = true;
                    self.propose(place, command.clone(), Proposal::Effect(command));
                }
                CeremonyEffect::SendRound2 { to, message } => {
                    if self.sites.get(&place).is_some_and(|site| site.mischief.is_none()) {
                        let package = |blob: &Blob| round2::Package::deserialize(blob.as_slice()).ok();
                        let scalars = message.body.packages.iter().filter_map(package);
                        let scalars = scalars.filter_map(|package| package.signing_share().serialize().try_into().ok()).collect();
                        let (ceremony, attempt) = (message.body.ceremony, message.body.attempt);
                        let what = Sent::Round2;
                        self.tell(Fact::ScalarsSent { from: place.node, to, ceremony, attempt, what, scalars: Unshown(scalars) });
                    }
                    let then = Then::Round2 { to, ceremony: message.body.ceremony, attempt: message.body.attempt };
                    let request = Request::Ceremony(CeremonyCall::Round2(Box::new(message)));
                    self.call(Party::Site(place), to, request, ROUND2_DEADLINE, then);
                }
                CeremonyEffect::SendRepair { to, message } => {
                    let part = &message.part.body;
                    let honest = self.sites.get(&place).filter(|site| site.mischief.is_none());
                    let repair = honest.and_then(|site| site.disk.state.registry.repair(part.ceremony).ok().flatten());
                    if let Some(RepairRecord { credentials: keys, helpers, receiver, .. }) = repair {
                        let of = RepairOf { keys, helpers, receiver };
                        let what = match part.kind {
                            RepairPartKind::Delta => Sent::Delta(of),
                            RepairPartKind::Sigma => Sent::Sigma(of),
                        };
                        let (ceremony, attempt, scalars) = (part.ceremony, part.attempt, message.scalars.clone());
                        self.tell(Fact::ScalarsSent { from: place.node, to, ceremony, attempt, what, scalars: Unshown(scalars) });
                    }
                    let then = Then::Repair { to, ceremony: part.ceremony, attempt: part.attempt, kind: part.kind };
                    let request = Request::Ceremony(CeremonyCall::Repair(Box::new(message)));
                    self.call(Party::Site(place), to, request, ROUND2_DEADLINE, then);
                }
            }
        }
    }

    /// Shares are durable, or not: then the rest of the list is dropped.
    pub(super) fn shares_stored(&mut self, place: Place, is_stored: bool) {
        let Some(process) = self.sites.get_mut(&place).and_then(|site| site.process.as_mut()) else { return };
        process.is_busy = false;
        if !is_stored {
            process.effects.clear();
        }
        self.perform_effects(place);
    }

    pub(super) fn effect_proposed(&mut self, place: Place, command: &Command, reply: &OrderReply) {
        let Some(process) = self.sites.get_mut(&place).and_then(|site| site.process.as_mut()) else { return };
        process.is_busy = false;
        if let OrderReply::Verdict(verdict) = reply {
            match (command, verdict.outcome.is_ok()) {
                (Command::RepairStarted(started), false) => process.repairs.refused(started.body.ceremony),
                (Command::RepairConfirmed(confirmed), true) => {
                    let count = process.repairs.repaired(confirmed.body.ceremony);
                    process.backlog.repaired(count);
                }
                _ => {}
            }
        }
        self.perform_effects(place);
    }

    pub(super) fn round2_answered(&mut self, place: Place, to: (NodeId, CeremonyId, u32), reply: Option<Reply>) {
        let Some(process) = self.sites.get_mut(&place).and_then(|site| site.process.as_mut()) else { return };
        if matches!(reply, Some(Reply::Ceremony(CeremonyReply::Taken))) {
            process.dkg.round2_acknowledged(to.1, to.2, to.0);
        }
    }

    pub(super) fn repair_answered(&mut self, place: Place, to: (NodeId, CeremonyId, u32, RepairPartKind), reply: Option<Reply>) {
        let Some(process) = self.sites.get_mut(&place).and_then(|site| site.process.as_mut()) else { return };
        if matches!(reply, Some(Reply::Ceremony(CeremonyReply::Taken))) {
            process.repairs.acknowledged(to.1, to.2, to.3, to.0);
        }
    }

    /// Another site asks.
    pub(super) fn ceremony_called(&mut self, place: Place, from: ReplyTo, call: CeremonyCall) {
        let Party::Site(asker) = from.party else { return };
        if let CeremonyCall::StateMark { index } = call {
            let reply = self.give_mark(place, index);
            return self.reply(place, from, Reply::Ceremony(reply));
        }
        let mischief = self.sites.get(&place).and_then(|site| site.mischief);
        let Some(site) = self.sites.get_mut(&place) else { return };
        let state = &site.disk.state.registry;
        let Some(process) = site.process.as_mut() else { return };
        let reply = match call {
            CeremonyCall::Round2(message) => {
                cost::of(Of::Frost, || process.dkg.handle_round2(asker.node, *message, state)).unwrap_or(CeremonyReply::NotYet)
            }
            CeremonyCall::Repair(_) if !process.gate.is_open() => CeremonyReply::NotYet,
            CeremonyCall::Repair(message) => {
                cost::of(Of::Frost, || process.repairs.handle(asker.node, *message, state)).unwrap_or(CeremonyReply::NotYet)
            }
            CeremonyCall::Remembered => CeremonyReply::Remembered(
                state.node(asker.node).ok().flatten().map(|record| Remembered { store: record.store, boot: record.boot }),
            ),
            CeremonyCall::StateRoot { boot, index } => match (state.root_at(index), state.node(asker.node)) {
                (Ok(Some(root)), Ok(Some(record))) if record.boot == boot && record.started_at == index => {
                    let root = mischief::root(mischief, root, &mut self.counters);
                    CeremonyReply::StateRoot(site.identity.sign(StateRoot { boot, index, root }))
                }
                (Ok(Some(_)), Ok(_)) => CeremonyReply::Refused(Refusal::NodeRolledBack { node: asker.node }),
                _ => CeremonyReply::NotYet,
            },
            CeremonyCall::StateMark { .. } => CeremonyReply::NotYet,
        };
        self.reply(place, from, Reply::Ceremony(reply));
    }
}

/// Shares that the log says are here and that are not on the disk.
fn lost_shares(state: &MemoryStore, local: &LocalData, own: NodeId) -> Vec<(CredentialId, Epoch)> {
    let stores = state.store_numbers().unwrap_or_default();
    let mut lost = Vec::new();
    for (credential, record) in state.credentials(None, usize::MAX).unwrap_or_default() {
        let epochs = [Some(record.epoch), record.previous.as_ref().map(|previous| previous.epoch)];
        let is_held = |epoch: &Epoch| record.is_share_held(*epoch, own, &stores);
        let is_gone = |epoch: &Epoch| !local.shares.contains_key(&(credential, *epoch));
        lost.extend(epochs.into_iter().flatten().filter(is_held).filter(is_gone).map(|epoch| (credential, epoch)));
    }
    lost
}

/// Shares that are on the disk and fit, and that the log says are missing.
fn found_shares(state: &MemoryStore, local: &LocalData, own: NodeId) -> Vec<(CredentialId, Epoch)> {
    let stores = state.store_numbers().unwrap_or_default();
    let is_found = |(credential, epoch): &(CredentialId, Epoch)| {
        let Some(record) = state.credential(*credential).ok().flatten().filter(|record| record.epoch == *epoch) else { return false };
        let share = local.shares.get(&(*credential, *epoch)).and_then(|share| share.key_package().ok());
        matches!(state.may_find_share(*credential, &record, own, &stores), Ok(true))
            && share.is_some_and(|share| record.is_share_of(own, share.verifying_share()))
    };
    local.shares.keys().copied().filter(is_found).collect()
}

impl World {
    /// Whether no site has a share of an epoch that is over.
    pub(in crate::simulate) fn is_swept(&self) -> bool {
        let truth = self.truth();
        let sites = self.reached.values().filter_map(|place| self.sites.get(place));
        sites.flat_map(|site| site.disk.local.shares.keys()).all(|(credential, epoch)| !is_over(truth, *credential, *epoch))
    }
}

fn is_over(state: &MemoryStore, credential: CredentialId, epoch: Epoch) -> bool {
    state.credential(credential).ok().flatten().is_some_and(|record| record.is_over(epoch))
}
