//! The one command for people: quickstart, genesis, officer, credential, card, terminal, verify, status.

pub mod card;
pub mod trial_pki;
pub mod verify;
