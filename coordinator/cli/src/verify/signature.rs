//! One XAdES signature: its References, its value and its certificate.

use uppsala::NodeId;
use warifu_coordinator::document::{Canonicalization, SignaturePlace, XmlDocument};
use warifu_core::pki::Certificate;
use warifu_prescription::uri;

use super::algorithm::{DigestMethod, SignatureMethod, canonicalization};
use super::coverage::Covered;
use super::problem::SignatureProblem;
use super::structure::{algorithm_of, base64_of, dsig_child, only, text_of, xades_child};

/// Most References in one signature. The format has three.
const REFERENCES_MAX: usize = 8;

/// Most certificates in one KeyInfo. The format has one; others send their CA's along.
const CERTIFICATES_MAX: usize = 8;

/// A signature element, taken apart and not yet believed.
pub(super) struct Signature<'d, 'a> {
    document: &'d XmlDocument<'a>,
    signed_info: NodeId,
    value: NodeId,
    method: SignatureMethod,
    signing_time: String,
    certificate: Certificate,
    others: Vec<Certificate>,
    /// The parts that a Reference may name.
    parts: Parts,
}

#[derive(Clone, Copy)]
struct Parts {
    document: NodeId,
    key_info: NodeId,
    signed_properties: NodeId,
}

impl Parts {
    const DOCUMENT: &str = "the signed document element";
    const KEY_INFO: &str = "KeyInfo";
    const SIGNED_PROPERTIES: &str = "SignedProperties";

    fn named(self) -> [(&'static str, NodeId); 3] {
        [(Self::DOCUMENT, self.document), (Self::KEY_INFO, self.key_info), (Self::SIGNED_PROPERTIES, self.signed_properties)]
    }
}

impl<'d, 'a> Signature<'d, 'a> {
    /// Finds the parts of the signature `element`, which stands at `place`.
    pub(super) fn read(document: &'d XmlDocument<'a>, place: SignaturePlace, element: NodeId) -> Result<Self, SignatureProblem> {
        let signed_element = place.signed_element(document)?;
        let signed_info = dsig_child(document, element, "SignedInfo")?;
        let value = dsig_child(document, element, "SignatureValue")?;
        let key_info = dsig_child(document, element, "KeyInfo")?;
        let objects: Vec<_> = document.children_named(element, Some(uri::XMLDSIG), "Object").collect();
        let qualifying = only(
            objects.into_iter().flat_map(|object| document.children_named(object, Some(uri::XADES), "QualifyingProperties")),
            "QualifyingProperties",
        )?;
        let target = document.attribute(qualifying, "Target").and_then(|target| target.strip_prefix('#'));
        if target.is_none() || target != document.id(element) {
            return Err(SignatureProblem::Target);
        }
        let signed_properties = xades_child(document, qualifying, "SignedProperties")?;
        let properties = xades_child(document, signed_properties, "SignedSignatureProperties")?;
        let signing_time = text_of(document, xades_child(document, properties, "SigningTime")?, "SigningTime")?;
        let method = dsig_child(document, signed_info, "SignatureMethod")?;
        let method = SignatureMethod::from_uri(algorithm_of(document, method, "SignatureMethod")?)?;
        let (certificate, others) = find_certificate(document, key_info, properties)?;
        let parts = Parts { document: signed_element, key_info, signed_properties };
        Ok(Self { document, signed_info, value, method, signing_time: signing_time.trim().to_owned(), certificate, others, parts })
    }

    pub(super) const fn method(&self) -> SignatureMethod {
        self.method
    }

    /// The signer's certificate: the one of KeyInfo that SigningCertificateV2 names.
    pub(super) const fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// What else KeyInfo brings along.
    pub(super) fn other_certificates(&self) -> &[Certificate] {
        &self.others
    }

    /// SigningTime as it is written.
    pub(super) fn signing_time(&self) -> &str {
        &self.signing_time
    }

    /// Verifies the value and every Reference; gives the nodes that are covered.
    pub(super) fn verify(&self) -> Result<Vec<Covered>, SignatureProblem> {
        let document = self.document;
        let form = dsig_child(document, self.signed_info, "CanonicalizationMethod")?;
        let form = canonicalization(algorithm_of(document, form, "CanonicalizationMethod")?, "CanonicalizationMethod")?;
        let message = document.canonicalize(self.signed_info, form)?;
        let value = base64_of(document, self.value, "SignatureValue")?;
        self.method.verify(self.certificate.key(), &message, &value)?;

        let references: Vec<_> = document.children_named(self.signed_info, Some(uri::XMLDSIG), "Reference").collect();
        if references.len() > REFERENCES_MAX {
            return Err(SignatureProblem::TooMany { part: "References", count: references.len(), max: REFERENCES_MAX });
        }
        let mut covered: Vec<Covered> = Vec::new();
        for reference in references {
            covered.push(self.verify_reference(reference)?);
        }
        for (part, element) in self.parts.named() {
            let count = covered.iter().filter(|found| found.node == element).count();
            // KeyInfo need not be covered itself: SigningCertificateV2 is, and names the certificate.
            let optional = part == Parts::KEY_INFO && count == 0;
            if count != 1 && !optional {
                return Err(SignatureProblem::ReferenceCount { part, count });
            }
        }
        covered.push(Covered { node: self.signed_info, form });
        // The value is bound by having been verified; the attributes of its element are not.
        covered.extend(document.tree().children_iter(self.value).map(|node| Covered { node, form }));
        Ok(covered)
    }

