//! The log store and the adapter with the registry, the audit log and the files that a node has, against openraft's own suite.

use std::path::Path;
use std::sync::Arc;

use ed25519_dalek::{Signer as _, SigningKey};
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use tempfile::TempDir;
use warifu_protocol::{
    AnchorEntry, AnchorKind, AuditEvent, Blob, CoordinatorEntry, Genesis, GenesisBody, GenesisDocument, GenesisSignature, NodeId,
    OfficerEntry, OfficerRole, Policy, PublicKey, Threshold,
};

use crate::gate::Gate;
use crate::holds::Holds;
use crate::keys::NodeKeys;
use crate::local::LocalStore;
use crate::metrics::NodeMetrics;
use crate::raft::log_store::RaftLog;
use crate::raft::snapshot::SnapshotDirectory;
use crate::raft::state::{AppliedEntry, AppliedPayload, LogPosition, ReplicatedState as _};
use crate::raft::state_machine::StateMachine;
use crate::raft::types::TypeConfig;
use crate::replicated::NodeState;
use crate::sealing::FileKek;
use crate::standing::{OwnKeys, Standing};
use crate::state::{EntryBytes, StateDatabase};
use crate::store::{Database, DatabaseOptions};

const OPTIONS: DatabaseOptions = DatabaseOptions { cache_bytes: 1 << 20 };

/// One cluster, of which every store that is built is the first node's.
struct Founded {
    genesis: Arc<Genesis>,
    tls_spki: warifu_protocol::SpkiHash,
    identity: PublicKey,
}

impl Founded {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let nodes: Vec<_> = (1..=3)
            .map(|number| {
                let id = NodeId::new(number).unwrap();
                NodeKeys::init(&directory.path().join(number.to_string()), id, &format!("127.0.0.1:{}", 20_000 + u16::from(number)))
                    .unwrap()
            })
            .collect();
        let (tls_spki, identity) = (nodes[0].tls_spki, nodes[0].identity);
        let officer = |id: &str, role| {
            let key = SigningKey::generate(&mut rand_core::OsRng);
            (OfficerEntry { id: id.parse().unwrap(), role, key: PublicKey::Ed25519(key.verifying_key().to_bytes()) }, key)
        };
        let officers = [
            officer("alice", OfficerRole::Operator),
            officer("bob", OfficerRole::Operator),
            officer("carol", OfficerRole::SecurityOfficer),
            officer("dave", OfficerRole::SecurityOfficer),
        ];
        let genesis = GenesisBody {
            format: 1,
            name: "test".parse().unwrap(),
            created: crate::clock::now(),
            threshold: Threshold(2),
            liars: 0,
            minority_threshold: false,
            policy: Policy::default(),
            coordinators: vec![CoordinatorEntry {
                id: "coordinator-1".parse().unwrap(),
                tls_spki: warifu_protocol::SpkiHash::new([7; 32]),
                identity: officer("coordinator", OfficerRole::Auditor).0.key,
            }],
            nodes,
            officers: officers.iter().map(|(entry, _)| entry.clone()).collect(),
            anchors: vec![anchor(AnchorKind::HpkiSigning), anchor(AnchorKind::JpkiUserAuthentication)],
        };
        let message = genesis.message();
        let signatures = officers
            .iter()
            .map(|(entry, key)| GenesisSignature { officer: entry.id.clone(), signature: Blob(key.sign(&message).to_bytes().to_vec()) })
            .collect();
        Self { genesis: Arc::new(Genesis::new(GenesisDocument { genesis, signatures }).unwrap()), tls_spki, identity }
    }

    /// What `daemon` puts together, without the network.
    fn open(&self, directory: &Path) -> (RaftLog, StateMachine<NodeState>) {
        let (node_state, _) = self.open_state(directory);
        let log = RaftLog::open(&directory.join("raft.redb"), OPTIONS.cache_bytes).unwrap();
        let snapshots = Arc::new(SnapshotDirectory::open(directory.join("snapshots")).unwrap());
        (log, StateMachine { state: Arc::new(node_state), snapshots })
    }

    /// The registry as consensus drives it, and the audit log that it writes.
    fn open_state(&self, directory: &Path) -> (NodeState, Arc<LocalStore>) {
        let node = NodeId::new(1).unwrap();
        let state = StateDatabase::open(&directory.join("state.redb"), OPTIONS, Arc::clone(&self.genesis)).unwrap();
        let kek = Arc::new(FileKek::init(&directory.join("kek")).unwrap());
        let local = Database::open(&directory.join("local.redb"), OPTIONS).unwrap();
        let local = Arc::new(LocalStore::open_on(local, kek, node, self.genesis.cluster()).unwrap());
        let gate = Arc::new(Gate::new(local.meta().boot));
        let own = OwnKeys { node, tls_spki: self.tls_spki, identity: self.identity, store: local.meta().store };
        let standing = Standing::open(&state.view().unwrap(), None, own, true, Default::default(), Arc::clone(&gate)).unwrap();
        let holds = Arc::new(Holds::new(Vec::new(), 0, crate::clock::boot_millis()));
        let (metrics, spool) = (NodeMetrics::new().unwrap(), directory.to_owned());
        (NodeState::new(node, state, Arc::clone(&local), gate, holds, metrics, Arc::new(standing), spool), local)
    }
}

