//! The replicated registry: what every node knows, decided by the log and by nothing else.

mod reader;
mod records;
mod store;

pub use reader::{CeremonyMessage, Registry, ceremony_message_key, decode, encode, key, prefix_end, read, table};
pub use records::*;
pub use store::{Changes, MemoryStore, Overlay, StateStore, StateStoreError};
