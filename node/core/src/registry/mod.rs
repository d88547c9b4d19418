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
mod imports;
mod nodes;
mod orders;
mod plan;
mod reader;
mod records;
mod refreshes;
mod refreshes_due;
mod repairs;
mod roster;
mod sessions;
pub mod state_root;
mod stops;
mod store;
mod versions;

pub use apply::{ApplyError, EntryOutcome, apply, found};
pub use crls::crls_missing;
pub use due::DESTROYED_PER_ENTRY_MAX;
pub use history::{HISTORY_BEGINNING, HISTORY_MAX};
pub use plan::{MembershipPlan, MembershipPlans, PlanMember, membership_applied};
pub use reader::{CeremonyMessage, Registry, ceremony_message_key, decode, encode, key, prefix_end, read, repair_message_key, table};
pub use records::*;
pub use refreshes_due::{RefreshCause, RefreshRules, due_refreshes_open};
pub use repairs::due_commitments;
pub use stops::{StopStanding, check_stop, is_stop_logged, is_stop_object_known};
pub use store::{Changes, MemoryStore, Overlay, Pairs, StateStore, StateStoreError};
pub use versions::{ProgramOutdated, log_version};
