//! Card signatures, requests, and certificates for installation.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
    RSA_PSS_SHA256, RsaKeyPair,
};
use ed25519_dalek::{Signer, SigningKey};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use warifu_protocol::{AnchorKind, SubjectFields};

use super::support::{CARD_POLICY, Case, NOW, RawKey, SIGNING_POLICY, TestCa, hc_roles, policies, remake, signing_params, subject};
use crate::pki::card::ECDSA_P384_RAW_LEN;
use crate::pki::{
    CardSignatureError as C, Certificate, CertificateKey, CsrError, HcRoleError, PathError, SigningCertificateError as S, assemble_csr,
    check_signing_certificate, ecdsa_p384_raw_from_der, render_csr, verify_card_signature, verify_csr,
};

const STATEMENT: &[u8] = b"warifu-session-v1 {...}";

#[test]
fn an_rsa_card_signs_pkcs1_with_sha256_and_nothing_else() {
    let card = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let key = CertificateKey::Rsa { pkcs1: card.public_key().as_ref().to_vec(), bits: 2048 };
    let sign = |encoding| {
        let mut signature = vec![0; card.public_modulus_len()];
        card.sign(encoding, &SystemRandom::new(), STATEMENT, &mut signature).unwrap();
        signature
    };
    let good = sign(&RSA_PKCS1_SHA256);
    assert_eq!(verify_card_signature(&key, STATEMENT, &good), Ok(()));
    assert_eq!(verify_card_signature(&key, b"another statement", &good), Err(C::Invalid));
    assert_eq!(verify_card_signature(&key, STATEMENT, &sign(&RSA_PKCS1_SHA384)), Err(C::Invalid));
    assert_eq!(verify_card_signature(&key, STATEMENT, &sign(&RSA_PSS_SHA256)), Err(C::Invalid));
    for wrong in [&[][..], &good[1..], &[&good[..], &[0]].concat(), &[&[0], &good[..]].concat()] {
        assert_eq!(verify_card_signature(&key, STATEMENT, wrong), Err(C::Length { len: wrong.len(), expected: 256 }));
    }
    for index in [0, 100, 255] {
        let mut changed = good.clone();
        changed[index] ^= 1;
        assert_eq!(verify_card_signature(&key, STATEMENT, &changed), Err(C::Invalid), "byte {index}");
    }
    let stranger = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let stranger = CertificateKey::Rsa { pkcs1: stranger.public_key().as_ref().to_vec(), bits: 2048 };
    assert_eq!(verify_card_signature(&stranger, STATEMENT, &good), Err(C::Invalid));
}

#[test]
fn a_p384_card_signs_with_sha384_in_the_raw_form() {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random).unwrap();
    let raw = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
    let asn1 = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, pkcs8.as_ref()).unwrap();
    let key = CertificateKey::EcdsaP384(raw.public_key().as_ref().to_vec());

    let good = raw.sign(&random, STATEMENT).unwrap();
    assert_eq!(verify_card_signature(&key, STATEMENT, good.as_ref()), Ok(()));
    assert_eq!(verify_card_signature(&key, b"another statement", good.as_ref()), Err(C::Invalid));
    assert_eq!(verify_card_signature(&key, STATEMENT, &[0; ECDSA_P384_RAW_LEN]), Err(C::Invalid));
    let der = asn1.sign(&random, STATEMENT).unwrap();
    let refused = verify_card_signature(&key, STATEMENT, der.as_ref());
    assert!(matches!(refused, Err(C::Length { expected: ECDSA_P384_RAW_LEN, .. })), "DER is not the wire form: {refused:?}");
    let converted = ecdsa_p384_raw_from_der(der.as_ref()).unwrap();
    assert_eq!(verify_card_signature(&key, STATEMENT, &converted), Ok(()));

    assert_eq!(ecdsa_p384_raw_from_der(&[0x30, 6, 2, 1, 5, 2, 1, 7]).unwrap()[47..49], [5, 0], "short scalars are padded in front");
    let long = [&[0x30, 54, 2, 49, 1][..], &[0; 48], &[2, 1, 1]].concat();
    for wrong in [&[][..], &[0x30, 0], &[0x30, 6, 2, 1, 5, 2, 1, 0x80], &der.as_ref()[1..], &long] {
        assert_eq!(ecdsa_p384_raw_from_der(wrong), Err(C::NotEcdsaDer), "{wrong:02x?}");
    }
}

#[test]
fn keys_that_no_card_has_verify_nothing() {
    for key in [CertificateKey::EcdsaP256(vec![4; 65]), CertificateKey::EcdsaP521(vec![4; 133]), CertificateKey::Ed25519([1; 32])] {
        assert_eq!(verify_card_signature(&key, STATEMENT, &[0; 64]), Err(C::KeyKind { kind: key.kind() }));
    }
}

fn group_key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn csr(subject: &SubjectFields, key: &SigningKey) -> Vec<u8> {
    let info = render_csr(subject, key.verifying_key().as_bytes()).info;
    assemble_csr(&info, &key.sign(&info).to_bytes()).unwrap()
}

#[test]
fn a_rendered_and_signed_request_verifies() {
    let key = group_key();
    let without = SubjectFields::new("JP", None, "Taro Yakuzai", "TRIAL-0002").unwrap();
    for subject in [subject(), without] {
        let der = csr(&subject, &key);
        assert_eq!(verify_csr(&der).unwrap(), (subject, key.verifying_key().to_bytes()));
    }
}

