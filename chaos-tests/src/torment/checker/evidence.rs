//! What is on the disks once everything has stopped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use warifu_core::pki::Certificate;
use warifu_core::registry::Registry as _;
use warifu_node::config::NodeConfig;
use warifu_node::local::LocalStore;
use warifu_node::state::StateDatabase;
use warifu_node::store::{DatabaseOptions, open_unchanged, verify};
use warifu_node::upkeep;
use warifu_protocol::wire::CredentialState;
use warifu_protocol::{AuditEntry, ClusterId, CredentialId, Genesis, NodeId, PublicKey, SessionId, Sha256};

use crate::torment::oracle::Said;

/// Audit entries that are read at once.
const PAGE: usize = 10_000;

/// Everything that is held against each other.
#[derive(Debug)]
pub(in crate::torment) struct Evidence {
    pub(super) cluster: ClusterId,
    pub(super) threshold: usize,
    /// What clients were told.
    pub(super) said: Said,
    /// The CAs to which signatures must chain.
    pub(super) anchors: Vec<Certificate>,
    /// One for each disk that there ever was.
    pub(super) logs: Vec<AuditLog>,
    /// The registries of the nodes that live.
    pub(super) states: Vec<State>,
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
    /// Reads the disks of the nodes whose configurations these are, and those that were lost. No process may run any more.
    pub(in crate::torment) fn read(
        genesis: &Genesis,
        configs: &[PathBuf],
        lost: &[(NodeId, PathBuf)],
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
            states: Vec::new(),
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
            evidence.read_log(node, &config.node.data)?;
            let state = StateDatabase::open(&config.node.data.join("state.redb"), DatabaseOptions::default(), Arc::new(genesis.clone()))?;
            state.view()?.cluster()?.nodes.iter().for_each(|entry| note(entry.id, entry.identity));
            let seen = evidence.read_state(node, &state)?;
            evidence.states.push(seen);
        }
        for (node, data) in lost {
            evidence.disks += 1;
            if let Err(error) = verify(&data.join("local.redb")) {
                evidence.damage.push(format!("the lost disk of node {node}: {error}"));
            }
            evidence.read_log(*node, data)?;
        }
        evidence.identities = identities;
        Ok(evidence)
    }

    fn read_log(&mut self, node: NodeId, data: &Path) -> anyhow::Result<()> {
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
        self.logs.push(AuditLog { node, disk, entries });
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
