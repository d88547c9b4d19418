//! Torment for a Warifu cluster: simulator, fault proxies and invariants, and the measurements of what it costs.

pub mod custody;
pub mod measure;
mod scene;
pub mod sign_latency;
pub mod state_size;
