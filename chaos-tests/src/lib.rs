//! Torment for a Warifu cluster: simulator, fault proxies and invariants, and the measurements of what it costs.

pub mod measure;
pub mod sign_latency;
pub mod state_size;
