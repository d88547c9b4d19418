//! SoftHSM2 in the place of a real card, in a child process: SoftHSM2 finds its tokens through an environment variable that a process
//! cannot set for itself safely, so a test runs its body in a child, this same program told to run that one test with the variable set.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its token has failed")]
#![allow(dead_code, clippy::allow_attributes, reason = "each test program uses a part")]

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, CertificateType, ObjectClass};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use der::asn1::{OctetString, UintRef};
use der::{Decode, Encode};
use rcgen::{CertificateParams, Issuer, KeyPair, PublicKeyData, SignatureAlgorithm};
use warifu::card::{CardError, ObjectSelector, Pin, Pkcs11Card, Pkcs11Options, TokenSelector};

pub(crate) const USER_PIN: &str = "4711";

/// Set in the child that runs a test's body.
pub(crate) const CHILD: &str = "WARIFU_TEST_SOFTHSM_CHILD";

/// Where distributions put SoftHSM2.
pub(crate) const MODULES: [&str; 5] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

/// Runs `body` in a process whose SoftHSM2 has a fresh, empty token directory.
#[expect(clippy::print_stdout, reason = "a skipped test must say so")]
pub(crate) fn with_softhsm(test: &str, body: impl FnOnce(&SoftHsm)) {
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
pub(crate) struct SoftHsm {
    pub(crate) module: PathBuf,
    pub(crate) pkcs11: Pkcs11,
}

impl SoftHsm {
    pub(crate) fn start(module: PathBuf) -> Self {
        let pkcs11 = Pkcs11::new(&module).unwrap();
        pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
        Self { module, pkcs11 }
    }

    /// Makes a token with the user's PIN set and returns a session of its user.
    pub(crate) fn must_make_token(&self, label: &str) -> (Slot, Session) {
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

    pub(crate) fn options(&self, label: &str) -> Pkcs11Options {
        let token = TokenSelector::Label(label.into());
        Pkcs11Options { module: self.module.clone(), token, object: ObjectSelector::default() }
    }

    pub(crate) fn open(&self, label: &str) -> Result<Pkcs11Card, CardError> {
        Pkcs11Card::open(&self.options(label))
    }
}

/// A public key read from a token, as certificates carry it.
pub(crate) struct CardKey {
    pub(crate) bits: Vec<u8>,
    pub(crate) algorithm: &'static SignatureAlgorithm,
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
pub(crate) struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    public_exponent: UintRef<'a>,
}

pub(crate) const PUBLIC_EXPONENT: [u8; 3] = [1, 0, 1];

pub(crate) fn must_make_rsa(session: &Session, id: u8, bits: u64) -> CardKey {
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

pub(crate) fn must_make_p384(session: &Session, id: u8) -> CardKey {
    let curve = const_oid::db::rfc5912::SECP_384_R_1.to_der().unwrap();
    let public = [Attribute::Token(true), Attribute::Id(vec![id]), Attribute::EcParams(curve)];
    let (public, _) = session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private_template(id)).unwrap();
    let point = match session.get_attributes(public, &[AttributeType::EcPoint]).unwrap().remove(0) {
        Attribute::EcPoint(point) => OctetString::from_der(&point).unwrap().into_bytes(),
        other => panic!("asked for a point, got {other:?}"),
    };
    CardKey { bits: point, algorithm: &rcgen::PKCS_ECDSA_P384_SHA384 }
}

pub(crate) fn private_template(id: u8) -> [Attribute; 5] {
    [Attribute::Token(true), Attribute::Private(true), Attribute::Sensitive(true), Attribute::Sign(true), Attribute::Id(vec![id])]
}

/// Makes a certificate for `key` and puts it on the token.
pub(crate) fn must_certify(session: &Session, id: u8, label: &str, key: &CardKey) -> Vec<u8> {
    let issuer = Issuer::new(CertificateParams::default(), KeyPair::generate().unwrap());
    let certificate = CertificateParams::default().signed_by(key, &issuer).unwrap().der().to_vec();
    must_store(session, id, label, &certificate);
    certificate
}

/// Puts a certificate on the token, readable without a PIN as on the real card.
pub(crate) fn must_store(session: &Session, id: u8, label: &str, certificate: &[u8]) {
    let template = [
        Attribute::Class(ObjectClass::CERTIFICATE),
        Attribute::CertificateType(CertificateType::X_509),
        Attribute::Token(true),
        Attribute::Private(false),
        Attribute::Id(vec![id]),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Subject(vec![0x30, 0]),
        Attribute::Value(certificate.to_vec()),
    ];
    session.create_object(&template).unwrap();
}

pub(crate) fn pin(text: &str) -> Pin {
    Pin::new(text.into()).unwrap()
}
