//! Confirmation, as the daemon drives it.

use std::collections::BTreeSet;

use warifu_core::confirmation::{RootTally, RootVerdict};
use warifu_core::registry::Registry as _;
use warifu_node::gate::Confirmed;
use warifu_node::replicated::OwnStart;
use warifu_protocol::wire::{CeremonyCall, CeremonyReply};
use warifu_protocol::{
    AuditEntry, AuditEvent, BootId, Checkpoint, Command, LOG_ENTRY_VERSION, NodeId, NodeSigned, NodeStarted, Sha256, StateRoot,
};

use super::storage::LocalWait;
use crate::simulate::disk::LocalWrite;
use crate::simulate::event::{Party, Place, Proposal, Reply, Request, Then};
use crate::simulate::fact::Fact;
use crate::simulate::world::World;

/// Time for an entry that was logged to be applied here, as the daemon's.
const APPLIED_DEADLINE: u64 = 2_000;
/// Time for one peer to sign its root, as the daemon's.
const ROOT_DEADLINE: u64 = 2_000;
/// Time for enough of them, as the daemon's.
const GATHER_DEADLINE: u64 = 30_000;
/// Pause between rounds of questions, as the daemon's.
const RETRY: u64 = 200;
/// Checkpoints are offered so often: oftener than the daemon does, since a run is short.
const CHECKPOINT_MILLIS: u64 = 10_000;

/// How far a confirmation is.
pub(super) enum Confirming {
    /// Peers are asked what they remember.
    Admission { waits: BTreeSet<NodeId>, other_store: usize, outdated: usize },
    /// The start is to be logged.
    Announce,
    /// It was proposed.
    Announcing,
    /// It is to be applied here by then.
    Waiting { until: u64 },
    /// Peers are asked for their roots.
    Gathering { index: u64, until: u64, waits: BTreeSet<NodeId>, answers: Vec<(NodeId, NodeSigned<StateRoot>)>, again_at: u64 },
    /// Confirmed, or stopped with an alarm.
    Over,
}

impl Confirming {
    /// Where it is, in words.
    pub(super) fn stage(&self) -> String {
        match self {
            Self::Admission { waits, .. } => format!("asks {waits:?} what they remember"),
            Self::Announce | Self::Announcing => "has its start logged".to_owned(),
            Self::Waiting { until } => format!("waits until {until} for its start to be applied"),
            Self::Gathering { index, waits, .. } => format!("waits for the roots of {waits:?} at {index}"),
            Self::Over => "is done with it".to_owned(),
        }
    }
}

impl World {
    pub(super) fn confirm_tick(&mut self, place: Place) {
        let now = self.now;
        let Some(process) = self.sites.get_mut(&place).and_then(|site| site.process.as_mut()) else { return };
        let boot = process.gate.boot();
        match &process.confirming {
            Confirming::Announce => self.announce(place),
            Confirming::Waiting { until } => match process.own_start.clone().filter(|start| start.boot == boot) {
                Some(OwnStart { index, refusal: None, .. }) => self.ask_for_roots(place, boot, index, now + GATHER_DEADLINE),
                Some(OwnStart { refusal: Some(refusal), .. }) => {
                    self.alarm(place, format!("the cluster does not let this node in: {refusal}"));
                }
                None if now >= *until => process.confirming = Confirming::Announce,
                None => {}
            },
            Confirming::Gathering { index, until, waits, again_at, .. } if waits.is_empty() && now >= *again_at => {
                let (index, until) = (*index, *until);
                if now < until {
                    self.ask_for_roots(place, boot, index, until);
                } else {
                    self.begin_again(place);
                }
            }
            Confirming::Admission { .. } | Confirming::Announcing | Confirming::Gathering { .. } | Confirming::Over => {}
        }
    }

    /// What was learnt about this start is void: another begins, under a new boot id and without a nonce.
    pub(super) fn begin_again(&mut self, place: Place) {
        let Some(site) = self.sites.get_mut(&place) else { return };
        let Some(process) = site.process.as_mut() else { return };
        let (before, boot) = (process.gate.boot(), BootId::new(site.dice.bytes()));
        process.gate.unconfirm(boot);
        process.pools.lock().drop_all();
        process.own_start = None;
        process.confirming = Confirming::Announce;
        site.disk.local.starts.begin(boot, site.disk.local.audit.len() as u64, site.disk.log_through);
        self.tell(Fact::Unconfirmed { site: place.node, before, boot });
    }

    fn announce(&mut self, place: Place) {
        let Some(site) = self.sites.get_mut(&place) else { return };
        let Some(process) = site.process.as_mut() else { return };
        process.confirming = Confirming::Announcing;
        let starts = &site.disk.local.starts;
        let body = NodeStarted {
            store: starts.store,
            incarnation: starts.incarnation,
            boot: process.gate.boot(),
            audit_size: starts.audit_size,
            raft_index: starts.raft_index,
            earlier: starts.earlier(),
            log_version: LOG_ENTRY_VERSION,
        };
        let boot = body.boot;
        let command = Command::NodeStarted(site.identity.sign(body));
        self.propose(place, command, Proposal::Announcement(boot));
    }

