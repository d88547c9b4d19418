//! The trial card: signing, its PIN, its lock, and what it does with bad files.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its card has failed")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use rcgen::{CertificateParams, Issuer, KeyPair, PublicKeyData, SignatureAlgorithm};
use spki::SubjectPublicKeyInfoRef;
use spki::der::Decode;
use tempfile::TempDir;
use warifu::card::{
    CERTIFICATE_SIZE_MAX, Card, CardAlgorithm, CardError, MESSAGE_SIZE_MAX, PIN_TRIES, Pin, PinState, Remedy, SoftwareCard, TriesLeft,
};
use warifu_protocol::AuthenticatorKind;

const MESSAGE: &[u8] = b"warifu-session-v1{\"a\":\"statement\"}";

struct Made {
    _directory: TempDir,
    path: PathBuf,
    spki: Vec<u8>,
}

fn pin(text: &str) -> Pin {
    Pin::new(text.into()).unwrap()
}

fn must_make(algorithm: CardAlgorithm) -> Made {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("doctor.card");
    let spki = SoftwareCard::create(&path, AuthenticatorKind::MyNumberCard, algorithm, &pin("4711")).unwrap();
    Made { _directory: directory, path, spki }
}

fn must_open(path: &Path) -> SoftwareCard {
    SoftwareCard::open(path).unwrap()
}

struct CardKey {
    bits: Vec<u8>,
    algorithm: &'static SignatureAlgorithm,
}

impl PublicKeyData for CardKey {
    fn der_bytes(&self) -> &[u8] {
        &self.bits
    }
    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

fn key_bits(spki: &[u8]) -> Vec<u8> {
    SubjectPublicKeyInfoRef::from_der(spki).unwrap().subject_public_key.raw_bytes().to_vec()
}

fn must_certify(spki: &[u8], algorithm: &'static SignatureAlgorithm) -> Vec<u8> {
    let ca_key = KeyPair::generate().unwrap();
    let issuer = Issuer::new(CertificateParams::default(), ca_key);
    let key = CardKey { bits: key_bits(spki), algorithm };
    CertificateParams::default().signed_by(&key, &issuer).unwrap().der().to_vec()
}

fn tries(path: &Path) -> PinState {
    must_open(path).describe().pin_state
}

#[test]
fn an_rsa_card_signs_pkcs1_with_sha_256() {
    let made = must_make(CardAlgorithm::RsaSha256);
    let signature = must_open(&made.path).sign(&pin("4711"), MESSAGE).unwrap();
    assert_eq!(signature.len(), 256);
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key_bits(&made.spki));
    assert!(key.verify(MESSAGE, &signature).is_ok());
    assert!(key.verify(b"another statement", &signature).is_err());
}

#[test]
fn a_p384_card_signs_raw_r_and_s_with_sha_384() {
    let made = must_make(CardAlgorithm::EcdsaP384Sha384);
    let signature = must_open(&made.path).sign(&pin("4711"), MESSAGE).unwrap();
    assert_eq!(signature.len(), 96);
    let key = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, key_bits(&made.spki));
    assert!(key.verify(MESSAGE, &signature).is_ok());
}

#[test]
fn the_card_calls_itself_a_trial_card_in_its_file_and_in_its_description() {
    let made = must_make(CardAlgorithm::EcdsaP384Sha384);
    let description = must_open(&made.path).describe();
    assert!(description.trial);
    assert_eq!(description.kind, Some(AuthenticatorKind::MyNumberCard));
    assert!(description.to_string().contains("TRIAL"), "{description}");
    assert!(fs::read_to_string(&made.path).unwrap().contains("TRIAL CARD"));
}

