//! A node that cannot write its audit log gives no share, and says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redb::StorageBackend;
use redb::backends::InMemoryBackend;
use warifu_node::gate::{Confirmed, Gate};
use warifu_node::holds::Holds;
use warifu_node::local::LocalStore;
use warifu_node::metrics::NodeMetrics;
use warifu_node::pace::Pace;
use warifu_node::sealing::FileKek;
use warifu_node::service::SignService;
use warifu_node::state::StateDatabase;
use warifu_node::store::{Database, DatabaseOptions, StoreHealth};
use warifu_protocol::wire::{SignAnswer, SignCall, SignItem, SignWork};
use warifu_protocol::{CredentialId, Epoch, Policy, Refusal};

use crate::support::{TestCluster, name, node_id};

#[derive(Debug, Clone)]
struct Disk {
    memory: Arc<InMemoryBackend>,
    full: Arc<AtomicBool>,
}

impl Disk {
    fn check(&self) -> std::io::Result<()> {
        if self.full.load(Ordering::SeqCst) { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> std::io::Result<u64> {
        self.memory.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.memory.read(offset, out)
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.check()?;
        self.memory.set_len(len)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        self.check()?;
        self.memory.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.check()?;
        self.memory.write(offset, data)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_write_its_audit_log_refuses_to_sign() -> anyhow::Result<()> {
    let cluster = TestCluster::found(3, 2, Policy::default())?;
    let (node, genesis) = (node_id(1), Arc::clone(&cluster.genesis));
    let disk = Disk { memory: Arc::new(InMemoryBackend::new()), full: Arc::new(AtomicBool::new(false)) };
    let keys = cluster.config(node).kek_directory();
    let (backend, path) = (disk.clone(), cluster.directory.path().join("state.redb"));
    let (local, state) = tokio::task::spawn_blocking(move || -> anyhow::Result<_> {
        let options = DatabaseOptions::default();
        let kek = Arc::new(FileKek::open(&keys)?);
        let local = LocalStore::open_on(Database::open_backend(backend, options)?, kek, node, genesis.cluster())?;
        Ok((Arc::new(local), StateDatabase::open(&path, options, genesis)?))
    })
    .await??;
    let gate = Arc::new(Gate::new(local.meta().boot));
    gate.confirm(local.meta().boot, Confirmed { index: 1, by: vec![] });
    let holds = Arc::new(Holds::new(Vec::new(), 0, warifu_node::clock::boot_millis()));
    let signing =
        Arc::new(SignService::new(node, state, Arc::clone(&local), gate, holds, NodeMetrics::new()?, Arc::new(Pace::new(Duration::MAX))));
    let item = SignItem { work: SignWork::Csr { credential: CredentialId::new([1; 16]) }, epoch: Epoch(1), signers: vec![] };
    let call = SignCall::SignBatch { items: vec![item; 3], refill: 0 };

    let before = signing.handle(name("coordinator-1"), call.clone()).await;
    assert!(before.answers.iter().all(|answer| *answer != SignAnswer::Refused(Refusal::AuditUnavailable)), "{before:?}");
    disk.full.store(true, Ordering::SeqCst);
    // The first write to fail latches the store; from then on every answer waits for nothing and gives nothing.
    let entry = warifu_protocol::AuditEntry::new(warifu_node::clock::now(), warifu_protocol::AuditEvent::Stopped);
    let write = warifu_node::local::AuditWrite::plain(entry);
    local.record(vec![write]).await.expect_err("the disk is full");
    disk.full.store(false, Ordering::SeqCst);
    let after = signing.handle(name("coordinator-1"), call).await;
    assert_eq!(after.answers, vec![SignAnswer::Refused(Refusal::AuditUnavailable); 3]);
    assert!(matches!(local.health(), StoreHealth::Failed { .. }));
    Ok(())
}
