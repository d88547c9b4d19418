//! A whole document.

use uppsala::NodeId;
use warifu_coordinator::document::{DocumentError, SignaturePlace, XmlDocument};
use warifu_core::pki::Certificate;
use warifu_prescription::uri;
use warifu_protocol::{DocumentKind, UnixMillis};

use super::coverage::{Covered, uncovered};
use super::problem::SignatureProblem;
use super::report::{Report, SignatureReport, SignerReport, TrustReport, error_chain};
use super::signature::Signature;
use super::signer::{check_signer, instant, parse_signing_time};
use super::trust::{archived_certificates, check_trust};

/// What to check a document against.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// Trusted CA certificates; with none, chains are not checked.
    pub anchors: Vec<Certificate>,
    /// The instant at which certificates must be valid, in place of each signature's own claimed SigningTime.
    pub at: Option<UnixMillis>,
}

/// Checks a prescription or dispensing document and all its signatures.
///
/// It is valid when it has the signature of its own kind and every signature in it holds: value, References, certificate, licence and,
/// when `options` name trusted certificates, the chain to one of them. Nothing is fetched; timestamps and revocation are not looked at.
#[must_use]
pub fn verify(xml: &[u8], options: &VerifyOptions) -> Report {
    XmlDocument::parse(xml)
        .and_then(|document| verify_document(&document, options))
        .unwrap_or_else(|error| Report::refused(error_chain(&error)))
}

fn verify_document(document: &XmlDocument<'_>, options: &VerifyOptions) -> Result<Report, DocumentError> {
    let kind = document.kind()?;
    let mut stray: Vec<_> = document.nodes().filter(|&node| is_signature(document, node)).collect();
    let mut signatures = Vec::new();
    let mut covered = Vec::new();
    for place in places(kind) {
        let Some(holder) = document.find_at(place.holder_path())? else { continue };
        let mut found: Vec<_> = document.child_elements(holder).collect();
        found.retain(|&child| is_signature(document, child));
        if found.len() > 1 {
            return Err(DocumentError::Ambiguous { path: format!("/{}/Signature", place.holder_path().join("/")) });
        }
        for signature in found {
            stray.retain(|&other| other != signature);
            let (report, elements) = verify_signature(document, *place, signature, options);
            signatures.push(report);
            covered.extend(elements);
        }
    }
    let signed = |place: SignaturePlace| signatures.iter().any(|signature| signature.place == SignatureReport::place_text(place));
    let problem = if stray.is_empty() {
        // A pharmacist's signature says nothing of who prescribed.
        places(kind).iter().find(|place| !signed(**place)).map(|place| match place {
            SignaturePlace::ReferencedPrescription => "the prescription that the dispensing refers to is not signed".to_owned(),
            SignaturePlace::Prescription | SignaturePlace::Dispensing => format!("the {kind} is not signed"),
        })
    } else {
        Some("a Signature stands where the format has none".to_owned())
    };
    Ok(Report {
        valid: problem.is_none() && signatures.iter().all(|signature| signature.valid),
        problem,
        kind: Some(kind),
        document_id: document.document_id().ok().map(|id| id.to_string()),
        signatures,
        uncovered: uncovered(document, &covered),
    })
}

/// Where a document of this kind may hold signatures, in the order in which they are made.
const fn places(kind: DocumentKind) -> &'static [SignaturePlace] {
    match kind {
        DocumentKind::Prescription => &[SignaturePlace::Prescription],
        DocumentKind::Dispensing => &[SignaturePlace::ReferencedPrescription, SignaturePlace::Dispensing],
    }
}

fn is_signature(document: &XmlDocument<'_>, node: NodeId) -> bool {
    document.is_named(node, Some(uri::XMLDSIG), "Signature")
}

/// Checks one signature; gives what it covers, which is nothing when it does not hold.
fn verify_signature(
    document: &XmlDocument<'_>,
    place: SignaturePlace,
    element: NodeId,
    options: &VerifyOptions,
) -> (SignatureReport, Vec<Covered>) {
    let trust = if options.anchors.is_empty() { TrustReport::NotAsked } else { TrustReport::NotReached };
    let mut report = SignatureReport::at(place, trust);
    match check_signature(document, place, element, options, &mut report) {
        Ok(covered) => {
            report.valid = true;
            (report, covered)
        }
        Err(problem) => {
            report.problem = Some(error_chain(&problem));
            (report, Vec::new())
        }
    }
}

/// Fills in the report as far as the checks come.
fn check_signature(
    document: &XmlDocument<'_>,
    place: SignaturePlace,
    element: NodeId,
    options: &VerifyOptions,
    report: &mut SignatureReport,
) -> Result<Vec<Covered>, SignatureProblem> {
    let signature = Signature::read(document, place, element)?;
    let certificate = signature.certificate();
    report.algorithm = Some(signature.method().name());
    report.signer = Some(SignerReport::of(certificate));
    let claimed = parse_signing_time(signature.signing_time())?;
    report.claimed_signing_time = Some(instant(claimed).to_string());
    let covered = signature.verify()?;
    let at = options.at.unwrap_or(claimed);
    report.checked_at = Some(instant(at).to_string());
    check_signer(certificate, place.kind(), at)?;
    if !options.anchors.is_empty() {
        let mut intermediates = signature.other_certificates().to_vec();
        intermediates.extend(archived_certificates(document, element));
        let found = check_trust(certificate, &intermediates, &options.anchors, at);
        report.trust = match &found {
            Ok(anchor) => TrustReport::Chained { anchor: anchor.subject().to_string() },
            Err(problem) => TrustReport::Refused { reason: error_chain(problem) },
        };
        found?;
    }
    Ok(covered)
}