fn anchor(kind: AnchorKind) -> AnchorEntry {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("{kind:?} test CA"));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    AnchorEntry { kind, certificate: Blob(certificate.der().to_vec()), policies: vec!["1.2.3.4".to_owned()] }
}

struct Builder(Arc<Founded>);

impl StoreBuilder<TypeConfig, RaftLog, StateMachine<NodeState>, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, RaftLog, StateMachine<NodeState>), StorageError<TypeConfig>> {
        let founded = Arc::clone(&self.0);
        let build = move || {
            let directory = TempDir::new().unwrap();
            let (log, machine) = founded.open(directory.path());
            (directory, log, machine)
        };
        Ok(crate::blocking::run(build).await.unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_applied_and_not_recorded_when_the_power_failed_is_recorded_once_at_the_next_start() {
    let (founded, directory) = (Founded::new(), TempDir::new().unwrap());
    let entry = |index| EntryBytes { index, payload: Some(Arc::from(index.to_be_bytes())), members: None, position: Vec::new() };
    let path = directory.path().join("state.redb");
    let state = tokio::task::block_in_place(|| StateDatabase::open(&path, OPTIONS, Arc::clone(&founded.genesis)).unwrap());
    state.apply(vec![entry(1), entry(2)]).await.unwrap();
    state.apply(vec![entry(3), entry(4)]).await.unwrap();
    drop(state);

    let (node_state, local) = tokio::task::block_in_place(|| founded.open_state(directory.path()));
    let recorded = || {
        let applied = local.entries(0, usize::MAX).unwrap().into_iter().filter_map(|(_, entry)| match entry.event {
            AuditEvent::EntryApplied { index, kind, refusal: Some(_), .. } => Some((index, kind)),
            _ => None,
        });
        applied.collect::<Vec<_>>()
    };
    assert_eq!(node_state.record_missing().await.unwrap(), 2, "only of the last transaction can something be missing");
    assert_eq!(recorded(), [3, 4].map(|index| (index, "malformed".to_owned())));
    assert_eq!((node_state.record_missing().await.unwrap(), recorded().len()), (0, 2));

    let position = LogPosition { term: 1, leader: 1, index: 5 };
    node_state.apply(vec![AppliedEntry { position, payload: AppliedPayload::Command(vec![5]) }]).await.unwrap();
    assert_eq!((node_state.record_missing().await.unwrap(), recorded().len()), (0, 3), "what was recorded is not missing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_store_and_the_registry_of_a_node_pass_the_suite_of_openraft() {
    let builder = Builder(Arc::new(Founded::new()));
    Suite::<TypeConfig, RaftLog, StateMachine<NodeState>, Builder, TempDir>::test_all(builder).await.unwrap();
}
