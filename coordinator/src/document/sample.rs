//! Documents for trials and tests, of the shape that the service uses and about nobody.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use warifu_protocol::DocumentKind;

use super::error::DocumentError;
use super::xml::XmlDocument;

/// An unsigned prescription. `document_id` should be a UUID; it must not need escaping in XML.
#[must_use]
pub fn prescription(document_id: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Document xmlns:xsi=\"{XSI}\" id=\"Document\" \
         xsi:noNamespaceSchemaLocation=\"EP.xsd\"><Prescription><PrescriptionManagement id=\"PrescriptionManagement\">\
         <Version Value=\"EPS1.0\"/><PrescriptionId Value=\"{document_id}\"/></PrescriptionManagement>\
         <PrescriptionDocument id=\"PrescriptionDocument\">{content}</PrescriptionDocument>\
         <PrescriptionSign></PrescriptionSign></Prescription></Document>",
        content = BASE64.encode(PRESCRIPTION_CSV),
    )
}

/// An unsigned dispensing of a signed prescription, which it contains byte for byte.
///
/// # Errors
///
/// [`DocumentError`] when `signed_prescription_xml` is not a prescription.
pub fn dispensing(signed_prescription_xml: &str, document_id: &str) -> Result<String, DocumentError> {
    let document = XmlDocument::parse(signed_prescription_xml.as_bytes())?;
    document.expect_kind(DocumentKind::Prescription)?;
    let prescription = document.element_at(&["Document", "Prescription"])?;
    let tree = document.tree();
    let range = |node| tree.node_range(node).expect("nodes of a parsed document have a range");
    let start = tree.first_child(prescription).map_or(0, |node| range(node).start);
    let end = tree.last_child(prescription).map_or(0, |node| range(node).end);
    Ok(format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Document xmlns:xsi=\"{XSI}\" id=\"Document\" \
         xsi:noNamespaceSchemaLocation=\"ED.xsd\"><DispensingManagement id=\"DispensingManagement\"><Version Value=\"EPD1.0\"/>\
         <DispensingId Value=\"{document_id}\"/></DispensingManagement><Dispensing id=\"Dispensing\"><ReferencePrescription>\
         {prescription}</ReferencePrescription><DispensingDocument id=\"DispensingDocument\">{content}</DispensingDocument>\
         </Dispensing><DispensingSign></DispensingSign></Document>",
        prescription = &signed_prescription_xml[start..end],
        content = BASE64.encode(DISPENSING_CSV),
    ))
}

const XSI: &str = "http://www.w3.org/2001/XMLSchema-instance";

const PRESCRIPTION_CSV: &str = "SJ1\n1,1,9999999,13,割符試験クリニック\n2,1000001,東京都試験区一丁目一番\n\
    5,9000001,シケン　イシ,試験　医師\n11,9000002,試験　患者,ｼｹﾝ ｶﾝｼﾞｬ\n12,1\n13,20000101\n51,20260401\n\
    101,1,1,,7\n111,1,3,,１日３回毎食後　服用,1\n201,1,1,1,2,999999999,試験用錠剤　５ｍｇ,3,1,錠\n";

const DISPENSING_CSV: &str = "CJ1\n1,9999998,13,割符試験薬局\n2,1000001,東京都試験区一丁目二番\n5,9000003,試験　薬剤師\n\
    51,20260402\n201,1,1,1,2,999999999,試験用錠剤　５ｍｇ,3,1,錠\n";
