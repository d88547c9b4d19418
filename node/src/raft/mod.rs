//! Consensus: one order of commands for all nodes. All use of openraft is in this module.
//!
//! Raft orders and never authorizes: every command carries its own signatures, and the state machine checks them. What is checked here is only that peers
//! speak for themselves, that frames are well formed, and whatever [`InspectEntries`] asks for.
//!
//! [`RaftHandle::start`] runs a node over a [`ReplicatedState`]; [`RaftService`] answers the other nodes' requests.

mod config;
mod handle;
mod inspect;
mod log_store;
mod messages;
mod network;
mod on_disk;
mod propose;
mod reread;
mod service;
mod snapshot;
mod state;
mod state_machine;
mod types;

#[cfg(test)]
mod tests;

pub use config::{ENTRY_BYTES_MAX, RaftConfig};
pub use handle::{RaftHandle, RaftStartError, RaftStatus};
pub use inspect::{InspectEntries, InspectRefusal, InspectedEntry, InspectedPayload};
pub use on_disk::entries_on_disk;
pub use propose::{ProposeError, Proposed};
pub use reread::reread;
pub use service::RaftService;
pub use state::{AppliedEntry, AppliedPayload, AppliedState, LogPosition, MembershipView, ReplicatedState, StateError, StateSnapshot};
pub use types::RosterNode;
