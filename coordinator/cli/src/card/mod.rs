//! The holder's card: what proves, with a PIN, that it is the holder who opens a session.
//!
//! [`Card`] has two implementations. [`Pkcs11Card`] reaches a token through its vendor's or OpenSC's PKCS#11 module;
//! [`SoftwareCard`] is a file that behaves like a card and calls itself a trial card. [`CardArgs`] is how commands are told which one.

mod algorithm;
mod args;
mod error;
mod interface;
mod pin;
mod pkcs11;
mod software;

pub use algorithm::{CardAlgorithm, CardPublicKey};
pub use args::{CardArgs, HexBytes, PIN_ENVIRONMENT};
pub use error::{CardError, Remedy, TriesLeft};
pub use interface::{CERTIFICATE_SIZE_MAX, Card, CardDescription, MESSAGE_SIZE_MAX, PinEntry, PinState};
pub use pin::{PIN_LENGTH_MAX, Pin, PinError};
pub use pkcs11::{ObjectSelector, Pkcs11Card, Pkcs11Options, TOKEN_LABEL_DEFAULT, TokenSelector};
pub use software::{PIN_TRIES, SoftwareCard, TRIAL_PIN_LENGTH_MAX, TRIAL_PIN_LENGTH_MIN};
