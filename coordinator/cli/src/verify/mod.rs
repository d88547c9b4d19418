//! `warifu verify`: who signed a prescription or dispensing, with which licence, when, and which parts nobody signed.
//!
//! A document is untrusted throughout. A Reference counts only when it resolves to the element that the service's format puts at that
//! place, so that a signature cannot be made to vouch for one element while another one is read.

mod algorithm;
mod args;
mod coverage;
mod document;
mod problem;
mod report;
mod signature;
mod signer;
mod structure;
mod trust;

pub use args::{VerifyArgs, run};
pub use document::{VerifyOptions, verify};
pub use report::{Report, SignatureReport, SignerReport, TrustReport, UncoveredPart};
pub use trust::{TRUST_ANCHORS_MAX, TRUST_FILE_BYTES_MAX, load_anchors};
