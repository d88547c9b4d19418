//! Warifu's identifiers, wire and log types, canonical encodings and limits.
//!
//! The types are inert: no IO, no clock, no policy. Whatever crosses a process boundary or is hashed, signed or stored is defined here.

pub mod document;
pub mod ids;

pub use document::DocumentKind;
pub use ids::*;
