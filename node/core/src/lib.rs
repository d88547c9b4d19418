//! Sans-IO core of a Warifu node: registry, evidence checks, policy, nonces, ceremonies and audit.

pub mod audit;
pub mod ceremony;
pub mod confirmation;
pub mod describe;
pub mod identity;
pub mod import;
pub mod pki;
pub mod registry;
pub mod signer;
pub mod stopping;
