//! The one command for people: quickstart, genesis, officer, credential, card, terminal, verify, status.

pub mod card;
pub mod card_command;
pub mod clock;
mod command_line;
pub mod connection;
pub mod console;
pub mod credential;
pub mod error;
pub mod files;
pub mod genesis;
pub mod keys;
#[cfg(feature = "embedded")]
pub mod local_cluster;
pub mod officer;
pub mod orders;
#[cfg(feature = "embedded")]
pub mod quickstart;
pub mod roster;
pub mod status;
pub mod terminal;
pub mod trial_command;
pub mod trial_pki;
pub mod verify;

pub use command_line::run_main;
