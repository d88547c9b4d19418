//! What every card can do, and what it says about itself.

use std::fmt;

use super::algorithm::{CardAlgorithm, CardPublicKey};
use super::error::CardError;
use super::pin::Pin;
use warifu_protocol::AuthenticatorKind;

/// A card that signs with the key of the certificate it holds, once the right PIN is given.
pub trait Card: Send {
    /// Says which card this is and how its PIN stands, without using a try.
    fn describe(&self) -> CardDescription;

    /// Returns the DER of the certificate whose key signs; needs no PIN.
    ///
    /// # Errors
    /// [`CardError::NoCertificate`] when the card holds none, or a failure to read it.
    fn certificate(&mut self) -> Result<Vec<u8>, CardError>;

    /// Hashes `message` and signs it: RSASSA-PKCS1-v1_5 with SHA-256, or ECDSA over P-384 with SHA-384 as raw r‖s (96 bytes).
    ///
    /// The message itself is the argument, never a digest: the caller has rendered and shown what it signs. One call is one try of the PIN.
    ///
    /// # Errors
    /// [`CardError::WrongPin`], [`CardError::Locked`], [`CardError::PinLength`] (which used no try) and whatever else keeps the card from signing.
    fn sign(&mut self, pin: &Pin, message: &[u8]) -> Result<Vec<u8>, CardError>;

    /// Says which algorithm the card's certificate stands for.
    ///
    /// # Errors
    /// As [`Card::certificate`], and [`CardError::UnsupportedKey`].
    fn algorithm(&mut self) -> Result<CardAlgorithm, CardError> {
        Ok(CardPublicKey::from_certificate(&self.certificate()?)?.algorithm())
    }
}

/// Which card it is, in words for the person who is about to type a PIN.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CardDescription {
    /// Token label, or the words that name a trial card.
    pub name: String,
    /// File, or token serial and module.
    pub location: String,
    /// Whether it is a software card, fit for trials only.
    pub trial: bool,
    /// What it stands in for, when the card says so; a PKCS#11 token does not.
    pub kind: Option<AuthenticatorKind>,
    /// How its PIN stands.
    pub pin_state: PinState,
    /// Where its PIN is typed.
    pub pin_entry: PinEntry,
}

impl fmt::Display for CardDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.location)?;
        match self.pin_state {
            PinState::Unknown | PinState::Fresh => Ok(()),
            state => write!(f, ": {state}"),
        }
    }
}

/// How close a card's PIN is to being locked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PinState {
    /// The card does not say, or is not there.
    Unknown,
    /// No wrong PIN since the last right one, as far as the token's flags tell.
    Fresh,
    /// So many tries are left.
    Tries(u32),
    /// At least one wrong PIN was given since the last right one.
    CountLow,
    /// One more wrong PIN locks the card.
    FinalTry,
    /// No PIN is accepted any more.
    Locked,
}

impl fmt::Display for PinState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("PIN state unknown"),
            Self::Fresh => f.write_str("PIN not mistyped lately"),
            Self::Tries(1) | Self::FinalTry => f.write_str("last try: one more wrong PIN locks the card"),
            Self::Tries(tries) => write!(f, "{tries} tries left"),
            Self::CountLow => f.write_str("a wrong PIN was given lately"),
            Self::Locked => f.write_str("LOCKED"),
        }
    }
}

/// Where the PIN is typed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PinEntry {
    /// On this machine.
    Here,
    /// On the reader's own keys (`CKF_PROTECTED_AUTHENTICATION_PATH`): this machine never sees it.
    Reader,
}

/// Largest message a card is asked to sign, in bytes. A statement is under 2 KiB; anything much larger is not one.
pub const MESSAGE_SIZE_MAX: usize = 16 * 1024;

/// Largest certificate read from a card, in bytes; the real ones are under 2 KiB.
pub const CERTIFICATE_SIZE_MAX: usize = 8 * 1024;

/// Refuses what is too large to be a statement.
///
/// # Errors
/// [`CardError::MessageTooLarge`] above [`MESSAGE_SIZE_MAX`].
pub(super) fn check_message(message: &[u8]) -> Result<(), CardError> {
    if message.len() > MESSAGE_SIZE_MAX {
        return Err(CardError::MessageTooLarge { size: message.len(), limit: MESSAGE_SIZE_MAX });
    }
    Ok(())
}
