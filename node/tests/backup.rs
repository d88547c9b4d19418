//! Backups: what is in them, who takes them, and when they are noise.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use frost_ed25519::keys::{IdentifierList, KeyPackage, generate_with_dealer};
use rand_core::OsRng;
use warifu_core::signer::ShareRecord;
use warifu_node::clock;
use warifu_node::local::{BackupError, BackupSummary, LocalStore, LocalStoreError, RestoredShares};
use warifu_node::sealing::{FileKek, KekGeneration, KekProvider};
use warifu_node::store::{Database, DatabaseOptions};
use warifu_protocol::{ClusterId, CredentialId, Epoch, NodeId};

const CLUSTER: ClusterId = ClusterId::new([7; 32]);
const OPTIONS: DatabaseOptions = DatabaseOptions { cache_bytes: 1 << 20 };

static PACKAGE: LazyLock<KeyPackage> = LazyLock::new(|| {
    let (shares, _) = generate_with_dealer(3, 2, IdentifierList::Default, OsRng).unwrap();
    shares.into_values().next().unwrap().try_into().unwrap()
});

fn node(number: u8) -> NodeId {
    NodeId::new(number).unwrap()
}

fn credential(number: u8) -> CredentialId {
    CredentialId::new([number; 16])
}

struct Site {
    directory: tempfile::TempDir,
    kek: Arc<FileKek>,
    store: LocalStore,
    runtime: tokio::runtime::Runtime,
}

impl Site {
    /// With ten shares.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let kek = Arc::new(FileKek::init(&directory.path().join("kek")).unwrap());
        let store = LocalStore::open(&directory.path().join("local.redb"), OPTIONS, kek.clone(), node(1), CLUSTER).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let records: Vec<_> = (0..10).map(|number| ShareRecord::new(credential(number), Epoch(1), &PACKAGE)).collect();
        runtime.block_on(store.store_shares(&records)).unwrap();
        Self { directory, kek, store, runtime }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn backup(&self, name: &str) -> (PathBuf, BackupSummary) {
        let path = self.path(name);
        let summary = self.store.backup(&path).unwrap();
        (path, summary)
    }

    fn restore(&self, from: &Path) -> Result<RestoredShares, BackupError> {
        let (store, kek): (_, Arc<dyn KekProvider>) = (must_found(node(1), CLUSTER), self.kek.clone());
        let outcome = store.restore(from, &kek);
        if outcome.is_err() {
            assert_eq!(store.share_count().unwrap(), 0, "nothing half done");
        }
        outcome
    }
}

fn must_found(node: NodeId, cluster: ClusterId) -> LocalStore {
    let database = Database::open_backend(redb::backends::InMemoryBackend::new(), OPTIONS).unwrap();
    LocalStore::open_locked(database, node, cluster).unwrap()
}

#[test]
fn a_backup_is_restored_onto_an_empty_store_and_its_shares_open() {
    let site = Site::new();
    let (path, made) = site.backup("backup");
    assert_eq!((made.shares, made.generations.as_slice(), made.store), (10, [KekGeneration(1)].as_slice(), site.store.meta().store));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(site.store.backup(&path), Err(BackupError::File { .. })), "an older backup is not overwritten");

    let (store, kek): (_, Arc<dyn KekProvider>) = (must_found(node(1), CLUSTER), site.kek.clone());
    assert_eq!(store.restore(&path, &kek).unwrap(), RestoredShares { backup: made.clone(), destroyed: 0 });
    assert_ne!(store.meta().store, made.store, "the store keeps its own identity, which the cluster must admit");
    store.unlock(kek.clone()).unwrap();
    for number in 0..10 {
        assert_eq!(store.share(credential(number), Epoch(1)).unwrap().as_ref(), Some(&*PACKAGE));
    }
    assert!(matches!(store.restore(&path, &kek), Err(BackupError::NotEmpty { shares: 10 })));
    assert!(matches!(site.runtime.block_on(store.shred()), Ok(shredded) if shredded.resealed == 10));
}

