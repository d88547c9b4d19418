//! Reading, digesting and signing documents of the service, and refusing what is not one.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking and says on the terminal when it is skipped")]

use std::path::Path;

use sha2::{Digest, Sha256};
use warifu_coordinator::document::{
    ATTRIBUTES_MAX, DEPTH_MAX, DOCUMENT_BYTES_MAX, MARKUP_MAX, NAMESPACES_MAX, SignaturePlace, XmlDocument, canonical_digest, document_id,
    embed, sample,
};
use warifu_prescription::{SignatureFields, render};
use warifu_protocol::{DocumentDigest, DocumentKind, RequestHash, UnixMillis};

const ID: &str = "0b7a3c52-6f0e-4a5e-9f0d-3a1f5b2c4d6e";
const OTHER_ID: &str = "5d1c9f04-2b7e-4c38-8a61-7e0f9d2b6c13";

fn must_sign(xml: &str, kind: DocumentKind, request: u8) -> String {
    embed(xml.as_bytes(), kind, &signature(xml, kind, request)).unwrap()
}

fn signature(xml: &str, kind: DocumentKind, request: u8) -> String {
    let fields = SignatureFields {
        kind,
        request: RequestHash::new([request; 32]),
        document: canonical_digest(xml.as_bytes(), kind).unwrap_or(DocumentDigest::new([0; 32])),
        signing_time: UnixMillis(1_775_000_000_000),
        certificate: b"stands for a certificate",
    };
    render(&fields).unwrap().signature_element(&[0; 64])
}

fn signed_dispensing() -> String {
    let prescription = must_sign(&sample::prescription(ID), DocumentKind::Prescription, 1);
    must_sign(&sample::dispensing(&prescription, OTHER_ID).unwrap(), DocumentKind::Dispensing, 2)
}

#[test]
fn the_digest_is_that_of_the_canonical_element_with_inherited_namespaces() {
    let xml = sample::prescription(ID);
    let (_, rest) = xml.split_once("<PrescriptionDocument id=\"PrescriptionDocument\">").unwrap();
    let (content, _) = rest.split_once('<').unwrap();
    let canonical = format!(
        "<PrescriptionDocument xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" id=\"PrescriptionDocument\">{content}\
         </PrescriptionDocument>"
    );
    let expected = DocumentDigest::new(Sha256::digest(canonical).into());
    assert_eq!(canonical_digest(xml.as_bytes(), DocumentKind::Prescription).unwrap(), expected);
}

#[test]
fn embedding_changes_no_byte_but_those_of_the_signature() {
    let xml = sample::prescription(ID);
    let element = signature(&xml, DocumentKind::Prescription, 1);
    let signed = embed(xml.as_bytes(), DocumentKind::Prescription, &element).unwrap();
    assert_eq!(signed, xml.replace("</PrescriptionSign>", &format!("{element}</PrescriptionSign>")));
    let before = canonical_digest(xml.as_bytes(), DocumentKind::Prescription).unwrap();
    assert_eq!(canonical_digest(signed.as_bytes(), DocumentKind::Prescription).unwrap(), before);

    let with_bom_and_empty_tag = format!("\u{feff}{}", xml.replace("<PrescriptionSign></PrescriptionSign>", "<PrescriptionSign />"));
    let signed = embed(with_bom_and_empty_tag.as_bytes(), DocumentKind::Prescription, &element).unwrap();
    let expected = with_bom_and_empty_tag.replace("<PrescriptionSign />", &format!("<PrescriptionSign >{element}</PrescriptionSign>"));
    assert_eq!(signed, expected);

    let spaced = xml.replace("<PrescriptionSign></PrescriptionSign>", "<PrescriptionSign\n>\n  </PrescriptionSign\n>");
    let signed = embed(spaced.as_bytes(), DocumentKind::Prescription, &element).unwrap();
    assert_eq!(signed.replace(&element, ""), spaced);
}

