//! Between openraft's state machine and [`ReplicatedState`].

use std::io;
use std::sync::Arc;

use futures::{Stream, TryStreamExt};
use openraft::alias::{SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::entry::RaftEntry;
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};

use super::snapshot::{SnapshotDirectory, SnapshotFile};
use super::state::{
    AppliedEntry, AppliedPayload, AppliedState, LogPosition, ReplicatedState, StateError, StateSnapshot, decode_membership,
    encode_membership,
};
use super::types::{Entry, LogId, SnapshotMeta, StoredMembership, TypeConfig};

/// Entries that are applied in one transaction. More would keep the first proposer waiting for the last.
const ENTRIES_PER_APPLY_MAX: usize = 256;

/// The adapter.
#[derive(Debug)]
pub(crate) struct StateMachine<S> {
    pub(super) state: Arc<S>,
    pub(super) snapshots: Arc<SnapshotDirectory>,
}

/// A frozen view that is to be written out.
#[derive(Debug)]
pub(crate) struct Builder<V> {
    view: Result<Arc<V>, String>,
    snapshots: Arc<SnapshotDirectory>,
}

impl<S: ReplicatedState> StateMachine<S> {
    async fn apply_batch(&self, entries: Vec<AppliedEntry>) -> io::Result<Vec<Vec<u8>>> {
        let count = entries.len();
        let responses = self.state.apply(entries).await.map_err(io::Error::other)?;
        if responses.len() != count {
            return Err(io::Error::other(format!("{} responses for {count} entries", responses.len())));
        }
        Ok(responses)
    }
}

pub(super) fn applied_entry(entry: Entry) -> AppliedEntry {
    let id = entry.log_id();
    let payload = match entry.payload {
        EntryPayload::Blank => AppliedPayload::Blank,
        EntryPayload::Normal(payload) => AppliedPayload::Command(payload.0),
        EntryPayload::Membership(membership) => AppliedPayload::Membership(encode_membership(&StoredMembership::new(Some(id), membership))),
    };
    AppliedEntry { position: LogPosition::of(&id), payload }
}

fn meta(applied: &AppliedState) -> Result<SnapshotMeta, StateError> {
    Ok(SnapshotMeta { last_log_id: applied.position.map(LogPosition::log_id), last_membership: decode_membership(&applied.membership)? })
}

impl<S: ReplicatedState> RaftStateMachine<TypeConfig> for StateMachine<S> {
    type SnapshotData = Arc<SnapshotFile>;
    type SnapshotBuilder = Builder<S::Snapshot>;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembershipOf<TypeConfig>), io::Error> {
        let state = Arc::clone(&self.state);
        let applied = crate::blocking::run(move || state.applied()).await.map_err(io::Error::other)?.map_err(io::Error::other)?;
        let meta = meta(&applied).map_err(io::Error::other)?;
        Ok((meta.last_log_id, meta.last_membership))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        loop {
            let (mut batch, mut responders) = (Vec::new(), Vec::new());
            while batch.len() < ENTRIES_PER_APPLY_MAX
                && let Some((entry, responder)) = entries.try_next().await?
            {
                batch.push(applied_entry(entry));
                responders.push(responder);
            }
            let complete = batch.len() < ENTRIES_PER_APPLY_MAX;
            if !batch.is_empty() {
                for (response, responder) in self.apply_batch(batch).await?.into_iter().zip(responders) {
                    if let Some(responder) = responder {
                        responder.send(response);
                    }
                }
            }
            if complete {
                return Ok(());
            }
        }
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        // The trait has no error here; it comes up when the snapshot is built.
        let state = Arc::clone(&self.state);
        let view = match crate::blocking::run(move || state.snapshot()).await {
            Ok(view) => view.map(Arc::new).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        Builder { view, snapshots: Arc::clone(&self.snapshots) }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<TypeConfig>, snapshot: Self::SnapshotData) -> Result<(), io::Error> {
        let (stated, content) = snapshot.open()?;
        if stated != *meta {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the snapshot's file is of another position than was announced"));
        }
        let applied =
            AppliedState { position: meta.last_log_id.as_ref().map(LogPosition::of), membership: encode_membership(&meta.last_membership) };
        self.state.install(applied, Box::new(content)).await.map_err(io::Error::other)?;
        self.snapshots.keep(meta, &snapshot)?;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<TypeConfig, Self::SnapshotData>>, io::Error> {
        Ok(self.snapshots.current().map(|(meta, snapshot)| openraft::Snapshot { meta, snapshot }))
    }
}

impl<V: StateSnapshot> RaftSnapshotBuilder<TypeConfig> for Builder<V> {
    type SnapshotData = Arc<SnapshotFile>;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<TypeConfig, Self::SnapshotData>, io::Error> {
        let view = self.view.clone().map_err(io::Error::other)?;
        let snapshots = Arc::clone(&self.snapshots);
        let write = move || {
            let meta = meta(&view.applied()).map_err(io::Error::other)?;
            let file = snapshots.write(&meta, |out| view.write_to(out).map_err(io::Error::other))?;
            let snapshot = snapshots.keep(&meta, &file)?;
            Ok(openraft::Snapshot { meta, snapshot })
        };
        crate::blocking::run(write).await.map_err(io::Error::other)?
    }
}
