//! A site that lost its disk: new keys and an empty store, for the order that admits them.

use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use warifu_protocol::{Genesis, NodeEntry, NodeId, StoreId};

use crate::keys::NodeKeys;
use crate::local::LocalStore;
use crate::store::{Database, DatabaseOptions};

/// What an order that replaces a lost store names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replacement {
    /// The empty store.
    pub store: StoreId,
    /// The site's entry with new keys.
    pub node: NodeEntry,
}

/// Makes keys in `keys` and an empty store in `data`, both of which must not be there yet. The node starts on them without `--found`, once the
/// order is applied.
///
/// # Errors
/// When something is there already, or cannot be made.
pub fn prepare(keys: &Path, data: &Path, genesis: &Path, id: NodeId, address: &str) -> anyhow::Result<Replacement> {
    let text = std::fs::read_to_string(genesis).with_context(|| format!("cannot read the genesis {}", genesis.display()))?;
    let genesis = Genesis::from_toml(&text).context("the genesis is refused")?;
    let path = data.join("local.redb");
    anyhow::ensure!(!path.exists(), "there is a store in {}; a lost site begins on an empty directory", data.display());
    let node = NodeKeys::init(keys, id, address).context("the keys cannot be made")?;
    std::fs::create_dir_all(data).with_context(|| format!("cannot create {}", data.display()))?;
    let database = Database::open(&path, DatabaseOptions::default()).context("the local store")?;
    let local = LocalStore::open_locked(database, id, genesis.cluster()).context("the local store")?;
    Ok(Replacement { store: local.meta().store, node })
}
