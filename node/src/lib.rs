//! Shell of a Warifu node: QUIC, raft, store, metrics and the admin socket around the sans-IO core.

pub mod admin;
pub mod admission;
pub mod blocking;
pub mod budget;
pub mod bulk;
pub mod clock;
mod command_line;
pub mod config;
pub mod consent;
mod consent_command;
pub mod custodian;
pub mod daemon;
pub mod fresh_term;
pub mod gate;
pub mod generation;
pub mod holds;
pub mod http;
pub mod keys;
pub mod local;
pub mod membership;
pub mod metrics;
pub mod pace;
pub mod raft;
pub mod rate;
pub mod replacement;
pub mod replicated;
pub mod sealing;
pub mod service;
pub mod standing;
pub mod state;
pub mod store;
pub mod upkeep;
pub mod work;

pub use command_line::run_main;
