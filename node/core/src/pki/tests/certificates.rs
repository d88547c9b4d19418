//! What counts as a certificate at all.

use const_oid::ObjectIdentifier;
use der::asn1::{BitString, OctetString};
use der::{Any, Decode, Encode};
use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384};
use spki::AlgorithmIdentifierOwned;
use x509_cert::Certificate as Parts;
use x509_cert::ext::Extension;
use x509_cert::serial_number::SerialNumber;

use super::support::{Case, TestCa, card_params, remake};
use crate::pki::certificate_key::{CertificateKeyError as K, RSA_BITS_MAX};
use crate::pki::{Certificate, CertificateError as E, CertificateKey, ExtensionError as X, SignatureAlgorithm};

fn oid(text: &str) -> ObjectIdentifier {
    ObjectIdentifier::new(text).unwrap()
}

fn card() -> (TestCa, Vec<u8>) {
    let ca = TestCa::root("Card CA");
    let der = ca.issue(&card_params(), &KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap());
    (ca, der)
}

#[test]
fn bytes_that_are_not_one_whole_certificate_are_refused() {
    let (_, der) = card();
    assert!(Certificate::parse(&der).is_ok());
    assert_eq!(Certificate::parse(&[]), Err(E::Length { len: 0 }));
    let oversized = vec![0x30; Certificate::DER_LEN_MAX + 1];
    assert_eq!(Certificate::parse(&oversized), Err(E::Length { len: oversized.len() }));
    for len in 1..der.len() {
        assert!(matches!(Certificate::parse(&der[..len]), Err(E::Malformed { .. })), "{len} bytes");
    }
    assert!(matches!(Certificate::parse(&[&der[..], &[0]].concat()), Err(E::Malformed { .. })));
}

#[test]
fn no_certificate_with_a_changed_byte_verifies() {
    let (ca, der) = card();
    let issuer = ca.certificate();
    for index in 0..der.len() {
        let mut changed = der.clone();
        changed[index] ^= 0x01;
        let verified = Certificate::parse(&changed).is_ok_and(|certificate| certificate.verify_signature(issuer.key()).is_ok());
        assert!(!verified, "byte {index}");
    }
}

#[test]
fn certificates_outside_the_profile_are_refused() {
    let (ca, der) = card();
    let extension =
        |id: &str, critical: bool, value: &[u8]| Extension { extn_id: oid(id), critical, extn_value: OctetString::new(value).unwrap() };
    let algorithm = |parts: &mut Parts, id: &str| {
        let identifier = AlgorithmIdentifierOwned { oid: oid(id), parameters: None };
        parts.tbs_certificate.signature = identifier.clone();
        parts.signature_algorithm = identifier;
    };
    type Edit<'a> = Box<dyn Fn(&mut Parts) + 'a>;
    let add = |extension: Extension| -> Edit<'_> {
        Box::new(move |parts| parts.tbs_certificate.extensions.as_mut().unwrap().push(extension.clone()))
    };
    let cases: Vec<Case<Edit<'_>, E>> = vec![
        ("version 1", Box::new(|parts| parts.tbs_certificate.version = x509_cert::certificate::Version::V1), |error| *error == E::Version),
        ("sha1WithRSAEncryption", Box::new(|parts| algorithm(parts, "1.2.840.113549.1.1.5")), |error| {
            matches!(error, E::Key { source: K::BrokenHash { .. } })
        }),
        ("ecdsa-with-SHA1", Box::new(|parts| algorithm(parts, "1.2.840.10045.4.1")), |error| {
            matches!(error, E::Key { source: K::BrokenHash { .. } })
        }),
        ("md5WithRSAEncryption", Box::new(|parts| algorithm(parts, "1.2.840.113549.1.1.4")), |error| {
            matches!(error, E::Key { source: K::BrokenHash { .. } })
        }),
        ("RSASSA-PSS", Box::new(|parts| algorithm(parts, "1.2.840.113549.1.1.10")), |error| {
            matches!(error, E::Key { source: K::SignatureAlgorithm { .. } })
        }),
        ("RSA without NULL", Box::new(|parts| algorithm(parts, "1.2.840.113549.1.1.11")), |error| {
            matches!(error, E::Key { source: K::Parameters { .. } })
        }),
        ("two algorithms", Box::new(|parts| parts.tbs_certificate.signature.oid = oid("1.2.840.10045.4.3.3")), |error| {
            *error == E::AlgorithmMismatch
        }),
        ("serial number zero", Box::new(|parts| parts.tbs_certificate.serial_number = SerialNumber::new(&[0]).unwrap()), |error| {
            matches!(error, E::Serial { .. })
        }),
        ("critical nameConstraints", add(extension("2.5.29.30", true, &[0x30, 0])), |error| {
            matches!(error, E::Extension { source: X::UnknownCritical { .. } })
        }),
        ("critical subjectDirectoryAttributes", add(extension("2.5.29.9", true, &[0x30, 0])), |error| {
            matches!(error, E::Extension { source: X::UnknownCritical { .. } })
        }),
        ("keyUsage twice", add(extension("2.5.29.15", true, &[3, 2, 7, 0x80])), |error| {
            matches!(error, E::Extension { source: X::Duplicate { .. } })
        }),
        ("malformed basicConstraints", add(extension("2.5.29.19", true, &[0x30, 1])), |error| {
            matches!(error, E::Extension { source: X::Malformed { .. } })
        }),
        ("basicConstraints with trailing bytes", add(extension("2.5.29.19", true, &[0x30, 0, 0])), |error| {
            matches!(error, E::Extension { source: X::Malformed { .. } })
        }),
    ];
    for (name, edit, expected) in cases {
        match Certificate::parse(&remake(&der, &ca.key, edit)) {
            Err(error) => assert!(expected(&error), "{name}: {error:?}"),
            Ok(_) => panic!("{name} was accepted"),
        }
    }
    let unknown = remake(&der, &ca.key, add(extension("1.2.3.4", false, &[5, 0])));
    assert!(Certificate::parse(&unknown).is_ok(), "an unknown extension that is not critical is passed over");
}

