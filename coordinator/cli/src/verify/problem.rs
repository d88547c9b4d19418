//! Why a signature does not hold.

use jiff::Timestamp;
use warifu_coordinator::document::DocumentError;
use warifu_core::pki::{CertificateError, HcRoleError, PathError, SignatureError};
use warifu_protocol::DocumentKind;

/// The first thing found wrong with one signature.
#[derive(Debug, thiserror::Error)]
pub(super) enum SignatureProblem {
    /// The place or the element that it should cover is not as the format has it.
    #[error("the document is not built as its signature needs")]
    Document {
        /// What is wrong.
        #[from]
        source: DocumentError,
    },
    /// A part is missing, stands twice, or holds what it may not hold.
    #[error("the signature must have exactly one {part}")]
    Part {
        /// Name of the part.
        part: &'static str,
    },
    /// A part with content that is not of its format.
    #[error("{part} does not hold {expected}")]
    Content {
        /// Name of the part.
        part: &'static str,
        /// What belongs there.
        expected: &'static str,
    },
    /// Built on a broken hash.
    #[error("{part} uses the broken hash of {uri}")]
    BrokenHash {
        /// Where.
        part: &'static str,
        /// Its name.
        uri: String,
    },
    /// An algorithm that is not on the list.
    #[error("{part} names the algorithm {uri}, which is not accepted")]
    Algorithm {
        /// Where.
        part: &'static str,
        /// Its name.
        uri: String,
    },
    /// More References or certificates than the format has.
    #[error("the signature has {count} {part}, accepted are at most {max}")]
    TooMany {
        /// Of what.
        part: &'static str,
        /// How many.
        count: usize,
        /// How many there may be.
        max: usize,
    },
    /// A Reference to something that this signature has no business with.
    #[error("a Reference points at `{uri}`, which is none of the parts that this signature may cover")]
    UnexpectedReference {
        /// Its URI.
        uri: String,
    },
    /// No Reference, or more than one, to a part.
    #[error("{count} References cover {part}, exactly one must")]
    ReferenceCount {
        /// Which part.
        part: &'static str,
        /// How many do.
        count: usize,
    },
    /// The Reference to SignedProperties is not marked as one.
    #[error("the Reference to SignedProperties has another Type")]
    ReferenceType,
    /// A covered part was changed.
    #[error("{part} is not what was signed: its digest differs")]
    Digest {
        /// Which part.
        part: &'static str,
    },
    /// QualifyingProperties that belong to another signature.
    #[error("QualifyingProperties does not target this signature")]
    Target,
    /// The signer's certificate is refused.
    #[error("the signer's certificate is not accepted")]
    Certificate {
        /// Why.
        #[source]
        source: CertificateError,
    },
    /// No certificate in KeyInfo is the one that was signed for.
    #[error("SigningCertificateV2 names none of the certificates in KeyInfo")]
    SigningCertificate,
    /// The signature itself.
    #[error("the signature value does not hold")]
    Value {
        /// Why.
        #[source]
        source: SignatureError,
    },
    /// The certificate is not for signing documents.
    #[error("the signer's certificate is not one for nonRepudiation")]
    KeyUsage,
    /// Outside the certificate's validity.
    #[error("the signer's certificate is valid from {not_before} to {not_after}, not at {at}")]
    Validity {
        /// First instant.
        not_before: Timestamp,
        /// Last second.
        not_after: Timestamp,
        /// The instant of the check.
        at: Timestamp,
    },
    /// The hcRole cannot be read.
    #[error("the hcRole of the signer's certificate is not accepted")]
    HcRole {
        /// Why.
        #[source]
        source: HcRoleError,
    },
    /// The signer's licence does not allow this document.
    #[error("a {kind} is signed by {}, the certificate says {}", allowed.join(" or "), found_text(found))]
    Role {
        /// What was signed.
        kind: DocumentKind,
        /// Who may sign it.
        allowed: &'static [&'static str],
        /// What the certificate says.
        found: Vec<String>,
    },
    /// The certificate does not lead to a trusted one.
    #[error("the signer's certificate does not chain to a trusted one")]
    Path {
        /// Why.
        #[source]
        source: PathError,
    },
}

fn found_text(roles: &[String]) -> String {
    if roles.is_empty() { "nothing".to_owned() } else { roles.join(", ") }
}
