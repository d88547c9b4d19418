//! Creating a trial card, and one try of its PIN.

use std::path::{Path, PathBuf};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256};
use warifu_protocol::AuthenticatorKind;
use zeroize::Zeroizing;

use super::envelope::Envelope;
use super::storage::Storage;
use crate::card::algorithm::{CardAlgorithm, CardPublicKey};
use crate::card::error::{CardError, Remedy, TriesLeft};
use crate::card::interface::{Card, CardDescription, PinEntry, PinState, check_message};
use crate::card::pin::Pin;

/// A trial card: certificate, private key encrypted under the PIN, and a counter of tries, in one file.
///
/// It locks like a real card: the counter goes down durably *before* a PIN is checked, comes back after the right one, and at zero
/// nothing unlocks it. All state is in the file, so every open card and every process sees the same counter.
///
/// # Security
/// For trials only. Whoever can copy the file can guess the few digits of its PIN as often as they like, on any machine, or put an old
/// copy with a full counter back; that is why it is no substitute for a card and says so wherever it is described.
#[derive(Debug)]
pub struct SoftwareCard {
    storage: Storage,
}

impl SoftwareCard {
    /// Makes a new card at `path` (mode 0600) with a fresh key and no certificate, and returns the DER of its SubjectPublicKeyInfo.
    ///
    /// The PIN has [`TRIAL_PIN_LENGTH_MIN`] to [`TRIAL_PIN_LENGTH_MAX`] characters. An existing file is never overwritten.
    ///
    /// # Errors
    /// [`CardError::PinLength`], or [`CardError::File`] when the file exists or cannot be written.
    pub fn create(path: &Path, kind: AuthenticatorKind, algorithm: CardAlgorithm, pin: &Pin) -> Result<Vec<u8>, CardError> {
        check_pin_length(pin)?;
        let (private_key, spki) = generate(algorithm)?;
        let envelope = Envelope::seal(kind, algorithm, &spki, &private_key, pin)?;
        Storage::create(path, &envelope)?;
        Ok(spki)
    }

    /// Puts a certificate on the card, in place of one it may hold; needs no PIN, as it is public.
    ///
    /// # Errors
    /// [`CardError::BadCertificate`], [`CardError::UnsupportedKey`], [`CardError::KeyMismatch`] when it is for another key, or a file error.
    pub fn set_certificate(path: &Path, certificate: &[u8]) -> Result<(), CardError> {
        let key = CardPublicKey::from_certificate(certificate)?;
        let storage = Storage::open(path)?;
        let locked = storage.lock()?;
        let mut envelope = locked.read()?;
        if key.spki() != envelope.spki() {
            return Err(CardError::KeyMismatch);
        }
        envelope.set_certificate(certificate);
        locked.replace(&envelope)
    }

    /// Opens the card at `path`; reads and checks the file, without its PIN.
    ///
    /// # Errors
    /// [`CardError::File`], [`CardError::Exposed`] or [`CardError::NotACard`].
    pub fn open(path: &Path) -> Result<Self, CardError> {
        let storage = Storage::open(path)?;
        storage.read()?;
        Ok(Self { storage })
    }

    /// The card's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.storage.path()
    }

    /// Counts one try durably; from here on the try is spent whatever happens to this process.
    fn spend_try(&self) -> Result<SpentTry<'_>, CardError> {
        let locked = self.storage.lock()?;
        let mut envelope = locked.read()?;
        if envelope.tries_left == 0 {
            return Err(CardError::Locked { remedy: Remedy::NewTrialCard });
        }
        envelope.tries_left -= 1;
        locked.replace(&envelope)?;
        Ok(SpentTry { locked, envelope })
    }
}

impl Card for SoftwareCard {
    fn describe(&self) -> CardDescription {
        let envelope = self.storage.read().ok();
        let pin_state = match envelope.as_ref().map(|envelope| envelope.tries_left) {
            None => PinState::Unknown,
            Some(0) => PinState::Locked,
            Some(tries) => PinState::Tries(tries),
        };
        CardDescription {
            name: TRIAL_NAME.to_owned(),
            location: self.path().display().to_string(),
            trial: true,
            kind: envelope.map(|envelope| envelope.kind),
            pin_state,
            pin_entry: PinEntry::Here,
        }
    }

    fn certificate(&mut self) -> Result<Vec<u8>, CardError> {
        let no_certificate = || CardError::NoCertificate { path: PathBuf::from(self.path()) };
        self.storage.read()?.certificate().ok_or_else(no_certificate)
    }

    fn sign(&mut self, pin: &Pin, message: &[u8]) -> Result<Vec<u8>, CardError> {
        check_message(message)?;
        check_pin_length(pin)?;
        let (private_key, algorithm) = self.spend_try()?.check(pin)?;
        sign_with(&private_key, algorithm, message)
    }
}

/// A try that is already counted, with the card locked against others; the only road to the private key.
struct SpentTry<'a> {
    locked: super::storage::Locked<'a>,
    envelope: Envelope,
}

