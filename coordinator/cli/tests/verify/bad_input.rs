//! Documents that are built to deceive, or not documents at all.

use warifu_coordinator::document::{DOCUMENT_BYTES_MAX, sample};
use warifu_protocol::DocumentKind;

use super::support::{Ca, PRESCRIPTION_ID, Signer, check, problems, signed_dispensing, signed_prescription};

const KIND: DocumentKind = DocumentKind::Prescription;
const DSIG: &str = "http://www.w3.org/2000/09/xmldsig#";

/// One row: what is wrong, the document, and a part of the refusal.
type Row = (&'static str, String, &'static str);

fn assert_refused(rows: Vec<Row>) {
    for (what, xml, reason) in rows {
        let report = check(&xml);
        assert!(!report.valid, "{what}: {report}");
        assert!(problems(&report).contains(reason), "{what}: {report}");
    }
}

#[test]
fn wrapped_signatures_are_refused() {
    let ca = Ca::new("Trial CA");
    let good = signed_prescription(&ca.doctor());
    let document = good[super::tampering::element_range(&good, "PrescriptionDocument")].to_owned();
    let fake = document.replace("U0ox", "U0oy").replace(" id=\"PrescriptionDocument\"", "");
    assert_ne!(fake, document);
    let fake_with_id = document.replace("U0ox", "U0oy");
    let signature = good[super::tampering::element_range(&good, "xs:Signature")].to_owned();
    let in_front = |text: &str| good.replacen("<PrescriptionDocument", &format!("{text}<PrescriptionDocument"), 1);
    assert_refused(vec![
        (
            "the signed element moved aside, a fake without id in its place",
            good.replace(&document, &format!("<Old>{document}</Old>{fake}")),
            "must have id",
        ),
        (
            "the signed element moved aside, a fake with the same id",
            good.replace(&document, &format!("<Old>{document}</Old>{fake_with_id}")),
            "more than once",
        ),
        (
            "a fake with another id in its place",
            good.replace(
                &document,
                &format!("<Old>{document}</Old>{}", fake.replace("<PrescriptionDocument", "<PrescriptionDocument id=\"x\"")),
            ),
            "must have id",
        ),
        ("a twin of the signed element", in_front("<PrescriptionDocument/>"), "more than one /Document/Prescription/PrescriptionDocument"),
        (
            "the signed element inside the signature",
            good.replace(&document, &fake).replace("</xs:Signature>", &format!("<xs:Object>{document}</xs:Object></xs:Signature>")),
            "must have id",
        ),
        (
            "the whole prescription twice",
            good.replace("<Prescription>", "<Prescription/><Prescription>"),
            "more than one /Document/Prescription",
        ),
        (
            "everything one level down",
            good.replace("<Prescription>", "<Wrap><Prescription>").replace("</Prescription>", "</Prescription></Wrap>"),
            "neither a prescription",
        ),
        (
            "the signature elsewhere",
            good.replace(&signature, "").replace("</Document>", &format!("{signature}</Document>")),
            "where the format has none",
        ),
        (
            "a second signature elsewhere",
            good.replace("</Document>", &format!("<xs:Signature xmlns:xs=\"{DSIG}\"/></Document>")),
            "where the format has none",
        ),
        (
            "a second signature beside it",
            good.replace("<xs:Signature ", &format!("<xs:Signature xmlns:xs=\"{DSIG}\"/><xs:Signature ")),
            "more than one /Document/Prescription/PrescriptionSign/Signature",
        ),
        (
            "the holder twice",
            good.replace("<PrescriptionSign>", "<PrescriptionSign/><PrescriptionSign>"),
            "more than one /Document/Prescription/PrescriptionSign",
        ),
        ("a duplicate id in other spelling", in_front("<X ID=\"PrescriptionDocument\"/>"), "more than once"),
        ("another KeyInfo in front", good.replace("<xs:KeyInfo ", "<xs:KeyInfo/><xs:KeyInfo "), "exactly one KeyInfo"),
        ("another SignedInfo in front", good.replace("<xs:SignedInfo ", "<xs:SignedInfo/><xs:SignedInfo "), "exactly one SignedInfo"),
        (
            "another SignatureValue behind",
            good.replace("</xs:SignatureValue>", "</xs:SignatureValue><xs:SignatureValue>AAAA</xs:SignatureValue>"),
            "exactly one SignatureValue",
        ),
        (
            "other QualifyingProperties in front",
            good.replace("<xa:QualifyingProperties ", "<xa:QualifyingProperties/><xa:QualifyingProperties "),
            "exactly one QualifyingProperties",
        ),
        ("properties of another signature", good.replace("Target=\"#PrescriptionSign\"", "Target=\"#Document\""), "target"),
        ("a comment in the signed element", good.replace("U0ox", "U0<!-- -->ox"), "comment inside"),
    ]);
}