    /// What the leader says of it does not count: this site's own applied entry does.
    pub(super) fn announced(&mut self, place: Place, boot: BootId) {
        let until = self.now + APPLIED_DEADLINE;
        if let Some(process) = self.sites.get_mut(&place).and_then(|site| site.process.as_mut())
            && process.gate.boot() == boot
            && matches!(process.confirming, Confirming::Announcing)
        {
            process.confirming = Confirming::Waiting { until };
        }
    }

    fn ask_for_roots(&mut self, place: Place, boot: BootId, index: u64, until: u64) {
        let Some(cluster) = self.cluster_of(place) else { return };
        let waits: BTreeSet<NodeId> = cluster.node_ids().into_iter().filter(|node| *node != place.node).collect();
        if let Some(process) = self.sites.get_mut(&place).and_then(|site| site.process.as_mut()) {
            process.confirming = Confirming::Gathering { index, until, waits: waits.clone(), answers: Vec::new(), again_at: 0 };
        }
        for node in waits {
            let request = Request::Ceremony(CeremonyCall::StateRoot { boot, index });
            self.call(Party::Site(place), node, request, ROOT_DEADLINE, Then::Root(node));
        }
    }

    pub(super) fn root_answered(&mut self, place: Place, node: NodeId, reply: Option<Reply>) {
        let Some(cluster) = self.cluster_of(place).cloned() else { return };
        let again_at = self.now + RETRY;
        let Some(site) = self.sites.get_mut(&place) else { return };
        let Some(process) = site.process.as_mut() else { return };
        let boot = process.gate.boot();
        let Confirming::Gathering { index, waits, answers, again_at: again, .. } = &mut process.confirming else { return };
        if !waits.remove(&node) {
            return;
        }
        *again = again_at;
        if let Some(Reply::Ceremony(CeremonyReply::StateRoot(signed))) = reply {
            answers.push((node, signed));
        }
        let index = *index;
        let Ok(Some(root)) = site.disk.state.registry.root_at(index) else { return };
        let mut tally = RootTally::new(&cluster, place.node, boot, index, root);
        let mut verdict = None;
        for (node, signed) in answers.iter() {
            if let Some(entry) = cluster.node(*node) {
                verdict = verdict.or_else(|| tally.hear(entry, signed));
            }
        }
        match verdict {
            None => {}
            Some(RootVerdict::Diverged { with }) => {
                self.alarm(place, format!("the state root at {index} differs from that of {with:?}"));
            }
            Some(RootVerdict::Confirmed { by }) => {
                process.confirming = Confirming::Over;
                let event = AuditEvent::Confirmed { index, root, by: by.clone() };
                let entry = AuditEntry::new(self.clock_of(place), event);
                self.write_local(place, LocalWrite::Confirmed(entry), LocalWait::Confirmed { boot, index, by });
            }
        }
    }

    pub(super) fn confirmation_recorded(&mut self, place: Place, boot: BootId, index: u64, by: Vec<NodeId>, is_recorded: bool) {
        let Some(site) = self.sites.get_mut(&place) else { return };
        let store = site.disk.local.starts.store;
        let Some(process) = site.process.as_mut() else { return };
        if is_recorded && process.gate.confirm(boot, Confirmed { index, by: by.clone() }) {
            self.tell(Fact::Confirmed { site: place.node, store, boot, index, by });
        }
    }

    pub(super) fn alarm(&mut self, place: Place, text: String) {
        let Some(process) = self.sites.get_mut(&place).and_then(|site| site.process.as_mut()) else { return };
        process.gate.raise_alarm(text.clone());
        let boot = process.gate.boot();
        process.confirming = Confirming::Over;
        let entry = AuditEntry::new(self.clock_of(place), AuditEvent::Alarm { text: text.clone() });
        self.write_local(place, LocalWrite::Audit(vec![warifu_node::local::AuditWrite::plain(entry)]), LocalWait::Nothing);
        self.tell(Fact::Alarmed { site: place.node, boot, text });
    }

    /// Others are to remember how long this site's audit log is.
    pub(super) fn offer_checkpoint(&mut self, place: Place) {
        let now = self.now;
        let Some(site) = self.sites.get_mut(&place) else { return };
        let size = site.disk.local.audit.len() as u64;
        let Some(process) = site.process.as_mut() else { return };
        let (offered_at, offered) = process.checkpoint;
        if now < offered_at + CHECKPOINT_MILLIS || size <= offered || !process.gate.is_open() {
            return;
        }
        process.checkpoint = (now, size);
        // The tree over the entries is the real store's; here a digest of the last entry stands for its root.
        let root = site.disk.local.audit.last().map(|entry| warifu_protocol::canonical::sha256(&entry.encode())).unwrap_or_default();
        let command = Command::CheckpointWitnessed(site.identity.sign(Checkpoint { size, root: Sha256::new(root) }));
        self.propose(place, command, Proposal::Own);
    }
}
