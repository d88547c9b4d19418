//! Signature shares: from a coordinator's item to a share, each step a type that only the step before can make.
//!
//! [`check()`] decides from applied state whether the item may be signed, renders the message and gives [`CheckedWork`]; the shell takes
//! the node's nonce out of [`NoncePools`]; [`CheckedWork::take`] binds the two into [`Prepared`]; the shell makes
//! [`Prepared::audit_event`] and [`Prepared::spend_key`] durable; [`Prepared::sign`] gives the share.

mod check;
mod identifier;
mod nonces;
mod prepared;
mod share;

#[cfg(test)]
mod tests;

pub use check::{CheckContext, CheckError, CheckedWork, RETRY_BEHIND_MILLIS, RETRY_NONCE_MILLIS, SpendKey, check, refused_event};
pub use identifier::{identifier, node_of};
pub use nonces::{MonotonicMillis, NonceMaker, NoncePools, UnusedNonces};
pub use prepared::{Prepared, SignError};
pub use share::{ShareRecord, ShareRecordError};
