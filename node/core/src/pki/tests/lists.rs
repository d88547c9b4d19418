//! Revocation lists: what is read, whose it is, what it covers and how long it counts.

use std::time::Duration;

use const_oid::ObjectIdentifier;
use der::asn1::{Int, OctetString};
use der::{Decode, Encode};
use rcgen::{CrlDistributionPoint, CrlIssuingDistributionPoint, CrlScope, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P384_SHA384, SerialNumber};
use spki::AlgorithmIdentifierOwned;
use x509_cert::crl::{CertificateList, TbsCertList};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::crl::CrlDistributionPoints;
use x509_cert::ext::pkix::crl::dp::{DistributionPoint, Reasons};

use super::support::{Case, DAY, NOW, TestCa, card_params, remake, remake_crl};
use crate::pki::certificate_key::CertificateKeyError as K;
use crate::pki::{Certificate, CertificateSerial, Crl, CrlError as E, ExtensionError as X, RevocationReason};

const SERIAL: [u8; 2] = [0x15, 0x5e];
const FAR: &str = "http://crl.example/far.crl";
const NEAR: &str = "http://crl.example/near.crl";

fn card(ca: &TestCa, points: &[&str]) -> Certificate {
    let mut params = card_params();
    params.serial_number = Some(SerialNumber::from_slice(&SERIAL));
    params.crl_distribution_points = points.iter().map(|uri| CrlDistributionPoint { uris: vec![(*uri).to_owned()] }).collect();
    let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    Certificate::parse(&ca.issue(&params, &key)).unwrap()
}

fn scoped(ca: &TestCa, uri: &str, scope: Option<CrlScope>) -> Crl {
    let distribution_point = CrlDistributionPoint { uris: vec![uri.to_owned()] };
    let point = CrlIssuingDistributionPoint { distribution_point, scope };
    Crl::parse(&ca.crl_with(&[], |params| params.issuing_distribution_point = Some(point))).unwrap()
}

#[test]
fn a_revoked_certificate_is_found_and_another_is_not() {
    let ca = TestCa::root("CA");
    let (issuer, card) = (ca.certificate(), card(&ca, &[]));
    let check = |list: &Crl| list.check_not_revoked(&card, &issuer, NOW, 2 * DAY, 0);

    let clean = Crl::parse(&ca.crl(&[])).unwrap();
    assert_eq!((clean.number(), clean.revoked().len(), clean.this_update(), clean.next_update()), (7, 0, NOW, NOW.plus(4 * DAY)));
    assert_eq!(check(&clean), Ok(()));
    let others = Crl::parse(&ca.crl(&[&[0x15, 0x5d], &[0x15, 0x5f], &[0x5e], &[0x15, 0x5e, 0x01]])).unwrap();
    assert_eq!(check(&others), Ok(()));

    let listed = Crl::parse(&ca.crl(&[&[0x7f; 20], &SERIAL, &[1]])).unwrap();
    let revoked = E::Revoked { since: NOW.minus(DAY), reason: Some(RevocationReason::KeyCompromise) };
    assert_eq!(check(&listed), Err(revoked));
    let serials: Vec<&[u8]> = listed.revoked().map(|entry| entry.serial.as_bytes()).collect();
    assert_eq!(serials, [&[1][..], &SERIAL, &[0x7f; 20]]);
    assert!(listed.is_revoked(&CertificateSerial::new(&[2]).unwrap()).is_none());
}

#[test]
fn a_list_counts_from_its_date_until_its_successor_or_the_policys_age() {
    let list = Crl::parse(&TestCa::root("CA").crl(&[])).unwrap();
    assert_eq!(list.freshness(NOW, DAY, 0), Ok(()));
    assert_eq!(list.freshness(NOW.minus(1), DAY, 0), Err(E::FromTheFuture { this_update: NOW, now: NOW.minus(1) }));
    assert_eq!(list.freshness(NOW.minus(1000), DAY, 1000), Ok(()));
    assert_eq!(list.freshness(NOW.plus(DAY), DAY, 0), Ok(()));
    let now = NOW.plus(DAY + 1);
    assert_eq!(list.freshness(now, DAY, 1000), Err(E::Stale { until: NOW.plus(DAY), now }));
    assert_eq!(list.freshness(NOW.plus(4 * DAY), u64::MAX, 0), Ok(()));
    let now = NOW.plus(4 * DAY + 1);
    assert_eq!(list.freshness(now, u64::MAX, u64::MAX), Err(E::Stale { until: NOW.plus(4 * DAY), now }));
}

