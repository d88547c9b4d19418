//! The replicated registry on this node's disk.

mod snapshot;
mod store;

pub use snapshot::{Examined, FrozenState, SnapshotError};
pub use store::StateView;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use redb::TableDefinition;
use warifu_core::registry::{self, ApplyError, EntryOutcome, Overlay, PlanMember, Registry as _, StateStoreError, state_root};
use warifu_protocol::{AuditEvent, Genesis, NodeId, Sha256, canonical};

use crate::store::{Database, DatabaseOptions, StoreError, StoreHealth};

/// What consensus remembers beside the registry: where it stands, as bytes that only consensus understands.
const POSITION: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("position");
const APPLIED: &str = "applied";

/// The mark of the state after each of the last entries, by index. Another node that was sent a snapshot of one of these positions asks for it.
const MARKS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("marks");

/// What the entries of the last transaction came to, by index, as the audit log is to have it: it is another store's, and a crash may come between
/// the two commits.
const OUTCOMES: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("outcomes");

/// How far its writer steps back. Signing reads what was applied and never waits for more of it, while one ceremony changes hundreds of records at once;
/// a tenth of a busy processor is left for it.
const WRITER_NICENESS: i32 = 10;

/// Marks that are kept. A leader's snapshot is at most the configured number of entries behind, which may be half of this.
pub const MARKS_KEPT: u64 = 65_536;

/// One entry to apply.
#[derive(Debug, Clone)]
pub struct EntryBytes {
    /// Its place in the log.
    pub index: u64,
    /// An encoded log entry; `None` for entries of consensus itself.
    pub payload: Option<Arc<[u8]>>,
    /// For an entry that names consensus's members: its voter sets and members.
    pub members: Option<Members>,
    /// Where consensus stands after it, as bytes that only consensus understands.
    pub position: Vec<u8>,
}

/// What identifies a state and its place in the log: equal for all honest nodes.
#[must_use]
pub fn mark(position: &[u8], root: Sha256) -> Sha256 {
    Sha256::new(canonical::sha256(&canonical::postcard_message(canonical::TAG_STATE_AT, &(position, root))))
}

/// Voter sets and members, as a membership entry names them.
pub type Members = (Vec<BTreeSet<NodeId>>, BTreeMap<NodeId, PlanMember>);

/// The registry's store. Cheap to clone.
#[derive(Clone)]
pub struct StateDatabase {
    database: Database,
    genesis: Arc<Genesis>,
}

impl StateDatabase {
    /// Opens the store, or founds it from the genesis.
    ///
    /// # Errors
    /// When it cannot be opened or belongs to another cluster.
    pub fn open(path: &Path, options: DatabaseOptions, genesis: Arc<Genesis>) -> Result<Self, StoreError> {
        let database = Database::open_nice(path, options, WRITER_NICENESS)?;
        let founder = Arc::clone(&genesis);
        database.write_blocking(move |transaction| {
            transaction.open_table(POSITION)?;
            transaction.open_table(MARKS)?;
            transaction.open_table(OUTCOMES)?;
            let view = store::WriteView::open(transaction)?;
            match view.get_cluster()? {
                Some(cluster) if cluster == founder.cluster() => Ok(()),
                Some(cluster) => Err(StoreError::declined(format!("the state store belongs to cluster {cluster}"))),
                None => {
                    let mut overlay = Overlay::new(&view);
                    registry::found(&mut overlay, &founder).map_err(corrupt)?;
                    let changes = overlay.into_changes();
                    view.write(&changes)
                }
            }
        })?;
        Ok(Self { database, genesis })
    }

    /// A view for reading.
    ///
    /// # Errors
    /// When the store fails.
    pub fn view(&self) -> Result<StateView, StoreError> {
        StateView::open(&self.database)
    }

    /// Whether the store takes writes.
    #[must_use]
    pub fn health(&self) -> StoreHealth {
        self.database.health()
    }

    /// The state root now.
    ///
    /// # Errors
    /// When the store fails.
    pub fn root(&self) -> Result<Sha256, StoreError> {
        state_root::root(&self.view()?).map_err(corrupt)
    }

    /// What consensus stored with the last entries; empty before the first.
    ///
    /// # Errors
    /// When the store fails.
    pub fn position(&self) -> Result<Vec<u8>, StoreError> {
        self.database
            .read(|transaction| Ok(transaction.open_table(POSITION)?.get(APPLIED)?.map(|bytes| bytes.value().to_vec()).unwrap_or_default()))
    }

