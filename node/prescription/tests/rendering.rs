//! The rendered parts are canonical, deterministic, and of the shape that the e-prescription service uses.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bergshamra_c14n::{C14nMode, canonicalize_doc};
use bergshamra_xml::NodeSet;
use sha2::{Digest, Sha256};
use warifu_prescription::{CERTIFICATE_BYTES_MAX, RenderError, RenderedSignature, SIGNING_TIME_MAX, SignatureFields, render};
use warifu_protocol::{DocumentDigest, DocumentKind, RequestHash, UnixMillis};

const CERTIFICATE: &[u8] = b"stands for a certificate";
const KINDS: [DocumentKind; 2] = [DocumentKind::Prescription, DocumentKind::Dispensing];

fn fields(kind: DocumentKind) -> SignatureFields<'static> {
    SignatureFields {
        kind,
        request: RequestHash::new([7; 32]),
        document: DocumentDigest::new([9; 32]),
        signing_time: UnixMillis(1_662_538_081_999),
        certificate: CERTIFICATE,
    }
}

fn must_render(kind: DocumentKind) -> RenderedSignature {
    render(&fields(kind)).unwrap()
}

fn must_canonicalize_part(xml: &str, local_name: &str) -> Vec<u8> {
    let document = uppsala::parse(xml).unwrap();
    let found = document.get_elements_by_tag_name(local_name);
    assert_eq!(found.len(), 1, "{local_name}");
    let nodes = NodeSet::tree_without_comments(found[0], &document);
    canonicalize_doc::<&str>(&document, C14nMode::Exclusive, Some(&nodes), &[]).unwrap()
}

#[test]
fn each_part_of_the_embedded_element_canonicalizes_to_the_rendered_bytes() {
    for kind in KINDS {
        let rendered = must_render(kind);
        // Declarations of an ancestor, even ones that rebind the same prefixes, must not reach the parts.
        let surroundings = [
            ("<Document xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" id=\"Document\">", "</Document>"),
            ("<d:Document xmlns:d=\"urn:d\" xmlns:xs=\"urn:other\" xmlns:xa=\"urn:another\" xml:lang=\"ja\">", "</d:Document>"),
        ];
        for (before, after) in surroundings {
            let xml = format!("{before}{}{after}", rendered.signature_element(&[1; 64]));
            for (name, bytes) in
                [("KeyInfo", &rendered.key_info), ("SignedProperties", &rendered.signed_properties), ("SignedInfo", &rendered.signed_info)]
            {
                assert_eq!(String::from_utf8(must_canonicalize_part(&xml, name)).unwrap(), std::str::from_utf8(bytes).unwrap());
            }
        }
    }
}

#[test]
fn signed_info_names_the_digests_of_the_parts_and_of_the_document() {
    let rendered = must_render(DocumentKind::Prescription);
    let signed_info = String::from_utf8(rendered.signed_info.clone()).unwrap();
    for digest in [BASE64.encode([9; 32]), must_digest(&rendered.key_info), must_digest(&rendered.signed_properties)] {
        assert!(signed_info.contains(&format!("<xs:DigestValue>{digest}</xs:DigestValue>")), "{digest}");
    }
    let properties = String::from_utf8(rendered.signed_properties).unwrap();
    assert!(properties.contains(&must_digest(CERTIFICATE)), "SigningCertificateV2 holds the certificate's digest");
}

fn must_digest(bytes: &[u8]) -> String {
    BASE64.encode(Sha256::digest(bytes))
}