#[test]
fn keys_outside_the_profile_are_refused() {
    let spki = |algorithm: &str, parameters: Option<Any>, key: &[u8]| {
        spki::SubjectPublicKeyInfoOwned {
            algorithm: AlgorithmIdentifierOwned { oid: oid(algorithm), parameters },
            subject_public_key: BitString::from_bytes(key).unwrap(),
        }
        .to_der()
        .unwrap()
    };
    const RSA: &str = "1.2.840.113549.1.1.1";
    const EC: &str = "1.2.840.10045.2.1";
    const ED25519: &str = "1.3.101.112";
    let curve = |id: &str| Some(Any::encode_from(&oid(id)).unwrap());
    let rsa = |modulus_bytes: usize, exponent: &[u8]| {
        let mut modulus = vec![0xff; modulus_bytes];
        modulus[0] = 0x80;
        let integer = |bytes: &[u8]| der::asn1::Uint::new(bytes).unwrap();
        vec![integer(&modulus), integer(exponent)].to_der().unwrap()
    };
    let f4 = [1, 0, 1];
    let null = Some(Any::null());
    let (point, compressed) = ([&[4_u8][..], &[1; 64]].concat(), [&[2_u8][..], &[1; 32]].concat());
    let p256 = "1.2.840.10045.3.1.7";

    let accepted = CertificateKey::parse_spki(&spki(RSA, null.clone(), &rsa(256, &f4))).unwrap();
    assert!(matches!(accepted, CertificateKey::Rsa { bits: 2048, .. }));
    assert!(CertificateKey::parse_spki(&spki(RSA, null.clone(), &rsa(RSA_BITS_MAX / 8, &f4))).is_ok());

    let cases: Vec<Case<Vec<u8>, K>> = vec![
        ("RSA-1024", spki(RSA, null.clone(), &rsa(128, &f4)), |error| *error == K::RsaBits { bits: 1024 }),
        ("RSA-4104", spki(RSA, null.clone(), &rsa(513, &f4)), |error| *error == K::RsaBits { bits: 4104 }),
        ("exponent 3", spki(RSA, null.clone(), &rsa(256, &[3])), |error| *error == K::RsaExponent),
        ("even exponent", spki(RSA, null.clone(), &rsa(256, &[1, 0, 2])), |error| *error == K::RsaExponent),
        ("huge exponent", spki(RSA, null.clone(), &rsa(256, &[1, 0, 0, 0, 1])), |error| *error == K::RsaExponent),
        ("RSA without parameters", spki(RSA, None, &rsa(256, &f4)), |error| matches!(error, K::Parameters { .. })),
        ("RSA key of rubbish", spki(RSA, null.clone(), &[0x30, 5]), |error| matches!(error, K::Malformed { .. })),
        ("compressed point", spki(EC, curve(p256), &compressed), |error| matches!(error, K::Length { .. })),
        ("short point", spki(EC, curve(p256), &point[..64]), |error| matches!(error, K::Length { .. })),
        ("secp256k1", spki(EC, curve("1.3.132.0.10"), &point), |error| matches!(error, K::Algorithm { .. })),
        ("no curve", spki(EC, null.clone(), &point), |error| matches!(error, K::Parameters { .. })),
        ("Ed25519 with NULL", spki(ED25519, null, &[1; 32]), |error| matches!(error, K::Parameters { .. })),
        ("Ed25519 of 31 bytes", spki(ED25519, None, &[1; 31]), |error| matches!(error, K::Length { .. })),
        ("Ed448", spki("1.3.101.113", None, &[1; 57]), |error| matches!(error, K::Algorithm { .. })),
    ];
    for (name, der, expected) in cases {
        match CertificateKey::parse_spki(&der) {
            Err(error) => assert!(expected(&error), "{name}: {error:?}"),
            Ok(_) => panic!("{name} was accepted"),
        }
    }
}

#[test]
fn a_small_order_ed25519_key_verifies_nothing() {
    // The identity: with the commitment at infinity and s = 0 a lenient verifier accepts any message.
    let mut identity = [0; 32];
    identity[0] = 1;
    let mut signature = [0; 64];
    signature[0] = 1;
    assert!(CertificateKey::Ed25519(identity).verify(SignatureAlgorithm::Ed25519, b"anything", &signature).is_err());
}

#[test]
fn a_key_does_not_verify_another_kinds_signature() {
    let (ca, der) = card();
    let parts = Parts::from_der(&der).unwrap();
    let signed = parts.tbs_certificate.to_der().unwrap();
    let signature = parts.signature.raw_bytes();
    let issuer = ca.certificate();
    assert!(issuer.key().verify(SignatureAlgorithm::EcdsaSha256, &signed, signature).is_ok());
    for algorithm in [SignatureAlgorithm::RsaPkcs1Sha256, SignatureAlgorithm::EcdsaSha384, SignatureAlgorithm::Ed25519] {
        assert!(issuer.key().verify(algorithm, &signed, signature).is_err(), "{algorithm:?}");
    }
}
