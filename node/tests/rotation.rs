//! KEK generations: what opens after a rotation, what never opens again, and what a crash at any point leaves.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};

use frost_ed25519::keys::{IdentifierList, KeyPackage, generate_with_dealer};
use rand_core::OsRng;
use redb::backends::InMemoryBackend;
use redb::{ReadableDatabase as _, ReadableTable as _, StorageBackend, TableDefinition};
use warifu_core::signer::ShareRecord;
use warifu_node::local::{LocalStore, LocalStoreError};
use warifu_node::sealing::{FileKek, KekError, KekGeneration, KekProvider, RECORD_KEY_LEN, WrappedKey};
use warifu_node::store::{Database, DatabaseOptions};
use warifu_protocol::{AuditEvent, ClusterId, CredentialId, Epoch, NodeId};
use zeroize::Zeroizing;

const SHARES: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("shares");
const OPTIONS: DatabaseOptions = DatabaseOptions { cache_bytes: 1 << 20 };
const CLUSTER: ClusterId = ClusterId::new([7; 32]);
/// More than one batch.
const MANY: u16 = 600;

fn node() -> NodeId {
    NodeId::new(1).unwrap()
}

/// A dealer's: whose share it is plays no part here.
static PACKAGE: LazyLock<KeyPackage> = LazyLock::new(|| {
    let (shares, _) = generate_with_dealer(3, 2, IdentifierList::Default, OsRng).unwrap();
    shares.into_values().next().unwrap().try_into().unwrap()
});

fn credential(number: u16) -> CredentialId {
    let mut id = [0; CredentialId::LEN];
    id[..2].copy_from_slice(&number.to_be_bytes());
    CredentialId::new(id)
}

fn records(numbers: impl IntoIterator<Item = u16>) -> Vec<ShareRecord> {
    numbers.into_iter().map(|number| ShareRecord::new(credential(number), Epoch(1), &PACKAGE)).collect()
}

async fn must_open(path: &Path, kek: Arc<dyn KekProvider>) -> Arc<LocalStore> {
    open(path, kek).await.unwrap()
}

async fn open(path: &Path, kek: Arc<dyn KekProvider>) -> Result<Arc<LocalStore>, LocalStoreError> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || LocalStore::open(&path, OPTIONS, kek, node(), CLUSTER).map(Arc::new)).await.unwrap()
}

fn must_hold(store: &LocalStore, numbers: impl IntoIterator<Item = u16>) {
    for number in numbers {
        assert_eq!(store.share(credential(number), Epoch(1)).unwrap().as_ref(), Some(&*PACKAGE), "share {number}");
    }
}

fn generations(numbers: impl IntoIterator<Item = u32>) -> BTreeSet<KekGeneration> {
    numbers.into_iter().map(KekGeneration).collect()
}

