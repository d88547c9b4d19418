//! The parts of the signature, as canonical bytes and as the element that is put into the document.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};
use warifu_protocol::DocumentKind;

use crate::fields::{RenderError, SignatureFields};
use crate::ids::PartIds;
use crate::uri;

/// One signature before its value is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedSignature {
    /// `KeyInfo` in Exclusive Canonical XML.
    pub key_info: Vec<u8>,
    /// `SignedProperties` in Exclusive Canonical XML.
    pub signed_properties: Vec<u8>,
    /// `SignedInfo` in Exclusive Canonical XML: the message that is signed.
    pub signed_info: Vec<u8>,
    /// `Id`s of the parts.
    pub ids: PartIds,
    texts: Texts,
}

/// Renders the signature that `fields` describe. Equal fields give equal bytes on every site.
///
/// # Errors
///
/// [`RenderError`] when the certificate or the signing time is out of bounds.
pub fn render(fields: &SignatureFields<'_>) -> Result<RenderedSignature, RenderError> {
    let signing_time = fields.checked_signing_time()?;
    let ids = PartIds::derive(fields.kind, fields.request);
    let mut texts = Texts {
        kind: fields.kind,
        signing_time,
        certificate: BASE64.encode(fields.certificate),
        certificate_digest: sha256_base64(fields.certificate),
        document_digest: BASE64.encode(fields.document.as_bytes()),
        key_info_digest: String::new(),
        signed_properties_digest: String::new(),
    };
    let key_info = texts.key_info(&ids, Form::Canonical).into_bytes();
    let signed_properties = texts.signed_properties(&ids, Form::Canonical).into_bytes();
    texts.key_info_digest = sha256_base64(&key_info);
    texts.signed_properties_digest = sha256_base64(&signed_properties);
    let signed_info = texts.signed_info(&ids, Form::Canonical).into_bytes();
    Ok(RenderedSignature { key_info, signed_properties, signed_info, ids, texts })
}

impl RenderedSignature {
    /// Writes the whole `Signature` element with its value, ready to be put inside `PrescriptionSign` or `DispensingSign`.
    ///
    /// Its `KeyInfo`, `SignedProperties` and `SignedInfo` canonicalize (exclusively) to the bytes of this value's fields wherever it
    /// is put. `signature` is the Ed25519 signature over [`signed_info`](Self::signed_info), RFC 8032 section 5.1.6; it is not checked.
    #[must_use]
    pub fn signature_element(&self, signature: &[u8; 64]) -> String {
        let (xs, xa) = (uri::XMLDSIG, uri::XADES);
        let kind = self.texts.kind;
        let ids = &self.ids;
        format!(
            "<xs:Signature xmlns:xs=\"{xs}\" Id=\"{signature_id}\">{signed_info}\
             <xs:SignatureValue Id=\"{value_id}\">{value}</xs:SignatureValue>{key_info}\
             <xs:Object xmlns:xa=\"{xa}\"><xa:QualifyingProperties Id=\"{properties_id}\" Target=\"#{signature_id}\">\
             {signed_properties}</xa:QualifyingProperties></xs:Object></xs:Signature>",
            signature_id = kind.signature_id(),
            signed_info = self.texts.signed_info(ids, Form::Embedded),
            value_id = ids.signature_value,
            value = BASE64.encode(signature),
            key_info = self.texts.key_info(ids, Form::Embedded),
            properties_id = ids.qualifying_properties,
            signed_properties = self.texts.signed_properties(ids, Form::Embedded),
        )
    }
}

/// How a part is written: the two differ in namespace declarations and empty elements only.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As Exclusive Canonical XML gives the part when it is taken out of the document.
    Canonical,
    /// As it stands inside `Signature`, which declares both prefixes.
    Embedded,
}

impl Form {
    /// The declaration of `prefix` where canonical form needs one.
    fn declare(self, prefix: &str, namespace: &str) -> String {
        match self {
            Self::Canonical => format!(" xmlns:{prefix}=\"{namespace}\""),
            Self::Embedded => String::new(),
        }
    }

