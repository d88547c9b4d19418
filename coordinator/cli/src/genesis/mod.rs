//! `warifu genesis`: founding a cluster.

mod args;
mod describe;
mod draft;
mod error;

pub use args::{GenesisCommand, new_coordinator, run};
pub use describe::describe;
pub use draft::{AnchorArgument, Draft, liars_default};
pub use error::GenesisCommandError;