#[test]
fn requests_that_were_not_rendered_here_are_refused() {
    let key = group_key();
    let der = csr(&subject(), &key);
    assert_eq!(verify_csr(&[]), Err(CsrError::Length { len: 0 }));
    assert!(matches!(verify_csr(&vec![0x30; 4096]), Err(CsrError::Length { len: 4096 })));
    assert!(matches!(verify_csr(&[&der[..], &[0]].concat()), Err(CsrError::Malformed { .. })));
    for len in 1..der.len() {
        assert!(verify_csr(&der[..len]).is_err(), "{len} bytes");
    }
    for index in 0..der.len() {
        let mut changed = der.clone();
        changed[index] ^= 1;
        assert!(verify_csr(&changed).is_err(), "byte {index}");
    }
    let info = render_csr(&subject(), key.verifying_key().as_bytes()).info;
    let stranger = SigningKey::from_bytes(&[8; 32]);
    let foreign = assemble_csr(&info, &stranger.sign(&info).to_bytes()).unwrap();
    assert!(matches!(verify_csr(&foreign), Err(CsrError::Signature { .. })));

    let other_kind = CertificateParams::default().serialize_request(&KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()).unwrap();
    assert_eq!(verify_csr(other_kind.der()), Err(CsrError::NotEd25519));
    let ed25519 = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let other_subject = CertificateParams::default().serialize_request(&ed25519).unwrap();
    assert!(matches!(verify_csr(other_subject.der()), Err(CsrError::Subject { .. })));
    let mut params = signing_params();
    params.custom_extensions.truncate(1);
    params.use_authority_key_identifier_extension = false;
    let with_attributes = params.serialize_request(&ed25519).unwrap();
    assert_eq!(verify_csr(with_attributes.der()), Err(CsrError::NotCanonical));
    assert!(matches!(assemble_csr(&info[1..], &[0; 64]), Err(CsrError::Malformed { .. })));
}

#[test]
fn openssl_accepts_the_request() {
    let Ok(mut child) = std::process::Command::new("openssl")
        .args(["req", "-verify", "-noout", "-inform", "DER"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
    else {
        println!("skipped: no openssl on this machine");
        return;
    };
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), &csr(&subject(), &group_key())).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn only_the_right_certificate_is_installed() {
    let ca = TestCa::root("Signing CA");
    let anchors = [ca.anchor(AnchorKind::HpkiSigning, &[SIGNING_POLICY])];
    let group_key = group_key().verifying_key().to_bytes();
    let spki = RawKey(&PKCS_ED25519, group_key.to_vec());
    let subject = subject();
    let check = |der: &[u8]| {
        let certificate = Certificate::parse(der).unwrap();
        check_signing_certificate(&certificate, &group_key, &subject, &[], &anchors, NOW).map(|checked| checked.roles)
    };
    let issue = |edit: fn(&mut CertificateParams)| {
        let mut params = signing_params();
        edit(&mut params);
        ca.issue(&params, &spki)
    };
    assert_eq!(check(&issue(|_| {})), Ok(vec!["Medical Doctor".to_owned()]));

    type Edit = fn(&mut CertificateParams);
    let cases: Vec<Case<Edit, S>> = vec![
        ("no hcRole", |params| params.custom_extensions = vec![policies(&[SIGNING_POLICY], true)], |error| *error == S::NoHcRole),
        (
            "malformed hcRole",
            |params| params.custom_extensions[1] = hc_roles(vec![0x30, 2, 0x30, 0]),
            |error| matches!(error, S::HcRole { source: HcRoleError::Malformed { .. } }),
        ),
        (
            "keyUsage of a card",
            |params| params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature],
            |error| matches!(error, S::Path { source: PathError::EndEntityUsage { .. } }),
        ),
        (
            "policy of a card",
            |params| params.custom_extensions[0] = policies(&[CARD_POLICY], true),
            |error| matches!(error, S::Path { source: PathError::Policy { .. } }),
        ),
        (
            "another person",
            |params| params.distinguished_name.push(rcgen::DnType::CommonName, "Hanako Other"),
            |error| *error == S::OtherSubject,
        ),
        (
            "another organization",
            |params| {
                params.distinguished_name.remove(rcgen::DnType::OrganizationName);
            },
            |error| *error == S::OtherSubject,
        ),
        (
            "a department",
            |params| params.distinguished_name.push(rcgen::DnType::OrganizationalUnitName, "Director"),
            |error| matches!(error, S::Subject { .. }),
        ),
    ];
    for (name, edit, expected) in cases {
        match check(&issue(edit)) {
            Err(error) => assert!(expected(&error), "{name}: {error:?}"),
            Ok(_) => panic!("{name} was accepted"),
        }
    }
    let other = RawKey(&PKCS_ED25519, SigningKey::from_bytes(&[9; 32]).verifying_key().to_bytes().to_vec());
    assert_eq!(check(&ca.issue(&signing_params(), &other)), Err(S::OtherKey));
    let p256 = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    assert_eq!(check(&ca.issue(&signing_params(), &p256)), Err(S::KeyKind { kind: "P-256" }));
    let stranger = TestCa::root("Signing CA");
    assert!(matches!(check(&stranger.issue(&signing_params(), &spki)), Err(S::Path { source: PathError::NoAnchor { .. } })));
    let forged = remake(&issue(|_| {}), &stranger.key, |_| {});
    assert!(matches!(check(&forged), Err(S::Path { source: PathError::Signature { .. } })));
}
