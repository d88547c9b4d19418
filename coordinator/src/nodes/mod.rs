//! The nodes as the shell deals with them.

mod batches;
mod call;
mod fleet;
mod imports;
mod propose;
mod reads;
mod roster;
mod stops;
mod upkeep;

pub(crate) use batches::{Answered, Queued};
pub(crate) use call::QuicNodes;
pub use call::{CallFailure, CallNode};
pub(crate) use fleet::{Nodes, Probe};
pub(crate) use propose::Proposed;
pub(crate) use reads::ReadError;
pub(crate) use stops::Stops;
