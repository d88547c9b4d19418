//! A card behind a PKCS#11 module: the real My Number Card or HPKI card through OpenSC or its vendor's module, SoftHSM2 in tests.
//!
//! What a real card adds is known from OpenSC's description of it and was not tried: two tokens for one card, a PIN of exactly four digits,
//! the flags and return values of a card that counts tries and locks, a reader with keys of its own, a card pulled out during a login.

mod card;
mod classify;
mod select;

pub use card::Pkcs11Card;
pub use select::{ObjectSelector, Pkcs11Options, TOKEN_LABEL_DEFAULT, TokenSelector};
