//! Renders the XAdES parts of an electronic prescription's signature as canonical bytes from typed fields.
//!
//! A site that holds a key share renders what it signs and is never handed the bytes, so it needs no XML parser: every part is written
//! directly in the form that canonicalization would give it. [`RenderedSignature::signature_element`] then writes the same fields as
//! the element that goes into the document, whose parts canonicalize to exactly those bytes.

pub mod uri;

mod fields;
mod ids;
mod render;

pub use fields::{CERTIFICATE_BYTES_MAX, RenderError, SIGNING_TIME_MAX, SignatureFields};
pub use ids::PartIds;
pub use render::{RenderedSignature, render};
