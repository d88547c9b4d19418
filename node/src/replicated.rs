//! Between consensus and the registry: applies entries, records them, and judges what a leader sends before it is appended.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;
use warifu_core::registry::EntryOutcome;
use warifu_protocol::mutants::{Mutant, is_on};
use warifu_protocol::wire::Verdict;
use warifu_protocol::{
    AuditEntry, BootId, Command, Genesis, LogEntry, LogEntryError, NodeId, NodeSigned, NodeStarted, Refusal, Sha256, StopId, weaken,
};

use crate::budget::Budgets;
use crate::clock;
use crate::fresh_term::StaleEntries;
use crate::gate::Gate;
use crate::holds::Holds;
use crate::local::{AuditWrite, HoldEnd, LocalStore, StartRecord, draw_boot};
use crate::membership::plan_members;
use crate::metrics::NodeMetrics;
use crate::raft::{
    AppliedEntry, AppliedPayload, AppliedState, InspectEntries, InspectRefusal, InspectedEntry, InspectedPayload, LogPosition,
    MembershipView, ReplicatedState, RosterNode, StateError, StateSnapshot,
};
use crate::service::{Announced, SnapshotJudge};
use crate::standing::Standing;
use crate::state::{EntryBytes, FrozenState, StateDatabase, applied_event};

/// The kind of a node's start.
const NODE_STARTED: &str = "node-started";
/// Kinds of commands after which other nodes may belong to the cluster, or vote.
const CHANGES_STANDING: [&str; 5] = ["policy-updated", "anchors-updated", "roster-updated", "store-replaced", NODE_STARTED];

/// What other parts of the node hear of applying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Last applied index.
    pub applied: u64,
    /// Snapshots installed since the start: each needs a new confirmation.
    pub snapshots: u64,
}

/// The registry as consensus drives it.
pub struct NodeState {
    node: NodeId,
    database: StateDatabase,
    local: Arc<LocalStore>,
    gate: Arc<Gate>,
    holds: Arc<Holds>,
    metrics: NodeMetrics,
    progress: watch::Sender<Progress>,
    own_start: Mutex<Option<OwnStart>>,
    /// Where consensus stands in the store, once that is known: only applying and installing change it.
    position: Mutex<Option<AppliedState>>,
    standing: Arc<Standing>,
    spool: PathBuf,
    judge: Option<SnapshotJudge>,
}

/// How the log took this node's start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnStart {
    /// Which start.
    pub boot: BootId,
    /// Where it is in the log.
    pub index: u64,
    /// Why it was refused, if it was.
    pub refusal: Option<Refusal>,
}

impl OwnStart {
    /// Notes that an entry with this node's present boot id took effect or was refused. The same start may be logged twice: the first that counted
    /// stays. What the node has not signed is somebody else's invention, and says nothing about its store.
    pub fn note(known: &mut Option<Self>, boot: BootId, index: u64, refusal: Option<&Refusal>) {
        if matches!(refusal, Some(Refusal::SignatureInvalid { .. })) && !is_on(Mutant::BelieveForgedStart) {
            return;
        }
        if known.as_ref().is_none_or(|start| start.boot != boot || start.refusal.is_some()) {
            *known = Some(Self { boot, index, refusal: refusal.cloned() });
        }
    }
}

impl NodeState {
    /// Puts the parts together. `spool` is a directory for snapshots that are being installed.
    #[must_use]
    pub fn new(
        node: NodeId,
        database: StateDatabase,
        local: Arc<LocalStore>,
        gate: Arc<Gate>,
        holds: Arc<Holds>,
        metrics: NodeMetrics,
        standing: Arc<Standing>,
        spool: PathBuf,
    ) -> Self {
        let (progress, own_start) = (watch::Sender::new(Progress::default()), Mutex::new(None));
        let position = Mutex::new(None);
        Self { node, database, local, gate, holds, metrics, progress, own_start, position, standing, spool, judge: None }
    }

    /// Lets the whole process see who belongs to the cluster now.
    async fn refresh_standing(&self) -> Result<(), StateError> {
        let failed = |error: &dyn std::fmt::Display| StateError::new("reading the roster", error.to_string());
        let (database, standing) = (self.database.clone(), Arc::clone(&self.standing));
        let refresh = move || {
            let view = database.view().map_err(|error| failed(&error))?;
            standing.refresh(&view).map_err(|error| failed(&error))
        };
        crate::blocking::run(refresh).await.map_err(|error| failed(&error))?
    }

