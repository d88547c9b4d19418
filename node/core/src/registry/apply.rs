//! Applies log entries: every node reaches the same verdict from the entry and the state alone.

use warifu_protocol::wire::{Applied, Verdict};
use warifu_protocol::{Command, Genesis, LogEntry, LogEntryError, Refusal, Sha256, UnixMillis};

use super::reader::{Registry, encode, key, read, table};
use super::records::ClusterRecord;
use super::state_root;
use super::store::{Changes, Overlay, StateStore, StateStoreError};
use super::versions::{self, ByVersion, ProgramOutdated};
use super::{accusations, ceremonies, crls, due, history, imports, nodes, orders, plan, refreshes, refreshes_due, repairs, sessions};

/// What applying one entry came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EntryOutcome {
    /// Answer to whoever proposed it.
    pub verdict: Verdict,
    /// Kind of the command, or `malformed`.
    pub kind: &'static str,
    /// State root after the entry.
    pub root: Sha256,
}

/// Why a command changes nothing.
#[derive(Debug)]
pub(super) enum Stop {
    /// It is refused; every node refuses it.
    Refused(Refusal),
    /// This node's store failed; the entry is not applied here.
    Store(StateStoreError),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<StateStoreError> for Stop {
    fn from(error: StateStoreError) -> Self {
        Self::Store(error)
    }
}

/// The state before the first entry.
///
/// # Errors
/// When the store fails.
pub fn found<S: StateStore>(state: &mut Overlay<'_, S>, genesis: &Genesis) -> Result<Sha256, StateStoreError> {
    let record = ClusterRecord::founded(genesis);
    let changes = Changes::from([
        (key(table::CLUSTER, &[]), Some(encode(&record))),
        (key(table::TIME, &[]), Some(encode(&genesis.body().created))),
        (key(table::MEMBERSHIP_PLAN, &[]), Some(encode(&plan::found(&record)))),
    ]);
    state.absorb(changes.clone());
    state_root::update(state, &changes)
}

/// Why an entry is not applied, whatever it says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StateStoreError),
    /// The others may apply it; this program cannot read it, and must not go on without it.
    #[error(transparent)]
    Outdated(#[from] ProgramOutdated),
}

/// Applies the entry at `index`. A refused command changes nothing but the time, and what comes due by it.
///
/// # Errors
/// When the store fails, or the entry is of a version that is in use and unknown to this program: then nothing of it is in `state`.
pub fn apply<S: StateStore>(state: &mut Overlay<'_, S>, index: u64, bytes: &[u8]) -> Result<EntryOutcome, ApplyError> {
    let mut pending = Overlay::new(&*state);
    let by_version = LogEntry::version_of(bytes).map(|version| versions::judge(&pending, version));
    let decoded = match by_version {
        Ok(judged) => match judged? {
            ByVersion::Readable => LogEntry::decode(bytes).map_err(|error| malformed(&error)),
            ByVersion::Refused(refusal) => Err(refusal),
            ByVersion::Outdated(outdated) => return Err(outdated.into()),
        },
        Err(error) => Err(malformed(&error)),
    };
    let (kind, outcome, started) = match decoded {
        Err(refusal) => ("malformed", Err(refusal), false),
        Ok(entry) => {
            let now = pending.time()?.max(entry.at);
            pending.put(key(table::TIME, &[]), encode(&now));
            due::settle(&mut pending, index, now)?;
            history::note(&*state, &mut pending, (index, now), None)?;
            let outcome = apply_command(&mut pending, index, now, &entry.command)?;
            (entry.command.kind(), outcome, matches!(entry.command, Command::NodeStarted(_)))
        }
    };
    let changes = pending.into_changes();
    let mut merged = Overlay::new(&*state);
    merged.absorb(changes.clone());
    let root = state_root::update(&mut merged, &changes)?;
    if started && outcome.is_ok() {
        merged.put(key(table::ROOT, &[&index.to_be_bytes()]), encode(&root));
    }
    let all = merged.into_changes();
    state.absorb(all);
    Ok(EntryOutcome { verdict: Verdict { index, outcome }, kind, root })
}

fn malformed(error: &LogEntryError) -> Refusal {
    Refusal::Malformed { what: "log entry".to_owned(), reason: error.to_string() }
}

fn apply_command<S: StateStore>(
    pending: &mut Overlay<'_, S>,
    index: u64,
    now: UnixMillis,
    command: &Command,
) -> Result<Result<Applied, Refusal>, StateStoreError> {
    let mut trial = Overlay::new(&*pending);
    let cluster = trial.cluster()?;
    let context = Context { index, now, cluster: &cluster };
    let outcome = match command {
        Command::NodeStarted(started) => nodes::started(&mut trial, &context, started),
        Command::CheckpointWitnessed(checkpoint) => nodes::checkpoint(&mut trial, &context, checkpoint),
        Command::Order(order) => orders::apply(&mut trial, &context, order),
        Command::CrlChunk { order, index, bytes } => crls::chunk(&mut trial, &context, *order, *index, bytes.as_slice()),
        Command::SessionOpened(opening) => sessions::open(&mut trial, &context, opening),
        Command::SessionClosed(closing) => sessions::close_by_key(&mut trial, closing),
        Command::CeremonyRound1(message) => ceremonies::round1(&mut trial, &context, message),
        Command::CeremonyRound2Hash(message) => ceremonies::round2_hashes(&mut trial, &context, message),
        Command::CeremonyConfirm(message) => ceremonies::confirm(&mut trial, &context, message),
        Command::CeremonyAbort(message) => ceremonies::abort(&mut trial, &context, message),
        Command::CeremonyAccused(message) => accusations::judge(&mut trial, &context, message),
        Command::CeremonyOverdue(message) => ceremonies::overdue(&mut trial, &context, message),
        Command::RepairStarted(message) => repairs::start(&mut trial, &context, message),
        Command::RepairCommitted(message) => repairs::commitments(&mut trial, &context, message),
        Command::RepairAccused(message) => repairs::accuse(&mut trial, &context, message),
        Command::RepairConfirmed(message) => repairs::confirm(&mut trial, &context, message),
        Command::RepairAborted(message) => repairs::abort(&mut trial, &context, message),
        Command::EpochReceived(message) => refreshes::receipt(&mut trial, &context, message),
        Command::EpochRetired(message) => refreshes::retire(&mut trial, &context, message),
        Command::RefreshStarted(message) => refreshes_due::start(&mut trial, &context, message),
        Command::SharesLost(message) => repairs::lose(&mut trial, &context, message),
        Command::SharesFound(message) => repairs::find(&mut trial, &context, message),
        Command::ImportConfirmed(message) => imports::confirm(&mut trial, &context, message),
        Command::ImportAborted(message) => imports::abort(&mut trial, &context, message),
    };
    match outcome {
        Ok(applied) => {
            history::note(&*pending, &mut trial, (index, now), Some(command))?;
            let changes = trial.into_changes();
            pending.absorb(changes);
            Ok(Ok(applied))
        }
        Err(Stop::Refused(refusal)) => Ok(Err(refusal)),
        Err(Stop::Store(error)) => Err(error),
    }
}

/// What every command is checked against beside the records that it names.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    /// Index of the entry.
    pub(super) index: u64,
    /// Time of the entry: the largest so far.
    pub(super) now: UnixMillis,
    /// The cluster.
    pub(super) cluster: &'a ClusterRecord,
}

/// Reads, changes and writes one record.
pub(super) fn must_read<S: StateStore, T: serde::de::DeserializeOwned>(state: &S, key: &[u8], missing: Refusal) -> Result<T, Stop> {
    read(state, key)?.ok_or(Stop::Refused(missing))
}
