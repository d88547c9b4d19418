//! The replicated registry: what every node knows, decided by the log and by nothing else.

mod accusations;
mod apply;
mod bindings;
mod cards;
mod ceremonies;
mod credentials;
mod crls;
mod due;
mod history;
mod nodes;
mod orders;
mod plan;
mod reader;
mod records;
mod refreshes;
mod repairs;
mod roster;
mod sessions;
pub mod state_root;
mod stops;
mod store;

pub use apply::{EntryOutcome, apply, found};
pub use history::{HISTORY_BEGINNING, HISTORY_MAX};
pub use plan::{MembershipPlan, MembershipPlans, PlanMember, membership_applied};
pub use reader::{CeremonyMessage, Registry, ceremony_message_key, decode, encode, key, prefix_end, read, repair_message_key, table};
pub use records::*;
pub use repairs::due_commitments;
pub use stops::{StopStanding, check_stop, is_stop_logged, is_stop_object_known};
pub use store::{Changes, MemoryStore, Overlay, Pairs, StateStore, StateStoreError};
