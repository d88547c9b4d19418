//! No byte of what is signed can be changed.

use warifu_coordinator::document::sample;
use warifu_protocol::DocumentKind;

use super::support::{Ca, PRESCRIPTION_ID, check, ed25519, problems, signed_dispensing, signed_prescription};

#[test]
fn our_own_prescription_and_dispensing_are_valid() {
    let ca = Ca::new("Trial CA");
    let dispensing = signed_dispensing(&ca.doctor(), &ca.pharmacist());
    for (xml, count) in [(signed_prescription(&ca.doctor()), 1), (dispensing, 2)] {
        let report = check(&xml);
        assert!(report.valid, "{report}");
        assert_eq!(report.signatures.len(), count);
    }
}

#[test]
fn every_kind_of_key_is_verified() {
    let ca = Ca::new("Trial CA");
    let keys = [
        rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
        rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512),
        rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048),
        Ok(ed25519()),
    ];
    for key in keys {
        let xml = signed_prescription(&ca.signer(key.unwrap(), &["Dentist"]));
        let report = check(&xml);
        assert!(report.valid, "{report}");
        let (before, rest) = xml.split_once("<xs:SignatureValue").unwrap();
        let (open, value) = rest.split_once('>').unwrap();
        let tampered = format!("{before}<xs:SignatureValue{open}>{}{}", if value.starts_with('A') { 'B' } else { 'A' }, &value[1..]);
        let report = check(&tampered);
        assert!(!report.valid && problems(&report).contains("value does not hold"), "{report}");
    }
}

#[test]
fn a_change_of_any_byte_of_a_signed_part_or_the_value_is_refused() {
    let ca = Ca::new("Trial CA");
    let xml = signed_prescription(&ca.doctor());
    let mut tried = 0;
    for name in ["PrescriptionDocument", "xs:KeyInfo", "xa:SignedProperties", "xs:SignedInfo", "xs:SignatureValue"] {
        for position in signed_range(&xml, name) {
            let tampered = replace_byte(&xml, position);
            let report = check(&tampered);
            assert!(!report.valid, "byte {position} in {name}: {tampered}");
            tried += 1;
        }
    }
    assert!(tried > 2500, "{tried}");
}

#[test]
fn changes_to_the_dispensing_s_signed_element_break_its_signature_and_only_inside_the_prescription_both() {
    let ca = Ca::new("Trial CA");
    let xml = signed_dispensing(&ca.doctor(), &ca.pharmacist());
    for (name, valid) in [("DispensingDocument", [true, false]), ("PrescriptionDocument", [false, false]), ("Version", [true, false])] {
        let range = xml.rfind(&format!("<{name}")).unwrap();
        let position = range + xml[range..].find(if name == "Version" { "EPS" } else { ">" }).unwrap() + 3;
        let report = check(&replace_byte(&xml, position));
        assert_eq!(report.signatures.iter().map(|signature| signature.valid).collect::<Vec<_>>(), valid, "{name}: {report}");
        assert!(!report.valid);
    }
}

#[test]
fn parts_that_no_signature_covers_are_all_named() {
    let ca = Ca::new("Trial CA");
    let report = check(&signed_prescription(&ca.doctor()));
    let paths: Vec<_> = report.uncovered.iter().map(|part| part.path.as_str()).collect();
    let signature = "/Document/Prescription/PrescriptionSign/xs:Signature";
    let expected = [
        "/Document/@id",
        "/Document/@xsi:noNamespaceSchemaLocation",
        "/Document/Prescription/PrescriptionManagement",
        &format!("{signature}/@Id"),
        &format!("{signature}/xs:SignatureValue/@Id"),
        &format!("{signature}/xs:Object/xa:QualifyingProperties/@Id"),
        &format!("{signature}/xs:Object/xa:QualifyingProperties/@Target"),
    ];
    assert_eq!(paths, expected);
}

/// Adds a namespace declaration to the one element of this name.
fn declare(xml: &str, element: &str, declaration: &str) -> String {
    let tags = [format!("<{element} "), format!("<{element}>")];
    assert_eq!(tags.iter().map(|tag| xml.matches(tag.as_str()).count()).sum::<usize>(), 1, "{element}");
    let start = tags.iter().find_map(|tag| xml.find(tag.as_str())).unwrap() + 1 + element.len();
    format!("{} {declaration}{}", &xml[..start], &xml[start..])
}

