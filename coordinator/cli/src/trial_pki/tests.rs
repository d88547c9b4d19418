//! What trial CAs issue is held against the checks that nodes make, and against openssl where it is there.

#![expect(clippy::unwrap_used, reason = "tests")]
#![expect(clippy::print_stdout, reason = "a skipped test says so")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RsaKeyPair};
use ed25519_dalek::{Signer, SigningKey};
use pem::Pem;
use warifu_core::pki::{
    Certificate, CertificateSerial, Crl, CrlError, TrustAnchor, assemble_csr, check_signing_certificate, render_csr, verify_path,
};
use warifu_protocol::{AnchorKind, SubjectFields, UnixMillis};

use super::{TrialHpki, TrialHpkiAuthentication, TrialJpki, TrialPkiError, Validity};

/// 2026-01-01T00:00:00Z.
const NOW: UnixMillis = UnixMillis(1_767_225_600_000);
const DAY: u64 = 24 * 60 * 60 * 1000;
const YEAR: Validity = Validity { not_before: NOW, not_after: UnixMillis(NOW.0 + 365 * DAY) };

fn subject() -> SubjectFields {
    SubjectFields::new("JP", Some("Trial Clinic".to_owned()), "Hanako Iryo", "TRIAL-0001").unwrap()
}

fn request(key: &SigningKey) -> Vec<u8> {
    let info = render_csr(&subject(), key.verifying_key().as_bytes()).info;
    assemble_csr(&info, &key.sign(&info).to_bytes()).unwrap()
}

fn rsa_spki() -> Vec<u8> {
    let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    AsDer::<PublicKeyX509Der<'_>>::as_der(key.public_key()).unwrap().as_ref().to_vec()
}

fn p384_spki() -> Vec<u8> {
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
    AsDer::<PublicKeyX509Der<'_>>::as_der(key.public_key()).unwrap().as_ref().to_vec()
}

#[test]
fn a_signing_certificate_may_be_installed_until_it_is_revoked() {
    let ca = TrialHpki::new(NOW).unwrap();
    let key = SigningKey::from_bytes(&[7; 32]);
    let der = ca.issue_signing_certificate(&request(&key), &["Medical Doctor", "Pharmacist"], YEAR).unwrap();
    let certificate = Certificate::parse(&der).unwrap();
    let anchors = [TrustAnchor::from_entry(&ca.anchor()).unwrap()];
    let group_key = key.verifying_key().to_bytes();
    let checked = check_signing_certificate(&certificate, &group_key, &subject(), &[], &anchors, NOW).unwrap();
    let mut roles = checked.roles;
    roles.sort();
    assert_eq!(roles, ["Medical Doctor", "Pharmacist"]);
    assert_eq!((certificate.not_before(), certificate.not_after()), (YEAR.not_before, YEAR.not_after));

    let issuer = checked.path.issuer();
    assert!(issuer.subject().to_string().contains("TRIAL"));
    let list = |number, revoked: &[CertificateSerial]| Crl::parse(&ca.crl(number, revoked, NOW, NOW.plus(4 * DAY)).unwrap()).unwrap();
    let clean = list(1, &[]);
    assert_eq!(clean.check_not_revoked(&certificate, issuer, NOW, DAY, 0), Ok(()));
    let next = list(2, &[*certificate.serial()]);
    assert_eq!((clean.series() == next.series(), next.number()), (true, 2));
    assert!(matches!(next.check_not_revoked(&certificate, issuer, NOW, DAY, 0), Err(CrlError::Revoked { .. })));
}

#[test]
fn the_root_can_be_pinned_in_place_of_the_ca() {
    let ca = TrialHpki::new(NOW).unwrap();
    let der = ca.issue_signing_certificate(&request(&SigningKey::from_bytes(&[7; 32])), &["Dentist"], YEAR).unwrap();
    let mut entry = ca.anchor();
    entry.certificate = ca.root_der().unwrap().into();
    let anchors = [TrustAnchor::from_entry(&entry).unwrap()];
    let intermediates = [Certificate::parse(ca.certificate_der()).unwrap()];
    let certificate = Certificate::parse(&der).unwrap();
    let path = verify_path(&certificate, &intermediates, &anchors, AnchorKind::HpkiSigning, NOW).unwrap();
    assert_eq!(path.intermediate(), Some(&intermediates[0]));
}

