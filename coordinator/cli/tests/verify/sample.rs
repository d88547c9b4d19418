//! The service's own sample, which lies outside the project and may be absent.

use std::path::{Path, PathBuf};

use warifu::verify::{VerifyOptions, verify};
use warifu_coordinator::document::XmlDocument;
use warifu_core::pki::Certificate;
use warifu_prescription::uri;
use warifu_protocol::DocumentKind;

use super::support::{Ca, check};
use super::tampering::{replace_byte, signed_range};

fn samples() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/samples");
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: {} is not there", path.display());
    None
}

#[test]
fn the_rsa_sample_is_valid_as_it_stands() {
    let Some(samples) = samples() else { return };
    let xml = std::fs::read_to_string(samples.join("prescription-004-signed-rsa.xml")).unwrap();
    let report = check(&xml);
    assert!(report.valid, "{report}");
    let signature = &report.signatures[0];
    assert_eq!(signature.claimed_signing_time.as_deref(), Some("2022-09-07T08:08:01Z"));
    assert_eq!(signature.signer.as_ref().unwrap().roles, ["Medical Doctor"]);
    let text = report.to_string();
    for expected in ["AdditionalPrescriptionInformation", "PrescriptionManagement", "xa:UnsignedProperties", "claimed", "Medical Doctor"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn the_rsa_sample_chains_to_its_signing_ca_and_over_it_to_the_root() {
    use base64::Engine as _;
    let Some(samples) = samples() else { return };
    let xml = std::fs::read_to_string(samples.join("prescription-004-signed-rsa.xml")).unwrap();
    let document = XmlDocument::parse(xml.as_bytes()).unwrap();
    let archived =
        document.nodes().filter(|&node| document.is_named(node, Some(uri::XADES), "EncapsulatedX509Certificate")).collect::<Vec<_>>();
    let ca = |name: &str| {
        let mut found = archived.iter().filter_map(|&node| {
            let text: String = document.tree().text_content_deep(node).split_whitespace().collect();
            Certificate::parse(&base64::engine::general_purpose::STANDARD.decode(text).unwrap()).ok()
        });
        found.find(|certificate| certificate.subject().to_string().contains(name)).unwrap()
    };
    for (name, valid) in [("HPKI-01-MedisSignCA2", true), ("MHLW HPKI Root CA V2", true), ("Test CA for TimeStampServer", false)] {
        let report = verify(xml.as_bytes(), &VerifyOptions { anchors: vec![ca(name)], at: None });
        assert_eq!(report.valid, valid, "{name}: {report}");
    }
}

#[test]
fn the_rsa_sample_is_refused_after_a_change_to_any_signed_byte() {
    let Some(samples) = samples() else { return };
    let xml = std::fs::read_to_string(samples.join("prescription-004-signed-rsa.xml")).unwrap();
    for name in ["PrescriptionDocument", "xs:KeyInfo", "xa:SignedProperties", "xs:SignedInfo", "xs:SignatureValue"] {
        for position in signed_range(&xml, name) {
            // Line breaks inside the value are no part of the value.
            if name == "xs:SignatureValue" && xml.as_bytes()[position].is_ascii_whitespace() {
                continue;
            }
            assert!(!check(&replace_byte(&xml, position)).valid, "byte {position} in {name}");
        }
    }
}

#[test]
fn the_unsigned_sample_comes_out_signed_in_the_shape_of_the_signed_one() {
    let Some(samples) = samples() else { return };
    let unsigned = std::fs::read_to_string(samples.join("prescription-004-unsigned.xml")).unwrap();
    let theirs = std::fs::read_to_string(samples.join("prescription-004-signed-rsa.xml")).unwrap();
    let ours = Ca::new("Trial CA").doctor().sign(&unsigned, DocumentKind::Prescription);
    assert!(check(&ours).valid);
    assert_eq!(shape(&ours), shape(&theirs));
}

/// Names of elements and attributes in document order, without what archiving adds.
fn shape(xml: &str) -> Vec<String> {
    let document = XmlDocument::parse(xml.as_bytes()).unwrap();
    let tree = document.tree();
    let archived = document.nodes().find(|&node| tree.element(node).is_some_and(|element| element.name.local_name == "UnsignedProperties"));
    let mut shape = Vec::new();
    for node in document.nodes() {
        let Some(element) = tree.element(node) else { continue };
        if archived.is_some_and(|archived| node == archived || tree.ancestors(node).contains(&archived)) {
            continue;
        }
        shape.push(element.name.prefixed_name().into_owned());
        shape.extend(element.attributes.iter().map(|attribute| format!("@{}", attribute.name.prefixed_name())));
        shape.extend(element.namespace_declarations.iter().map(|(prefix, uri)| format!("xmlns:{prefix}={uri}")));
    }
    shape
}
