//! Why a card did not do what was asked, and what the person can do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::pin::PinError;

/// A failure at the card. The text is for the person at the terminal: whose fault it is and what to do.
#[derive(Debug, thiserror::Error)]
pub enum CardError {
    /// The PKCS#11 module is absent or no such module.
    #[error("no PKCS#11 module at `{}`: check the path given with --pkcs11-module", path.display())]
    NoModule {
        /// The path given.
        path: PathBuf,
        /// What the loader said.
        #[source]
        source: cryptoki::error::Error,
    },
    /// No token answers the selection.
    #[error("no card matches {wanted}; present: {present}. Insert the card, check the reader, or select another token")]
    NoToken {
        /// The selection, in words.
        wanted: String,
        /// The tokens that are there, in words.
        present: String,
    },
    /// More than one token answers the selection.
    #[error("several cards match {wanted}: {matching}. Select one with --token-serial or --slot, or remove the others")]
    SeveralTokens {
        /// The selection, in words.
        wanted: String,
        /// The tokens that match, in words.
        matching: String,
    },
    /// The token has no such object.
    #[error("card {token} has no {what} {wanted}: select another object with --object-id or --object-label")]
    NoObject {
        /// Which token.
        token: String,
        /// Certificate or private key.
        what: &'static str,
        /// The selection, in words.
        wanted: String,
    },
    /// More than one object answers the selection.
    #[error("card {token} has several objects {what} {wanted}: select one with --object-id")]
    SeveralObjects {
        /// Which token.
        token: String,
        /// Certificate or private key.
        what: &'static str,
        /// The selection, in words.
        wanted: String,
    },
    /// The card was made but never certified.
    #[error("card `{}` holds no certificate yet", path.display())]
    NoCertificate {
        /// The card file.
        path: PathBuf,
    },
    /// The card refused the PIN and counted a try.
    #[error("wrong PIN: {tries}")]
    WrongPin {
        /// How many tries are left.
        tries: TriesLeft,
    },
    /// The card accepts no PIN any more.
    #[error("the card's PIN is LOCKED after too many wrong tries: {remedy}")]
    Locked {
        /// What unlocks it.
        remedy: Remedy,
    },
    /// The PIN cannot be this card's; no try was used unless the token itself said so.
    #[error("this card's PIN has {min} to {max} characters; the PIN given was not tried")]
    PinLength {
        /// Shortest PIN of this card.
        min: usize,
        /// Longest PIN of this card.
        max: usize,
    },
    /// The token says that the PIN must be set or changed before use.
    #[error("the card's PIN must be set or changed first, with the tool of whoever issued the card")]
    PinNotReady,
    /// The person gave up at the reader.
    #[error("the PIN entry was cancelled at the reader")]
    Cancelled,
    /// No PIN could be had.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The card went away.
    #[error("card {token} was removed or does not answer: insert it again and repeat")]
    TokenRemoved {
        /// Which token.
        token: String,
    },
    /// The token cannot sign in the way its key needs.
    #[error("card {token} does not offer {mechanism}: the module is not fit for this card")]
    UnsupportedMechanism {
        /// Which token.
        token: String,
        /// PKCS#11 name of the mechanism.
        mechanism: &'static str,
    },
    /// A key that no card of ours has.
    #[error("the card's key is not usable here ({problem}): RSA of 2048 to 4096 bits or P-384 is needed")]
    UnsupportedKey {
        /// What it is instead.
        problem: String,
    },
    /// The certificate cannot be read.
    #[error("the card's certificate is malformed: {problem}")]
    BadCertificate {
        /// What is wrong with it.
        problem: String,
    },
    /// The key and the certificate do not belong together, or the card was exchanged meanwhile.
    #[error("the card's key does not belong to its certificate: the card was exchanged meanwhile, or is not fit for use")]
    KeyMismatch,
    /// More than a card is ever asked to sign.
    #[error("a message of {size} bytes is no statement (at most {limit})")]
    MessageTooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// Any other answer of the PKCS#11 module.
    #[error("the card or its module failed while {doing}")]
    Token {
        /// What was tried.
        doing: &'static str,
        /// What the module said.
        #[source]
        source: cryptoki::error::Error,
    },
    /// The card file could not be read or written.
    #[error("card file `{}` could not be {doing}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was tried, as a participle.
        doing: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is no card file.
    #[error("`{}` is not a trial card: {problem}", path.display())]
    NotACard {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Others on this machine could read or change the card.
    #[error("card file `{}` has mode {mode:04o}: others can reach it; `chmod 600` it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another process uses the card file and does not finish.
    #[error("card file `{}` is in use by another process: try again when it is done", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The cryptographic library failed on sound input; not the person's fault.
    #[error("the cryptographic library failed while {doing}")]
    Crypto {
        /// What was tried.
        doing: &'static str,
    },
}

/// How many wrong PINs a card still takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TriesLeft {
    /// Exactly so many.
    Exactly(u32),
    /// One: `CKF_USER_PIN_FINAL_TRY`.
    Last,
    /// Fewer than at first: `CKF_USER_PIN_COUNT_LOW`.
    Few,
    /// The token does not say.
    Unknown,
}

impl fmt::Display for TriesLeft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(1) | Self::Last => f.write_str("one try is left, and another wrong PIN locks the card"),
            Self::Exactly(tries) => write!(f, "{tries} tries are left"),
            Self::Few => f.write_str("few tries are left before the card locks"),
            Self::Unknown => f.write_str("the card does not say how many tries are left"),
        }
    }
}

/// Who can make a locked card usable again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Remedy {
    /// A real card: only its issuer.
    Issuer,
    /// A trial card: nobody.
    NewTrialCard,
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Issuer => {
                "a My Number Card is reset by its holder in person at a municipal office (the user-authentication PIN also at a convenience-store terminal), an HPKI card by its issuer"
            }
            Self::NewTrialCard => "a trial card cannot be unlocked; create a new one and bind it",
        })
    }
}
