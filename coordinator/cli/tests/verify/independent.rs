//! Two other implementations agree: the JDK's, and a Rust library with its own parser and canonicalizer.

use warifu_coordinator::document::sample;
use warifu_protocol::DocumentKind;

use super::independent_verifiers::{jdk_verdicts, xml_sec_accepts};
use super::support::{Ca, PRESCRIPTION_ID, signed_dispensing, signed_prescription};
use super::tampering::replace_byte;

/// The document with one character of its last signed content changed.
fn tampered(xml: &str, element: &str) -> String {
    let start = xml.rfind(&format!("<{element} ")).unwrap();
    replace_byte(xml, start + xml[start..].find('>').unwrap() + 5)
}

/// A prescription whose canonical form differs from how it is written in every way that the format leaves open.
fn awkward_prescription() -> String {
    let xml = sample::prescription(PRESCRIPTION_ID)
        .replace("<Document ", "<Document\r\n\txml:lang='ja' xml:space=\"preserve\" xmlns:unused=\"urn:unused&amp;&#x3042;\"\r\n ")
        .replace("<Prescription>", "<Prescription xmlns:b=\"urn:b\" xmlns:a=\"urn:a\" a:z=\"1\">\r\n  <!-- outside -->")
        .replace(
            "<PrescriptionDocument id=\"PrescriptionDocument\">",
            "<PrescriptionDocument  z='&quot;\"&lt; &#x20;>' b:y=\"2\" a:x='\u{5272}\u{7b26}' id=\"PrescriptionDocument\"\r\n>\r\n\
             a\rb\r\nc&#13;\u{85}\u{2028}<![CDATA[<&>\n\t]]>&#13;]&gt;&amp;&apos;\u{1f9fe}<empty b:c=\"d\" /><a:in xmlns:a=\"urn:other\" xmlns=\"urn:default\"><x xmlns=\"\"/></a:in>",
        );
    assert!(xml.contains("CDATA") && xml.contains("xml:lang") && xml.contains("outside"));
    xml
}

#[test]
fn the_jdk_accepts_our_documents_and_refuses_their_tampered_twins() {
    let ca = Ca::new("Trial CA");
    let (doctor, pharmacist) = (ca.doctor(), ca.pharmacist());
    let (prescription, dispensing) = (signed_prescription(&doctor), signed_dispensing(&doctor, &pharmacist));
    let awkward = doctor.sign(&awkward_prescription(), DocumentKind::Prescription);
    let files = [
        ("awkward.xml", awkward.clone(), "valid 1"),
        ("awkward-tampered.xml", awkward.replace("urn:other", "urn:odder"), "invalid"),
        ("prescription.xml", prescription.clone(), "valid 1"),
        ("prescription-tampered.xml", tampered(&prescription, "PrescriptionDocument"), "invalid"),
        ("dispensing.xml", dispensing.clone(), "valid 2"),
        ("dispensing-tampered.xml", tampered(&dispensing, "DispensingDocument"), "invalid"),
    ];
    let directory = tempfile::tempdir().unwrap();
    for (name, xml, _) in &files {
        std::fs::write(directory.path().join(name), xml).unwrap();
    }
    let Some(verdicts) = jdk_verdicts(directory.path(), &files.each_ref().map(|(name, ..)| *name)) else { return };
    let expected: String = files.iter().map(|(name, _, verdict)| format!("{name} {verdict}\n")).collect();
    assert_eq!(verdicts, expected);
}

#[test]
fn xml_sec_accepts_our_documents_and_refuses_their_tampered_twins() {
    let ca = Ca::new("Trial CA");
    let (doctor, pharmacist) = (ca.doctor(), ca.pharmacist());
    let prescription = signed_prescription(&doctor);
    let dispensing = signed_dispensing(&doctor, &pharmacist);
    let one: &[_] = &[("PrescriptionSign", doctor.spki())];
    let two: &[_] = &[("PrescriptionSign", doctor.spki()), ("DispensingSign", pharmacist.spki())];
    let awkward = doctor.sign(&awkward_prescription(), DocumentKind::Prescription);
    assert!(xml_sec_accepts(&awkward, one, "PrescriptionDocument"));
    assert!(!xml_sec_accepts(&awkward.replace("urn:other", "urn:odder"), one, "PrescriptionDocument"));
    assert!(xml_sec_accepts(&prescription, one, "PrescriptionDocument"));
    assert!(!xml_sec_accepts(&tampered(&prescription, "PrescriptionDocument"), one, "PrescriptionDocument"));
    assert!(xml_sec_accepts(&dispensing, two, "Dispensing"));
    assert!(!xml_sec_accepts(&tampered(&dispensing, "DispensingDocument"), two, "Dispensing"));
}