impl SpentTry<'_> {
    /// Checks the PIN; the right one restores the counter and yields the PKCS#8 private key.
    fn check(mut self, pin: &Pin) -> Result<(Zeroizing<Vec<u8>>, CardAlgorithm), CardError> {
        let Some(private_key) = self.envelope.unseal(pin) else {
            return Err(match self.envelope.tries_left {
                0 => CardError::Locked { remedy: Remedy::NewTrialCard },
                tries => CardError::WrongPin { tries: TriesLeft::Exactly(tries) },
            });
        };
        self.envelope.tries_left = PIN_TRIES;
        self.locked.replace(&self.envelope)?;
        Ok((private_key, self.envelope.algorithm()))
    }
}

/// A PIN that cannot be this card's costs no try.
fn check_pin_length(pin: &Pin) -> Result<(), CardError> {
    let (min, max) = (TRIAL_PIN_LENGTH_MIN, TRIAL_PIN_LENGTH_MAX);
    if !(min..=max).contains(&pin.as_str().chars().count()) {
        return Err(CardError::PinLength { min, max });
    }
    Ok(())
}

/// Returns a fresh private key as PKCS#8 and its public key as SubjectPublicKeyInfo.
fn generate(algorithm: CardAlgorithm) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), CardError> {
    let failed = |_| CardError::Crypto { doing: "making the card's key" };
    let (private_key, spki): (_, PublicKeyX509Der<'_>) = match algorithm {
        CardAlgorithm::RsaSha256 => {
            let pair = rsa::KeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
            let private_key: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
            let private_key = Zeroizing::new(private_key.as_ref().to_vec());
            (private_key, pair.public_key().as_der().map_err(failed)?)
        }
        CardAlgorithm::EcdsaP384Sha384 => {
            let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).map_err(failed)?;
            let private_key = Zeroizing::new(pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec());
            (private_key, pair.public_key().as_der().map_err(failed)?)
        }
    };
    Ok((private_key, spki.as_ref().to_vec()))
}

fn sign_with(private_key: &[u8], algorithm: CardAlgorithm, message: &[u8]) -> Result<Vec<u8>, CardError> {
    let doing = "signing with the trial card's key";
    let random = SystemRandom::new();
    match algorithm {
        CardAlgorithm::RsaSha256 => {
            let pair = rsa::KeyPair::from_pkcs8(private_key).map_err(|_| CardError::Crypto { doing })?;
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map_err(|_| CardError::Crypto { doing })?;
            Ok(signature)
        }
        CardAlgorithm::EcdsaP384Sha384 => {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, private_key).map_err(|_| CardError::Crypto { doing })?;
            let signature = pair.sign(&random, message).map_err(|_| CardError::Crypto { doing })?;
            Ok(signature.as_ref().to_vec())
        }
    }
}

/// Wrong PINs in a row that lock a trial card: as the user-authentication PIN of the My Number Card.
pub const PIN_TRIES: u32 = 3;

/// Shortest PIN of a trial card: the four digits of the user-authentication PIN.
pub const TRIAL_PIN_LENGTH_MIN: usize = 4;

/// Longest PIN of a trial card: as the longest PIN of the My Number Card.
pub const TRIAL_PIN_LENGTH_MAX: usize = 16;

/// How a trial card introduces itself.
const TRIAL_NAME: &str = "TRIAL card (software, for trials only)";

#[cfg(test)]
mod tests {
    use super::*;

    fn must_create(directory: &Path) -> SoftwareCard {
        let path = directory.join("card.json");
        let pin = Pin::new("4711".into()).expect("well-formed");
        SoftwareCard::create(&path, AuthenticatorKind::MyNumberCard, CardAlgorithm::EcdsaP384Sha384, &pin).expect("a card can be made");
        SoftwareCard::open(&path).expect("and opened")
    }

    #[test]
    fn a_process_that_dies_between_the_count_and_the_check_has_spent_its_try() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let card = must_create(directory.path());
        for left in [2, 1] {
            drop(card.spend_try().expect("a try is left"));
            let reopened = SoftwareCard::open(card.path()).expect("the file is whole");
            assert_eq!(reopened.describe().pin_state, PinState::Tries(left));
        }
        drop(card.spend_try().expect("the last try"));
        let pin = Pin::new("4711".into()).expect("well-formed");
        let mut reopened = SoftwareCard::open(card.path()).expect("the file is whole");
        let refused = reopened.sign(&pin, b"statement");
        assert!(matches!(refused, Err(CardError::Locked { remedy: Remedy::NewTrialCard })));
    }

    #[test]
    fn a_try_excludes_every_other_until_it_is_over() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let card = must_create(directory.path());
        let other = SoftwareCard::open(card.path()).expect("a second open card");
        let held = card.spend_try().expect("a try is left");
        assert!(matches!(other.storage.try_lock(), Ok(None)), "the first try is not over");
        drop(held);
        assert!(matches!(other.storage.try_lock(), Ok(Some(_))));
    }
}
