//! Sans-IO core of a Warifu node: registry, evidence checks, policy, nonces, ceremonies and audit.
pub mod registry;

pub mod pki;
