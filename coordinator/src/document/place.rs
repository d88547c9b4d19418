//! Where signatures stand and what they cover.

use uppsala::{NodeId, NodeKind};
use warifu_protocol::{DocumentId, DocumentKind};

use super::error::DocumentError;
use super::xml::{XmlDocument, path_text};

/// One of the three places at which a document of the service holds a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SignaturePlace {
    /// The doctor's, in a prescription.
    Prescription,
    /// The doctor's, in the prescription that a dispensing contains.
    ReferencedPrescription,
    /// The pharmacist's, in a dispensing.
    Dispensing,
}

impl SignaturePlace {
    /// All places.
    pub const ALL: [Self; 3] = [Self::Prescription, Self::ReferencedPrescription, Self::Dispensing];

    /// The place of the signature that a document of this kind is to receive.
    #[must_use]
    pub const fn of(kind: DocumentKind) -> Self {
        match kind {
            DocumentKind::Prescription => Self::Prescription,
            DocumentKind::Dispensing => Self::Dispensing,
        }
    }

    /// Which signature it is: the doctor's or the pharmacist's.
    #[must_use]
    pub const fn kind(self) -> DocumentKind {
        match self {
            Self::Prescription | Self::ReferencedPrescription => DocumentKind::Prescription,
            Self::Dispensing => DocumentKind::Dispensing,
        }
    }

    /// Path of the element that holds the signature.
    #[must_use]
    pub const fn holder_path(self) -> &'static [&'static str] {
        match self {
            Self::Prescription => &["Document", "Prescription", "PrescriptionSign"],
            Self::ReferencedPrescription => &["Document", "Dispensing", "ReferencePrescription", "PrescriptionSign"],
            Self::Dispensing => &["Document", "DispensingSign"],
        }
    }

    /// Path of the element that the signature covers.
    #[must_use]
    pub const fn signed_path(self) -> &'static [&'static str] {
        match self {
            Self::Prescription => &["Document", "Prescription", "PrescriptionDocument"],
            Self::ReferencedPrescription => &["Document", "Dispensing", "ReferencePrescription", "PrescriptionDocument"],
            Self::Dispensing => &["Document", "Dispensing"],
        }
    }

    /// The element that a signature at this place covers, with the id by which the signature refers to it.
    ///
    /// # Errors
    ///
    /// [`DocumentError::Missing`], [`DocumentError::Ambiguous`] or [`DocumentError::WrongId`] when it is not exactly there, and
    /// [`DocumentError::CommentInSignedElement`] when part of it would escape the signature.
    pub fn signed_element(self, document: &XmlDocument<'_>) -> Result<NodeId, DocumentError> {
        let path = self.signed_path();
        let element = document.element_at(path)?;
        let expected = self.kind().signed_element_id();
        if document.id(element) != Some(expected) {
            return Err(DocumentError::WrongId { path: path_text(path), expected });
        }
        let tree = document.tree();
        if tree.descendants(element).into_iter().any(|node| matches!(tree.node_kind(node), Some(NodeKind::Comment(_)))) {
            return Err(DocumentError::CommentInSignedElement { path: path_text(path) });
        }
        Ok(element)
    }
}

impl XmlDocument<'_> {
    /// Whether this is a prescription or a dispensing.
    ///
    /// # Errors
    ///
    /// [`DocumentError::UnknownKind`] when it is neither or both, [`DocumentError::Ambiguous`] when it is one of them twice.
    pub fn kind(&self) -> Result<DocumentKind, DocumentError> {
        let prescription = self.find_at(&["Document", "Prescription"])?;
        let dispensing = self.find_at(&["Document", "Dispensing"])?;
        match (prescription, dispensing) {
            (Some(_), None) => Ok(DocumentKind::Prescription),
            (None, Some(_)) => Ok(DocumentKind::Dispensing),
            (Some(_), Some(_)) | (None, None) => Err(DocumentError::UnknownKind),
        }
    }

    /// Refuses a document of the other kind.
    ///
    /// # Errors
    ///
    /// As [`kind`](Self::kind), and [`DocumentError::WrongKind`].
    pub fn expect_kind(&self, expected: DocumentKind) -> Result<(), DocumentError> {
        let found = self.kind()?;
        if found == expected { Ok(()) } else { Err(DocumentError::WrongKind { expected, found }) }
    }

    /// The identifier that the sending system gave the document: `PrescriptionId` or `DispensingId`.
    ///
    /// # Errors
    ///
    /// [`DocumentError::Missing`], [`DocumentError::Ambiguous`], or [`DocumentError::BadDocumentId`].
    ///
    /// # Security
    ///
    /// No signature of the service's format covers it.
    pub fn document_id(&self) -> Result<DocumentId, DocumentError> {
        let path: &[&str] = match self.kind()? {
            DocumentKind::Prescription => &["Document", "Prescription", "PrescriptionManagement", "PrescriptionId"],
            DocumentKind::Dispensing => &["Document", "DispensingManagement", "DispensingId"],
        };
        let element = self.element_at(path)?;
        let value = self.attribute(element, "Value").unwrap_or_default();
        value.parse().map_err(|source| DocumentError::BadDocumentId { path: path_text(path), source })
    }
}

/// Reads the identifier of a document of this kind.
///
/// # Errors
///
/// [`DocumentError`] when the document is refused, is of the other kind, or has no proper identifier.
pub fn document_id(xml: &[u8], kind: DocumentKind) -> Result<DocumentId, DocumentError> {
    let document = XmlDocument::parse(xml)?;
    document.expect_kind(kind)?;
    document.document_id()
}
