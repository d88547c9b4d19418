//! Repair: t nodes that hold shares give another node its share, without the key or any of their shares being seen by anybody.
//!
//! The scheme is frost-core's `keys::repairable`, run for many credentials at once. It trusts its participants; here everything that is sent
//! is checked against commitments in the log, so that whoever lies is named and left out.

mod helper;
mod proof;
mod receiver;
mod repairs;

pub(crate) use proof::zero_share_fits;
pub use proof::{PointBytes, commitments_fit, interpolate, scalar_fits};
pub use repairs::{REPAIR_GRACE_MILLIS, Repairs};