    /// With what snapshots are judged by; without it none is taken.
    #[must_use]
    pub fn judged_by(self, judge: SnapshotJudge) -> Self {
        Self { judge: Some(judge), ..self }
    }

    /// Hears of applied entries and installed snapshots.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// What this node's own log says of its start under this boot id, once that is applied here.
    #[must_use]
    pub fn own_start(&self, boot: BootId) -> Option<OwnStart> {
        self.own_start.lock().clone().filter(|start| start.boot == boot)
    }

    /// Records what the entries that were applied last came to, if the process ended before it was recorded; says how many it was. To be called before
    /// more is applied.
    ///
    /// # Errors
    /// When a store fails.
    pub async fn record_missing(&self) -> Result<usize, StateError> {
        let reading = |error: &dyn std::fmt::Display| StateError::new("reading what was applied and not recorded", error.to_string());
        let (database, local) = (self.database.clone(), Arc::clone(&self.local));
        let look = move || -> Result<_, StateError> {
            let recorded = local.recorded_through().map_err(|error| reading(&error))?;
            let mut outcomes = database.last_outcomes().map_err(|error| reading(&error))?;
            outcomes.retain(|(index, _)| *index > recorded);
            Ok(outcomes)
        };
        let missing = crate::blocking::run(look).await.map_err(|error| reading(&error))??;
        let Some((through, _)) = missing.last() else { return Ok(0) };
        let (through, count, now) = (*through, missing.len(), clock::now());
        let writes = missing.into_iter().map(|(_, event)| AuditWrite::plain(AuditEntry::new(now, event))).collect();
        self.local.record_applied(writes, through).await.map_err(|error| StateError::new("recording what was applied", error))?;
        tracing::warn!(count, through, "entries were applied before this start and not recorded: they are now");
        Ok(count)
    }

