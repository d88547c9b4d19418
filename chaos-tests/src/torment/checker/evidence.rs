//! What is on the disks once everything has stopped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use warifu_core::pki::Certificate;
use warifu_core::registry::{NodeRecord, Registry as _};
use warifu_node::config::NodeConfig;
use warifu_node::local::LocalStore;
use warifu_node::raft::{AppliedEntry, AppliedPayload, LogPosition, entries_on_disk};
use warifu_node::state::StateDatabase;
use warifu_node::store::{DatabaseOptions, open_unchanged, verify};
use warifu_node::upkeep;
use warifu_protocol::canonical::sha256;
use warifu_protocol::wire::CredentialState;
use warifu_protocol::{
    AuditEntry, AuditEvent, Checkpoint, ClusterId, Command, CredentialId, Genesis, LogEntry, NodeId, NodeSigned, NodeStarted, PublicKey,
    SessionId, Sha256, StoreId,
};

use crate::torment::oracle::Said;

/// Audit entries that are read at once.
const PAGE: usize = 10_000;

/// Everything that is held against each other.
#[derive(Debug)]
pub(crate) struct Evidence {
    pub(super) cluster: ClusterId,
    pub(super) threshold: usize,
    /// What clients were told.
    pub(super) said: Said,
    /// The CAs to which signatures must chain.
    pub(super) anchors: Vec<Certificate>,
    /// One for each disk that there ever was.
    pub(super) logs: Vec<AuditLog>,
    /// Logs of old disks that were tried. They begin as those of their nodes' own disks do, and are in [`Self::logs`] only so far.
    pub(super) tried: Vec<TriedLog>,
    /// The registries of the nodes that live.
    pub(super) states: Vec<State>,
    /// The raft logs of the nodes that live: of each entry its place and the hash of what it says.
    pub(super) raft: BTreeMap<NodeId, BTreeMap<u64, (LogPosition, Sha256)>>,
    /// What nodes said of their own audit logs before all others, by index in the raft log.
    pub(super) spoken: BTreeMap<u64, Spoken>,
    /// What the registries of the nodes that live remember of each node's audit log.
    pub(super) remembered: Vec<(NodeId, NodeRecord)>,
    /// The keys that nodes have and had.
    pub(super) identities: BTreeMap<NodeId, Vec<PublicKey>>,
    /// Disks that were read to their end.
    pub(super) disks: u64,
    /// What is damaged on them.
    pub(super) damage: Vec<String>,
}

/// One disk's audit log.
#[derive(Debug, Clone)]
pub(super) struct AuditLog {
    pub(super) node: NodeId,
    pub(super) disk: String,
    pub(super) entries: Vec<AuditEntry>,
}

/// An old disk on which a node was started.
#[derive(Debug, Clone)]
pub(in crate::torment) struct TriedDisk {
    pub(in crate::torment) node: NodeId,
    pub(in crate::torment) data: PathBuf,
    /// Entries that its audit log had when it was copied.
    pub(in crate::torment) copied: u64,
}

/// Its audit log.
#[derive(Debug, Clone)]
pub(super) struct TriedLog {
    pub(super) log: AuditLog,
    /// Entries that it had when it was copied.
    pub(super) copied: u64,
}

/// How many entries the audit log in a directory of a node has that does not run.
pub(in crate::torment) fn audit_size(node: NodeId, data: &Path, cluster: ClusterId) -> anyhow::Result<u64> {
    Ok(LocalStore::open_locked(open_unchanged(&data.join("local.redb"))?, node, cluster)?.checkpoint()?.size)
}

/// What a node says of its audit log in the raft log.
#[derive(Debug, Clone)]
pub(super) enum Spoken {
    /// How many entries it has when the node starts.
    Started(NodeSigned<NodeStarted>),
    /// How many, and the root of their tree.
    Checkpoint(NodeSigned<Checkpoint>),
}

impl AuditLog {
    /// The store that it is in.
    pub(super) fn store(&self) -> Option<StoreId> {
        self.entries.iter().rev().find_map(|entry| match &entry.event {
            AuditEvent::Started { store, .. } => Some(*store),
            _ => None,
        })
    }
}

/// One node's registry.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) node: NodeId,
    pub(super) position: Vec<u8>,
    pub(super) root: Sha256,
    /// The mark after each entry that is remembered.
    pub(super) marks: BTreeMap<u64, Sha256>,
    /// Whether each session that a client knows of is closed, for those that are there.
    pub(super) sessions: BTreeMap<SessionId, bool>,
    /// The state of each credential.
    pub(super) credentials: BTreeMap<CredentialId, CredentialState>,
}