fn events(store: &LocalStore) -> Vec<AuditEvent> {
    store.entries(0, 1000).unwrap().into_iter().map(|(_, entry)| entry.event).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_rotation_every_share_opens_and_neither_a_copy_nor_a_deleted_share_does() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("local.redb"), dir.path().join("yesterday.redb"));
    let kek = Arc::new(FileKek::init(&dir.path().join("kek")).unwrap());
    let store = must_open(&path, kek.clone()).await;
    store.store_shares(&records(0..MANY)).await.unwrap();
    drop(store);
    std::fs::copy(&path, &copy).unwrap();

    let store = must_open(&path, kek.clone()).await;
    let shredded = store.shred().await.unwrap();
    assert_eq!((shredded.destroyed, shredded.current), (vec![KekGeneration(1)], KekGeneration(2)));
    assert_eq!((shredded.resealed, shredded.proves_destruction), (u64::from(MANY), false));
    must_hold(&store, 0..MANY);
    assert_eq!(kek.generations().unwrap(), generations([2]));
    let status = store.kek_status().unwrap();
    assert_eq!((status.current, status.records_left, status.rotating), (Some(KekGeneration(2)), 0, false));
    assert_eq!((status.retired, status.destroyed), (generations([]), generations([1])));
    assert_eq!(
        events(&store),
        [
            AuditEvent::KekRotating { generation: 2 },
            AuditEvent::KekDestroyed { generations: vec![1], current: 2, resealed: u64::from(MANY), proved: false }
        ]
    );
    assert_eq!(store.resume_rotation().await.unwrap(), None);
    drop(store);
    must_hold(&*must_open(&path, Arc::new(FileKek::open(&dir.path().join("kek")).unwrap())).await, 0..MANY);

    // The copy has everything but the generation, with the KEK that survived beside it.
    let refused = open(&copy, Arc::new(FileKek::open(&dir.path().join("kek")).unwrap())).await.err();
    assert!(refused.is_some_and(|error| format!("{:#}", anyhow::Error::from(error)).contains("KEK generation 1 is not here")));
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_are_stored_and_opened_all_through_rotations() {
    let dir = tempfile::tempdir().unwrap();
    let kek = Arc::new(FileKek::init(&dir.path().join("kek")).unwrap());
    let store = must_open(&dir.path().join("local.redb"), kek.clone()).await;
    store.store_shares(&records(0..MANY)).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let reader = {
        let (store, done) = (Arc::clone(&store), Arc::clone(&done));
        tokio::task::spawn_blocking(move || {
            let mut reads = 0_u64;
            while !done.load(Ordering::SeqCst) {
                must_hold(&store, (0..MANY).step_by(17));
                reads += 1;
            }
            reads
        })
    };
    let writer = {
        let (store, done) = (Arc::clone(&store), Arc::clone(&done));
        tokio::spawn(async move {
            let mut next = MANY;
            while !done.load(Ordering::SeqCst) {
                store.store_shares(&records(next..next + 3)).await.unwrap();
                next += 3;
            }
            next
        })
    };
    for round in 0..4_u32 {
        let shredded = store.shred().await.unwrap();
        assert_eq!(shredded.destroyed, [KekGeneration(round + 1)]);
    }
    done.store(true, Ordering::SeqCst);
    assert!(reader.await.unwrap() > 0);
    let stored = writer.await.unwrap();
    must_hold(&store, 0..stored);
    assert!(store.damaged_shares().unwrap().is_empty());
    assert_eq!(kek.generations().unwrap(), generations([5]));
}

/// Memory that stands still, as in a crash, after some more fsyncs.
#[derive(Debug, Clone)]
struct Dying {
    memory: Arc<InMemoryBackend>,
    fsyncs_left: Arc<AtomicI64>,
}

impl Dying {
    fn check(&self) -> io::Result<()> {
        if self.fsyncs_left.load(Ordering::SeqCst) < 0 { Err(io::Error::other("the machine is off")) } else { Ok(()) }
    }
}

impl StorageBackend for Dying {
    fn len(&self) -> io::Result<u64> {
        self.memory.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.memory.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.memory.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.fsyncs_left.fetch_sub(1, Ordering::SeqCst);
        self.check()?;
        self.memory.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.memory.write(offset, data)
    }
}

