//! Verifiers that share no code with ours: the JDK's, and a Rust library with its own parser and canonicalizer.

use std::path::Path;
use std::process::Command;

use xml_sec::api::Operation;
use xml_sec::policy::{PolicyCompileContext, PolicyCompiler, PolicyProfile};
use xml_sec::provider::RustCryptoProvider;
use xml_sec::xmldsig::{CallerTrustedSignatureKey, SignatureAlgorithm, VerificationKey, VerificationRequest};
use xml_sec::{IdAttributeRegistration, XmlSecurity};

/// What the JDK says of these files in `directory`: a line `FILE valid SIGNATURES` or `FILE invalid` for each. `None` where there is no JDK.
pub(crate) fn jdk_verdicts(directory: &Path, files: &[&str]) -> Option<String> {
    if Command::new("java").arg("-version").output().is_err() {
        eprintln!("skipped: there is no java");
        return None;
    }
    let output = Command::new("java")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/jdk/VerifyXmlSignature.java"))
        .args(files)
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n"))
}

/// Whether all of these signatures, each by its id under an Ed25519 key (SubjectPublicKeyInfo), hold and cover the element with the id `target`.
pub(crate) fn xml_sec_accepts(xml: &str, signers: &[(&str, Vec<u8>)], target: &str) -> bool {
    let provider = RustCryptoProvider;
    let context = PolicyCompileContext { external_resources: false, target_evidence: true };
    let policies = PolicyCompiler::new(PolicyProfile::Xades, &provider, None).unwrap().compile(&context).unwrap();
    let security = XmlSecurity::new(&policies, &provider).unwrap();
    let document = security.parse_document(xml.to_owned(), Operation::Verify).unwrap();
    let ids = [IdAttributeRegistration::global("id"), IdAttributeRegistration::global("Id")];
    let node = |id: &str| document.with_view(|view| view.node_for_id(id, &ids)).unwrap();
    let keys: Vec<_> = signers
        .iter()
        .map(|(_, spki)| VerificationKey {
            algorithm: SignatureAlgorithm::Ed25519,
            public_key_bytes: spki.clone(),
            certificate_der: None,
            name: None,
        })
        .collect();
    let trusted: Vec<_> = signers.iter().zip(&keys).map(|((id, _), key)| CallerTrustedSignatureKey { signature: node(id), key }).collect();
    let request = VerificationRequest { expected_targets: &[node(target)], trusted_keys: &trusted, ..Default::default() };
    let evidence = security.verifier().unwrap().id_attributes(&ids).verify(&document, &request).unwrap();
    evidence.accepted(&document).unwrap()
}