impl Evidence {
    /// Reads the disks of the nodes whose configurations these are, those that were lost, and old ones that were tried. No process may run any more.
    pub(in crate::torment) fn read(
        genesis: &Genesis,
        configs: &[PathBuf],
        lost: &[(NodeId, PathBuf)],
        tried: &[TriedDisk],
        said: Said,
        anchors: Vec<Certificate>,
    ) -> anyhow::Result<Self> {
        let cluster = genesis.cluster();
        let mut identities: BTreeMap<NodeId, Vec<PublicKey>> = BTreeMap::new();
        let mut note = |node: NodeId, identity: PublicKey| {
            let known = identities.entry(node).or_default();
            if !known.contains(&identity) {
                known.push(identity);
            }
        };
        genesis.body().nodes.iter().for_each(|entry| note(entry.id, entry.identity));
        let mut evidence = Self {
            cluster,
            threshold: genesis.body().threshold.0.into(),
            said,
            anchors,
            logs: Vec::new(),
            tried: Vec::new(),
            states: Vec::new(),
            raft: BTreeMap::new(),
            spoken: BTreeMap::new(),
            remembered: Vec::new(),
            identities: BTreeMap::new(),
            disks: 0,
            damage: Vec::new(),
        };
        for path in configs {
            let config = NodeConfig::load(path)?;
            let node = config.node.id;
            let report = upkeep::check(&config).with_context(|| format!("the disk of node {node}"))?;
            evidence.disks += 1;
            evidence.damage.extend(report.damage.into_iter().map(|damage| format!("node {node}: {damage}")));
            let log = evidence.log(node, &config.node.data)?;
            evidence.logs.push(log);
            let state = StateDatabase::open(&config.node.data.join("state.redb"), DatabaseOptions::default(), Arc::new(genesis.clone()))?;
            state.view()?.cluster()?.nodes.iter().for_each(|entry| note(entry.id, entry.identity));
            let seen = evidence.read_state(node, &state)?;
            evidence.states.push(seen);
            evidence.read_memory(&state)?;
            evidence.read_raft(node, &config.node.data.join("raft").join("raft.redb"))?;
        }
        for (node, data) in lost {
            let log = evidence.read_left(*node, data, "lost")?;
            evidence.logs.push(log);
        }
        for TriedDisk { node, data, copied } in tried {
            let log = evidence.read_left(*node, data, "old")?;
            evidence.tried.push(TriedLog { log, copied: *copied });
        }
        evidence.identities = identities;
        Ok(evidence)
    }

    /// The keys that a node has and had.
    pub(super) fn keys_of(&self, node: NodeId) -> impl Iterator<Item = &PublicKey> {
        self.identities.get(&node).into_iter().flatten()
    }

    /// As [`Self::read`], where nothing is known of clients and no disk was lost.
    pub(crate) fn read_stores(genesis: &Genesis, configs: &[PathBuf]) -> anyhow::Result<Self> {
        Self::read(genesis, configs, &[], &[], Said::default(), Vec::new())
    }

    /// Of each entry of the log that some site applied, whether it was carried out.
    pub(crate) fn outcomes(&self) -> BTreeMap<u64, bool> {
        let entries = self.logs.iter().flat_map(|log| &log.entries);
        let applied = entries.filter_map(|entry| match &entry.event {
            AuditEvent::EntryApplied { index, refusal, .. } => Some((*index, refusal.is_none())),
            _ => None,
        });
        applied.collect()
    }

    /// Reads a disk that is no node's any more.
    fn read_left(&mut self, node: NodeId, data: &Path, what: &str) -> anyhow::Result<AuditLog> {
        self.disks += 1;
        if let Err(error) = verify(&data.join("local.redb")) {
            self.damage.push(format!("the {what} disk of node {node}: {error}"));
        }
        self.log(node, data)
    }

    fn log(&self, node: NodeId, data: &Path) -> anyhow::Result<AuditLog> {
        let disk = data.display().to_string();
        let store = LocalStore::open_locked(open_unchanged(&data.join("local.redb"))?, node, self.cluster).context(disk.clone())?;
        let mut entries = Vec::new();
        loop {
            let page = store.entries(entries.len() as u64, PAGE)?;
            if page.is_empty() {
                break;
            }
            entries.extend(page.into_iter().map(|(_, entry)| entry));
        }
        Ok(AuditLog { node, disk, entries })
    }

    /// What a registry remembers of every node.
    fn read_memory(&mut self, state: &StateDatabase) -> anyhow::Result<()> {
        let view = state.view()?;
        for entry in &view.cluster()?.nodes {
            self.remembered.extend(view.node(entry.id)?.map(|record| (entry.id, record)));
        }
        Ok(())
    }

    fn read_raft(&mut self, node: NodeId, path: &Path) -> anyhow::Result<()> {
        let mut entries = BTreeMap::new();
        for AppliedEntry { position, payload } in entries_on_disk(path)? {
            let words = match payload {
                AppliedPayload::Blank => Vec::new(),
                AppliedPayload::Membership(members) => members,
                AppliedPayload::Command(command) => {
                    // Whatever its version: this program may be older than those that wrote it.
                    match postcard::from_bytes::<LogEntry>(&command).map(|entry| entry.command) {
                        Ok(Command::NodeStarted(signed)) => drop(self.spoken.insert(position.index, Spoken::Started(signed))),
                        Ok(Command::CheckpointWitnessed(signed)) => drop(self.spoken.insert(position.index, Spoken::Checkpoint(signed))),
                        _ => {}
                    }
                    command
                }
            };
            entries.insert(position.index, (position, Sha256::new(sha256(&words))));
        }
        self.raft.insert(node, entries);
        Ok(())
    }

    fn read_state(&self, node: NodeId, state: &StateDatabase) -> anyhow::Result<State> {
        let view = state.view()?;
        let (mut sessions, mut credentials, mut marks) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for session in self.said.sessions() {
            if let Some(record) = view.session(session)? {
                sessions.insert(session, record.closed);
            }
        }
        for (id, record) in view.credentials(None, PAGE)? {
            credentials.insert(id, record.state);
        }
        // A mark may be missing at the beginning, where a snapshot was installed, and nowhere else.
        let mut index = 0;
        let mut missing = 0_u64;
        while missing < MARKS_GAP_MAX {
            match state.mark_at(index)? {
                Some(mark) => {
                    marks.insert(index, mark);
                    missing = 0;
                }
                None => missing += 1,
            }
            index += 1;
        }
        Ok(State { node, position: state.position()?, root: state.root()?, marks, sessions, credentials })
    }
}

/// Indices without a mark after which the last one was found: longer than the part of a log that a snapshot replaces in one run.
const MARKS_GAP_MAX: u64 = 25_000;