#[test]
fn three_wrong_pins_lock_the_card_even_for_the_right_one() {
    let made = must_make(CardAlgorithm::EcdsaP384Sha384);
    let mut card = must_open(&made.path);
    for left in [2, 1] {
        let refused = card.sign(&pin("0000"), MESSAGE);
        assert!(matches!(refused, Err(CardError::WrongPin { tries: TriesLeft::Exactly(n) }) if n == left), "{refused:?}");
    }
    let third = card.sign(&pin("0000"), MESSAGE);
    assert!(matches!(third, Err(CardError::Locked { remedy: Remedy::NewTrialCard })), "{third:?}");
    let right = card.sign(&pin("4711"), MESSAGE);
    assert!(matches!(right, Err(CardError::Locked { .. })), "{right:?}");
    let reopened = must_open(&made.path).sign(&pin("4711"), MESSAGE);
    assert!(matches!(reopened, Err(CardError::Locked { .. })), "{reopened:?}");
    assert_eq!(tries(&made.path), PinState::Locked);
}

#[test]
fn the_counter_survives_reopening_the_card() {
    let made = must_make(CardAlgorithm::EcdsaP384Sha384);
    for left in [2, 1] {
        assert!(must_open(&made.path).sign(&pin("0000"), MESSAGE).is_err());
        assert_eq!(tries(&made.path), PinState::Tries(left));
    }
    assert!(matches!(must_open(&made.path).sign(&pin("0000"), MESSAGE), Err(CardError::Locked { .. })));
}

#[test]
fn the_right_pin_restores_all_tries() {
    let made = must_make(CardAlgorithm::EcdsaP384Sha384);
    let mut card = must_open(&made.path);
    for _ in 0..2 {
        assert!(card.sign(&pin("0000"), MESSAGE).is_err());
    }
    assert_eq!(tries(&made.path), PinState::Tries(1));
    assert!(card.sign(&pin("4711"), MESSAGE).is_ok());
    assert_eq!(tries(&made.path), PinState::Tries(PIN_TRIES));
}

#[test]
fn concurrent_wrong_pins_get_three_tries_in_all() {
    let made = must_make(CardAlgorithm::EcdsaP384Sha384);
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..6).map(|_| scope.spawn(|| must_open(&made.path).sign(&pin("0000"), MESSAGE))).collect();
        tries.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let wrong = outcomes.iter().filter(|o| matches!(o, Err(CardError::WrongPin { .. }))).count();
    let locked = outcomes.iter().filter(|o| matches!(o, Err(CardError::Locked { .. }))).count();
    assert_eq!((wrong, locked), (2, 4), "{outcomes:?}");
}

#[test]
fn a_pin_of_the_wrong_length_costs_no_try() {
    let made = must_make(CardAlgorithm::EcdsaP384Sha384);
    for text in ["471", "12345678901234567"] {
        let refused = must_open(&made.path).sign(&pin(text), MESSAGE);
        assert!(matches!(refused, Err(CardError::PinLength { min: 4, max: 16 })), "{text}: {refused:?}");
    }
    let large = must_open(&made.path).sign(&pin("0000"), &vec![0; MESSAGE_SIZE_MAX + 1]);
    assert!(matches!(large, Err(CardError::MessageTooLarge { .. })), "{large:?}");
    assert_eq!(tries(&made.path), PinState::Tries(PIN_TRIES));
}

#[test]
fn the_certificate_must_be_for_the_cards_own_key() {
    let made = must_make(CardAlgorithm::EcdsaP384Sha384);
    let other = must_make(CardAlgorithm::EcdsaP384Sha384);
    let algorithm = &rcgen::PKCS_ECDSA_P384_SHA384;
    let certificate = must_certify(&made.spki, algorithm);
    assert!(matches!(must_open(&made.path).certificate(), Err(CardError::NoCertificate { .. })));
    let foreign = SoftwareCard::set_certificate(&made.path, &must_certify(&other.spki, algorithm));
    assert!(matches!(foreign, Err(CardError::KeyMismatch)), "{foreign:?}");
    SoftwareCard::set_certificate(&made.path, &certificate).unwrap();
    let mut card = must_open(&made.path);
    assert_eq!(card.certificate().unwrap(), certificate);
    assert_eq!(card.algorithm().unwrap(), CardAlgorithm::EcdsaP384Sha384);
    assert!(card.sign(&pin("4711"), MESSAGE).is_ok());
    for (bad, what) in [(vec![], "empty"), (certificate[..100].to_vec(), "truncated"), (vec![0; CERTIFICATE_SIZE_MAX + 1], "oversized")] {
        let refused = SoftwareCard::set_certificate(&made.path, &bad);
        assert!(matches!(refused, Err(CardError::BadCertificate { .. })), "{what}: {refused:?}");
    }
    assert_eq!(must_open(&made.path).certificate().unwrap(), certificate);
}

