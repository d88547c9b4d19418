//! The log: every entry in one order that nobody doubts, brought in by a leader that may be late, choosy or false.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use warifu_core::registry::{
    self, ApplyError, CeremonyStep, ClusterRecord, ImportStep, MembershipPlans, MemoryStore, Overlay, Registry as _, state_root, table,
};
use warifu_protocol::wire::{OrderReply, Verdict};
use warifu_protocol::{Command, LogEntry, NodeId, Refusal, Sha256, StopId, UnixMillis};

use super::cost;
use super::disk::{changes_cluster, read_cluster};
use super::event::{Event, Party, Place, Reply, ReplyTo};
use super::fact::{Fact, Unshown};
use super::people::People;
use super::plan::LAG_USUAL;
use super::world::World;

/// Pause of a leader that reaches no majority.
const COMMIT_RETRY_MILLIS: u64 = 100;
/// Sites hear of the log so often.
const REPLICATE_MILLIS: u64 = 40;
/// Chance in a thousand, each time that a site hears of the log, that a lying leader sends it a forged snapshot instead.
const FORGED_SNAPSHOTS: u32 = 4;
/// From a leader's end to the next leader.
const ELECTION_MILLIS: (u64, u64) = (600, 2_000);

/// One entry.
#[derive(Clone, Debug)]
pub(super) enum Payload {
    /// A command, as bytes.
    Command(Arc<[u8]>),
    /// Consensus reached what applied state asks of it.
    Membership,
}

/// The log and what it comes to.
pub(super) struct TheLog {
    entries: Vec<(u64, Payload)>,
    /// How many signatures of each kind applying each entry verifies.
    signatures: Vec<(u64, u64)>,
    truth: MemoryStore,
    /// The cluster in it.
    cluster: Arc<ClusterRecord>,
    /// The membership in it.
    plans: MembershipPlans,
    pub(super) leader: Option<NodeId>,
    /// Whose elections are under way.
    pub(super) term: u64,
    pending: VecDeque<Pending>,
}

struct Pending {
    command: Command,
    at: UnixMillis,
    reply: Option<(Place, ReplyTo)>,
    term: u64,
}

impl TheLog {
    pub(super) fn found(people: &People) -> anyhow::Result<Self> {
        let mut truth = MemoryStore::default();
        let mut overlay = Overlay::new(&truth);
        registry::found(&mut overlay, &people.genesis)?;
        let changes = overlay.into_changes();
        truth.write(&changes);
        let (cluster, plans) = (read_cluster(&truth), truth.membership_plans()?);
        Ok(Self { entries: Vec::new(), signatures: Vec::new(), truth, cluster, plans, leader: None, term: 0, pending: VecDeque::new() })
    }

    pub(super) const fn truth(&self) -> &MemoryStore {
        &self.truth
    }

    /// The cluster in what the log comes to.
    pub(super) const fn cluster(&self) -> &Arc<ClusterRecord> {
        &self.cluster
    }

    /// Number of entries: the last has this index.
    pub(super) fn last(&self) -> u64 {
        self.entries.len() as u64
    }

    /// The last index that was committed by an instant.
    pub(super) fn last_by(&self, at: u64) -> u64 {
        self.entries.partition_point(|(committed, _)| *committed <= at) as u64
    }

    /// An entry is applied once more.
    pub(super) fn count_signatures(&self, index: u64) {
        let place = usize::try_from(index).ok().and_then(|index| index.checked_sub(1));
        if let Some((ed25519, rsa)) = place.and_then(|place| self.signatures.get(place)) {
            cost::count(*ed25519, *rsa);
        }
    }

    pub(super) fn payload(&self, index: u64) -> Option<&Payload> {
        self.entries.get(usize::try_from(index).ok()?.checked_sub(1)?).map(|(_, payload)| payload)
    }
}

/// Applies one entry, as consensus has a node's state do it. Gives what came of a command, and the root after the entry.
pub(super) fn apply_payload(
    overlay: &mut Overlay<'_, MemoryStore>,
    index: u64,
    payload: &Payload,
) -> Result<(Option<registry::EntryOutcome>, Sha256), ApplyError> {
    match payload {
        Payload::Command(bytes) => {
            let outcome = registry::apply(overlay, index, bytes)?;
            let root = outcome.root;
            Ok((Some(outcome), root))
        }
        Payload::Membership => {
            let plan = overlay.membership_plans()?.current;
            registry::membership_applied(overlay, &[plan.voters], &plan.nodes)?;
            Ok((None, state_root::root(overlay)?))
        }
    }
}

