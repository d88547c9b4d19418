//! Canonical XML of one element.

use bergshamra_c14n::{C14nMode, canonicalize_doc};
use bergshamra_xml::NodeSet;
use sha2::{Digest, Sha256};
use uppsala::NodeId;
use warifu_protocol::{DocumentDigest, DocumentKind};

use super::error::DocumentError;
use super::place::SignaturePlace;
use super::xml::XmlDocument;

/// A canonical form, without comments in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Canonicalization {
    /// Canonical XML 1.0: namespaces of all ancestors are part of the bytes.
    Inclusive,
    /// Exclusive Canonical XML 1.0: only namespaces in use are.
    Exclusive,
}

impl XmlDocument<'_> {
    /// The canonical bytes of `element` and all that is in it.
    ///
    /// # Errors
    ///
    /// [`DocumentError::Canonicalization`].
    pub fn canonicalize(&self, element: NodeId, form: Canonicalization) -> Result<Vec<u8>, DocumentError> {
        let mode = match form {
            Canonicalization::Inclusive => C14nMode::Inclusive,
            Canonicalization::Exclusive => C14nMode::Exclusive,
        };
        let nodes = NodeSet::tree_without_comments(element, self.tree());
        canonicalize_doc::<&str>(self.tree(), mode, Some(&nodes), &[])
            .map_err(|error| DocumentError::Canonicalization { detail: error.to_string() })
    }
}

/// The digest that a signature over a document of this kind is about: SHA-256 of the Canonical XML 1.0 of the element at
/// `/Document/Prescription/PrescriptionDocument` or `/Document/Dispensing`.
///
/// The holder's terminal computes it from the document that it shows; the coordinator computes it again to tell early when the two
/// differ.
///
/// # Errors
///
/// [`DocumentError`] when the document is refused, is of the other kind, or the element is not exactly where it belongs.
pub fn canonical_digest(xml: &[u8], kind: DocumentKind) -> Result<DocumentDigest, DocumentError> {
    let document = XmlDocument::parse(xml)?;
    document.expect_kind(kind)?;
    let element = SignaturePlace::of(kind).signed_element(&document)?;
    let canonical = document.canonicalize(element, Canonicalization::Inclusive)?;
    Ok(DocumentDigest::new(Sha256::digest(canonical).into()))
}
