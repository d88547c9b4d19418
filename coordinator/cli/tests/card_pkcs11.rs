//! Cards behind a PKCS#11 module, with SoftHSM2 in the place of a real card. Each test is skipped, and says so, where SoftHSM2 is not installed.
//!
//! SoftHSM2 finds its tokens through an environment variable that a process cannot set for itself safely, so each test runs its body in a
//! child: this same program, told to run that one test with the variable set. SoftHSM2 never locks a PIN; that part is proven on the
//! software card and, for PKCS#11, on return values and flags.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its token has failed")]

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, CertificateType, ObjectClass};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use der::asn1::{OctetString, UintRef};
use der::{Decode, Encode};
use rcgen::{CertificateParams, Issuer, KeyPair, PublicKeyData, SignatureAlgorithm};
use warifu::card::{
    Card, CardAlgorithm, CardError, ObjectSelector, Pin, PinEntry, PinState, Pkcs11Card, Pkcs11Options, TokenSelector, TriesLeft,
};

const MESSAGE: &[u8] = b"warifu-session-v1{\"a\":\"statement\"}";
const USER_PIN: &str = "4711";

/// Set in the child that runs a test's body.
const CHILD: &str = "WARIFU_TEST_SOFTHSM_CHILD";

/// Where distributions put SoftHSM2.
const MODULES: [&str; 5] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

/// Runs `body` in a process whose SoftHSM2 has a fresh, empty token directory.
#[expect(clippy::print_stdout, reason = "a skipped test must say so")]
fn with_softhsm(test: &str, body: impl FnOnce(&SoftHsm)) {
    let Some(module) = MODULES.iter().map(PathBuf::from).find(|path| path.exists()) else {
        println!("SKIPPED {test}: SoftHSM2 is not installed (Debian: apt-get install softhsm2)");
        return;
    };
    if env::var_os(CHILD).is_some() {
        body(&SoftHsm::start(module));
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let tokens = directory.path().join("tokens");
    fs::create_dir(&tokens).unwrap();
    let configuration = directory.path().join("softhsm2.conf");
    fs::write(&configuration, format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display())).unwrap();
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("SOFTHSM2_CONF", configuration)
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "the child must run exactly this test: {text}");
}

/// The module as whoever makes cards uses it.
struct SoftHsm {
    module: PathBuf,
    pkcs11: Pkcs11,
}

impl SoftHsm {
    fn start(module: PathBuf) -> Self {
        let pkcs11 = Pkcs11::new(&module).unwrap();
        pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
        Self { module, pkcs11 }
    }

    /// Makes a token with the user's PIN set and returns a session of its user.
    fn must_make_token(&self, label: &str) -> (Slot, Session) {
        let free = self.pkcs11.get_slots_with_token().unwrap();
        let initialized = self.pkcs11.get_slots_with_initialized_token().unwrap();
        let slot = free.into_iter().find(|slot| !initialized.contains(slot)).unwrap();
        let officer_pin = AuthPin::from("87654321");
        self.pkcs11.init_token(slot, &officer_pin, label).unwrap();
        let session = self.pkcs11.open_rw_session(slot).unwrap();
        session.login(UserType::So, Some(&officer_pin)).unwrap();
        session.init_pin(&AuthPin::from(USER_PIN)).unwrap();
        session.logout().unwrap();
        session.login(UserType::User, Some(&AuthPin::from(USER_PIN))).unwrap();
        (slot, session)
    }

    fn options(&self, label: &str) -> Pkcs11Options {
        let token = TokenSelector::Label(label.into());
        Pkcs11Options { module: self.module.clone(), token, object: ObjectSelector::default() }
    }

    fn open(&self, label: &str) -> Result<Pkcs11Card, CardError> {
        Pkcs11Card::open(&self.options(label))
    }
}

/// A public key read from a token, as certificates carry it.
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

#[derive(der::Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    public_exponent: UintRef<'a>,
}