#[test]
fn a_dispensing_contains_its_signed_prescription_and_all_ids_stay_unique() {
    let dispensing = signed_dispensing();
    let document = XmlDocument::parse(dispensing.as_bytes()).unwrap();
    for place in [SignaturePlace::ReferencedPrescription, SignaturePlace::Dispensing] {
        let holder = document.element_at(place.holder_path()).unwrap();
        assert_eq!(document.child_elements(holder).count(), 1, "{place:?}");
        place.signed_element(&document).unwrap();
    }
    let prescription = sample::prescription(ID);
    let digest = |element| {
        let canonical = document.canonicalize(element, warifu_coordinator::document::Canonicalization::Inclusive).unwrap();
        DocumentDigest::new(Sha256::digest(canonical).into())
    };
    let inner = SignaturePlace::ReferencedPrescription.signed_element(&document).unwrap();
    assert_eq!(digest(inner), canonical_digest(prescription.as_bytes(), DocumentKind::Prescription).unwrap());
}

#[test]
fn the_same_request_hash_for_both_signatures_still_gives_unique_ids() {
    let prescription = must_sign(&sample::prescription(ID), DocumentKind::Prescription, 1);
    must_sign(&sample::dispensing(&prescription, OTHER_ID).unwrap(), DocumentKind::Dispensing, 1);
}

#[test]
fn a_signature_that_does_not_fit_is_not_embedded() {
    let xml = sample::prescription(ID);
    let fitting = signature(&xml, DocumentKind::Prescription, 1);
    let other_kind = signature(&xml, DocumentKind::Dispensing, 1);
    let twice = format!("{fitting}{fitting}");
    let beside = format!("{fitting}<!-- -->");
    let escaping = format!("{fitting}</PrescriptionSign><Extra/><PrescriptionSign>");
    let clashing = fitting.replace("Id=\"PrescriptionSign\"", "Id=\"PrescriptionDocument\"");
    for element in ["", "text", "<a/>", &other_kind, &twice, &beside, &escaping, &clashing, &fitting[..fitting.len() - 1]] {
        let error = embed(xml.as_bytes(), DocumentKind::Prescription, element).unwrap_err();
        assert!(error.to_string().contains("does not fit") || error.to_string().contains("more than one"), "{element}: {error}");
    }
}

/// One row: what is wrong, the document, and a part of the refusal.
type BadDocument = (&'static str, Vec<u8>, &'static str);