/// The stop that an entry is, unless it was refused for what is wrong with it or its approvals: another copy of it may be in order.
fn settled(bytes: &[u8], refusal: Option<&Refusal>) -> Option<StopId> {
    let is_of_object = |refusal: &Refusal| {
        matches!(
            refusal,
            Refusal::OrderReplayed
                | Refusal::CredentialState { .. }
                | Refusal::CredentialUnknown { .. }
                | Refusal::SessionUnknown
                | Refusal::CardUnbound
        )
    };
    if !refusal.is_none_or(is_of_object) {
        return None;
    }
    LogEntry::decode(bytes).ok()?.command.as_stop().map(|stop| stop.id())
}

impl World {
    /// A leader takes a command from `place`, or on its own.
    pub(super) fn take_command(&mut self, leader: Place, command: Command, reply: Option<ReplyTo>) {
        if self.log.leader != Some(leader.node) || self.reached.get(&leader.node) != Some(&leader) {
            if let Some(reply) = reply {
                self.reply(leader, reply, Reply::Order(OrderReply::Unknown { reason: "another node leads".to_owned() }));
            }
            return;
        }
        // One site's leaders keep stops back; its successors do not.
        let censor = self.plan.seed % u64::from(self.plan.nodes) + 1;
        if self.faults.leader_censors && u64::from(leader.node.get()) == censor && command.as_stop().is_some() {
            self.counters.injected("stop kept back by the leader", 1);
            return;
        }
        let at = self.clock_of(leader);
        // What is changed twice may be true again.
        if self.dice.permille(self.faults.leader_forges)
            && !self.adversary.has_forged(&command)
            && let Some(forged) = super::forgery::forge(&command, &self.people, &mut self.dice)
        {
            self.counters.injected("command forged by the leader", 1);
            self.adversary.note_forged(&forged);
            self.append(Pending { command: forged, at, reply: None, term: self.log.term });
        }
        let reply = reply.map(|reply| (leader, reply));
        self.append(Pending { command, at, reply, term: self.log.term });
    }

    fn append(&mut self, pending: Pending) {
        self.log.pending.push_back(pending);
        let delay = 2 + self.dice.below(2 * self.faults.delay_max);
        self.after(delay, Event::Commit);
    }

    pub(super) fn commit(&mut self) {
        let Some(pending) = self.log.pending.pop_front() else { return };
        if pending.term != self.log.term && self.dice.permille(500) {
            // A leader that was lost took it along; nobody can tell.
            return;
        }
        if !self.has_majority(pending.at) {
            self.log.pending.push_front(pending);
            self.after(COMMIT_RETRY_MILLIS, Event::Commit);
            return;
        }
        let Pending { command, at, reply, .. } = pending;
        let kind = command.kind();
        let ceremony = match &command {
            Command::CeremonyConfirm(signed) => Some(signed.body.ceremony),
            _ => None,
        };
        let void = self.why_void(&command, at);
        let Ok(bytes) = LogEntry::new(at, command.clone()).encode() else { return };
        self.log.signatures.push(cost::signatures_in(&command));
        let verdict = self.commit_payload(Payload::Command(Arc::from(bytes)), kind, void);
        if let Some(Verdict { index, outcome: Ok(_), .. }) = &verdict {
            self.learn(&command, *index);
        }
        let imported = match &command {
            Command::ImportConfirmed(signed) => Some(signed.body.ceremony),
            _ => None,
        };
        let is_imported = |id| self.truth().import(id).ok().flatten().is_some_and(|record| record.step == ImportStep::Done);
        let is_over = |id| {
            let record = self.truth().ceremony(id).ok().flatten();
            record.is_none_or(|record| matches!(record.step, CeremonyStep::Done | CeremonyStep::Switch))
        };
        let is_done = verdict.as_ref().is_some_and(|verdict| verdict.outcome.is_ok());
        self.counters.ceremonies +=
            u64::from(is_done && (kind == "repair-confirmed" || ceremony.is_some_and(is_over) || imported.is_some_and(is_imported)));
        if let (Some(verdict), Some((leader, reply))) = (verdict, reply)
            && self.is_running(leader)
        {
            self.reply(leader, reply, Reply::Order(OrderReply::Verdict(verdict)));
        }
        // Consensus follows the plan as soon as there is one.
        if !self.log.plans.reached {
            self.log.signatures.push((0, 0));
            self.commit_payload(Payload::Membership, "membership", None);
            if self.log.leader.is_some_and(|leader| !self.voters().contains(&leader)) {
                self.depose();
            }
        }
    }