const PUBLIC_EXPONENT: [u8; 3] = [1, 0, 1];

fn must_make_rsa(session: &Session, id: u8, bits: u64) -> CardKey {
    let public = [
        Attribute::Token(true),
        Attribute::Id(vec![id]),
        Attribute::ModulusBits(bits.into()),
        Attribute::PublicExponent(PUBLIC_EXPONENT.to_vec()),
    ];
    let (public, _) = session.generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &public, &private_template(id)).unwrap();
    let modulus = match session.get_attributes(public, &[AttributeType::Modulus]).unwrap().remove(0) {
        Attribute::Modulus(modulus) => modulus,
        other => panic!("asked for a modulus, got {other:?}"),
    };
    let key = RsaPublicKey { modulus: UintRef::new(&modulus).unwrap(), public_exponent: UintRef::new(&PUBLIC_EXPONENT).unwrap() };
    CardKey { bits: key.to_der().unwrap(), algorithm: &rcgen::PKCS_RSA_SHA256 }
}

fn must_make_p384(session: &Session, id: u8) -> CardKey {
    let curve = const_oid::db::rfc5912::SECP_384_R_1.to_der().unwrap();
    let public = [Attribute::Token(true), Attribute::Id(vec![id]), Attribute::EcParams(curve)];
    let (public, _) = session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private_template(id)).unwrap();
    let point = match session.get_attributes(public, &[AttributeType::EcPoint]).unwrap().remove(0) {
        Attribute::EcPoint(point) => OctetString::from_der(&point).unwrap().into_bytes(),
        other => panic!("asked for a point, got {other:?}"),
    };
    CardKey { bits: point, algorithm: &rcgen::PKCS_ECDSA_P384_SHA384 }
}

fn private_template(id: u8) -> [Attribute; 5] {
    [Attribute::Token(true), Attribute::Private(true), Attribute::Sensitive(true), Attribute::Sign(true), Attribute::Id(vec![id])]
}

/// Puts a certificate for `key` on the token, readable without a PIN as on the real card.
fn must_certify(session: &Session, id: u8, label: &str, key: &CardKey) -> Vec<u8> {
    let issuer = Issuer::new(CertificateParams::default(), KeyPair::generate().unwrap());
    let certificate = CertificateParams::default().signed_by(key, &issuer).unwrap().der().to_vec();
    let template = [
        Attribute::Class(ObjectClass::CERTIFICATE),
        Attribute::CertificateType(CertificateType::X_509),
        Attribute::Token(true),
        Attribute::Private(false),
        Attribute::Id(vec![id]),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Subject(vec![0x30, 0]),
        Attribute::Value(certificate.clone()),
    ];
    session.create_object(&template).unwrap();
    certificate
}

fn pin(text: &str) -> Pin {
    Pin::new(text.into()).unwrap()
}

#[test]
fn an_rsa_card_signs_with_the_bare_mechanism_and_our_digest_info() {
    with_softhsm("an_rsa_card_signs_with_the_bare_mechanism_and_our_digest_info", |hsm| {
        let (_, session) = hsm.must_make_token("JPKI");
        let key = must_make_rsa(&session, 1, 2048);
        let certificate = must_certify(&session, 1, "User Authentication Certificate", &key);
        drop(session);
        let mut card = hsm.open("JPKI").unwrap();
        assert_eq!(card.certificate().unwrap(), certificate);
        assert_eq!(card.algorithm().unwrap(), CardAlgorithm::RsaSha256);
        let signature = card.sign(&pin(USER_PIN), MESSAGE).unwrap();
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.bits);
        assert!(key.verify(MESSAGE, &signature).is_ok());
        let again = card.sign(&pin(USER_PIN), b"another statement").unwrap();
        assert!(key.verify(b"another statement", &again).is_ok(), "one card signs more than once");
        let description = card.describe();
        assert!(!description.trial);
        assert_eq!((description.pin_state, description.pin_entry), (PinState::Fresh, PinEntry::Here));
    });
}