#[test]
fn a_list_of_another_ca_or_key_does_not_count() {
    let ca = TestCa::root("CA");
    let (issuer, card) = (ca.certificate(), card(&ca, &[]));
    let check = |list: &[u8]| Crl::parse(list).unwrap().check_not_revoked(&card, &issuer, NOW, DAY, 0);
    assert!(matches!(check(&TestCa::root("Other").crl(&[])), Err(E::WrongIssuer { .. })));
    let impostor = TestCa::root("CA");
    assert!(matches!(check(&impostor.crl(&[])), Err(E::WrongIssuer { .. })), "same name, another key identifier");
    let foreign = Crl::parse(&impostor.crl(&[])).unwrap();
    assert!(matches!(foreign.verify(&issuer), Err(E::WrongIssuer { .. })), "the list's own check sees it too");
    assert!(matches!(check(&remake_crl(&ca.crl(&[]), &impostor.key, |_| {})), Err(E::Signature { .. })), "signed by another key");

    // rcgen itself will not sign a list for such a CA, so the list is made over.
    let mute = TestCa::root_with("CA", |params| params.key_usages = vec![KeyUsagePurpose::KeyCertSign]);
    let speaking = TestCa { params: ca.params, key: KeyPair::from_pem(&mute.key.serialize_pem()).unwrap(), der: Vec::new() };
    let list = Crl::parse(&speaking.crl(&[])).unwrap();
    assert_eq!(list.verify(&mute.certificate()), Err(E::IssuerMayNotSign));
}

#[test]
fn a_list_counts_only_for_the_certificates_that_it_covers() {
    let ca = TestCa::root("CA");
    let child = ca.under("Child", |params| {
        params.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![NEAR.to_owned()] }];
    });
    let (child, near, plain) = (child.certificate(), card(&ca, &[FAR, NEAR]), card(&ca, &[]));
    let outside = |list: &Crl, certificate: &Certificate| matches!(list.covers(certificate), Err(E::OutOfScope { .. }));

    let all = scoped(&ca, NEAR, None);
    assert!(!outside(&all, &near) && !outside(&all, &child) && outside(&all, &plain));
    assert!(outside(&scoped(&ca, "http://crl.example/third.crl", None), &near));
    let authorities = scoped(&ca, NEAR, Some(CrlScope::CaCertsOnly));
    assert!(outside(&authorities, &near) && !outside(&authorities, &child));
    let refused = authorities.check_not_revoked(&near, &ca.certificate(), NOW, DAY, 0);
    assert!(matches!(refused, Err(E::OutOfScope { .. })), "{refused:?}");
    let holders = scoped(&ca, NEAR, Some(CrlScope::UserCertsOnly));
    assert!(!outside(&holders, &near) && outside(&holders, &child));

    let whole = Crl::parse(&ca.crl(&[])).unwrap();
    let series = [whole.series(), all.series(), authorities.series(), holders.series(), scoped(&ca, FAR, None).series()];
    for (index, one) in series.iter().enumerate() {
        assert!(!series[..index].contains(one), "series {index} is its own");
    }
    assert_eq!(whole.series(), Crl::parse(&ca.crl(&[&[1]])).unwrap().series(), "the next list of the same series");
    assert_ne!(whole.series(), Crl::parse(&TestCa::root("CA").crl(&[])).unwrap().series(), "another key of the same name");
}

