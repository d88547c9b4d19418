//! What is done to a node's stores while the node is stopped: restoring a backup, and looking for damage.

use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;
use warifu_protocol::Genesis;

use crate::config::NodeConfig;
use crate::custodian::{connect, describe};
use crate::local::{BackupSummary, LocalDamage, LocalStore, RestoredShares};
use crate::store::{self, Database, DatabaseOptions};

/// What a restore did.
#[derive(Debug, Serialize)]
pub struct Restored {
    /// The store that the shares are in now, which an order must admit.
    pub store: warifu_protocol::StoreId,
    /// The backup.
    pub backup: BackupSummary,
    /// Shares in it of credentials that this store knows to be destroyed: they stay away.
    pub destroyed: u64,
}

/// Puts a backup onto the store of a stopped node, which must be empty; a missing one is founded.
///
/// # Errors
/// See [`crate::local::BackupError`]; when the node runs, or its KEK is away.
pub fn restore(config: &NodeConfig, from: &Path) -> anyhow::Result<Restored> {
    let cluster = read_genesis(config)?.cluster();
    std::fs::create_dir_all(&config.node.data).with_context(|| format!("cannot create {}", config.node.data.display()))?;
    let database =
        Database::open(&config.node.data.join("local.redb"), options(config)).context("the local store; is the node stopped?")?;
    let store = LocalStore::open_locked(database, config.node.id, cluster).context("the local store")?;
    let kek = connect(&config.kek_source()?, cluster, config.node.id).context("the key-encryption key")?;
    let RestoredShares { backup, destroyed } = store.restore(from, &kek)?;
    Ok(Restored { store: store.meta().store, backup, destroyed })
}

/// What was looked at and what was found.
#[derive(Debug, Default, Serialize)]
pub struct CheckReport {
    /// Files that were read to their end.
    pub files: Vec<String>,
    /// Shares that open.
    pub shares: u64,
    /// Entries of the audit log whose hashes are those of its tree.
    pub audit_entries: u64,
    /// Why shares were not opened, if they were not.
    pub locked: Option<String>,
    /// What is damaged, in words.
    pub damage: Vec<String>,
}

/// Reads all stores of a stopped node: every page against its checksum, every share with the KEK, every audit entry against the tree. Changes nothing.
///
/// # Errors
/// When there is no store, or the node runs.
pub fn check(config: &NodeConfig) -> anyhow::Result<CheckReport> {
    let genesis = read_genesis(config)?;
    let mut report = CheckReport::default();
    for file in ["raft/raft.redb", "state.redb", "local.redb"] {
        let path = config.node.data.join(file);
        anyhow::ensure!(path.exists(), "there is no {}", path.display());
        match store::verify(&path) {
            Ok(()) => report.files.push(file.to_owned()),
            Err(error @ store::StoreError::Damaged { .. }) => report.damage.push(describe(&error)),
            Err(error) => return Err(error).context("is the node stopped?"),
        }
    }
    if !report.files.iter().any(|file| file == "local.redb") {
        return Ok(report);
    }
    let database = store::open_unchanged(&config.node.data.join("local.redb"))?;
    let kek = connect(&config.kek_source()?, genesis.cluster(), config.node.id);
    let found = LocalDamage::look(&database, config.node.id, genesis.cluster(), kek.map_err(|error| describe(&error)));
    report.damage.extend(found.damage);
    (report.shares, report.audit_entries, report.locked) = (found.shares, found.audit_entries, found.locked);
    Ok(report)
}

fn options(config: &NodeConfig) -> DatabaseOptions {
    DatabaseOptions { cache_bytes: config.store.local_cache_bytes }
}

fn read_genesis(config: &NodeConfig) -> anyhow::Result<Genesis> {
    let text = std::fs::read_to_string(&config.node.genesis)
        .with_context(|| format!("cannot read the genesis {}", config.node.genesis.display()))?;
    Genesis::from_toml(&text).context("the genesis is refused")
}