async fn must_open_on(backend: Dying, kek: Arc<dyn KekProvider>) -> LocalStore {
    let open = move || LocalStore::open_on(Database::open_backend(backend, OPTIONS).unwrap(), kek, node(), CLUSTER).unwrap();
    tokio::task::spawn_blocking(open).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_write_of_a_rotation_loses_no_share_and_the_next_start_ends_it() {
    let mut crashes = 0;
    for fsyncs in 0..100 {
        let dir = tempfile::tempdir().unwrap();
        let kek = Arc::new(FileKek::init(dir.path().join("kek").as_path()).unwrap());
        let memory = Arc::new(InMemoryBackend::new());
        let disk = Dying { memory: Arc::clone(&memory), fsyncs_left: Arc::new(AtomicI64::new(i64::MAX)) };
        let store = must_open_on(disk.clone(), kek.clone()).await;
        store.store_shares(&records(0..MANY)).await.unwrap();
        disk.fsyncs_left.store(fsyncs, Ordering::SeqCst);
        let outcome = store.shred().await;
        drop(store);
        let sound = Dying { memory, fsyncs_left: Arc::new(AtomicI64::new(i64::MAX)) };
        let kek = Arc::new(FileKek::open(dir.path().join("kek").as_path()).unwrap());
        let store = must_open_on(sound, kek.clone()).await;
        must_hold(&store, 0..MANY);
        store.resume_rotation().await.unwrap();
        must_hold(&store, 0..MANY);
        assert!(store.kek_status().unwrap().retired.is_empty());
        assert_eq!(store.resume_rotation().await.unwrap(), None, "ended after {fsyncs}");
        if outcome.is_ok() {
            break;
        }
        crashes += 1;
        let shredded = store.shred().await.unwrap();
        assert_eq!(kek.generations().unwrap(), BTreeSet::from([shredded.current]), "one generation is left after {fsyncs}");
        must_hold(&store, 0..MANY);
    }
    assert!(crashes > 5, "several writes were cut: {crashes}");
}

/// A KEK whose token goes away at one of its calls.
struct Leaving {
    kek: FileKek,
    call: &'static str,
    away: AtomicBool,
}

impl Leaving {
    fn check(&self, call: &str) -> Result<(), KekError> {
        if self.away.load(Ordering::SeqCst) && call == self.call { Err(KekError::Library) } else { Ok(()) }
    }
}

impl KekProvider for Leaving {
    fn generations(&self) -> Result<BTreeSet<KekGeneration>, KekError> {
        self.check("generations")?;
        self.kek.generations()
    }
    fn create(&self, above: KekGeneration) -> Result<KekGeneration, KekError> {
        self.check("create")?;
        self.kek.create(above)
    }
    fn wrap(&self, generation: KekGeneration, key: &[u8; RECORD_KEY_LEN], context: &[u8]) -> Result<WrappedKey, KekError> {
        self.check("wrap")?;
        self.kek.wrap(generation, key, context)
    }
    fn unwrap(&self, generation: KekGeneration, wrapped: &WrappedKey, context: &[u8]) -> Result<Zeroizing<[u8; RECORD_KEY_LEN]>, KekError> {
        self.check("unwrap")?;
        self.kek.unwrap(generation, wrapped, context)
    }
    fn proves_destruction(&self) -> bool {
        true
    }
    fn destroy(&self, generation: KekGeneration) -> Result<(), KekError> {
        self.check("destroy")?;
        self.kek.destroy(generation)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kek_that_goes_away_during_a_rotation_costs_no_share_and_the_rotation_says_so() {
    for call in ["create", "wrap", "unwrap", "generations", "destroy"] {
        let dir = tempfile::tempdir().unwrap();
        let kek = Arc::new(Leaving { kek: FileKek::init(&dir.path().join("kek")).unwrap(), call, away: AtomicBool::new(false) });
        let store = must_open(&dir.path().join("local.redb"), kek.clone()).await;
        store.store_shares(&records(0..20)).await.unwrap();
        kek.away.store(true, Ordering::SeqCst);
        let error = store.shred().await.unwrap_err();
        assert!(matches!(error, LocalStoreError::Kek(KekError::Library)), "{call}: {error:?}");
        must_hold(&store, 0..20);
        store.store_shares(&records(20..25)).await.unwrap();
        kek.away.store(false, Ordering::SeqCst);
        store.resume_rotation().await.unwrap();
        let shredded = store.shred().await.unwrap();
        assert!(shredded.proves_destruction);
        assert_eq!(kek.generations().unwrap(), BTreeSet::from([shredded.current]), "{call}");
        must_hold(&store, 0..25);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_share_is_named_and_never_used_until_a_whole_one_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("local.redb");
    let kek = Arc::new(FileKek::init(&dir.path().join("kek")).unwrap());
    let store = must_open(&path, kek.clone()).await;
    store.store_shares(&records(0..10)).await.unwrap();
    drop(store);
    // One in its ciphertext, one in its version, one in the generation that it names.
    for (number, byte) in [(3, 40), (4, 0), (5, 4)] {
        let database = redb::Database::open(&path).unwrap();
        let key =
            database.begin_read().unwrap().open_table(SHARES).unwrap().iter().unwrap().nth(number).unwrap().unwrap().0.value().to_vec();
        let write = database.begin_write().unwrap();
        {
            let mut table = write.open_table(SHARES).unwrap();
            let mut sealed = table.get(key.as_slice()).unwrap().unwrap().value().to_vec();
            sealed[byte] ^= 0x10;
            table.insert(key.as_slice(), sealed.as_slice()).unwrap();
        }
        write.commit().unwrap();
    }
    let store = must_open(&path, kek).await;
    let error = store.share(credential(3), Epoch(1)).unwrap_err();
    assert!(matches!(error, LocalStoreError::Share { credential: named, .. } if named == credential(3)), "{error:?}");
    assert_eq!(store.damaged_shares().unwrap(), BTreeSet::from([(credential(3), Epoch(1))]));
    assert_eq!(store.note_damaged_shares().await.unwrap(), 1);
    assert_eq!(store.note_damaged_shares().await.unwrap(), 0);

    // A rotation finds the others, and goes on without them.
    let shredded = store.shred().await.unwrap();
    assert_eq!(shredded.resealed, 7);
    let expected: BTreeSet<_> = [3, 4, 5].map(|number| (credential(number), Epoch(1))).into();
    assert_eq!(store.damaged_shares().unwrap(), expected);
    let named: Vec<_> = events(&store)
        .into_iter()
        .filter_map(|event| if let AuditEvent::ShareDamaged { credential, epoch } = event { Some((credential, epoch)) } else { None })
        .collect();
    assert_eq!(named.len(), 3, "each once: {named:?}");
    must_hold(&store, [0, 1, 2, 6, 7, 8, 9]);
    for number in [3, 4, 5] {
        assert!(store.share(credential(number), Epoch(1)).is_err());
    }
    store.store_shares(&records([3, 4, 5])).await.unwrap();
    assert!(store.damaged_shares().unwrap().is_empty());
    must_hold(&store, 0..10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_store_does_everything_but_seal_and_open() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("local.redb");
    let kek = Arc::new(FileKek::init(&dir.path().join("kek")).unwrap());
    let store = must_open(&path, kek.clone()).await;
    store.store_shares(&records(0..3)).await.unwrap();
    drop(store);
    let open_locked = move || LocalStore::open_locked(Database::open(&path, OPTIONS).unwrap(), node(), CLUSTER).map(Arc::new).unwrap();
    let store = tokio::task::spawn_blocking(open_locked).await.unwrap();
    assert!(!store.is_unlocked());
    assert!(matches!(store.share(credential(1), Epoch(1)), Err(LocalStoreError::Locked)));
    assert!(matches!(store.store_shares(&records([4])).await, Err(LocalStoreError::Locked)));
    assert!(matches!(store.shred().await, Err(LocalStoreError::Locked)));
    assert!(store.damaged_shares().unwrap().is_empty());
    assert_eq!((store.share_count().unwrap(), store.kek_status().unwrap().current), (3, None));
    store.begin_again(warifu_node::local::draw_boot()).await.unwrap();

    let foreign = Arc::new(FileKek::init(&dir.path().join("other")).unwrap());
    let unlock = |kek: Arc<FileKek>| {
        let store = Arc::clone(&store);
        tokio::task::spawn_blocking(move || store.unlock(kek))
    };
    assert!(unlock(foreign).await.unwrap().is_err());
    assert!(!store.is_unlocked());
    unlock(kek).await.unwrap().unwrap();
    must_hold(&store, 0..3);
}