    /// The mark of the state after the entry with this index, if it was applied here (or installed) and is not too long ago.
    ///
    /// # Errors
    /// When the store fails.
    pub fn mark_at(&self, index: u64) -> Result<Option<Sha256>, StoreError> {
        self.database.read(|transaction| {
            let mark = transaction.open_table(MARKS)?.get(index)?.and_then(|mark| <[u8; 32]>::try_from(mark.value()).ok());
            Ok(mark.map(Sha256::new))
        })
    }

    /// What the entries that were applied last came to, by index, for an audit log that may lack them.
    ///
    /// # Errors
    /// When the store fails or a record is damaged.
    pub fn last_outcomes(&self) -> Result<Vec<(u64, AuditEvent)>, StoreError> {
        self.database.read(|transaction| {
            let mut found = Vec::new();
            for pair in transaction.open_table(OUTCOMES)?.range::<u64>(..)? {
                let (index, bytes) = pair?;
                let event = postcard::from_bytes(bytes.value())
                    .map_err(|error| StoreError::Corrupt { what: "the outcome of an entry", detail: error.to_string() })?;
                found.push((index.value(), event));
            }
            Ok(found)
        })
    }

    /// Applies entries in order, durably and together with consensus's position. Returns the outcome of each that has a payload.
    ///
    /// # Errors
    /// When the store fails: then none of them is applied.
    pub async fn apply(&self, entries: Vec<EntryBytes>) -> Result<Vec<Option<EntryOutcome>>, StoreError> {
        self.database
            .write(move |transaction| {
                let view = store::WriteView::open(transaction)?;
                let mut overlay = Overlay::new(&view);
                let mut outcomes = Vec::with_capacity(entries.len());
                let mut marks = transaction.open_table(MARKS)?;
                // Whoever applies has recorded what came before.
                transaction.delete_table(OUTCOMES)?;
                let mut recent = transaction.open_table(OUTCOMES)?;
                for entry in &entries {
                    if let Some((voters, nodes)) = &entry.members {
                        registry::membership_applied(&mut overlay, voters, nodes).map_err(corrupt)?;
                    }
                    let outcome = entry.payload.as_ref().map(|payload| registry::apply(&mut overlay, entry.index, payload));
                    let outcome = outcome.transpose().map_err(not_applied)?;
                    let root = outcome.as_ref().map_or_else(|| state_root::root(&overlay), |outcome| Ok(outcome.root)).map_err(corrupt)?;
                    marks.insert(entry.index, mark(&entry.position, root).as_bytes().as_slice())?;
                    if let Some(old) = entry.index.checked_sub(MARKS_KEPT) {
                        marks.remove(old)?;
                    }
                    if let (Some(outcome), Some(payload)) = (&outcome, &entry.payload) {
                        let event =
                            postcard::to_stdvec(&applied_event(entry.index, payload, outcome)).expect("audit events serialize to postcard");
                        recent.insert(entry.index, event.as_slice())?;
                    }
                    outcomes.push(outcome);
                }
                let changes = overlay.into_changes();
                view.write(&changes)?;
                if let Some(last) = entries.last() {
                    transaction.open_table(POSITION)?.insert(APPLIED, last.position.as_slice())?;
                }
                Ok(outcomes)
            })
            .await
    }
}

impl store::WriteView<'_> {
    fn get_cluster(&self) -> Result<Option<warifu_protocol::ClusterId>, StoreError> {
        use warifu_core::registry::StateStore as _;
        match self.get(&registry::key(registry::table::CLUSTER, &[])).map_err(corrupt)? {
            Some(_) => Ok(Some(self.cluster().map_err(corrupt)?.cluster)),
            None => Ok(None),
        }
    }
}

/// What the audit log is to say of an entry that was applied.
#[must_use]
pub fn applied_event(index: u64, payload: &[u8], outcome: &EntryOutcome) -> AuditEvent {
    AuditEvent::EntryApplied {
        index,
        entry: Sha256::new(canonical::sha256(payload)),
        kind: outcome.kind.to_owned(),
        refusal: outcome.verdict.outcome.as_ref().err().cloned(),
    }
}

fn not_applied(error: ApplyError) -> StoreError {
    match error {
        ApplyError::Store(error) => corrupt(error),
        ApplyError::Outdated(error) => StoreError::declined(error.to_string()),
    }
}

fn corrupt(error: StateStoreError) -> StoreError {
    StoreError::Corrupt { what: "the registry", detail: error.reason }
}