#[test]
fn a_backup_holds_no_key_and_nothing_but_sealed_shares() {
    let site = Site::new();
    let bytes = fs::read(site.backup("backup").0).unwrap();
    let holds = |secret: &[u8]| bytes.windows(secret.len()).any(|window| window == secret);
    assert!(!holds(&PACKAGE.signing_share().serialize()));
    assert!(!holds(&fs::read(site.path("kek/kek-00000001")).unwrap()));
    assert!(bytes.len() < 10 * 300 + 400, "{} bytes for ten shares", bytes.len());
}

#[test]
fn a_backup_from_before_a_rotation_can_never_be_restored() {
    let site = Site::new();
    let (before, _) = site.backup("before");
    site.runtime.block_on(site.store.shred()).unwrap();
    let (after, _) = site.backup("after");
    assert!(matches!(site.restore(&before), Err(BackupError::Shredded { generation: KekGeneration(1) })));
    assert_eq!(site.restore(&after).unwrap().backup.shares, 10);
}

#[test]
fn a_share_of_a_destroyed_credential_does_not_come_back_with_a_backup() {
    let site = Site::new();
    let (path, made) = site.backup("backup");
    // A store that took part in the destruction of two of the ten without having their shares, as a replaced one does.
    let (store, kek): (_, Arc<dyn KekProvider>) = (must_found(node(1), CLUSTER), site.kek.clone());
    let destroyed = [credential(3), credential(7)];
    site.runtime.block_on(store.destroy_shares(destroyed.to_vec(), 40, clock::now())).unwrap();
    assert_eq!(store.restore(&path, &kek).unwrap(), RestoredShares { backup: made, destroyed: 2 });
    store.unlock(kek).unwrap();
    for number in 0..10 {
        let is_back = store.share(credential(number), Epoch(1)).unwrap().is_some();
        assert_eq!(is_back, !destroyed.contains(&credential(number)), "{number}");
    }
    let late = [ShareRecord::new(credential(3), Epoch(2), &PACKAGE), ShareRecord::new(credential(4), Epoch(2), &PACKAGE)];
    site.runtime.block_on(store.store_shares(&late)).unwrap();
    assert_eq!(store.share_count().unwrap(), 9, "nor by a repair that ends late");
}

#[test]
fn what_is_foreign_or_damaged_is_refused_and_leaves_nothing() {
    let site = Site::new();
    let (path, _) = site.backup("backup");
    let kek: Arc<dyn KekProvider> = site.kek.clone();
    for (id, cluster) in [(node(2), CLUSTER), (node(1), ClusterId::new([8; 32]))] {
        let outcome = must_found(id, cluster).restore(&path, &kek);
        assert!(matches!(outcome, Err(BackupError::Foreign { node: named, cluster: CLUSTER }) if named == node(1)), "{outcome:?}");
    }
    let other: Arc<dyn KekProvider> = Arc::new(FileKek::init(&site.path("other")).unwrap());
    let outcome = must_found(node(1), CLUSTER).restore(&path, &other);
    assert!(matches!(outcome, Err(BackupError::Store(LocalStoreError::Seal(_)))), "{outcome:?}");
    assert!(matches!(site.restore(&site.path("absent")), Err(BackupError::File { .. })));

    let good = fs::read(&path).unwrap();
    let bad = site.path("bad");
    for len in (0..good.len()).step_by(37).chain([good.len() - 1]) {
        fs::write(&bad, &good[..len]).unwrap();
        assert!(matches!(site.restore(&bad), Err(BackupError::Damaged { .. })), "cut to {len}");
    }
    for at in (0..good.len()).step_by(11) {
        let mut changed = good.clone();
        changed[at] ^= 0x20;
        fs::write(&bad, &changed).unwrap();
        assert!(matches!(site.restore(&bad), Err(BackupError::Damaged { .. })), "changed at {at}");
    }
    fs::write(&bad, [good.as_slice(), b"x"].concat()).unwrap();
    assert!(matches!(site.restore(&bad), Err(BackupError::Damaged { .. })), "something after it");
    // Whoever can compute a digest can still not make a share that opens.
    let mut forged = good[..good.len() - 32].to_vec();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    forged.extend(warifu_protocol::canonical::sha256(&forged));
    fs::write(&bad, &forged).unwrap();
    assert!(matches!(site.restore(&bad), Err(BackupError::Damaged { .. })), "a forged digest");
}
