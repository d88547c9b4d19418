//! A registry with its genesis, officers, trial CAs, terminals and cards, and the checks that every refusal must pass.

mod keys;
mod pki;
mod world;

pub(crate) use keys::{Card, Signer};
pub(crate) use pki::{Ca, DAY, HOUR, NOW, policies, set_validity, signing_params};
pub(crate) use world::{
    COUNTER, DESK, Holder, NODES, RETIRED, World, bytes16, dealt, hashes_for, identity, name, node, node_entry, rebuilt_root, reload,
    session_key,
};