    /// Checks one Reference; gives the element that it covers, which is always one of [`Parts`].
    fn verify_reference(&self, reference: NodeId) -> Result<Covered, SignatureProblem> {
        let document = self.document;
        let target = document.attribute(reference, "URI").unwrap_or_default();
        let id = target.strip_prefix('#').filter(|id| !id.is_empty());
        let (part, element) = self
            .parts
            .named()
            .into_iter()
            .find(|&(_, element)| id.is_some() && document.id(element) == id)
            .ok_or_else(|| SignatureProblem::UnexpectedReference { uri: target.to_owned() })?;
        let expected_type = (part == Parts::SIGNED_PROPERTIES).then_some(uri::SIGNED_PROPERTIES_TYPE);
        if expected_type.is_some() && document.attribute(reference, "Type") != expected_type {
            return Err(SignatureProblem::ReferenceType);
        }
        let form = self.transform_of(reference)?;
        let method = dsig_child(document, reference, "DigestMethod")?;
        let method = DigestMethod::from_uri(algorithm_of(document, method, "DigestMethod")?, "DigestMethod")?;
        let digest = base64_of(document, dsig_child(document, reference, "DigestValue")?, "DigestValue")?;
        if method.matches(&document.canonicalize(element, form)?, &digest) {
            Ok(Covered { node: element, form })
        } else {
            Err(SignatureProblem::Digest { part })
        }
    }

    /// The canonical form of a Reference: what its one transform says, or Canonical XML 1.0 without a transform.
    fn transform_of(&self, reference: NodeId) -> Result<Canonicalization, SignatureProblem> {
        let mut transforms = self.document.children_named(reference, Some(uri::XMLDSIG), "Transforms");
        let Some(list) = transforms.next() else {
            return Ok(Canonicalization::Inclusive);
        };
        if transforms.next().is_some() {
            return Err(SignatureProblem::Part { part: "Transforms in a Reference" });
        }
        let transform = only(self.document.child_elements(list), "Transform in a Reference's Transforms")?;
        if !self.document.is_named(transform, Some(uri::XMLDSIG), "Transform") {
            return Err(SignatureProblem::Part { part: "Transform in a Reference's Transforms" });
        }
        canonicalization(algorithm_of(self.document, transform, "Transform")?, "Transform")
    }
}

/// The certificate of `key_info` that SigningCertificateV2 names, and the others.
fn find_certificate(
    document: &XmlDocument<'_>,
    key_info: NodeId,
    properties: NodeId,
) -> Result<(Certificate, Vec<Certificate>), SignatureProblem> {
    let named = xades_child(document, properties, "SigningCertificateV2")?;
    let first = document.children_named(named, Some(uri::XADES), "Cert").next();
    let digest = xades_child(document, first.ok_or(SignatureProblem::Part { part: "Cert" })?, "CertDigest")?;
    let method = algorithm_of(document, dsig_child(document, digest, "DigestMethod")?, "SigningCertificateV2")?;
    let method = DigestMethod::from_uri(method, "SigningCertificateV2")?;
    let expected = base64_of(document, dsig_child(document, digest, "DigestValue")?, "SigningCertificateV2")?;

    let data = document.children_named(key_info, Some(uri::XMLDSIG), "X509Data");
    let elements: Vec<_> =
        data.flat_map(|data| document.children_named(data, Some(uri::XMLDSIG), "X509Certificate").collect::<Vec<_>>()).collect();
    if elements.len() > CERTIFICATES_MAX {
        return Err(SignatureProblem::TooMany { part: "certificates", count: elements.len(), max: CERTIFICATES_MAX });
    }
    let mut signer = None;
    let mut others = Vec::new();
    for element in elements {
        let der = base64_of(document, element, "X509Certificate")?;
        if method.matches(&der, &expected) {
            signer = Some(Certificate::parse(&der).map_err(|source| SignatureProblem::Certificate { source })?);
        } else {
            others.extend(Certificate::parse(&der));
        }
    }
    Ok((signer.ok_or(SignatureProblem::SigningCertificate)?, others))
}