    fn commit_payload(&mut self, payload: Payload, kind: &'static str, void: Option<&'static str>) -> Option<Verdict> {
        let index = self.log.last() + 1;
        self.log.count_signatures(index);
        let mut overlay = Overlay::new(&self.log.truth);
        let (outcome, root) = apply_payload(&mut overlay, index, &payload).expect("a map in memory does not fail");
        let changes = overlay.into_changes();
        self.log.truth.write(&changes);
        if changes_cluster(&changes) {
            self.log.cluster = read_cluster(&self.log.truth);
            self.sites_ever.extend(self.log.cluster.node_ids());
            self.sites_ever.extend(self.log.cluster.node_ids());
        }
        if changes.contains_key(&[table::MEMBERSHIP_PLAN][..]) {
            self.log.plans = self.log.truth.membership_plans().expect("a log that was founded has a membership");
        }
        if changes.keys().any(|key| key.first() == Some(&table::CREDENTIAL)) {
            self.read_credentials();
        }
        let bytes = if let Payload::Command(bytes) = &payload { bytes.to_vec() } else { Vec::new() };
        self.log.entries.push((self.now, payload));
        self.counters.entries += 1;
        let refused = outcome.as_ref().and_then(|outcome| outcome.verdict.outcome.as_ref().err()).map(|refusal| refusal.to_string());
        let settles = outcome.as_ref().and_then(|outcome| settled(&bytes, outcome.verdict.outcome.as_ref().err()));
        self.known.settled.extend(settles);
        self.tell(Fact::Committed { index, kind, void, refused, settles, root, bytes: Unshown(bytes) });
        outcome.map(|outcome| outcome.verdict)
    }

    /// Sites that consensus counts.
    pub(super) const fn voters(&self) -> &BTreeSet<NodeId> {
        &self.log.plans.current.voters
    }

    /// Whether the leader reaches more than half of the sites, and their clocks accept its time.
    fn has_majority(&self, at: UnixMillis) -> bool {
        let Some(leader) = self.log.leader.and_then(|leader| self.reached.get(&leader)).copied() else { return false };
        let skew = self.log.cluster().policy.clock_skew_millis_max;
        let follows = |place: &&Place| {
            let (from, to) = (Party::Site(leader), Party::Site(**place));
            let connected = **place == leader || !(self.is_cut(from, to) || self.is_cut(to, from));
            self.is_running(**place) && connected && at.distance(self.clock_of(**place)) <= skew
        };
        let voters = self.voters();
        let following = self.reached.values().filter(|place| voters.contains(&place.node)).filter(follows).count();
        following * 2 > voters.len()
    }

    pub(super) fn elect(&mut self) {
        let voters = self.voters();
        let up: Vec<NodeId> = self
            .reached
            .values()
            .filter(|place| voters.contains(&place.node) && self.is_running(**place))
            .map(|place| place.node)
            .collect();
        let others: Vec<NodeId> = up.iter().copied().filter(|node| Some(*node) != self.log.leader).collect();
        let candidates = if others.is_empty() { &up } else { &others };
        if up.len() * 2 > voters.len()
            && let Some(leader) = self.dice.pick(candidates)
        {
            self.log.leader = Some(*leader);
            self.log.term += 1;
        } else {
            self.after(500, Event::Elect);
        }
    }

    /// The leader is gone, or is to go.
    pub(super) fn depose(&mut self) {
        self.log.leader = None;
        let (least, most) = ELECTION_MILLIS;
        let after = self.dice.between(least, most);
        self.after(after, Event::Elect);
    }

    /// A site hears of what is committed, unless nothing gets through to it.
    pub(super) fn replicate(&mut self, place: Place) {
        let Some(site) = self.sites.get(&place) else { return };
        let lag = site.lag.min(self.faults.log_lag_max);
        let pause = REPLICATE_MILLIS + self.dice.below(REPLICATE_MILLIS);
        self.after(pause, Event::Replicate(place));
        let Some(leader) = self.log.leader.and_then(|leader| self.reached.get(&leader)).copied() else { return };
        let (from, to) = (Party::Site(leader), Party::Site(place));
        let connected = place == leader || !(self.is_cut(from, to) || self.is_cut(to, from));
        if !connected || !self.is_running(leader) || !self.is_member(place) {
            return;
        }
        let last = self.log.last_by(self.now.saturating_sub(lag));
        let is_late = lag > LAG_USUAL && last < self.log.last_by(self.now - LAG_USUAL.min(self.now));
        self.counters.injected("entries late at a site", u64::from(is_late));
        let known = self.sites.get(&place).and_then(|site| site.process.as_ref()).map_or(last, |process| process.known);
        let is_purged = self.faults.log_kept > 0 && known + self.faults.log_kept < last;
        if is_purged && place != leader {
            let forged = self.dice.permille(self.faults.leader_forges);
            return self.send_snapshot(leader, place, forged);
        }
        // Whoever leads can send one to anybody.
        if place != leader && self.faults.leader_forges > 0 && self.dice.permille(FORGED_SNAPSHOTS) {
            self.send_snapshot(leader, place, true);
        }
        self.hear_of_log(place, last);
    }
}
