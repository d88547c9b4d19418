//! The certificates and lists inside the real sample document, which is not part of the project.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use const_oid::ObjectIdentifier;
use warifu_protocol::{AnchorKind, UnixMillis};

use crate::pki::{Certificate, CertificateKey, Crl, CrlError, KeyUsage, PathError, TrustAnchor, verify_path};

/// 2022-09-07T00:00:00Z, inside the validity of everything in the sample.
const NOW: UnixMillis = UnixMillis(1_662_508_800_000);
const HOUR: u64 = 3_600_000;
/// The policy of test certificates, and that of the production CA that issued this one.
const POLICIES: [&str; 2] = ["1.2.392.100495.1.5.1.1.0.1", "1.2.392.100495.1.5.1.1.3.1"];

/// The DER values of the base64 elements with this ending of their name, or nothing when the sample is absent.
fn elements(name: &str) -> Option<Vec<Vec<u8>>> {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/samples/prescription-004-signed-rsa.xml");
    let Ok(text) = std::fs::read_to_string(&sample) else {
        println!("skipped: no {}", sample.display());
        return None;
    };
    let tag = format!("{name}>");
    let values = text.split(&tag).skip(1).step_by(2).map(|rest| {
        let base64: String = rest.split('<').next().unwrap().split_whitespace().collect();
        STANDARD.decode(base64).unwrap()
    });
    Some(values.collect())
}

/// End entity, CA and root of the sample.
fn certificates() -> Option<[Certificate; 3]> {
    let all: Vec<Certificate> = elements("X509Certificate")?.iter().map(|der| Certificate::parse(der).unwrap()).collect();
    let [end_entity, _, _, ca, root] = all.try_into().unwrap();
    Some([end_entity, ca, root])
}

fn anchor(certificate: &Certificate, policies: &[&str]) -> [TrustAnchor; 1] {
    let policies = policies.iter().map(|policy| ObjectIdentifier::new(policy).unwrap()).collect();
    [TrustAnchor { certificate: certificate.clone(), kind: AnchorKind::HpkiSigning, policies }]
}

#[test]
fn a_real_physicians_certificate_is_read() {
    let Some([physician, ca, root]) = certificates() else { return };
    assert_eq!(physician.hc_roles().unwrap(), ["Medical Doctor"]);
    assert_eq!(physician.serial().as_bytes(), [0x01, 0x5e]);
    assert_eq!(physician.key_usage(), Some(KeyUsage::NON_REPUDIATION));
    assert!(physician.key_usage_is_critical() && !physician.is_ca());
    assert!(matches!(physician.key(), CertificateKey::Rsa { bits: 2048, .. }));
    assert_eq!(physician.policies(), [ObjectIdentifier::new(POLICIES[0]).unwrap()]);
    assert_eq!((physician.not_before(), physician.not_after()), (UnixMillis(1_644_159_600_000), UnixMillis(1_802_012_399_000)));
    let subject = physician.subject().to_subject_fields().unwrap();
    assert_eq!((subject.country(), subject.organization().is_some()), ("JP", true));
    assert!(ca.is_ca() && root.is_ca());
}

#[test]
fn the_real_chain_holds_under_either_tier() {
    let Some([physician, ca, root]) = certificates() else { return };
    let intermediates = [ca.clone()];
    let kind = AnchorKind::HpkiSigning;

    let anchors = anchor(&ca, &POLICIES[..1]);
    assert_eq!(verify_path(&physician, &[], &anchors, kind, NOW).unwrap().issuer(), &ca);
    let anchors = anchor(&root, &POLICIES);
    assert_eq!(verify_path(&physician, &intermediates, &anchors, kind, NOW).unwrap().issuer(), &ca);

    // The CA itself names only the production policy.
    let anchors = anchor(&root, &POLICIES[..1]);
    assert_eq!(verify_path(&physician, &intermediates, &anchors, kind, NOW), Err(PathError::Policy { certificate: ca.hash() }));
    let anchors = anchor(&root, &POLICIES);
    assert!(matches!(verify_path(&physician, &[], &anchors, kind, NOW), Err(PathError::NoAnchor { .. })));
    let late = physician.not_after().plus(1000);
    assert!(matches!(verify_path(&physician, &intermediates, &anchors, kind, late), Err(PathError::Expired { .. })));
}

#[test]
fn the_real_lists_are_read_and_applied() {
    let Some([physician, ca, root]) = certificates() else { return };
    let lists = elements("EncapsulatedCRLValue").unwrap();
    // The first is a timestamp authority's, which has no authorityKeyIdentifier.
    assert!(matches!(Crl::parse(&lists[0]), Err(CrlError::Missing { .. })));
    let [holders, authorities] = [Crl::parse(&lists[1]).unwrap(), Crl::parse(&lists[2]).unwrap()];
    assert_eq!((holders.number(), authorities.number()), (1470, 3269));

    assert_eq!(holders.check_not_revoked(&physician, &ca, NOW, 96 * HOUR, 0), Ok(()));
    assert_eq!(authorities.check_not_revoked(&ca, &root, NOW, 96 * HOUR, 0), Ok(()));
    let first = holders.revoked().next().unwrap();
    assert_eq!(holders.is_revoked(&first.serial), Some(first));

    assert!(matches!(holders.verify(&root), Err(CrlError::WrongIssuer { .. })));
    assert!(matches!(authorities.covers(&physician), Err(CrlError::WrongIssuer { .. })));
    assert!(matches!(authorities.covers(&root), Err(CrlError::OutOfScope { .. })));
    let later = NOW.plus(96 * HOUR);
    assert!(matches!(holders.check_not_revoked(&physician, &ca, later, u64::MAX, 0), Err(CrlError::Stale { .. })));
}
