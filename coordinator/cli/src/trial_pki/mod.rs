//! Certification authorities for trials: they issue what HPKI and JPKI issue, profile for profile, and call themselves TRIAL.
//!
//! They let a cluster be tried from end to end where no real CA and no real card is at hand. Their keys lie unencrypted in files and
//! nobody's identity was checked, so a cluster whose genesis pins one of them signs nothing that counts.

mod authority;
mod error;
mod files;
mod hpki;
mod jpki;
mod profile;

#[cfg(test)]
mod tests;

pub use error::TrialPkiError;
pub use hpki::{TrialHpki, TrialHpkiAuthentication};
pub use jpki::TrialJpki;
pub use profile::Validity;
