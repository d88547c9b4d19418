//! A card behind a PKCS#11 module: the real My Number Card or HPKI card through OpenSC or its vendor's module, SoftHSM2 in tests.

mod card;
mod classify;
mod select;

pub use card::Pkcs11Card;
pub use select::{ObjectSelector, Pkcs11Options, TOKEN_LABEL_DEFAULT, TokenSelector};
