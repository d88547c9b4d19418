//! Sealing of records: what opens, and everything that must not.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use warifu_node::sealing::{FileKek, FreshKey, KekError, KekGeneration, KekProvider, RecordSealer, SealError, WrappedKey};

const CONTEXT: &[u8] = b"cluster, node 1";

fn must_make(kek: &FileKek) -> BTreeMap<KekGeneration, WrappedKey> {
    let newest = *kek.generations().unwrap().last().unwrap();
    let fresh = FreshKey::make(kek, newest, CONTEXT).unwrap();
    BTreeMap::from([(newest, fresh.wrapped().clone())])
}

fn must_open(kek: &FileKek) -> RecordSealer {
    RecordSealer::open(kek, &must_make(kek), CONTEXT).unwrap()
}

#[test]
fn a_record_opens_with_its_own_associated_data_only() {
    let dir = tempfile::tempdir().unwrap();
    let sealer = must_open(&FileKek::init(dir.path()).unwrap());
    let sealed = sealer.seal(b"credential 1, epoch 1", b"the share").unwrap();
    assert_eq!(sealer.unseal(b"credential 1, epoch 1", &sealed).unwrap().as_slice(), b"the share");
    assert!(matches!(sealer.unseal(b"credential 1, epoch 2", &sealed), Err(SealError::Rejected)));
    assert!(matches!(must_open(&FileKek::open(dir.path()).unwrap()).unseal(b"credential 1, epoch 1", &sealed), Err(SealError::Rejected)));
    assert!(!sealed.windows(9).any(|window| window == b"the share"));
    assert_ne!(sealed, sealer.seal(b"credential 1, epoch 1", b"the share").unwrap());
}

#[test]
fn every_flipped_bit_and_every_cut_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let sealer = must_open(&FileKek::init(dir.path()).unwrap());
    let sealed = sealer.seal(b"aad", b"the share").unwrap();
    for bit in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(sealer.unseal(b"aad", &changed).is_err(), "bit {bit}");
    }
    for len in 0..sealed.len() {
        assert!(sealer.unseal(b"aad", &sealed[..len]).is_err(), "length {len}");
    }
}

#[test]
fn a_rotation_seals_under_the_new_generation_and_a_destroyed_one_opens_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let kek = FileKek::init(dir.path()).unwrap();
    let mut stored = must_make(&kek);
    let sealer = RecordSealer::open(&kek, &stored, CONTEXT).unwrap();
    let old = sealer.seal(b"aad", b"old").unwrap();

    let next = kek.create(KekGeneration(0)).unwrap();
    let fresh = FreshKey::make(&kek, next, CONTEXT).unwrap();
    stored.insert(next, fresh.wrapped().clone());
    sealer.advance(fresh);
    let new = sealer.seal(b"aad", b"new").unwrap();
    assert_eq!((RecordSealer::generation(&old).unwrap(), RecordSealer::generation(&new).unwrap()), (KekGeneration(1), KekGeneration(2)));
    assert_eq!(sealer.unseal(b"aad", &old).unwrap().as_slice(), b"old");

    assert!(matches!(kek.destroy(next), Err(KekError::Current { .. })));
    kek.destroy(KekGeneration(1)).unwrap();
    sealer.forget(KekGeneration(1));
    assert!(matches!(sealer.unseal(b"aad", &old), Err(SealError::UnknownGeneration { generation: KekGeneration(1) })));

    let reopened = FileKek::open(dir.path()).unwrap();
    assert!(matches!(
        RecordSealer::open(&reopened, &stored, CONTEXT),
        Err(SealError::Kek(KekError::UnknownGeneration { generation: KekGeneration(1) }))
    ));
    stored.remove(&KekGeneration(1));
    assert_eq!(RecordSealer::open(&reopened, &stored, CONTEXT).unwrap().unseal(b"aad", &new).unwrap().as_slice(), b"new");
    assert!(!reopened.proves_destruction());
}

#[test]
fn key_files_are_private_and_a_bad_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(FileKek::open(&dir.path().join("absent")), Err(KekError::Missing { .. })));
    assert!(matches!(FileKek::open(dir.path()), Err(KekError::Missing { .. })));
    let kek = FileKek::init(dir.path()).unwrap();
    assert!(matches!(FileKek::init(dir.path()), Err(KekError::File { .. })));
    let path = dir.path().join("kek-00000001");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!format!("{kek:?}").contains(&format!("{:?}", std::fs::read(&path).unwrap())));

    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    assert!(matches!(FileKek::open(dir.path()), Err(KekError::Exposed { mode: 0o640, .. })));
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::write(&path, [7; 31]).unwrap();
    assert!(matches!(FileKek::open(dir.path()), Err(KekError::Malformed { len: 31, .. })));
}

#[test]
fn a_record_key_is_bound_to_its_context_and_its_kek() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (kek, other) = (FileKek::init(one.path()).unwrap(), FileKek::init(two.path()).unwrap());
    let stored = must_make(&kek);
    assert!(matches!(RecordSealer::open(&kek, &stored, b"node 2"), Err(SealError::Kek(KekError::Unwrap { .. }))));
    assert!(matches!(RecordSealer::open(&other, &stored, CONTEXT), Err(SealError::Kek(KekError::Unwrap { .. }))));
    assert!(matches!(RecordSealer::open(&kek, &BTreeMap::new(), CONTEXT), Err(SealError::NoKeys)));
}
