//! A KEK in a token: SoftHSM2 in the place of a hardware module.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/softhsm.rs"]
mod softhsm;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use frost_ed25519::keys::{IdentifierList, KeyPackage, generate_with_dealer};
use softhsm::{SoftHsm, USER_PIN, with_softhsm};
use warifu_core::signer::ShareRecord;
use warifu_node::local::LocalStore;
use warifu_node::sealing::{KekError, KekGeneration, KekProvider, Pkcs11Kek, Pkcs11Settings};
use warifu_node::store::DatabaseOptions;
use warifu_protocol::{ClusterId, CredentialId, Epoch, NodeId};

const CLUSTER: ClusterId = ClusterId::new([7; 32]);
const CONTEXT: &[u8] = b"cluster, node 1";
const ONE: KekGeneration = KekGeneration(1);
const TWO: KekGeneration = KekGeneration(2);

fn node(number: u8) -> NodeId {
    NodeId::new(number).unwrap()
}

fn must_write_pin(path: &Path, pin: &str) {
    use std::io::Write as _;
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    writeln!(file, "{pin}").unwrap();
}

fn settings(hsm: &SoftHsm, directory: &Path) -> Pkcs11Settings {
    let pin_file = directory.join("pin");
    must_write_pin(&pin_file, USER_PIN);
    Pkcs11Settings { module: hsm.module.clone(), token: "warifu".to_owned(), pin_file }
}

fn must_log_in(hsm: &SoftHsm, slot: Slot) -> Session {
    let session = hsm.pkcs11.open_rw_session(slot).unwrap();
    session.login(UserType::User, Some(&AuthPin::from(USER_PIN))).unwrap();
    session
}

#[test]
fn a_generation_is_made_in_the_token_cannot_leave_it_and_opens_nothing_once_destroyed() {
    with_softhsm("a_generation_is_made_in_the_token_cannot_leave_it_and_opens_nothing_once_destroyed", |hsm| {
        let directory = tempfile::tempdir().unwrap();
        let slot = hsm.must_make_token("warifu");
        let kek = Pkcs11Kek::new(settings(hsm, directory.path()), CLUSTER, node(1));
        assert!(kek.generations().unwrap().is_empty());
        assert_eq!(kek.create(KekGeneration(0)).unwrap(), ONE);
        let record_key = [0x5a; 32];
        let wrapped = kek.wrap(ONE, &record_key, CONTEXT).unwrap();
        assert_ne!(wrapped, kek.wrap(ONE, &record_key, CONTEXT).unwrap());
        assert!(!wrapped.0.windows(4).any(|window| window == [0x5a; 4]));
        assert_eq!(*kek.unwrap(ONE, &wrapped, CONTEXT).unwrap(), record_key);
        assert!(matches!(kek.unwrap(ONE, &wrapped, b"node 2"), Err(KekError::Unwrap { generation: ONE })));
        for byte in [0, 12, 30, wrapped.0.len() - 1] {
            let mut changed = wrapped.clone();
            changed.0[byte] ^= 1;
            assert!(matches!(kek.unwrap(ONE, &changed, CONTEXT), Err(KekError::Unwrap { .. })), "byte {byte}");
        }
        for len in [0, 11, 12, 20] {
            let mut cut = wrapped.clone();
            cut.0.truncate(len);
            assert!(matches!(kek.unwrap(ONE, &cut, CONTEXT), Err(KekError::Unwrap { .. })), "{len} bytes");
        }

        let session = must_log_in(hsm, slot);
        let keys = session.find_objects(&[Attribute::Class(ObjectClass::SECRET_KEY)]).unwrap();
        assert_eq!(keys.len(), 1);
        let asked = [AttributeType::Label, AttributeType::Sensitive, AttributeType::Extractable, AttributeType::Value];
        let attributes = session.get_attributes(keys[0], &asked).unwrap();
        assert!(attributes.contains(&Attribute::Sensitive(true)) && attributes.contains(&Attribute::Extractable(false)));
        assert!(attributes.contains(&Attribute::Label(b"warifu-kek 0707070707070707 node 1 generation 1".to_vec())), "{attributes:?}");
        assert!(!attributes.iter().any(|attribute| matches!(attribute, Attribute::Value(_))), "the key can be read");
        drop(session);

        // Another node that shares the token has keys of its own.
        let neighbour = Pkcs11Kek::new(settings(hsm, directory.path()), CLUSTER, node(2));
        assert!(neighbour.generations().unwrap().is_empty());
        assert!(matches!(neighbour.unwrap(ONE, &wrapped, CONTEXT), Err(KekError::UnknownGeneration { generation: ONE })));
        assert_eq!(neighbour.create(KekGeneration(6)).unwrap(), KekGeneration(7));

        assert!(matches!(kek.destroy(ONE), Err(KekError::Current { generation: ONE })));
        assert_eq!(kek.create(ONE).unwrap(), TWO);
        kek.destroy(ONE).unwrap();
        assert!(matches!(kek.unwrap(ONE, &wrapped, CONTEXT), Err(KekError::UnknownGeneration { generation: ONE })));
        assert!(matches!(kek.destroy(ONE), Err(KekError::UnknownGeneration { generation: ONE })));
        assert_eq!(
            (kek.generations().unwrap(), neighbour.generations().unwrap()),
            (BTreeSet::from([TWO]), BTreeSet::from([KekGeneration(7)]))
        );
        assert!(kek.proves_destruction());
    });
}