#[test]
fn namespace_declarations_that_canonicalization_drops_are_named() {
    let ca = Ca::new("Trial CA");
    let signed = signed_prescription(&ca.doctor());
    let before = check(&signed).uncovered;
    let signature = "/Document/Prescription/PrescriptionSign/xs:Signature";
    let (prefixed, default) = (r#"xmlns:unused="urn:u""#, r#"xmlns="urn:u""#);
    let rows = [
        ("xs:Signature", prefixed, "/@xmlns:unused"),
        // One that is in use, declared once more where nothing uses it.
        ("xs:SignatureValue", r#"xmlns:xa="urn:u""#, "/xs:SignatureValue/@xmlns:xa"),
        ("xs:KeyInfo", prefixed, "/xs:KeyInfo/@xmlns:unused"),
        ("xs:X509Certificate", prefixed, "/xs:KeyInfo//@xmlns:unused"),
        ("xs:X509Data", default, "/xs:KeyInfo//@xmlns"),
        ("xs:SignedInfo", prefixed, "/xs:SignedInfo/@xmlns:unused"),
        ("xs:Object", default, "/xs:Object/@xmlns"),
        ("xa:SignedSignatureProperties", prefixed, "/xs:Object/xa:QualifyingProperties/xa:SignedProperties//@xmlns:unused"),
    ];
    for (element, declaration, path) in rows {
        let report = check(&declare(&signed, element, declaration));
        assert!(report.valid, "{element}: {report}");
        let more = report.uncovered.iter().filter(|part| !before.contains(part)).map(|part| (part.path.as_str(), part.bytes));
        assert_eq!(more.collect::<Vec<_>>(), [(format!("{signature}{path}").as_str(), 5)], "{element}: {report}");
    }
    // The document itself is in the canonical form that renders all that is in scope.
    for element in ["Document", "Prescription", "PrescriptionDocument"] {
        assert!(!check(&declare(&signed, element, prefixed)).valid, "{element}");
    }
    assert!(before.iter().all(|part| !part.path.contains("@xmlns")), "those that are there are covered: {before:?}");
}

#[test]
fn additions_outside_the_signatures_leave_them_valid_and_are_reported() {
    let ca = Ca::new("Trial CA");
    let xml = signed_prescription(&ca.doctor());
    let added = xml
        .replace(
            "<PrescriptionSign>",
            "<Twin/><Twin/><AdditionalPrescriptionInformation>x</AdditionalPrescriptionInformation><PrescriptionSign><!-- note -->",
        )
        .replace("</xs:X509Data>", "<!-- note --></xs:X509Data>")
        .replace("</xa:QualifyingProperties>", "<xa:UnsignedProperties>y</xa:UnsignedProperties></xa:QualifyingProperties>text");
    let report = check(&added);
    assert!(report.valid, "{report}");
    let signature = "/Document/Prescription/PrescriptionSign/xs:Signature";
    for path in [
        "/Document/Prescription/Twin[1]".to_owned(),
        "/Document/Prescription/Twin[2]".to_owned(),
        "/Document/Prescription/AdditionalPrescriptionInformation".to_owned(),
        "/Document/Prescription/PrescriptionSign/comment()".to_owned(),
        format!("{signature}/xs:Object/xa:QualifyingProperties/xa:UnsignedProperties"),
        format!("{signature}/xs:Object/text()"),
        format!("{signature}/xs:KeyInfo//comment()"),
    ] {
        assert!(report.uncovered.iter().any(|part| part.path == path), "{path}: {report}");
    }
}

#[test]
fn a_document_of_many_parts_is_judged_in_reasonable_time() {
    let ca = Ca::new("Trial CA");
    let many = format!("{}<PrescriptionSign>", "<Twin/>".repeat(15_000));
    let xml = signed_prescription(&ca.doctor()).replace("<PrescriptionSign>", &many);
    let begun = std::time::Instant::now();
    let report = check(&xml);
    assert!(report.valid && report.uncovered.len() > 15_000);
    assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn an_invalid_signature_covers_nothing() {
    let ca = Ca::new("Trial CA");
    let xml = signed_prescription(&ca.doctor());
    let position = xml.find("PrescriptionDocument\">").unwrap() + 30;
    let report = check(&replace_byte(&xml, position));
    assert_eq!(report.uncovered.iter().map(|part| part.path.as_str()).collect::<Vec<_>>(), ["/Document"]);
}

#[test]
fn a_missing_signature_is_not_a_valid_document() {
    let ca = Ca::new("Trial CA");
    let unsigned = sample::prescription(PRESCRIPTION_ID);
    assert_eq!(problems(&check(&unsigned)), "the prescription is not signed");
    let dispensing = sample::dispensing(&signed_prescription(&ca.doctor()), PRESCRIPTION_ID).unwrap();
    let report = check(&dispensing);
    assert!(report.signatures[0].valid && !report.valid, "{report}");
    assert_eq!(problems(&report), "the dispensing is not signed");
    let unsigned_inside = sample::dispensing(&unsigned, PRESCRIPTION_ID).unwrap();
    let report = check(&ca.pharmacist().sign(&unsigned_inside, DocumentKind::Dispensing));
    assert!(report.signatures.iter().all(|signature| signature.valid) && !report.valid, "{report}");
    assert_eq!(problems(&report), "the prescription that the dispensing refers to is not signed");
    let twice = ca.doctor().sign(&unsigned, DocumentKind::Prescription).replace("<xs:Signature ", "<xs:Signature Other=\"1\" ");
    assert!(check(&twice).valid, "attributes of Signature itself are not covered");
}

/// The bytes of the last element with this name as written, tags included.
pub(crate) fn element_range(xml: &str, name: &str) -> std::ops::Range<usize> {
    let start = xml.rfind(&format!("<{name} ")).unwrap();
    let end_tag = format!("</{name}>");
    start..start + xml[start..].find(&end_tag).unwrap() + end_tag.len()
}

/// The bytes of a signed part: the whole element, or of the value its content alone.
pub(crate) fn signed_range(xml: &str, name: &str) -> std::ops::Range<usize> {
    let range = element_range(xml, name);
    if name != "xs:SignatureValue" {
        return range;
    }
    let element = &xml[range.clone()];
    range.start + element.find('>').unwrap() + 1..range.start + element.rfind("</").unwrap()
}

/// Exchanges one ASCII byte for another of its class, so that the document stays as well-formed as possible.
pub(crate) fn replace_byte(xml: &str, position: usize) -> String {
    let mut bytes = xml.as_bytes().to_vec();
    bytes[position] = match bytes[position] {
        b'z' => b'a',
        b'Z' => b'A',
        b'9' => b'0',
        byte if byte.is_ascii_alphanumeric() => byte + 1,
        b'+' => b'/',
        b'/' => b'+',
        byte => byte ^ 1,
    };
    String::from_utf8(bytes).unwrap()
}