#[test]
fn cards_of_both_kinds_and_both_algorithms_chain_to_their_own_ca_only() {
    let (jpki, hpki) = (TrialJpki::new(NOW).unwrap(), TrialHpkiAuthentication::new(NOW).unwrap());
    let anchors = [TrustAnchor::from_entry(&jpki.anchor()).unwrap(), TrustAnchor::from_entry(&hpki.anchor()).unwrap()];
    let serial = CertificateSerial::new(&[0x15, 0x5e]).unwrap();
    for spki in [rsa_spki(), p384_spki()] {
        let mnc = Certificate::parse(&jpki.issue_card_certificate(&spki, &serial, YEAR).unwrap()).unwrap();
        assert_eq!(mnc.serial(), &serial);
        assert_eq!((mnc.subject().country(), mnc.subject().organization(), mnc.hc_roles().unwrap().len()), (Some("JP"), None, 0));
        let hpki_card = hpki.issue_card_certificate(&spki, &subject(), &["Pharmacist"], YEAR).unwrap();
        let hpki_card = Certificate::parse(&hpki_card).unwrap();
        assert_eq!(hpki_card.subject().to_subject_fields().unwrap(), subject());
        assert_eq!(hpki_card.hc_roles().unwrap(), ["Pharmacist"]);
        for (card, own) in [(&mnc, AnchorKind::JpkiUserAuthentication), (&hpki_card, AnchorKind::HpkiAuthentication)] {
            for kind in [AnchorKind::JpkiUserAuthentication, AnchorKind::HpkiAuthentication, AnchorKind::HpkiSigning] {
                assert_eq!(verify_path(card, &[], &anchors, kind, NOW).is_ok(), kind == own, "{kind:?}");
            }
        }
    }
    let list = Crl::parse(&jpki.crl(9, &[serial], NOW, NOW.plus(DAY)).unwrap()).unwrap();
    assert!(list.is_revoked(&serial).is_some());
}

#[test]
fn what_cannot_be_certified_is_refused() {
    let (ca, jpki) = (TrialHpki::new(NOW).unwrap(), TrialJpki::new(NOW).unwrap());
    let request = request(&SigningKey::from_bytes(&[7; 32]));
    let mut changed = request.clone();
    *changed.last_mut().unwrap() ^= 1;
    let serial = CertificateSerial::new(&[1]).unwrap();
    let backwards = Validity { not_before: YEAR.not_after, not_after: YEAR.not_before };
    assert!(matches!(ca.issue_signing_certificate(&changed, &["Dentist"], YEAR), Err(TrialPkiError::Request { .. })));
    assert!(matches!(ca.issue_signing_certificate(&[], &["Dentist"], YEAR), Err(TrialPkiError::Request { .. })));
    assert!(matches!(ca.issue_signing_certificate(&request, &[], YEAR), Err(TrialPkiError::Roles { .. })));
    assert!(matches!(ca.issue_signing_certificate(&request, &["Dentist"], backwards), Err(TrialPkiError::Validity)));
    assert!(matches!(jpki.issue_card_certificate(&[0x30, 0], &serial, YEAR), Err(TrialPkiError::CardKey { .. })));
    let ed25519 = [&[0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0][..], &[1; 32]].concat();
    assert!(matches!(jpki.issue_card_certificate(&ed25519, &serial, YEAR), Err(TrialPkiError::CardKeyKind { .. })));
    assert!(matches!(jpki.crl(1, &[], NOW, NOW), Err(TrialPkiError::Make { .. })));
}

#[test]
fn a_ca_comes_back_from_its_directory_and_issues_on() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path().join("hpki");
    let ca = TrialHpki::new(NOW).unwrap();
    ca.save(&here).unwrap();
    assert_eq!(fs::metadata(here.join("ca.key")).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(ca.save(&here), Err(TrialPkiError::File { .. })), "nothing is overwritten");

    let back = TrialHpki::load(&here).unwrap();
    assert_eq!((back.anchor(), back.root_der()), (ca.anchor(), ca.root_der()));
    let der = back.issue_signing_certificate(&request(&SigningKey::from_bytes(&[7; 32])), &["Dentist"], YEAR).unwrap();
    let anchors = [TrustAnchor::from_entry(&ca.anchor()).unwrap()];
    assert!(verify_path(&Certificate::parse(&der).unwrap(), &[], &anchors, AnchorKind::HpkiSigning, NOW).is_ok());
    assert!(!format!("{back:?}").contains("PRIVATE"));

    let there = directory.path().join("jpki");
    TrialJpki::new(NOW).unwrap().save(&there).unwrap();
    TrialJpki::load(&there).unwrap();
}