#[test]
fn a_p384_card_signs_raw_r_and_s() {
    with_softhsm("a_p384_card_signs_raw_r_and_s", |hsm| {
        let (_, session) = hsm.must_make_token("JPKI");
        let key = must_make_p384(&session, 1);
        must_certify(&session, 1, "User Authentication Certificate", &key);
        drop(session);
        let mut card = hsm.open("JPKI").unwrap();
        assert_eq!(card.algorithm().unwrap(), CardAlgorithm::EcdsaP384Sha384);
        let signature = card.sign(&pin(USER_PIN), MESSAGE).unwrap();
        assert_eq!(signature.len(), 96);
        assert!(UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, key.bits).verify(MESSAGE, &signature).is_ok());
    });
}

#[test]
fn a_wrong_pin_is_refused_and_counted_even_right_after_a_right_one() {
    with_softhsm("a_wrong_pin_is_refused_and_counted_even_right_after_a_right_one", |hsm| {
        let (_, session) = hsm.must_make_token("JPKI");
        let key = must_make_p384(&session, 1);
        must_certify(&session, 1, "User Authentication Certificate", &key);
        // The session stays open and logged in: another user of the same token in this process must not lend its login.
        let mut card = hsm.open("JPKI").unwrap();
        let wrong = card.sign(&pin("0000"), MESSAGE);
        assert!(matches!(wrong, Err(CardError::WrongPin { tries: TriesLeft::Few })), "{wrong:?}");
        assert_eq!(card.describe().pin_state, PinState::CountLow);
        assert!(card.sign(&pin(USER_PIN), MESSAGE).is_ok());
        let wrong = card.sign(&pin("0000"), MESSAGE);
        assert!(matches!(wrong, Err(CardError::WrongPin { .. })), "{wrong:?}");
        drop(session);
    });
}

#[test]
fn a_pin_too_short_for_the_token_is_not_tried() {
    with_softhsm("a_pin_too_short_for_the_token_is_not_tried", |hsm| {
        let (_, session) = hsm.must_make_token("JPKI");
        let key = must_make_p384(&session, 1);
        must_certify(&session, 1, "User Authentication Certificate", &key);
        drop(session);
        let mut card = hsm.open("JPKI").unwrap();
        let short = card.sign(&pin("471"), MESSAGE);
        assert!(matches!(short, Err(CardError::PinLength { min: 4, .. })), "{short:?}");
        assert_eq!(card.describe().pin_state, PinState::Fresh, "no try was used");
    });
}

#[test]
fn absent_modules_tokens_and_objects_are_named() {
    with_softhsm("absent_modules_tokens_and_objects_are_named", |hsm| {
        let none = hsm.open("JPKI").map(|_| ());
        assert!(matches!(&none, Err(CardError::NoToken { present, .. }) if present == "none"), "{none:?}");
        let (_, session) = hsm.must_make_token("HPKI");
        let other = hsm.open("JPKI").map(|_| ());
        assert!(matches!(&other, Err(CardError::NoToken { present, .. }) if present.contains("HPKI")), "{other:?}");
        let empty = hsm.open("HPKI").map(|_| ());
        assert!(matches!(empty, Err(CardError::NoObject { what: "certificate", .. })), "{empty:?}");
        let key = must_make_p384(&session, 2);
        must_certify(&session, 1, "without its key", &key);
        let mut keyless = hsm.open("HPKI").unwrap();
        let refused = keyless.sign(&pin(USER_PIN), MESSAGE);
        assert!(matches!(refused, Err(CardError::NoObject { what: "private key", .. })), "{refused:?}");
        must_certify(&session, 1, "the same id again", &key);
        let twice = hsm.open("HPKI").map(|_| ());
        assert!(matches!(twice, Err(CardError::SeveralObjects { .. })), "{twice:?}");
        for module in ["/nonexistent/module.so", "/etc/hostname"] {
            let options = Pkcs11Options { module: module.into(), ..hsm.options("HPKI") };
            let absent = Pkcs11Card::open(&options).map(|_| ());
            assert!(matches!(absent, Err(CardError::NoModule { .. })), "{module}: {absent:?}");
        }
    });
}

