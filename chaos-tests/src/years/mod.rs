//! The life of keys, told on real processes by the real commands: enrolled in bulk, a site's disk lost and replaced, shares repaired and refreshed, a
//! site exchanged for another, a key revoked and destroyed, the lost disk found again.
//!
//! Prescriptions are signed in an open loop all the while. A step that does not hold, or a document that is not signed, is a failure.

mod options;
mod report;
mod run;

pub use options::Options;
pub use report::{Report, Step};
pub use run::run;
