//! Durable storage: one redb file, written by a thread of its own.

mod database;
mod error;
mod verify;
mod writer;

pub use database::{Database, DatabaseOptions};
pub use error::StoreError;
pub use verify::{open_unchanged, verify};
pub use writer::{JOBS_PER_COMMIT_MAX, JOBS_WAITING_MAX, StoreHealth, WriteDurability};
