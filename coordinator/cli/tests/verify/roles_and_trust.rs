//! Who may sign, when, and who vouches for it.

use warifu::verify::{Report, TrustReport, VerifyOptions, verify};
use warifu_protocol::{DocumentKind, UnixMillis};

use super::support::{Ca, SIGNING_TIME, check, ed25519, problems, signed_dispensing, signed_prescription};

const YEAR_MS: u64 = 365 * 24 * 3600 * 1000;

fn check_with(xml: &str, anchors: &[&Ca], at: Option<UnixMillis>) -> Report {
    let anchors = anchors.iter().map(|ca| ca.certificate()).collect();
    verify(xml.as_bytes(), &VerifyOptions { anchors, at })
}

#[test]
fn a_licence_for_the_other_document_is_refused() {
    let ca = Ca::new("Trial CA");
    let rows: [(&[&str], DocumentKind, bool); 7] = [
        (&["Medical Doctor"], DocumentKind::Prescription, true),
        (&["Dentist"], DocumentKind::Prescription, true),
        (&["Pharmacist", "Medical Doctor"], DocumentKind::Prescription, true),
        (&["Pharmacist"], DocumentKind::Prescription, false),
        (&["General Nurse"], DocumentKind::Prescription, false),
        (&[], DocumentKind::Prescription, false),
        (&["Medical Doctor"], DocumentKind::Dispensing, false),
    ];
    for (roles, kind, valid) in rows {
        let signer = ca.signer(ed25519(), roles);
        let xml = match kind {
            DocumentKind::Prescription => signed_prescription(&signer),
            DocumentKind::Dispensing => signed_dispensing(&ca.doctor(), &signer),
        };
        let report = check(&xml);
        assert_eq!(report.valid, valid, "{roles:?} {kind}: {report}");
        assert!(valid || problems(&report).contains("is signed by"), "{report}");
    }
}

#[test]
fn a_certificate_that_is_not_for_non_repudiation_is_refused() {
    let ca = Ca::new("Trial CA");
    let signer = ca.signer_with(ed25519(), &["Medical Doctor"], &[rcgen::KeyUsagePurpose::DigitalSignature]);
    let report = check(&signed_prescription(&signer));
    assert!(!report.valid && problems(&report).contains("nonRepudiation"), "{report}");
}

#[test]
fn certificates_are_checked_at_the_claimed_time_or_at_the_given_one() {
    let ca = Ca::new("Trial CA");
    let mut doctor = ca.doctor();
    let xml = signed_prescription(&doctor);
    for (at, valid) in [(SIGNING_TIME.minus(YEAR_MS), false), (SIGNING_TIME, true), (SIGNING_TIME.plus(10 * YEAR_MS), false)] {
        let report = check_with(&xml, &[], Some(at));
        assert_eq!(report.valid, valid, "{report}");
        assert!(valid || problems(&report).contains("is valid from"), "{report}");
    }
    doctor.signing_time = SIGNING_TIME.plus(10 * YEAR_MS);
    let report = check(&signed_prescription(&doctor));
    assert!(!report.valid && problems(&report).contains("is valid from"), "{report}");
}

#[test]
fn a_chain_to_a_trusted_ca_is_needed_when_one_is_given() {
    let (ca, other) = (Ca::new("Trial CA"), Ca::new("Trial CA"));
    let xml = signed_dispensing(&ca.doctor(), &ca.pharmacist());
    let report = check_with(&xml, &[&other, &ca], None);
    assert!(report.valid, "{report}");
    assert!(
        report
            .signatures
            .iter()
            .all(|signature| matches!(&signature.trust, TrustReport::Chained { anchor } if anchor.contains("Trial CA")))
    );
    let report = check_with(&xml, &[&other], None);
    assert!(!report.valid && problems(&report).contains("does not chain"), "{report}");
    let signature = &report.signatures[0];
    let reason = signature.problem.clone().unwrap();
    assert_eq!(signature.trust, TrustReport::Refused { reason: reason.clone() });
    let text = report.to_string();
    assert!(text.contains(&format!("refused at 2026-04-01T00:00:00Z: {reason}")) && !text.contains("--trust"), "{text}");

    let untold = check(&xml);
    assert_eq!(untold.signatures[0].trust, TrustReport::NotAsked);
    assert!(untold.to_string().contains("not checked; a CA's certificate is given with --trust"), "{untold}");
    let nurse = ca.signer(ed25519(), &["General Nurse"]);
    let early = check_with(&signed_prescription(&nurse), &[&ca], None);
    assert_eq!(early.signatures[0].trust, TrustReport::NotReached);
    assert!(early.to_string().contains("not checked, since an earlier check failed"), "{early}");
}

#[test]
fn an_intermediate_that_archiving_put_into_the_document_completes_the_chain() {
    use base64::Engine as _;
    let root = Ca::new("Trial Root");
    let ca = root.subordinate("Trial CA");
    let xml = signed_prescription(&ca.doctor());
    let report = check_with(&xml, &[&root], None);
    assert!(!report.valid && problems(&report).contains("does not chain"), "{report}");
    let values = format!(
        "<xa:UnsignedProperties><xa:UnsignedSignatureProperties><xa:CertificateValues><xa:EncapsulatedX509Certificate>{}\
         </xa:EncapsulatedX509Certificate></xa:CertificateValues></xa:UnsignedSignatureProperties></xa:UnsignedProperties>\
         </xa:QualifyingProperties>",
        base64::engine::general_purpose::STANDARD.encode(&ca.der)
    );
    let archived = xml.replace("</xa:QualifyingProperties>", &values);
    let report = check_with(&archived, &[&root], None);
    assert!(report.valid, "{report}");
}

#[test]
fn the_signing_certificate_must_be_the_one_that_was_signed_for() {
    use base64::Engine as _;
    let ca = Ca::new("Trial CA");
    let (doctor, stranger) = (ca.doctor(), ca.doctor());
    let base64 = |der: &[u8]| base64::engine::general_purpose::STANDARD.encode(der);
    let xml = signed_prescription(&doctor).replace(&base64(&doctor.certificate), &base64(&stranger.certificate));
    let report = check(&xml);
    assert!(!report.valid && problems(&report).contains("SigningCertificateV2 names none"), "{report}");
}

#[test]
fn a_certificate_signed_with_sha_1_is_refused() {
    use der::{Decode as _, Encode as _};
    let ca = Ca::new("Trial CA");
    let mut doctor = ca.doctor();
    let mut certificate = x509_cert::Certificate::from_der(&doctor.certificate).unwrap();
    // ecdsa-with-SHA1
    certificate.signature_algorithm.oid = "1.2.840.10045.4.1".parse().unwrap();
    certificate.tbs_certificate.signature.oid = certificate.signature_algorithm.oid;
    doctor.certificate = certificate.to_der().unwrap();
    let report = check(&signed_prescription(&doctor));
    assert!(!report.valid && problems(&report).contains("broken hash"), "{report}");
}