#[test]
fn a_directory_that_is_not_such_a_ca_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (directory.path().join("one"), directory.path().join("two"));
    assert!(matches!(TrialHpki::load(&one), Err(TrialPkiError::File { .. })), "absent");
    TrialHpki::new(NOW).unwrap().save(&one).unwrap();
    TrialHpki::new(NOW).unwrap().save(&two).unwrap();

    assert!(matches!(TrialHpkiAuthentication::load(&one), Err(TrialPkiError::Content { .. })), "another kind");
    fs::set_permissions(one.join("ca.key"), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(TrialHpki::load(&one), Err(TrialPkiError::KeyExposed { .. })));
    fs::set_permissions(one.join("ca.key"), fs::Permissions::from_mode(0o600)).unwrap();

    let original = fs::read(one.join("ca.crt")).unwrap();
    for (content, what) in [(fs::read(two.join("ca.crt")).unwrap(), "another CA"), (b"rubbish".to_vec(), "no PEM")] {
        fs::write(one.join("ca.crt"), content).unwrap();
        let refused = TrialHpki::load(&one);
        assert!(matches!(refused, Err(TrialPkiError::KeyMismatch { .. } | TrialPkiError::Content { .. })), "{what}: {refused:?}");
    }
    fs::write(one.join("ca.crt"), original).unwrap();
    fs::write(one.join("ca.key"), vec![b'x'; 1 << 20]).unwrap();
    assert!(matches!(TrialHpki::load(&one), Err(TrialPkiError::Content { .. })), "a huge file is not read whole");
}

#[test]
fn openssl_accepts_every_chain_and_list() {
    if Command::new("openssl").arg("version").output().is_err() {
        println!("skipped: no openssl on this machine");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, label: &str, ders: &[&[u8]]| {
        let text: String = ders.iter().map(|der| pem::encode(&Pem::new(label, *der))).collect();
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let verify = |trusted: &Path, between: &Path, list: &Path, certificate: &Path| {
        let output = Command::new("openssl")
            .args(["verify", "-attime", "1767225700", "-x509_strict", "-crl_check", "-trusted"])
            .arg(trusted)
            .arg("-untrusted")
            .arg(between)
            .arg("-CRLfile")
            .arg(list)
            .arg(certificate)
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let ca = TrialHpki::new(NOW).unwrap();
    let der = ca.issue_signing_certificate(&request(&SigningKey::from_bytes(&[7; 32])), &["Medical Doctor"], YEAR).unwrap();
    let serial = *Certificate::parse(&der).unwrap().serial();
    let [root, between] = [ca.root_der().unwrap(), ca.certificate_der()].map(|der| der.to_vec());
    let (root, between) = (write("root.pem", "CERTIFICATE", &[&root]), write("ca.pem", "CERTIFICATE", &[&between]));
    let signing = write("signing.pem", "CERTIFICATE", &[&der]);
    let clean = write("clean.pem", "X509 CRL", &[&ca.crl(1, &[], NOW, NOW.plus(DAY)).unwrap()]);
    let revoked = write("revoked.pem", "X509 CRL", &[&ca.crl(2, &[serial], NOW, NOW.plus(DAY)).unwrap()]);
    let (holds, said) = verify(&root, &between, &clean, &signing);
    assert!(holds, "{said}");
    let (holds, said) = verify(&root, &between, &revoked, &signing);
    assert!(!holds && said.contains("revoked"), "{said}");

    let jpki = TrialJpki::new(NOW).unwrap();
    let serial = CertificateSerial::new(&[0x15, 0x5e]).unwrap();
    let card = jpki.issue_card_certificate(&p384_spki(), &serial, YEAR).unwrap();
    let (trusted, card) = (write("jpki.pem", "CERTIFICATE", &[jpki.certificate_der()]), write("card.pem", "CERTIFICATE", &[&card]));
    let list = write("jpki-list.pem", "X509 CRL", &[&jpki.crl(1, &[], NOW, NOW.plus(DAY)).unwrap()]);
    let (holds, said) = verify(&trusted, &trusted, &list, &card);
    assert!(holds, "{said}");
}
