//! Ceremonies: how nodes come to hold shares of a key that exists nowhere whole.
//!
//! [`Dkg`] runs distributed key generation (Pedersen's, with proofs of knowledge, as frost-core implements it) for batches of credentials.
//! Its round 1 and the hashes of its round 2 go through the log, so that all participants have one view; the round-2 packages
//! themselves go from node to node. [`repair::Repairs`] gives a node the shares that it lacks, and [`Imports`] takes those
//! of a key that existed before.

mod attempt;
mod backlog;
mod begins;
mod dkg;
mod due_refreshes;
mod effect;
mod imports;
pub mod repair;
mod retry;
mod rounds;
mod shares;
mod transcript;
mod walk;

#[cfg(test)]
mod tests;

pub use backlog::Backlog;
pub use dkg::{ATTEMPTS_MAX, CEREMONIES_BEGUN_MAX, DEADLINE_GRACE_MILLIS, Dkg};
pub use due_refreshes::DueRefreshes;
pub use effect::{CeremonyEffect, CeremonyError};
pub use imports::Imports;
pub use retry::{PROPOSE_RETRY_MILLIS, SEND_RETRY_MILLIS};
pub use rounds::ROUND2_PACKAGE_BYTES_MAX;
pub(crate) use rounds::{round1_is_right, round2_is_right};
pub use shares::OpenShare;
pub use transcript::{round2_hash, transcript};
pub use walk::PAGE;
