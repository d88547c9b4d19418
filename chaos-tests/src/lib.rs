//! Torment for a Warifu cluster: simulator, fault proxies and invariants, and the measurements of what it costs.

pub mod command;
mod commands;
pub mod custody;
pub mod disk_faults;
mod meanwhile;
pub mod measure;
pub mod mutants;
pub mod open_loop;
mod plot;
pub mod preload;
pub mod proxy;
pub mod raft_lines;
mod scene;
pub mod sign_latency;
pub mod simulate;
mod site;
pub mod state_size;
pub mod torment;
pub mod years;