    /// An element without content that has one `Algorithm`.
    fn algorithm(self, name: &str, declaration: &str, algorithm: &str) -> String {
        match self {
            Self::Canonical => format!("<xs:{name}{declaration} Algorithm=\"{algorithm}\"></xs:{name}>"),
            Self::Embedded => format!("<xs:{name} Algorithm=\"{algorithm}\"/>"),
        }
    }
}

/// Texts of the signature. All of them are base64, a date or derived ids, so that none needs escaping.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Texts {
    kind: DocumentKind,
    signing_time: String,
    certificate: String,
    certificate_digest: String,
    document_digest: String,
    key_info_digest: String,
    signed_properties_digest: String,
}

impl Texts {
    fn key_info(&self, ids: &PartIds, form: Form) -> String {
        format!(
            "<xs:KeyInfo{xs} Id=\"{id}\"><xs:X509Data><xs:X509Certificate>{certificate}</xs:X509Certificate></xs:X509Data></xs:KeyInfo>",
            xs = form.declare("xs", uri::XMLDSIG),
            id = ids.key_info,
            certificate = self.certificate,
        )
    }

    fn signed_properties(&self, ids: &PartIds, form: Form) -> String {
        // Exclusive canonicalization declares a prefix where it is first used, which for `xs` is each of the two leaves.
        let xs = form.declare("xs", uri::XMLDSIG);
        format!(
            "<xa:SignedProperties{xa} Id=\"{id}\"><xa:SignedSignatureProperties><xa:SigningTime>{time}</xa:SigningTime>\
             <xa:SigningCertificateV2><xa:Cert><xa:CertDigest>{method}<xs:DigestValue{xs}>{digest}</xs:DigestValue></xa:CertDigest>\
             </xa:Cert></xa:SigningCertificateV2></xa:SignedSignatureProperties></xa:SignedProperties>",
            xa = form.declare("xa", uri::XADES),
            id = ids.signed_properties,
            time = self.signing_time,
            method = form.algorithm("DigestMethod", &xs, uri::SHA256),
            digest = self.certificate_digest,
        )
    }

    fn signed_info(&self, ids: &PartIds, form: Form) -> String {
        let transforms = format!("<xs:Transforms>{}</xs:Transforms>", form.algorithm("Transform", "", uri::EXCLUSIVE_C14N));
        let reference = |id: &str, kind: &str, target: &str, transforms: &str, digest: &str| {
            format!(
                "<xs:Reference Id=\"{id}\"{kind} URI=\"#{target}\">{transforms}{method}<xs:DigestValue>{digest}</xs:DigestValue>\
                 </xs:Reference>",
                method = form.algorithm("DigestMethod", "", uri::SHA256),
            )
        };
        format!(
            "<xs:SignedInfo{xs} Id=\"{id}\">{canonicalization}{method}{document}{key_info}{properties}</xs:SignedInfo>",
            xs = form.declare("xs", uri::XMLDSIG),
            id = ids.signed_info,
            canonicalization = form.algorithm("CanonicalizationMethod", "", uri::EXCLUSIVE_C14N),
            method = form.algorithm("SignatureMethod", "", uri::ED25519),
            document = reference(&ids.document_reference, "", self.kind.signed_element_id(), "", &self.document_digest),
            key_info = reference(&ids.key_info_reference, "", &ids.key_info, &transforms, &self.key_info_digest),
            properties = reference(
                &ids.signed_properties_reference,
                &format!(" Type=\"{}\"", uri::SIGNED_PROPERTIES_TYPE),
                &ids.signed_properties,
                &transforms,
                &self.signed_properties_digest,
            ),
        )
    }
}

fn sha256_base64(bytes: &[u8]) -> String {
    BASE64.encode(Sha256::digest(bytes))
}