#[test]
fn a_dispensing_cannot_pass_off_its_prescription_s_signature_as_its_own() {
    let ca = Ca::new("Trial CA");
    let xml = signed_dispensing(&ca.doctor(), &ca.pharmacist());
    let outer = xml[super::tampering::element_range(&xml, "xs:Signature")].to_owned();
    let inner_start = xml.find("<xs:Signature ").unwrap();
    let inner = xml[inner_start..xml.find("</xs:Signature>").unwrap() + "</xs:Signature>".len()].to_owned();
    assert_refused(vec![
        ("exchanged", xml.replace(&outer, "@").replace(&inner, &outer).replace('@', &inner), "none of the parts"),
        (
            "the inner one moved out",
            xml.replace(&outer, "").replace(&inner, "").replace("<DispensingSign>", &format!("<DispensingSign>{inner}")),
            "none of the parts",
        ),
    ]);
}

#[test]
fn references_are_held_to_the_three_parts() {
    let ca = Ca::new("Trial CA");
    let doctor = ca.doctor();
    let unsigned = sample::prescription(PRESCRIPTION_ID);
    let with = |from: &str, to: &str| doctor.sign_replacing(&unsigned, KIND, from, to);
    let good = signed_prescription(&doctor);
    let first = good[good.find("<xs:Reference ").unwrap()..good.find("</xs:Reference>").unwrap() + "</xs:Reference>".len()].to_owned();
    let canonical = first.replace("#sha256\"/>", "#sha256\"></xs:DigestMethod>");
    let cases = [
        ("the whole document", " URI=\"#PrescriptionDocument\"", " URI=\"\"", "none of the parts"),
        ("no URI", " URI=\"#PrescriptionDocument\"", "", "none of the parts"),
        ("another element", " URI=\"#PrescriptionDocument\"", " URI=\"#PrescriptionManagement\"", "none of the parts"),
        ("nothing", " URI=\"#PrescriptionDocument\"", " URI=\"#\"", "none of the parts"),
        ("a file", " URI=\"#PrescriptionDocument\"", " URI=\"file:///etc/passwd\"", "none of the parts"),
        ("an XPointer", " URI=\"#PrescriptionDocument\"", " URI=\"#xpointer(/)\"", "none of the parts"),
        ("another Type", "01903#SignedProperties", "01903#Other", "another Type"),
        ("SHA-1 as digest", "http://www.w3.org/2001/04/xmlenc#sha256", "http://www.w3.org/2000/09/xmldsig#sha1", "broken hash"),
        ("an unknown digest", "http://www.w3.org/2001/04/xmlenc#sha256", "http://www.w3.org/2001/04/xmlenc#ripemd160", "not accepted"),
        ("SHA-1 in the method", "2021/04/xmldsig-more#eddsa-ed25519", "2000/09/xmldsig#rsa-sha1", "broken hash"),
        ("ECDSA with SHA-1", "2021/04/xmldsig-more#eddsa-ed25519", "2001/04/xmldsig-more#ecdsa-sha1", "broken hash"),
        ("HMAC in the method", "2021/04/xmldsig-more#eddsa-ed25519", "2001/04/xmldsig-more#hmac-sha256", "not accepted"),
        ("prehashed Ed25519", "#eddsa-ed25519", "#eddsa-ed25519ph", "not accepted"),
        ("the method of another key", "2021/04/xmldsig-more#eddsa-ed25519", "2001/04/xmldsig-more#rsa-sha256", "value does not hold"),
        (
            "an XSLT transform",
            "Transform Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"",
            "Transform Algorithm=\"http://www.w3.org/TR/1999/REC-xslt-19991116\"",
            "not accepted",
        ),
        (
            "an enveloped transform",
            "Transform Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"",
            "Transform Algorithm=\"http://www.w3.org/2000/09/xmldsig#enveloped-signature\"",
            "not accepted",
        ),
        (
            "a form with comments",
            "Method Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"",
            "Method Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#WithComments\"",
            "not accepted",
        ),
        ("no algorithm", " Algorithm=\"http://www.w3.org/2021/04/xmldsig-more#eddsa-ed25519\"", "", "an Algorithm"),
    ];
    assert_refused(cases.into_iter().map(|(what, from, to, reason)| (what, with(from, to), reason)).collect());

    let drop_document =
        |signed: &Signer| signed.sign_altered(&unsigned, KIND, |text| *text = text.replace(&first, "").replace(&canonical, ""));
    let twice = |signed: &Signer| {
        signed.sign_altered(&unsigned, KIND, |text| {
            *text = text.replace(&first, &format!("{first}{}", first.replace(" Id=\"", " Name=\"")));
            *text = text.replace(&canonical, &format!("{canonical}{}", canonical.replace(" Id=\"", " Name=\"")));
        })
    };
    let many = |signed: &Signer| {
        signed.sign_altered(&unsigned, KIND, |text| {
            *text = text.replace("</xs:SignedInfo>", &format!("{}</xs:SignedInfo>", "<xs:Reference></xs:Reference>".repeat(8)))
        })
    };
    let certificate = good[good.find("<xs:X509Certificate>").unwrap()..good.find("</xs:X509Data>").unwrap()].to_owned();
    assert_refused(vec![
        ("too many References", many(&doctor), "11 References, accepted"),
        ("too many certificates", good.replace(&certificate, &certificate.repeat(9)), "9 certificates, accepted"),
        ("no Reference to the document", drop_document(&doctor), "0 References cover the signed document element"),
        ("two References to the document", twice(&doctor), "2 References cover the signed document element"),
    ]);
}