#[test]
fn the_element_has_the_shape_of_the_service() {
    let rendered = must_render(DocumentKind::Prescription);
    let ids = &rendered.ids;
    let expected = format!(
        concat!(
            r##"<xs:Signature xmlns:xs="http://www.w3.org/2000/09/xmldsig#" Id="PrescriptionSign">"##,
            r##"<xs:SignedInfo Id="{signed_info}">"##,
            r##"<xs:CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/>"##,
            r##"<xs:SignatureMethod Algorithm="http://www.w3.org/2021/04/xmldsig-more#eddsa-ed25519"/>"##,
            r##"<xs:Reference Id="{reference1}" URI="#PrescriptionDocument">"##,
            r##"<xs:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/>"##,
            r##"<xs:DigestValue>{document_digest}</xs:DigestValue></xs:Reference>"##,
            r##"<xs:Reference Id="{reference2}" URI="#{key_info}">"##,
            r##"<xs:Transforms><xs:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/></xs:Transforms>"##,
            r##"<xs:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/>"##,
            r##"<xs:DigestValue>{key_info_digest}</xs:DigestValue></xs:Reference>"##,
            r##"<xs:Reference Id="{reference3}" Type="http://uri.etsi.org/01903#SignedProperties" URI="#{properties}">"##,
            r##"<xs:Transforms><xs:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/></xs:Transforms>"##,
            r##"<xs:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/>"##,
            r##"<xs:DigestValue>{properties_digest}</xs:DigestValue></xs:Reference></xs:SignedInfo>"##,
            r##"<xs:SignatureValue Id="{value_id}">{value}</xs:SignatureValue>"##,
            r##"<xs:KeyInfo Id="{key_info}"><xs:X509Data><xs:X509Certificate>{certificate}</xs:X509Certificate></xs:X509Data></xs:KeyInfo>"##,
            r##"<xs:Object xmlns:xa="http://uri.etsi.org/01903/v1.3.2#">"##,
            r##"<xa:QualifyingProperties Id="{qualifying}" Target="#PrescriptionSign">"##,
            r##"<xa:SignedProperties Id="{properties}"><xa:SignedSignatureProperties>"##,
            r##"<xa:SigningTime>2022-09-07T08:08:01+00:00</xa:SigningTime>"##,
            r##"<xa:SigningCertificateV2><xa:Cert><xa:CertDigest>"##,
            r##"<xs:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/>"##,
            r##"<xs:DigestValue>{certificate_digest}</xs:DigestValue>"##,
            r##"</xa:CertDigest></xa:Cert></xa:SigningCertificateV2></xa:SignedSignatureProperties></xa:SignedProperties>"##,
            r##"</xa:QualifyingProperties></xs:Object></xs:Signature>"##,
        ),
        signed_info = ids.signed_info,
        reference1 = ids.document_reference,
        reference2 = ids.key_info_reference,
        reference3 = ids.signed_properties_reference,
        value_id = ids.signature_value,
        key_info = ids.key_info,
        qualifying = ids.qualifying_properties,
        properties = ids.signed_properties,
        document_digest = BASE64.encode([9; 32]),
        key_info_digest = must_digest(&rendered.key_info),
        properties_digest = must_digest(&rendered.signed_properties),
        certificate = BASE64.encode(CERTIFICATE),
        certificate_digest = must_digest(CERTIFICATE),
        value = BASE64.encode([3; 64]),
    );
    assert_eq!(rendered.signature_element(&[3; 64]), expected);
    let dispensing = must_render(DocumentKind::Dispensing).signature_element(&[3; 64]);
    assert!(dispensing.contains(r##" Id="DispensingSign">"##));
    assert!(dispensing.contains(r##" URI="#Dispensing">"##));
    assert!(dispensing.contains(r##" Target="#DispensingSign">"##));
}

/// Every site must render what it rendered yesterday, or signature shares of two versions do not fit together.
#[test]
fn the_signed_bytes_are_frozen() {
    let frozen = [
        "c9686a1aa84e9b74c3ba6a55a8fc038b79b1a57577d5626dc784bb6e663244b2",
        "19ec1ff9d818075d834c7a087483b8fe71e5a8247e126183951130b2258de9a9",
    ];
    let rendered = KINDS.map(|kind| hex::encode(Sha256::digest(must_render(kind).signed_info)));
    assert_eq!(rendered, frozen);
}

#[test]
fn equal_fields_render_equal_bytes_and_each_field_changes_them() {
    let base = fields(DocumentKind::Prescription);
    assert_eq!(render(&base), render(&base));
    let variants = [
        SignatureFields { kind: DocumentKind::Dispensing, ..base },
        SignatureFields { request: RequestHash::new([8; 32]), ..base },
        SignatureFields { document: DocumentDigest::new([8; 32]), ..base },
        SignatureFields { signing_time: base.signing_time.plus(1000), ..base },
        SignatureFields { certificate: b"another certificate", ..base },
    ];
    for variant in variants {
        assert_ne!(render(&variant).unwrap().signed_info, render(&base).unwrap().signed_info, "{variant:?}");
    }
}

#[test]
fn ids_of_a_prescription_and_its_dispensing_never_meet() {
    let all = KINDS.map(|kind| {
        let ids = must_render(kind).ids;
        vec![
            ids.signed_info,
            ids.document_reference,
            ids.key_info_reference,
            ids.signed_properties_reference,
            ids.signature_value,
            ids.key_info,
            ids.qualifying_properties,
            ids.signed_properties,
        ]
    });
    let mut ids = all.concat();
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count);
}

#[test]
fn signing_times_are_whole_seconds_in_utc_within_four_digit_years() {
    let rendered_time = |millis| {
        let rendered = render(&SignatureFields { signing_time: UnixMillis(millis), ..fields(DocumentKind::Prescription) })?;
        let text = String::from_utf8(rendered.signed_properties).unwrap();
        let (_, rest) = text.split_once("<xa:SigningTime>").unwrap();
        Ok::<_, RenderError>(rest.split_once('<').unwrap().0.to_owned())
    };
    assert_eq!(rendered_time(0).unwrap(), "1970-01-01T00:00:00+00:00");
    assert_eq!(rendered_time(1_709_164_800_000).unwrap(), "2024-02-29T00:00:00+00:00");
    assert_eq!(rendered_time(SIGNING_TIME_MAX.0).unwrap(), "9999-12-30T22:00:00+00:00");
    for late in [SIGNING_TIME_MAX.0 + 1, u64::MAX] {
        assert_eq!(rendered_time(late), Err(RenderError::SigningTimeTooLate { millis: late }));
    }
}

#[test]
fn certificates_out_of_bounds_are_refused() {
    let with = |certificate: &[u8]| render(&SignatureFields { certificate, ..fields(DocumentKind::Prescription) }).map(|_| ());
    assert_eq!(with(b""), Err(RenderError::CertificateEmpty));
    assert_eq!(with(&vec![0; CERTIFICATE_BYTES_MAX]), Ok(()));
    let bytes = CERTIFICATE_BYTES_MAX + 1;
    assert_eq!(with(&vec![0; bytes]), Err(RenderError::CertificateTooLarge { bytes, max: CERTIFICATE_BYTES_MAX }));
}