fn bad_documents() -> Vec<BadDocument> {
    let good = sample::prescription(ID);
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1).into_bytes()
    };
    let declaration = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>";
    let bomb = "<!DOCTYPE d [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">]>";
    let element_open = "<PrescriptionDocument id=\"PrescriptionDocument\">";
    let depth = DEPTH_MAX as usize;
    let namespaces: String = (0..=NAMESPACES_MAX).map(|n| format!(" xmlns:n{n}='u'")).collect();
    vec![
        ("nothing", Vec::new(), "empty"),
        ("too large", vec![b' '; DOCUMENT_BYTES_MAX + 1], "may have"),
        ("not UTF-8", with("EPS1.0", "EPS\u{1}").into_iter().map(|byte| if byte == 1 { 0xff } else { byte }).collect(), "UTF-8"),
        ("UTF-16", good.encode_utf16().flat_map(u16::to_le_bytes).collect(), "well-formed"),
        ("declared Shift_JIS", with("UTF-8", "Shift_JIS"), "encoding Shift_JIS"),
        ("truncated", good.as_bytes()[..good.len() - 9].to_vec(), "well-formed"),
        ("text after the end", format!("{good}x").into_bytes(), "well-formed"),
        ("two roots", format!("{good}<Document/>").into_bytes(), "well-formed"),
        ("a control character", with("EPS1.0", "EPS\u{1}"), "well-formed"),
        ("a DTD", with(declaration, &format!("{declaration}<!DOCTYPE Document>")), "DTD"),
        ("an external DTD", with(declaration, &format!("{declaration}<!DOCTYPE Document SYSTEM \"file:///etc/passwd\">")), "DTD"),
        ("an entity bomb", with(declaration, &format!("{declaration}{bomb}")), "DTD"),
        ("an undeclared entity", with(element_open, &format!("{element_open}&a;")), "well-formed"),
        ("a processing instruction", with("<Prescription>", "<?php x?><Prescription>"), "processing instruction `php`"),
        ("XML 1.1", with("version=\"1.0\"", "version=\"1.1\""), "XML 1.1"),
        ("a prefix bound to nothing", with("<Version ", "<Version xmlns:p='' "), "prefix `p` to nothing"),
        ("a tab in an attribute", with("EPS1.0", "EPS\t1.0"), "an attribute of Version has a tab or line break"),
        ("a line break in a namespace", with("<Version ", "<Version xmlns:a='urn:\n' "), "an attribute of Version has a tab or line break"),
        ("a carriage return in CDATA", with("EPS1.0\"/>", "EPS1.0\"/><![CDATA[\r\n]]>"), "a CDATA section has a tab or line break"),
        ("too deep", with("<Version", &format!("{}{}<Version", "<a>".repeat(depth), "</a>".repeat(depth))), "well-formed"),
        ("too many tags", with("<Version", &format!("{}<Version", "<a/>".repeat(MARKUP_MAX))), "tags"),
        ("too many attributes", with("EPS1.0", &"=".repeat(ATTRIBUTES_MAX)), "attributes"),
        ("too many namespaces", with("<Prescription>", &format!("<Prescription{}>", namespaces)), "namespace"),
        ("a duplicate id", with("<Version ", "<Version id=\"PrescriptionDocument\" "), "`PrescriptionDocument` stands more than once"),
        ("a duplicate Id", with("<Version ", "<Version Id=\"PrescriptionDocument\" "), "`PrescriptionDocument` stands more than once"),
        ("a duplicate ID", with("<Version ", "<Version ID=\"PrescriptionDocument\" "), "`PrescriptionDocument` stands more than once"),
        ("a duplicate xml:id", with("<Version ", "<Version xml:id=\"PrescriptionDocument\" "), "stands more than once"),
        ("two ids at one element", with("<Version ", "<Version id=\"a\" Id=\"b\" "), "`b` stands more than once"),
        ("another root", good.replace("<Document ", "<Dokument ").replace("</Document>", "</Dokument>").into_bytes(), "neither"),
        ("a root in a namespace", with("<Document ", "<Document xmlns=\"urn:x\" "), "neither"),
        ("a prescription twice", with("<Prescription>", "<Prescription/><Prescription>"), "more than one /Document/Prescription"),
        ("both kinds", with("<Prescription>", "<Dispensing/><Prescription>"), "neither"),
        (
            "the signed element twice",
            with(element_open, &format!("<PrescriptionDocument/>{element_open}")),
            "more than one /Document/Prescription/PrescriptionDocument",
        ),
        (
            "the signed element moved into another",
            String::from_utf8(with(element_open, &format!("<Wrapper>{element_open}")))
                .unwrap()
                .replace("</PrescriptionDocument>", "</PrescriptionDocument></Wrapper>")
                .into_bytes(),
            "no /Document/Prescription/PrescriptionDocument",
        ),
        (
            "the id moved to another element",
            with(element_open, "<Other id=\"PrescriptionDocument\"/><PrescriptionDocument>"),
            "must have id=\"PrescriptionDocument\"",
        ),
        ("a comment inside what is signed", with(element_open, &format!("{element_open}<!-- -->")), "comment inside"),
    ]
}

