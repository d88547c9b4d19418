//! The replicated registry on this node's disk.

mod snapshot;
mod store;

pub use snapshot::{FrozenState, SnapshotError};
pub use store::StateView;

use std::path::Path;
use std::sync::Arc;

use redb::TableDefinition;
use warifu_core::registry::{self, EntryOutcome, Overlay, Registry as _, StateStoreError, state_root};
use warifu_protocol::{Genesis, Sha256};

use crate::store::{Database, DatabaseOptions, StoreError, StoreHealth};

/// What consensus remembers beside the registry: where it stands, as bytes that only consensus understands.
const POSITION: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("position");
const APPLIED: &str = "applied";

/// One entry to apply.
#[derive(Debug, Clone)]
pub struct EntryBytes {
    /// Its place in the log.
    pub index: u64,
    /// An encoded log entry; `None` for entries of consensus itself.
    pub payload: Option<Arc<[u8]>>,
}

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
        let database = Database::open(path, options)?;
        let founder = Arc::clone(&genesis);
        database.write_blocking(move |transaction| {
            transaction.open_table(POSITION)?;
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

    /// Applies entries in order, durably and together with consensus's position. Returns the outcome of each that has a payload.
    ///
    /// # Errors
    /// When the store fails: then none of them is applied.
    pub async fn apply(&self, entries: Vec<EntryBytes>, position: Vec<u8>) -> Result<Vec<Option<EntryOutcome>>, StoreError> {
        self.database
            .write(move |transaction| {
                let view = store::WriteView::open(transaction)?;
                let mut overlay = Overlay::new(&view);
                let mut outcomes = Vec::with_capacity(entries.len());
                for entry in &entries {
                    let outcome = entry.payload.as_ref().map(|payload| registry::apply(&mut overlay, entry.index, payload));
                    outcomes.push(outcome.transpose().map_err(corrupt)?);
                }
                let changes = overlay.into_changes();
                view.write(&changes)?;
                transaction.open_table(POSITION)?.insert(APPLIED, position.as_slice())?;
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

fn corrupt(error: StateStoreError) -> StoreError {
    StoreError::Corrupt { what: "the registry", detail: error.reason }
}