#[test]
fn of_several_matching_tokens_the_one_with_the_certificate_is_taken() {
    with_softhsm("of_several_matching_tokens_the_one_with_the_certificate_is_taken", |hsm| {
        let (_, authentication) = hsm.must_make_token("JPKI (User Authentication PIN)");
        let (signature_slot, signature) = hsm.must_make_token("JPKI (Digital Signature PIN)");
        let neither = hsm.open("JPKI").map(|_| ());
        assert!(matches!(neither, Err(CardError::SeveralTokens { .. })), "{neither:?}");
        let key = must_make_p384(&authentication, 1);
        let certificate = must_certify(&authentication, 1, "User Authentication Certificate", &key);
        let mut card = hsm.open("JPKI").unwrap();
        assert_eq!(card.certificate().unwrap(), certificate);
        assert!(card.sign(&pin(USER_PIN), MESSAGE).is_ok());
        let key = must_make_p384(&signature, 1);
        let second = must_certify(&signature, 1, "User Authentication Certificate", &key);
        let both = hsm.open("JPKI").map(|_| ());
        assert!(matches!(&both, Err(CardError::SeveralTokens { matching, .. }) if matching.contains("Digital")), "{both:?}");
        let serial = hsm.pkcs11.get_token_info(signature_slot).unwrap().serial_number().trim_end().to_owned();
        for token in [
            TokenSelector::Serial(serial),
            TokenSelector::Slot(signature_slot.id()),
            TokenSelector::Label("JPKI (Digital Signature PIN)".into()),
        ] {
            let options = Pkcs11Options { token, ..hsm.options("JPKI") };
            assert_eq!(Pkcs11Card::open(&options).unwrap().certificate().unwrap(), second, "{:?}", options.token);
        }
    });
}

#[test]
fn the_certificates_label_selects_its_key() {
    with_softhsm("the_certificates_label_selects_its_key", |hsm| {
        let (_, session) = hsm.must_make_token("HPKI");
        for (id, label) in [(1, "one"), (2, "two")] {
            let key = must_make_p384(&session, id);
            must_certify(&session, id, label, &key);
        }
        drop(session);
        let options = |object| Pkcs11Options { object, ..hsm.options("HPKI") };
        let mut by_label = Pkcs11Card::open(&options(ObjectSelector::Label("two".into()))).unwrap();
        let mut by_id = Pkcs11Card::open(&options(ObjectSelector::Id(vec![2]))).unwrap();
        assert_eq!(by_label.certificate().unwrap(), by_id.certificate().unwrap());
        assert!(by_label.sign(&pin(USER_PIN), MESSAGE).is_ok());
    });
}

#[test]
fn a_key_that_is_not_the_certificates_or_too_weak_is_refused() {
    with_softhsm("a_key_that_is_not_the_certificates_or_too_weak_is_refused", |hsm| {
        let (_, session) = hsm.must_make_token("HPKI");
        must_make_p384(&session, 1);
        let other = must_make_p384(&session, 2);
        must_certify(&session, 1, "for another key", &other);
        let weak = must_make_rsa(&session, 3, 1024);
        must_certify(&session, 3, "weak", &weak);
        drop(session);
        let mut card = hsm.open("HPKI").unwrap();
        let refused = card.sign(&pin(USER_PIN), MESSAGE);
        assert!(matches!(refused, Err(CardError::KeyMismatch)), "{refused:?}");
        let options = Pkcs11Options { object: ObjectSelector::Id(vec![3]), ..hsm.options("HPKI") };
        let refused = Pkcs11Card::open(&options).map(|_| ());
        assert!(matches!(refused, Err(CardError::UnsupportedKey { .. })), "{refused:?}");
    });
}
