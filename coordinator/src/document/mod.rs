//! The XML of the e-prescription service: reading it safely, finding what is signed, and putting a signature in.
//!
//! A signature covers exactly one element, found by its place and not only by its id, so that no document can be arranged to show one
//! element and have another one signed.

pub mod sample;

mod canonical;
mod embed;
mod error;
mod place;
mod xml;

pub use canonical::{Canonicalization, canonical_digest};
pub use embed::embed;
pub use error::DocumentError;
pub use place::{SignaturePlace, document_id};
pub use xml::{ATTRIBUTES_MAX, DEPTH_MAX, DOCUMENT_BYTES_MAX, MARKUP_MAX, NAMESPACES_MAX, XmlDocument};