#[test]
fn a_point_for_some_reasons_or_of_another_issuer_is_not_where_a_certificates_list_is() {
    let ca = TestCa::root("CA");
    let list = scoped(&ca, NEAR, None);
    let with_point = |edit: fn(&mut DistributionPoint)| {
        let der = remake(card(&ca, &[NEAR]).der(), &ca.key, |parts| {
            let extensions = parts.tbs_certificate.extensions.as_mut().unwrap();
            let extension = extensions.iter_mut().find(|extension| extension.extn_id == oid("2.5.29.31")).unwrap();
            let mut points = CrlDistributionPoints::from_der(extension.extn_value.as_bytes()).unwrap();
            edit(&mut points.0[0]);
            extension.extn_value = OctetString::new(points.to_der().unwrap()).unwrap();
        });
        list.covers(&Certificate::parse(&der).unwrap())
    };
    assert_eq!(with_point(|_| {}), Ok(()));
    let some_reasons: fn(&mut DistributionPoint) = |point| point.reasons = Some(Reasons::KeyCompromise.into());
    let other_issuer: fn(&mut DistributionPoint) = |point| point.crl_issuer = Some(Vec::new());
    for edit in [some_reasons, other_issuer] {
        assert!(matches!(with_point(edit), Err(E::OutOfScope { .. })));
    }
}

#[test]
fn bytes_that_are_not_one_whole_list_are_refused() {
    let ca = TestCa::root("CA");
    let der = ca.crl(&[&SERIAL]);
    assert_eq!(Crl::parse(&[]), Err(E::Length { len: 0 }));
    let oversized = vec![0x30; Crl::DER_LEN_MAX + 1];
    assert_eq!(Crl::parse(&oversized), Err(E::Length { len: oversized.len() }));
    for len in 1..der.len() {
        assert!(Crl::parse(&der[..len]).is_err(), "{len} bytes");
    }
    assert!(matches!(Crl::parse(&[&der[..], &[0]].concat()), Err(E::Malformed { .. })));
    let issuer = ca.certificate();
    for index in 0..der.len() {
        let mut changed = der.clone();
        changed[index] ^= 0x01;
        assert!(!Crl::parse(&changed).is_ok_and(|list| list.verify(&issuer).is_ok()), "byte {index}");
    }
}

#[test]
fn lists_outside_the_profile_are_refused() {
    let ca = TestCa::root("CA");
    let der = ca.crl(&[&SERIAL]);
    type Edit = fn(&mut CertificateList);
    let cases: Vec<Case<Edit, E>> = vec![
        ("version 1", |list| list.tbs_cert_list.version = x509_cert::Version::V1, |error| *error == E::Version),
        ("no nextUpdate", |list| list.tbs_cert_list.next_update = None, |error| matches!(error, E::Missing { part: "nextUpdate" })),
        ("no extensions", |list| list.tbs_cert_list.crl_extensions = None, |error| matches!(error, E::Missing { .. })),
        ("no CRLNumber", |list| drop_extension(list, NUMBER), |error| matches!(error, E::Missing { part: "CRLNumber" })),
        ("no authorityKeyIdentifier", |list| drop_extension(list, AUTHORITY_KEY), |error| matches!(error, E::Missing { .. })),
        (
            "sha1WithRSAEncryption",
            |list| set_algorithm(list, "1.2.840.113549.1.1.5"),
            |error| matches!(error, E::Algorithm { source: K::BrokenHash { .. } }),
        ),
        ("two algorithms", |list| list.tbs_cert_list.signature.oid = oid("1.2.840.10045.4.3.3"), |error| *error == E::AlgorithmMismatch),
        (
            "CRLNumber of nine bytes",
            |list| {
                drop_extension(list, NUMBER);
                add(list, NUMBER, false, &Int::new(&[1; 9]).unwrap().to_der().unwrap());
            },
            |error| *error == E::NumberTooLarge,
        ),
        (
            "CRLNumber twice",
            |list| add(list, NUMBER, false, &[2, 1, 8]),
            |error| matches!(error, E::Extension { source: X::Duplicate { .. } }),
        ),
        ("a delta", |list| add(list, "2.5.29.27", true, &[2, 1, 1]), |error| matches!(error, E::NotComplete { .. })),
        ("a delta that hides it", |list| add(list, "2.5.29.27", false, &[2, 1, 1]), |error| matches!(error, E::NotComplete { .. })),
        ("indirect", |list| add(list, POINT, true, &[0x30, 3, 0x84, 1, 0xff]), |error| matches!(error, E::NotComplete { .. })),
        ("some reasons", |list| add(list, POINT, true, &[0x30, 4, 0x83, 2, 6, 0x40]), |error| matches!(error, E::NotComplete { .. })),
        (
            "attribute certificates",
            |list| add(list, POINT, true, &[0x30, 3, 0x85, 1, 0xff]),
            |error| matches!(error, E::NotComplete { .. }),
        ),
        (
            "unknown critical",
            |list| add(list, "1.2.392.1.1", true, &[5, 0]),
            |error| matches!(error, E::Extension { source: X::UnknownCritical { .. } }),
        ),
        (
            "entry of another issuer",
            |list| add_to_entry(list, "2.5.29.29", true, &[0x30, 0]),
            |error| matches!(error, E::NotComplete { .. }),
        ),
        (
            "unknown critical in an entry",
            |list| add_to_entry(list, "1.2.392.1.1", true, &[5, 0]),
            |error| matches!(error, E::Extension { source: X::UnknownCritical { .. } }),
        ),
        (
            "removeFromCRL",
            |list| {
                entry(list).crl_entry_extensions = None;
                add_to_entry(list, "2.5.29.21", false, &[0x0a, 1, 8]);
            },
            |error| matches!(error, E::NotComplete { .. }),
        ),
    ];
    for (name, edit, expected) in cases {
        match Crl::parse(&remake_crl(&der, &ca.key, edit)) {
            Err(error) => assert!(expected(&error), "{name}: {error:?}"),
            Ok(_) => panic!("{name} was accepted"),
        }
    }
    let held = remake_crl(&der, &ca.key, |list| {
        entry(list).crl_entry_extensions = None;
        add_to_entry(list, "2.5.29.21", false, &[0x0a, 1, 6]);
    });
    let held = Crl::parse(&held).unwrap();
    assert_eq!(
        held.check_not_revoked(&card(&ca, &[]), &ca.certificate(), NOW, DAY, 0),
        Err(E::Revoked { since: NOW.minus(DAY), reason: Some(RevocationReason::CertificateHold) }),
        "a certificate on hold is revoked"
    );
}

