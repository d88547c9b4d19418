//! What is left of a destroyed credential on a site's disk and in its backups: bytes, which the key-encryption key of today does not open.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/softhsm.rs"]
#[expect(dead_code, reason = "no token goes away here")]
mod softhsm;
#[path = "support/thief.rs"]
mod thief;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use frost_ed25519::keys::{IdentifierList, KeyPackage, generate_with_dealer};
use rand_core::OsRng;
use redb::{ReadableDatabase as _, ReadableTable as _, TableDefinition};
use softhsm::{USER_PIN, with_softhsm};
use thief::Thief;
use warifu_core::signer::ShareRecord;
use warifu_node::clock;
use warifu_node::local::{BackupError, LocalStore, LocalStoreError, ShareStanding, SweepCursor, Swept};
use warifu_node::sealing::{FileKek, KekGeneration, KekProvider, Pkcs11Kek, Pkcs11Settings};
use warifu_node::store::{Database, DatabaseOptions};
use warifu_protocol::{ClusterId, CredentialId, Epoch, NodeId};

const CLUSTER: ClusterId = ClusterId::new([7; 32]);
const OPTIONS: DatabaseOptions = DatabaseOptions { cache_bytes: 1 << 20 };
const SHARES: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("shares");
const WRAPPED: TableDefinition<'static, u32, &[u8]> = TableDefinition::new("wrapped_keys");
/// Of the ten credentials, those that are destroyed.
const DESTROYED: [CredentialId; 2] = [credential(3), credential(8)];

const fn credential(number: u8) -> CredentialId {
    CredentialId::new([number; 16])
}

fn node() -> NodeId {
    NodeId::new(1).unwrap()
}

/// The sealed bytes of these credentials, and all wrapped record keys, as they stand in a store that nobody has open.
fn must_read(path: &Path, credentials: &[CredentialId]) -> (Vec<Vec<u8>>, BTreeSet<Vec<u8>>) {
    let database = redb::Database::open(path).unwrap();
    let view = database.begin_read().unwrap();
    let shares = view.open_table(SHARES).unwrap();
    let all = shares.iter().unwrap().map(|pair| pair.unwrap()).map(|(key, sealed)| (key.value().to_vec(), sealed.value().to_vec()));
    let of = |key: &[u8]| credentials.iter().any(|credential| key.starts_with(credential.as_ref()));
    let sealed = all.filter(|(key, _)| of(key)).map(|(_, sealed)| sealed).collect();
    let wrapped = view.open_table(WRAPPED).unwrap();
    (sealed, wrapped.iter().unwrap().map(|pair| pair.unwrap().1.value().to_vec()).collect())
}

/// Seals ten shares, destroys two and shreds, and looks through everything that lies about before and after. With `every_place`, record keys
/// are looked for at every place in the bytes; otherwise only where the store and its backup ever had them, since a token is slow.
fn story(kek: &Arc<dyn KekProvider>, directory: &Path, every_place: bool) {
    let path = |name: &str| directory.join(name);
    let (disk, before, after) = (path("local.redb"), path("before"), path("after"));
    let package: KeyPackage =
        generate_with_dealer(3, 2, IdentifierList::Default, OsRng).unwrap().0.into_values().next().unwrap().try_into().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let open = || LocalStore::open(&disk, OPTIONS, Arc::clone(kek), node(), CLUSTER).unwrap();
    let all: Vec<CredentialId> = (0..10).map(credential).collect();

    let store = open();
    let mut records: Vec<_> = all.iter().map(|credential| ShareRecord::new(*credential, Epoch(1), &package)).collect();
    records.push(ShareRecord::new(DESTROYED[0], Epoch(2), &package));
    runtime.block_on(store.store_shares(&records)).unwrap();
    store.backup(&before).unwrap();
    drop(store);
    let (sealed_before, mut ever_wrapped) = must_read(&disk, &DESTROYED);
    assert_eq!(sealed_before.len(), 3);
    let lengths: BTreeSet<usize> = sealed_before.iter().map(Vec::len).collect();

    let look = |files: &[&PathBuf], ever_wrapped: &BTreeSet<Vec<u8>>| {
        let thief = Thief::of(CLUSTER, node(), lengths.clone(), &files.iter().map(|path| path.as_path()).collect::<Vec<_>>());
        let wrapped = if every_place { thief.wrapped_keys() } else { ever_wrapped.iter().filter(|key| thief.has(key)).cloned().collect() };
        let keys = thief.record_keys(&**kek, &wrapped);
        (thief.shares(&keys, &all, 2), thief)
    };
    for file in [&disk, &before] {
        let (found, _) = look(&[file], &ever_wrapped);
        assert_eq!(found.len(), 11, "all of it opens as long as nothing is shredded: {found:?}");
    }

    let store = open();
    runtime.block_on(store.destroy_shares(DESTROYED.to_vec(), 5, clock::now())).unwrap();
    assert_eq!(store.share_count().unwrap(), 8);
    drop(store);
    let (found, _) = look(&[&disk, &before], &ever_wrapped);
    assert!(found.keys().any(|(credential, _)| DESTROYED.contains(credential)), "deleted is not shredded: {found:?}");

    let store = open();
    let shredded = runtime.block_on(store.shred()).unwrap();
    assert_eq!((shredded.destroyed, shredded.proves_destruction), (vec![KekGeneration(1)], kek.proves_destruction()));
    store.backup(&after).unwrap();
    drop(store);
    let (sealed_after, wrapped_after) = must_read(&disk, &DESTROYED);
    assert_eq!(sealed_after.len(), 0);
    ever_wrapped.extend(wrapped_after);

    let (found, thief) = look(&[&disk, &before, &after], &ever_wrapped);
    assert!(sealed_before.iter().all(|sealed| thief.has(sealed)), "the bytes are still about: in the backup, which nobody can call back");
    let living = all.iter().filter(|credential| !DESTROYED.contains(credential)).map(|credential| (*credential, Epoch(1)));
    assert_eq!(found.keys().copied().collect::<BTreeSet<_>>(), living.collect(), "of the others every share opens, of the destroyed none");
    assert_eq!(look(&[&before], &ever_wrapped).0.len(), 0, "a backup from before is noise");

    let fresh =
        || LocalStore::open_locked(Database::open_backend(redb::backends::InMemoryBackend::new(), OPTIONS).unwrap(), node(), CLUSTER);
    let refused = fresh().unwrap().restore(&before, kek);
    assert!(matches!(refused, Err(BackupError::Shredded { generation: KekGeneration(1) })), "{refused:?}");
    assert_eq!(fresh().unwrap().restore(&after, kek).unwrap().backup.shares, 8);
}