    /// What an applied entry means for this node beyond the registry; returns the holds that it ends.
    fn notice(&self, index: u64, payload: &[u8], refusal: Option<&Refusal>, starts: Option<&StartRecord>) -> Vec<(StopId, HoldEnd)> {
        let Ok(LogEntry { at, command, .. }) = LogEntry::decode(payload) else { return Vec::new() };
        match (command.as_stop(), command) {
            // A state that is not confirmed does not end a hold: it may be somebody's invention.
            (Some(stop), _) if self.gate.is_open() => self.holds.ended_by(&stop, (index, at), refusal, clock::boot_millis()),
            (_, Command::NodeStarted(signed)) => {
                self.notice_start(index, signed, refusal, starts);
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// The starts of this store, if one of these entries was a start.
    async fn starts_if_needed(&self, outcomes: &[Option<EntryOutcome>]) -> Result<Option<StartRecord>, StateError> {
        if !outcomes.iter().flatten().any(|outcome| outcome.kind == NODE_STARTED) {
            return Ok(None);
        }
        let local = Arc::clone(&self.local);
        Ok(crate::blocking::run(move || local.starts()).await.map_err(|error| StateError::new("reading its starts", error))?.ok())
    }

    /// Notes this node's own start. One under a boot id that this store never drew means that a copy of the store is running.
    fn notice_start(&self, index: u64, signed: NodeSigned<NodeStarted>, refusal: Option<&Refusal>, starts: Option<&StartRecord>) {
        let (node, NodeStarted { store, boot, .. }) = (signed.node, signed.body);
        if node != self.node || store != self.local.meta().store {
            return;
        }
        if boot == self.gate.boot() {
            OwnStart::note(&mut self.own_start.lock(), boot, index, refusal);
        } else if refusal.is_none() && starts.is_some_and(|starts| !starts.boots.contains(&boot)) {
            self.gate.raise_alarm(format!("this node was started elsewhere (boot {boot}): a copy of its store is running"));
        }
    }
}

fn read_position(database: &StateDatabase) -> Result<AppliedState, StateError> {
    decode_position(&database.position().map_err(|error| StateError::new("reading its position", error))?)
}

fn decode_position(bytes: &[u8]) -> Result<AppliedState, StateError> {
    if bytes.is_empty() {
        return Ok(AppliedState::default());
    }
    postcard::from_bytes(bytes).map_err(|error| StateError::new("reading its position", error))
}

/// A view for a snapshot.
pub struct StateFile {
    frozen: FrozenState,
    applied: AppliedState,
}

impl StateSnapshot for StateFile {
    fn applied(&self) -> AppliedState {
        self.applied.clone()
    }

    fn write_to(&self, out: &mut dyn Write) -> Result<(), StateError> {
        self.frozen.write_to(out).map_err(|error| StateError::new("writing a snapshot", error))
    }
}

impl ReplicatedState for NodeState {
    type Snapshot = StateFile;

    fn applied(&self) -> Result<AppliedState, StateError> {
        read_position(&self.database)
    }

    async fn apply(&self, entries: Vec<AppliedEntry>) -> Result<Vec<Vec<u8>>, StateError> {
        let known = self.position.lock().take();
        let mut position = match known {
            Some(known) => known,
            None => {
                let database = self.database.clone();
                let read = crate::blocking::run(move || read_position(&database)).await;
                read.map_err(|error| StateError::new("reading its position", error))??
            }
        };
        let mut batch = Vec::with_capacity(entries.len());
        let mut standing_changes = false;
        for entry in entries {
            position.position = Some(entry.position);
            let (mut payload, mut members) = (None, None);
            match entry.payload {
                AppliedPayload::Blank => {}
                AppliedPayload::Membership(membership) => {
                    let view = MembershipView::decode(&membership)?;
                    members = Some((view.voters, plan_members(&view.nodes)));
                    position.membership = membership;
                    standing_changes = true;
                }
                AppliedPayload::Command(bytes) => payload = Some(Arc::from(bytes)),
            }
            let position = postcard::to_stdvec(&position).map_err(|error| StateError::new("writing its position", error))?;
            batch.push(EntryBytes { index: entry.position.index, payload, members, position });
        }
        let outcomes = self.database.apply(batch.clone()).await.map_err(|error| StateError::new("applying", error))?;
        let starts = self.starts_if_needed(&outcomes).await?;
        let now = clock::now();
        let mut responses = Vec::with_capacity(outcomes.len());
        let (mut writes, mut ended) = (Vec::new(), Vec::new());
        for (entry, outcome) in batch.iter().zip(outcomes) {
            let (Some(payload), Some(outcome)) = (&entry.payload, outcome) else {
                responses.push(Vec::new());
                continue;
            };
            let refusal = outcome.verdict.outcome.as_ref().err().cloned();
            ended.extend(self.notice(entry.index, payload, refusal.as_ref(), starts.as_ref()));
            standing_changes |= refusal.is_none() && CHANGES_STANDING.contains(&outcome.kind);
            let label = if refusal.is_some() { "refused" } else { "applied" };
            self.metrics.entries_applied.with_label_values(&[outcome.kind, label]).inc();
            if let Some(refusal) = &refusal {
                tracing::info!(index = entry.index, kind = outcome.kind, code = refusal.code(), %refusal, "entry refused");
            } else {
                tracing::debug!(index = entry.index, kind = outcome.kind, "entry applied");
            }
            writes.push(AuditWrite::plain(AuditEntry::new(now, applied_event(entry.index, payload, &outcome))));
            responses.push(postcard::to_stdvec(&outcome.verdict).map_err(|error| StateError::new("encoding a verdict", error))?);
        }
        if standing_changes {
            self.refresh_standing().await?;
        }
        if !writes.is_empty() {
            let through = batch.last().map_or(0, |entry| entry.index);
            self.local.record_applied(writes, through).await.map_err(|error| StateError::new("recording what was applied", error))?;
        }
        if !ended.is_empty() {
            self.holds.end(ended.iter().map(|(stop, _)| *stop), clock::boot_millis());
            self.local.end_holds(ended, now).await.map_err(|error| StateError::new("recording the end of holds", error))?;
        }
        let applied = position.position.map_or(0, |position| position.index);
        *self.position.lock() = Some(position);
        self.metrics.raft_applied.set(i64::try_from(applied).unwrap_or(i64::MAX));
        self.progress.send_modify(|progress| progress.applied = applied);
        Ok(responses)
    }

    fn snapshot(&self) -> Result<Self::Snapshot, StateError> {
        let frozen = self.database.freeze().map_err(|error| StateError::new("freezing a view", error))?;
        let applied = decode_position(frozen.position())?;
        Ok(StateFile { frozen, applied })
    }

    async fn judge(&self, from: NodeId, applied: AppliedState, content: Box<dyn Read + Send>) -> Result<(), InspectRefusal> {
        let Some(judge) = &self.judge else { return Err(InspectRefusal::new("this node takes no snapshots")) };
        let index = applied.position.map_or(0, |position| position.index);
        let position = postcard::to_stdvec(&applied).map_err(|error| InspectRefusal::new(error.to_string()))?;
        let members = MembershipView::decode(&applied.membership).map_err(|error| InspectRefusal::new(error.to_string()))?;
        judge.judge(from, Announced { index, position, members }, content).await.map_err(|error| InspectRefusal::new(error.to_string()))
    }

    async fn install(&self, applied: AppliedState, content: Box<dyn Read + Send>) -> Result<(), StateError> {
        let installing = |error: &dyn std::fmt::Display| StateError::new("installing a snapshot", error.to_string());
        let (database, spool) = (self.database.clone(), self.spool.clone());
        let index = applied.position.map_or(0, |position| position.index);
        // Before anything of it can be seen: what a snapshot says is one peer's word.
        self.gate.unconfirm(draw_boot());
        crate::blocking::run(move || {
            let position = postcard::to_stdvec(&applied).map_err(|error| installing(&error))?;
            let mut content = content;
            let mut file = tempfile::NamedTempFile::new_in(&spool).map_err(|error| installing(&error))?;
            std::io::copy(&mut content, &mut file).map_err(|error| installing(&error))?;
            let path = file.into_temp_path();
            let source = path.to_path_buf();
            database.install_snapshot(move || std::fs::File::open(&source), index, position).map_err(|error| installing(&error))
        })
        .await
        .map_err(|error| installing(&error))??;
        self.refresh_standing().await?;
        *self.position.lock() = None;
        tracing::warn!(index, "a snapshot was installed; the node must be confirmed again before it signs");
        self.progress.send_modify(|progress| {
            progress.applied = index;
            progress.snapshots += 1;
        });
        Ok(())
    }
}

/// Consensus over this registry.
pub type NodeRaft = crate::raft::RaftHandle<NodeState, Inspector>;

/// How far ahead of this node's clock an entry may be that is not committed. A node signs nothing until its clock has come to the log's time: a leader
/// whose clock is fast must not take the whole cluster there, and documents wait no longer than they can.
pub const AHEAD_MILLIS_MAX: u64 = 1_000;

/// Judges a leader's entries and gives proposals their time.
pub struct Inspector {
    standing: Arc<Standing>,
    stale: Arc<StaleEntries>,
    /// Commands of nodes that have spent their budget are tried on it; without it they wait.
    state: Option<StateDatabase>,
    budgets: Budgets<NodeId>,
}

impl Inspector {
    /// For the roster, policy and membership plan that stand in applied state.
    #[must_use]
    pub fn new(standing: Arc<Standing>) -> Self {
        Self { standing, stale: Arc::default(), state: None, budgets: Budgets::default() }
    }

    /// With applied state, on which commands can be tried before they are logged.
    #[must_use]
    pub fn trying_on(self, state: StateDatabase) -> Self {
        Self { state: Some(state), ..self }
    }

    /// What it refuses as too old.
    #[must_use]
    pub fn stale(&self) -> Arc<StaleEntries> {
        Arc::clone(&self.stale)
    }

    fn check_membership(&self, view: &MembershipView) -> Result<(), InspectRefusal> {
        if self.standing.plans().allow(&view.voters, &plan_members(&view.nodes)) {
            Ok(())
        } else {
            Err(InspectRefusal::new("a membership that no order which is applied here plans"))
        }
    }
}

/// The members that a genesis names, as membership entries must name them.
#[must_use]
pub fn members(genesis: &Genesis) -> std::collections::BTreeMap<NodeId, RosterNode> {
    let roster = Sha256::new(*genesis.cluster().as_bytes());
    genesis.body().nodes.iter().map(|node| (node.id, RosterNode { address: node.address.clone(), spki: node.tls_spki, roster })).collect()
}

impl InspectEntries for Inspector {
    fn inspect(&self, from: NodeId, entries: &[InspectedEntry<'_>]) -> Result<(), InspectRefusal> {
        let now = clock::now();
        let skew_millis = self.standing.cluster().policy.clock_skew_millis_max;
        for entry in entries {
            match &entry.payload {
                InspectedPayload::Blank => {}
                InspectedPayload::Membership(view) => self.check_membership(view)?,
                InspectedPayload::Command(bytes) => {
                    let at = LogEntry::decode(bytes).map_err(|error| unread(entry.position.index, &error))?.at;
                    // Entries fetched while catching up may be old, which confirmation covers; none can be of the future.
                    // What an earlier term left uncommitted must be logged before anything new is, or the cluster would never go on.
                    let too_old = !entry.claimed_committed && !entry.inherited && at.plus(skew_millis) < now;
                    // What others have committed says that it is this node's clock that is slow.
                    let too_early = !entry.claimed_committed && at > now.plus(AHEAD_MILLIS_MAX);
                    if too_old || too_early {
                        self.stale.refused(entry.position.index, Instant::now());
                    }
                    if too_old || too_early || at > now.plus(skew_millis) {
                        return Err(InspectRefusal::new(format!("entry time {at} of leader {from} is too far from this node's clock")));
                    }
                }
            }
        }
        if !entries.is_empty() {
            self.stale.followed();
        }
        Ok(())
    }

    fn receive(&self, _from: NodeId, _position: LogPosition, _members: MembershipView) -> Result<(), InspectRefusal> {
        // A node that was away does not know the plan that explains them; the snapshot has it, with the orders that led to it.
        Ok(())
    }

    fn may_vote(&self) -> bool {
        self.standing.may_vote()
    }

    async fn weigh(&self, from: NodeId, command: &[u8]) -> Result<(), Duration> {
        self.budgets.weigh(&from, self.state.as_ref(), command).await
    }

    fn weighed(&self, from: NodeId, response: &[u8]) {
        if postcard::from_bytes::<Verdict>(response).is_ok_and(|verdict| verdict.outcome.is_err()) {
            self.budgets.refused(Instant::now(), &from);
        }
    }

    fn admit(&self, _from: NodeId, command: Vec<u8>) -> Result<Vec<u8>, InspectRefusal> {
        let Ok((command, [])) = postcard::take_from_bytes::<Command>(&command) else {
            return Err(InspectRefusal::new("the command cannot be decoded"));
        };
        weaken!(CensorStops, {
            if command.clone().as_stop().is_some() {
                return Err(InspectRefusal::new("this leader keeps stops back"));
            }
        });
        // The entries before it in this leader's log say that everybody reads this version.
        let entry = LogEntry::new(clock::now(), command).in_version(self.standing.log_version());
        entry.encode().map_err(|error| InspectRefusal::new(error.to_string()))
    }
}

/// A version that is unknown here is in use if the entries before it say so; a number alone tells this node nothing.
fn unread(index: u64, error: &LogEntryError) -> InspectRefusal {
    let refusal = InspectRefusal::new(error.to_string());
    if matches!(error, LogEntryError::UnknownVersion { .. }) { refusal.at(index) } else { refusal }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_in_this_nodes_name_that_it_has_not_signed_says_nothing_of_its_store() {
        let boot = BootId::new([1; 16]);
        let node = NodeId::new(2).expect("a node id");
        let (forged, rolled_back) = (Refusal::SignatureInvalid { signer: "node 2".to_owned() }, Refusal::NodeRolledBack { node });
        let mut known = None;
        OwnStart::note(&mut known, boot, 5, Some(&forged));
        assert_eq!(known, None, "its own start is still to come");
        OwnStart::note(&mut known, boot, 6, Some(&rolled_back));
        assert_eq!(known, Some(OwnStart { boot, index: 6, refusal: Some(rolled_back.clone()) }));
        OwnStart::note(&mut known, boot, 7, None);
        let counted = Some(OwnStart { boot, index: 7, refusal: None });
        assert_eq!(known, counted);
        for refusal in [Some(&rolled_back), Some(&forged), None] {
            OwnStart::note(&mut known, boot, 8, refusal);
            assert_eq!(known, counted, "the first that counted stays");
        }
        let later = BootId::new([2; 16]);
        OwnStart::note(&mut known, later, 9, None);
        assert_eq!(known, Some(OwnStart { boot: later, index: 9, refusal: None }));
    }
}