#[test]
fn a_list_of_many_entries_is_read_quickly() {
    let ca = TestCa::root("CA");
    let template = Crl::parse(&ca.crl(&[])).unwrap();
    let serials: Vec<[u8; 4]> = (0..20_000_u32).rev().map(|number| (0x1000_0000 + number).to_be_bytes()).collect();
    let borrowed: Vec<&[u8]> = serials.iter().map(|serial| &serial[..]).collect();
    let der = ca.crl_with(&borrowed, |params| params.this_update += Duration::from_secs(1));
    let list = Crl::parse(&der).unwrap();
    assert_eq!((list.revoked().len(), list.series()), (serials.len(), template.series()));
    assert!(serials.iter().all(|serial| list.is_revoked(&CertificateSerial::new(serial).unwrap()).is_some()));
}

const NUMBER: &str = "2.5.29.20";
const AUTHORITY_KEY: &str = "2.5.29.35";
const POINT: &str = "2.5.29.28";

fn oid(text: &str) -> ObjectIdentifier {
    ObjectIdentifier::new(text).unwrap()
}

fn extension(id: &str, critical: bool, value: &[u8]) -> Extension {
    Extension { extn_id: oid(id), critical, extn_value: OctetString::new(value).unwrap() }
}

fn add(list: &mut CertificateList, id: &str, critical: bool, value: &[u8]) {
    list.tbs_cert_list.crl_extensions.get_or_insert_default().push(extension(id, critical, value));
}

fn add_to_entry(list: &mut CertificateList, id: &str, critical: bool, value: &[u8]) {
    entry(list).crl_entry_extensions.get_or_insert_default().push(extension(id, critical, value));
}

fn entry(list: &mut CertificateList) -> &mut x509_cert::crl::RevokedCert {
    let TbsCertList { revoked_certificates: Some(entries), .. } = &mut list.tbs_cert_list else { panic!("no entries") };
    &mut entries[0]
}

fn drop_extension(list: &mut CertificateList, id: &str) {
    list.tbs_cert_list.crl_extensions.as_mut().unwrap().retain(|extension| extension.extn_id != oid(id));
}

fn set_algorithm(list: &mut CertificateList, id: &str) {
    let identifier = AlgorithmIdentifierOwned { oid: oid(id), parameters: None };
    list.tbs_cert_list.signature = identifier.clone();
    list.signature_algorithm = identifier;
}
