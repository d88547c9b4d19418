//! What can be wrong with a document.

use warifu_protocol::{DocumentKind, ParseDocumentIdError};

/// Why a document is refused. Every variant is the sender's to correct.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// There is nothing in it.
    #[error("the document is empty")]
    Empty,
    /// It is larger than any document of the service.
    #[error("the document has {bytes} bytes and may have {max}")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// Largest length.
        max: usize,
    },
    /// It is not UTF-8, or says that it is not.
    #[error("the document is not UTF-8: {detail}")]
    NotUtf8 {
        /// Where or what.
        detail: String,
    },
    /// It is of another version of XML, in which other characters are line breaks and namespaces can be taken back.
    #[error("the document is XML {version}, only XML 1.0 is read")]
    XmlVersion {
        /// The version.
        version: String,
    },
    /// It holds more tags, attributes or namespaces than any document of the service.
    #[error("the document has {count} {what} and may have {max}")]
    TooMuchMarkup {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        count: usize,
        /// How much there may be.
        max: usize,
    },
    /// It has a document type declaration, and with it possibly entities.
    #[error("the document has a document type declaration (DTD); remove it")]
    DocumentType,
    /// It has a processing instruction.
    #[error("the document has the processing instruction `{target}`; remove it")]
    ProcessingInstruction {
        /// Its target.
        target: String,
    },
    /// It is not well-formed XML with namespaces.
    #[error("the document is not well-formed XML")]
    Malformed {
        /// What the parser found.
        #[source]
        source: uppsala::XmlError,
    },
    /// A prefix that is bound to no namespace, which Namespaces in XML 1.0 section 2.2 forbids.
    #[error("the document binds the prefix `{prefix}` to nothing; remove the declaration")]
    UnboundPrefix {
        /// The prefix.
        prefix: String,
    },
    /// White space that XML parsers have to replace before anyone sees it, and that not all of them do.
    #[error("{place} has a tab or line break; write it on one line")]
    LineBreak {
        /// Where it is.
        place: String,
    },
    /// Two elements have one id, so a Reference could mean either.
    #[error("the id `{id}` stands more than once")]
    DuplicateId {
        /// The id.
        id: String,
    },
    /// It is neither a prescription nor a dispensing, or it is both.
    #[error("the document is neither a prescription (/Document/Prescription) nor a dispensing (/Document/Dispensing)")]
    UnknownKind,
    /// It is the other kind of document.
    #[error("the document is a {found}, not a {expected}")]
    WrongKind {
        /// What was asked for.
        expected: DocumentKind,
        /// What it is.
        found: DocumentKind,
    },
    /// An element that must be there is not.
    #[error("the document has no {path}")]
    Missing {
        /// Path of the element.
        path: String,
    },
    /// An element that must stand alone has a twin.
    #[error("the document has more than one {path}")]
    Ambiguous {
        /// Path of the element.
        path: String,
    },
    /// The element to be signed does not carry the id that its Reference names.
    #[error("{path} must have id=\"{expected}\"")]
    WrongId {
        /// Path of the element.
        path: String,
        /// The id.
        expected: &'static str,
    },
    /// A comment inside what is signed: canonical XML drops it, so it could change the meaning without changing the digest.
    #[error("there is a comment inside {path}, which would not be signed; remove it")]
    CommentInSignedElement {
        /// Path of the signed element.
        path: String,
    },
    /// The place of the signature is taken.
    #[error("{path} is not empty: the document is signed already")]
    AlreadySigned {
        /// Path of the element that holds the signature.
        path: String,
    },
    /// The document's identifier is empty, too long or holds unusual characters.
    #[error("{path} must have as its Value an identifier of the document")]
    BadDocumentId {
        /// Path of the element.
        path: String,
        /// What an identifier is.
        #[source]
        source: ParseDocumentIdError,
    },
    /// What was to be put in is not one signature of this kind, or it disturbs the document.
    #[error("the signature does not fit the document: {detail}")]
    SignatureDoesNotFit {
        /// What is wrong with it.
        detail: String,
    },
    /// Canonicalization failed.
    #[error("the document cannot be canonicalized: {detail}")]
    Canonicalization {
        /// What the library says.
        detail: String,
    },
}