#[test]
fn a_key_that_the_token_did_not_make_is_not_used() {
    with_softhsm("a_key_that_the_token_did_not_make_is_not_used", |hsm| {
        let directory = tempfile::tempdir().unwrap();
        let slot = hsm.must_make_token("warifu");
        let kek = Pkcs11Kek::new(settings(hsm, directory.path()), CLUSTER, node(1));
        let session = must_log_in(hsm, slot);
        let template = |generation: u32| {
            [
                Attribute::Class(ObjectClass::SECRET_KEY),
                Attribute::KeyType(KeyType::AES),
                Attribute::Value(vec![3; 32]),
                Attribute::Token(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Encrypt(true),
                Attribute::Decrypt(true),
                Attribute::Id([CLUSTER.as_ref(), &[1]].concat()),
                Attribute::Label(format!("warifu-kek 0707070707070707 node 1 generation {generation}").into_bytes()),
            ]
        };
        session.create_object(&template(1)).unwrap();
        assert!(matches!(kek.wrap(ONE, &[1; 32], CONTEXT), Err(KekError::Unfit { generation: ONE, .. })));
        // Two of one generation cannot be told apart.
        drop(session);
        must_log_in(hsm, slot).create_object(&template(1)).unwrap();
        assert!(matches!(kek.generations(), Err(KekError::Unfit { generation: ONE, .. })));
    });
}

#[test]
fn what_keeps_a_token_from_being_used_is_named_and_a_refused_pin_is_not_tried_again() {
    with_softhsm("what_keeps_a_token_from_being_used_is_named_and_a_refused_pin_is_not_tried_again", |hsm| {
        let directory = tempfile::tempdir().unwrap();
        hsm.must_make_token("warifu");
        let good = settings(hsm, directory.path());
        let refusal = |change: fn(&mut Pkcs11Settings)| {
            let mut settings = good.clone();
            change(&mut settings);
            Pkcs11Kek::new(settings, CLUSTER, node(1)).generations().unwrap_err()
        };
        assert!(matches!(refusal(|settings| settings.module = "/nowhere.so".into()), KekError::Module { .. }));
        assert!(matches!(refusal(|settings| settings.token = "other".into()), KekError::TokenAbsent { .. }));
        assert!(matches!(refusal(|settings| settings.pin_file = "/nowhere".into()), KekError::File { .. }));
        fs::set_permissions(&good.pin_file, PermissionsExt::from_mode(0o644)).unwrap();
        assert!(matches!(refusal(|_| ()), KekError::Exposed { mode: 0o644, .. }));
        fs::set_permissions(&good.pin_file, PermissionsExt::from_mode(0o600)).unwrap();
        must_write_pin(&good.pin_file, &"4".repeat(300));
        assert!(matches!(refusal(|_| ()), KekError::Malformed { .. }));

        must_write_pin(&good.pin_file, "000000");
        let kek = Pkcs11Kek::new(good.clone(), CLUSTER, node(1));
        assert!(matches!(kek.generations(), Err(KekError::PinRefused { .. })));
        // The module was started anew, and numbers its slots anew.
        let slot = hsm.pkcs11.get_slots_with_initialized_token().unwrap()[0];
        assert!(hsm.pkcs11.get_token_info(slot).unwrap().user_pin_count_low());
        // The right PIN, but under the time of the file that was refused: it would be tried, and succeed, if the provider looked at it at all.
        let refused_at = fs::metadata(&good.pin_file).unwrap().modified().unwrap();
        let write_at = |at: SystemTime| {
            must_write_pin(&good.pin_file, USER_PIN);
            fs::File::options().write(true).open(&good.pin_file).unwrap().set_modified(at).unwrap();
        };
        write_at(refused_at);
        for _ in 0..20 {
            assert!(matches!(kek.generations(), Err(KekError::PinRefused { .. })));
        }
        write_at(refused_at + Duration::from_secs(1));
        assert!(kek.generations().unwrap().is_empty());
    });
}

#[test]
fn a_store_is_sealed_under_a_token_and_its_copies_die_with_the_generation() {
    with_softhsm("a_store_is_sealed_under_a_token_and_its_copies_die_with_the_generation", |hsm| {
        let directory = tempfile::tempdir().unwrap();
        hsm.must_make_token("warifu");
        let provider = || Arc::new(Pkcs11Kek::new(settings(hsm, directory.path()), CLUSTER, node(1)));
        let (path, copy) = (directory.path().join("local.redb"), directory.path().join("copy.redb"));
        let open = |path: &Path| LocalStore::open(path, DatabaseOptions::default(), provider(), node(1), CLUSTER);
        let (shares, _) = generate_with_dealer(3, 2, IdentifierList::Default, rand_core::OsRng).unwrap();
        let package = KeyPackage::try_from(shares.into_values().next().unwrap()).unwrap();
        let credential = CredentialId::new([1; 16]);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();

        let store = open(&path).unwrap();
        runtime.block_on(store.store_shares(&[ShareRecord::new(credential, Epoch(1), &package)])).unwrap();
        drop(store);
        fs::copy(&path, &copy).unwrap();
        let store = open(&path).unwrap();
        let shredded = runtime.block_on(store.shred()).unwrap();
        assert_eq!((shredded.destroyed, shredded.current, shredded.proves_destruction), (vec![ONE], TWO, true));
        assert_eq!(store.share(credential, Epoch(1)).unwrap(), Some(package));
        let refused = open(&copy).err().map(|error| format!("{:#}", anyhow::Error::from(error)));
        assert!(refused.as_deref().is_some_and(|text| text.contains("KEK generation 1 is not here")), "{refused:?}");

        // A token that goes away after the start is not needed to sign; a rotation says so and loses nothing.
        let away = directory.path().join("away");
        fs::rename(&hsm.tokens, &away).unwrap();
        runtime.block_on(store.shred()).unwrap_err();
        assert!(store.share(credential, Epoch(1)).unwrap().is_some());
        fs::rename(&away, &hsm.tokens).unwrap();
        runtime.block_on(store.resume_rotation()).unwrap();
        assert_eq!(runtime.block_on(store.shred()).unwrap().destroyed.last(), Some(&TWO));
    });
}