#[test]
fn nothing_opens_a_destroyed_share_in_raw_stores_and_backups_with_a_kek_in_files() {
    let (site, keys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let kek: Arc<dyn KekProvider> = Arc::new(FileKek::init(&keys.path().join("kek")).unwrap());
    story(&kek, site.path(), true);
}

#[test]
fn nothing_opens_a_destroyed_share_in_raw_stores_and_backups_with_a_kek_in_a_token() {
    with_softhsm("nothing_opens_a_destroyed_share_in_raw_stores_and_backups_with_a_kek_in_a_token", |hsm| {
        let site = tempfile::tempdir().unwrap();
        hsm.must_make_token("warifu");
        let pin_file = site.path().join("pin");
        must_write_pin(&pin_file);
        let settings = Pkcs11Settings { module: hsm.module.clone(), token: "warifu".to_owned(), pin_file };
        let kek: Arc<dyn KekProvider> = Arc::new(Pkcs11Kek::new(settings, CLUSTER, node()));
        story(&kek, site.path(), false);
    });
}

fn must_write_pin(path: &Path) {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).unwrap();
    writeln!(file, "{USER_PIN}").unwrap();
}

#[test]
fn a_share_of_a_destroyed_credential_that_is_found_is_buried_again() {
    let directory = tempfile::tempdir().unwrap();
    let kek: Arc<dyn KekProvider> = Arc::new(FileKek::init(&directory.path().join("kek")).unwrap());
    let store = LocalStore::open(&directory.path().join("local.redb"), OPTIONS, Arc::clone(&kek), node(), CLUSTER).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let package: KeyPackage =
        generate_with_dealer(3, 2, IdentifierList::Default, OsRng).unwrap().0.into_values().next().unwrap().try_into().unwrap();
    let share = |number, epoch| ShareRecord::new(credential(number), Epoch(epoch), &package);
    runtime.block_on(store.store_shares(&[share(1, 2), share(3, 1), share(3, 2), share(4, 1), share(4, 2)])).unwrap();
    let standing = |of, epoch: Epoch| -> Result<ShareStanding, LocalStoreError> {
        Ok(match of {
            _ if of == credential(3) => ShareStanding::Destroyed,
            _ if epoch.0 < 2 => ShareStanding::Over,
            _ => ShareStanding::Lives,
        })
    };
    let mut cursor = SweepCursor::default();
    let swept = store.sweep_shares(&mut cursor, clock::now(), standing).unwrap();
    assert_eq!(swept, Swept { superseded: 1, destroyed: 1, is_last: true });
    assert_eq!(store.sweep_shares(&mut cursor, clock::now(), standing).unwrap(), Swept { is_last: true, ..Swept::default() });
    assert_eq!(store.share_count().unwrap(), 2);
    assert_eq!(store.unshredded(9).unwrap(), [credential(3)], "it is shredded as one that an order destroys");
    runtime.block_on(store.store_shares(&[share(3, 3)])).unwrap();
    assert_eq!(store.share_count().unwrap(), 2, "none of it is taken any more");
}
