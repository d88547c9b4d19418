//! Snapshots, as the daemon judges and installs them: what a leader sends is its word alone until enough others vouch for it; until then the state stays
//! as it is, and afterwards the site must be confirmed again.

use std::collections::{BTreeMap, BTreeSet};

use warifu_core::confirmation::{MarkTally, MarkVerdict};
use warifu_core::registry::{
    AuthenticatorRecord, CredentialRecord, MemoryStore, Overlay, Registry as _, StateStore as _, encode, key, state_root, table,
};
use warifu_node::raft::{MembershipView, RosterNode};
use warifu_node::service::explain;
use warifu_node::state::{Examined, mark};
use warifu_protocol::wire::{CeremonyCall, CeremonyReply, CredentialState};
use warifu_protocol::{AuthenticatorKind, NodeId, NodeSigned, Sha256, StateMark};

use crate::simulate::event::{Party, Place, Reply, Request, Then};
use crate::simulate::fact::Fact;
use crate::simulate::world::World;

/// Time for one peer to sign what its state was, as the daemon's.
const MARK_DEADLINE: u64 = 2_000;
/// Time for enough others to have applied the snapshot's last entry, as the daemon's.
const VOUCH_MILLIS: u64 = 5_000;
/// Pause between rounds of questions, as the daemon's.
const RETRY: u64 = 200;
/// How long nothing is taken of a site that sent a forged snapshot, as the daemon's.
const FORGER_PAUSE: u64 = 600_000;
/// Orders that are read from a snapshot, as the daemon's.
const CHANGES_MAX: usize = 64;

/// A snapshot that is being judged.
pub(super) struct Judging {
    from: NodeId,
    index: u64,
    registry: MemoryStore,
    tally: MarkTally,
    waits: BTreeSet<NodeId>,
    ends_at: u64,
    again_at: u64,
    forged: bool,
}

impl World {
    /// A leader sends its state to a site that lacks entries it does not keep any more, or to one that lacks none, with a forged content.
    pub(in crate::simulate) fn send_snapshot(&mut self, leader: Place, to: Place, forged: bool) {
        let Some(sender) = self.sites.get(&leader) else { return };
        if !self.takes_snapshot(to, leader.node, sender.disk.state.applied) {
            return;
        }
        let (index, mut registry) = (sender.disk.state.applied, sender.disk.state.registry.clone());
        if forged {
            if !self.forge_state(&mut registry) {
                return;
            }
            self.counters.injected("forged snapshot", 1);
        }
        self.judge_snapshot(to, leader.node, index, &registry, forged);
    }

    /// One binding more: a card that the adversary has, for a credential that signs.
    fn forge_state(&mut self, registry: &mut MemoryStore) -> bool {
        let is_active = |(_, record): &(_, CredentialRecord)| record.state == CredentialState::Active;
        let Some((id, mut record)) = registry.credentials(None, usize::MAX).unwrap_or_default().into_iter().find(is_active) else {
            return false;
        };
        let Some(bound) = record.authenticators.first().cloned() else { return false };
        let card = warifu_protocol::CertificateHash::new(self.dice.bytes());
        let serial_digest = Sha256::new(self.dice.bytes());
        record.authenticators.push(AuthenticatorRecord { card, kind: AuthenticatorKind::MyNumberCard, serial_digest, ..bound });
        registry.0.insert(key(table::CREDENTIAL, &[id.as_ref()]), encode(&record));
        true
    }

    /// Whether a site looks at a snapshot at all.
    fn takes_snapshot(&self, place: Place, from: NodeId, index: u64) -> bool {
        let Some(site) = self.sites.get(&place) else { return false };
        let Some(process) = site.process.as_ref().filter(|process| process.judging.is_none() && !process.is_admitting()) else {
            return false;
        };
        let is_paused = process.forgers.get(&from).is_some_and(|since| self.now < since + FORGER_PAUSE);
        // Entries that are being applied come first.
        !is_paused && !process.is_applying && !process.state_failed && index > site.disk.state.applied
    }

    fn judge_snapshot(&mut self, place: Place, from: NodeId, index: u64, sent: &MemoryStore, forged: bool) {
        let now = self.now;
        let Some(site) = self.sites.get(&place) else { return };
        let known = (*site.disk.state.cluster).clone();
        let Some((registry, examined)) = examine(sent, known.revision()) else { return };
        let member = |member: &warifu_core::registry::PlanMember| RosterNode {
            address: member.address.clone(),
            spki: member.spki,
            roster: member.roster,
        };
        let plan = &examined.plans.current;
        let members =
            MembershipView { voters: vec![plan.voters.clone()], nodes: plan.nodes.iter().map(|(id, node)| (*id, member(node))).collect() };
        let Ok(cluster) = explain(known, &examined, &members) else { return };
        let found = mark(&index.to_be_bytes(), examined.root);
        if forged {
            self.adversary.note_forged_mark(index, found);
        }
        let tally = MarkTally::new(cluster, place.node, index, found);
        let judging = Judging { from, index, registry, tally, waits: BTreeSet::new(), ends_at: now + VOUCH_MILLIS, again_at: 0, forged };
        if let Some(process) = self.sites.get_mut(&place).and_then(|site| site.process.as_mut()) {
            process.judging = Some(Box::new(judging));
        }
        self.ask_for_marks(place);
    }