#[test]
fn bad_documents_are_refused_with_the_reason() {
    let kind = DocumentKind::Prescription;
    let element = signature(&sample::prescription(ID), kind, 1);
    for (what, xml, reason) in bad_documents() {
        let refusals = [canonical_digest(&xml, kind).map(|_| ()), embed(&xml, kind, &element).map(|_| ())];
        for refusal in refusals {
            let error = refusal.expect_err(what).to_string();
            assert!(error.contains(reason), "{what}: {error}");
        }
    }
}

#[test]
fn signed_and_misplaced_signature_holders_are_refused() {
    let kind = DocumentKind::Prescription;
    let good = sample::prescription(ID);
    let element = signature(&good, kind, 1);
    let holder = "<PrescriptionSign></PrescriptionSign>";
    let rows = [
        (must_sign(&good, kind, 1), "signed already"),
        (good.replace(holder, "<PrescriptionSign>x</PrescriptionSign>"), "signed already"),
        (good.replace(holder, "<PrescriptionSign><!-- --></PrescriptionSign>"), "signed already"),
        (good.replace(holder, ""), "no /Document/Prescription/PrescriptionSign"),
        (good.replace(holder, &holder.repeat(2)), "more than one /Document/Prescription/PrescriptionSign"),
        (good.replace(holder, &format!("<W>{holder}</W>")), "no /Document/Prescription/PrescriptionSign"),
    ];
    for (xml, reason) in rows {
        let error = embed(xml.as_bytes(), kind, &element).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn a_document_of_the_other_kind_is_refused() {
    let prescription = sample::prescription(ID);
    let error = canonical_digest(prescription.as_bytes(), DocumentKind::Dispensing).unwrap_err();
    assert_eq!(error.to_string(), "the document is a prescription, not a dispensing");
    assert!(document_id(prescription.as_bytes(), DocumentKind::Dispensing).is_err());
}

#[test]
fn the_document_id_is_read_and_its_characters_are_closed() {
    let dispensing = signed_dispensing();
    assert_eq!(document_id(dispensing.as_bytes(), DocumentKind::Dispensing).unwrap().as_str(), OTHER_ID);
    assert_eq!(document_id(sample::prescription(ID).as_bytes(), DocumentKind::Prescription).unwrap().as_str(), ID);
    for bad in ["", "a b", "a\u{3042}", "a&#x2f;b", &"a".repeat(65)] {
        let error = document_id(sample::prescription(bad).as_bytes(), DocumentKind::Prescription).unwrap_err();
        assert!(error.to_string().contains("must have as its Value"), "{bad}: {error}");
    }
}

#[test]
fn character_references_and_cdata_are_understood() {
    let xml = sample::prescription(ID);
    let written = xml.replace("U0ox", "<![CDATA[U0]]>&#111;x");
    assert_ne!(written, xml);
    let digest = |xml: &str| canonical_digest(xml.as_bytes(), DocumentKind::Prescription).unwrap();
    assert_eq!(digest(&written), digest(&xml));
}

#[test]
fn the_service_s_own_sample_is_read_and_digested() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/samples");
    let Ok(unsigned) = std::fs::read(samples.join("prescription-004-unsigned.xml")) else {
        eprintln!("skipped: {} is not there", samples.display());
        return;
    };
    let signed = std::fs::read_to_string(samples.join("prescription-004-signed-rsa.xml")).unwrap();
    let kind = DocumentKind::Prescription;
    let digest = canonical_digest(&unsigned, kind).unwrap();
    assert_eq!(canonical_digest(signed.as_bytes(), kind).unwrap(), digest);
    use base64::Engine as _;
    assert!(signed.contains(&base64::engine::general_purpose::STANDARD.encode(digest.as_bytes())));
    let unsigned = String::from_utf8(unsigned).unwrap();
    let element = signature(&unsigned, kind, 1);
    let ours = embed(unsigned.as_bytes(), kind, &element).unwrap();
    assert_eq!(ours.replace(&element, ""), unsigned);
}