#[test]
fn a_card_is_never_overwritten_and_its_file_is_its_owners_alone() {
    let made = must_make(CardAlgorithm::EcdsaP384Sha384);
    let before = fs::read(&made.path).unwrap();
    let again = SoftwareCard::create(&made.path, AuthenticatorKind::HpkiCard, CardAlgorithm::RsaSha256, &pin("9999"));
    assert!(matches!(again, Err(CardError::File { .. })), "{again:?}");
    assert_eq!(fs::read(&made.path).unwrap(), before);
    assert!(must_open(&made.path).sign(&pin("0000"), MESSAGE).is_err());
    assert_eq!(fs::metadata(&made.path).unwrap().permissions().mode() & 0o7777, 0o600, "also after a replacement");
    let left_behind = fs::read_dir(made.path.parent().unwrap()).unwrap().count();
    assert_eq!(left_behind, 1, "no temporary or lock file stays");
    fs::set_permissions(&made.path, fs::Permissions::from_mode(0o644)).unwrap();
    let exposed = SoftwareCard::open(&made.path);
    assert!(matches!(exposed, Err(CardError::Exposed { mode: 0o644, .. })), "{exposed:?}");
}

#[test]
fn what_is_no_card_file_is_refused() {
    let made = must_make(CardAlgorithm::EcdsaP384Sha384);
    let good = fs::read_to_string(&made.path).unwrap();
    let table = [
        ("empty", String::new()),
        ("truncated", good[..good.len() / 2].to_owned()),
        ("not JSON", "card".to_owned()),
        ("oversized", good.clone() + &" ".repeat(64 * 1024)),
        ("another format", good.replace("warifu-trial-card-v1", "warifu-trial-card-v9")),
        ("an unknown field", good.replacen('{', "{\"extra\":1,", 1)),
        ("an unknown kind", good.replace("\"mnc\"", "\"passport\"")),
        ("more tries than there are", good.replace("\"tries_left\": 3", "\"tries_left\": 4")),
        ("negative tries", good.replace("\"tries_left\": 3", "\"tries_left\": -1")),
        ("an algorithm that is not the key's", good.replace("ecdsa-p384-sha384", "rsa-2048-sha256")),
    ];
    let edited = |field: &str, value: String| {
        let mut card: serde_json::Value = serde_json::from_str(&good).unwrap();
        card[field] = value.into();
        card.to_string()
    };
    let table = table.into_iter().chain([
        ("a short salt", edited("salt", "AAAA".into())),
        ("a short nonce", edited("nonce", "AAAA".into())),
        ("a key that is none", edited("spki", "AAAA".into())),
        ("text that is not base64", edited("salt", "?".into())),
        ("an oversized certificate", edited("certificate", "AAAA".repeat(CERTIFICATE_SIZE_MAX / 3 + 1))),
    ]);
    for (what, content) in table {
        assert_ne!(content, good, "{what}");
        fs::write(&made.path, content).unwrap();
        let refused = SoftwareCard::open(&made.path);
        assert!(matches!(refused, Err(CardError::NotACard { .. })), "{what}: {refused:?}");
    }
    fs::write(&made.path, &good).unwrap();
    assert!(must_open(&made.path).sign(&pin("4711"), MESSAGE).is_ok());
    let absent = SoftwareCard::open(&made.path.with_extension("absent"));
    assert!(matches!(absent, Err(CardError::File { .. })), "{absent:?}");
}

#[test]
fn a_card_cannot_be_turned_into_another_kind_by_editing_its_file() {
    let made = must_make(CardAlgorithm::EcdsaP384Sha384);
    let good = fs::read_to_string(&made.path).unwrap();
    fs::write(&made.path, good.replace("\"mnc\"", "\"hpki_card\"")).unwrap();
    let refused = must_open(&made.path).sign(&pin("4711"), MESSAGE);
    assert!(matches!(refused, Err(CardError::WrongPin { .. })), "{refused:?}");
}