    fn ask_for_marks(&mut self, place: Place) {
        let Some(judging) = self.sites.get_mut(&place).and_then(|site| site.process.as_mut()).and_then(|process| process.judging.as_mut())
        else {
            return;
        };
        let index = judging.index;
        let nodes: Vec<NodeId> = judging.tally.silent().iter().map(|node| node.id).collect();
        judging.waits = nodes.iter().copied().collect();
        for node in nodes {
            let request = Request::Ceremony(CeremonyCall::StateMark { index });
            self.call(Party::Site(place), node, request, MARK_DEADLINE, Then::Mark(node));
        }
    }

    /// A site says what its state was.
    pub(super) fn give_mark(&self, place: Place, index: u64) -> CeremonyReply {
        let Some(site) = self.sites.get(&place) else { return CeremonyReply::NotYet };
        // Corrupt sites say what the adversary wants, as far as so many may lie.
        let lie = self.adversary.forged_mark(index).filter(|_| site.mischief.is_some() && self.plan.within_liars());
        let own = site.disk.state.marks.get(&index).map(|root| mark(&index.to_be_bytes(), *root));
        lie.or(own).map_or(CeremonyReply::NotYet, |mark| CeremonyReply::StateMark(site.identity.sign(StateMark { index, mark })))
    }

    pub(super) fn mark_answered(&mut self, place: Place, node: NodeId, reply: Option<Reply>) {
        let again_at = self.now + RETRY;
        let Some(judging) = self.sites.get_mut(&place).and_then(|site| site.process.as_mut()).and_then(|process| process.judging.as_mut())
        else {
            return;
        };
        if !judging.waits.remove(&node) {
            return;
        }
        judging.again_at = again_at;
        if let Some(Reply::Ceremony(CeremonyReply::StateMark(signed))) = reply {
            let signed: NodeSigned<StateMark> = signed;
            judging.tally.hear(node, &signed);
        }
        self.look_at_snapshot(place);
    }

    /// Called after each answer and now and then.
    pub(super) fn look_at_snapshot(&mut self, place: Place) {
        let now = self.now;
        let Some(process) = self.sites.get_mut(&place).and_then(|site| site.process.as_mut()) else { return };
        let Some(judging) = process.judging.as_mut() else { return };
        match judging.tally.verdict(judging.waits.len()) {
            Some(MarkVerdict::Vouched) => self.install_snapshot(place),
            Some(MarkVerdict::Contradicted { .. }) => {
                let from = judging.from;
                process.judging = None;
                process.forgers.insert(from, now);
            }
            None if !judging.waits.is_empty() || now < judging.again_at => {}
            None if now >= judging.ends_at => process.judging = None,
            None => self.ask_for_marks(place),
        }
    }

    /// Puts it in the place of everything in one write, and begins again under a new boot id.
    fn install_snapshot(&mut self, place: Place) {
        let Some(site) = self.sites.get_mut(&place) else { return };
        let Some(process) = site.process.as_mut() else { return };
        let Some(judging) = process.judging.take() else { return };
        if process.is_applying || judging.index <= site.disk.state.applied {
            return;
        }
        let Judging { index, registry, forged, .. } = *judging;
        process.known = process.known.max(index);
        let root = state_root::root(&registry).unwrap_or_else(|_| Sha256::new([0; 32]));
        site.disk.state.install(registry, index, root);
        site.disk.log_through = site.disk.log_through.max(index);
        self.counters.injected("snapshot installed", 1);
        self.tell(Fact::SnapshotInstalled { site: place.node, index, root, forged });
        self.begin_again(place);
        self.judge_self(place);
        self.apply_next(place);
    }
}

/// What a snapshot's content comes to, with the tree that it makes.
fn examine(sent: &MemoryStore, after: u64) -> Option<(MemoryStore, Examined)> {
    let pairs = sent.scan(&[table::HASHED_FROM], &[u8::MAX], usize::MAX).ok()?;
    let mut registry = MemoryStore::default();
    let mut overlay = Overlay::new(&registry);
    let root = state_root::load(&mut overlay, pairs).ok()?;
    let changes: BTreeMap<_, _> = overlay.into_changes();
    registry.write(&changes);
    let examined = Examined {
        root,
        cluster: registry.cluster().ok()?,
        plans: registry.membership_plans().ok()?,
        orders: registry.roster_orders(after, CHANGES_MAX).ok()?,
    };
    Some((registry, examined))
}