#[test]
fn an_exclusive_transform_on_the_document_is_accepted_too() {
    use base64::Engine as _;
    use sha2::{Digest as _, Sha256};
    let ca = Ca::new("Trial CA");
    let unsigned = sample::prescription(PRESCRIPTION_ID);
    let exclusive = unsigned[super::tampering::element_range(&unsigned, "PrescriptionDocument")].to_owned();
    let base64 = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    let inclusive = warifu_coordinator::document::canonical_digest(unsigned.as_bytes(), KIND).unwrap();
    let transforms = "<xs:Transforms><xs:Transform Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"></xs:Transform></xs:Transforms>";
    let xml = ca.doctor().sign_altered(&unsigned, KIND, |text| {
        *text = text
            .replace(" URI=\"#PrescriptionDocument\">", &format!(" URI=\"#PrescriptionDocument\">{transforms}"))
            .replace(&base64(inclusive.as_bytes()), &base64(&Sha256::digest(&exclusive)));
    });
    let report = check(&xml);
    assert!(report.valid, "{report}");
}

#[test]
fn what_is_not_a_document_is_refused_with_the_reason() {
    let ca = Ca::new("Trial CA");
    let good = signed_prescription(&ca.doctor());
    let declaration = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>";
    let after_declaration = |text: &str| good.replace(declaration, &format!("{declaration}{text}"));
    assert_refused(vec![
        ("empty", String::new(), "empty"),
        ("not XML", "hello".to_owned(), "well-formed"),
        ("huge", " ".repeat(DOCUMENT_BYTES_MAX + 1), "may have"),
        ("truncated", good[..good.len() - 20].to_owned(), "well-formed"),
        ("a DTD", after_declaration("<!DOCTYPE Document>"), "DTD"),
        ("an entity bomb", after_declaration("<!DOCTYPE d [<!ENTITY a \"aa\"><!ENTITY b \"&a;&a;\">]>").replace("U0ox", "&b;"), "DTD"),
        ("an entity", good.replace("U0ox", "&b;"), "well-formed"),
        ("a processing instruction", after_declaration("<?x y?>"), "processing instruction"),
        ("another document", "<Document><Other/></Document>".to_owned(), "neither"),
        ("base64 that is none", good.replace("<xs:X509Certificate>MII", "<xs:X509Certificate>M*I"), "base64"),
        ("an element in the value", good.replace("</xs:SignatureValue>", "<x/></xs:SignatureValue>"), "text alone"),
        ("an empty value", empty_value(&good), "value does not hold"),
        ("no SigningTime zone", good.replace("+00:00</xa:SigningTime>", "</xa:SigningTime>"), "time zone"),
    ]);
    let report = warifu::verify::verify(b"<Document>\xff</Document>", &warifu::verify::VerifyOptions::default());
    assert!(problems(&report).contains("UTF-8"), "{report}");
}

fn empty_value(xml: &str) -> String {
    let range = super::tampering::element_range(xml, "xs:SignatureValue");
    format!("{}<xs:SignatureValue></xs:SignatureValue>{}", &xml[..range.start], &xml[range.end..])
}

#[test]
fn the_report_cannot_drive_the_terminal() {
    let ca = Ca::new("Trial CA");
    let xml = signed_prescription(&ca.doctor()).replace("<PrescriptionSign>", "<\u{202e}><PrescriptionSign>");
    assert!(!check(&xml).valid);
    let uri = "URI=\"#PrescriptionDocument\"";
    let xml = ca.doctor().sign_replacing(&sample::prescription(PRESCRIPTION_ID), KIND, uri, "URI=\"#\u{9b}31m\u{202e}\"");
    let text = check(&xml).to_string();
    assert!(text.contains("none of the parts"), "{text}");
    assert!(!text.contains(['\u{9b}', '\u{202e}']), "{text:?}");
}
