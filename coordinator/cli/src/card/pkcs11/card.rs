//! One token and one key on it.

use std::fmt;
use std::path::PathBuf;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;

use super::classify::{Circumstances, TokenFlags, classify};
use super::select::{Pkcs11Options, TokenName, find_certificate, find_private_key, find_token};
use crate::card::algorithm::{CardAlgorithm, CardPublicKey};
use crate::card::error::CardError;
use crate::card::interface::{Card, CardDescription, PinEntry, PinState, check_message};
use crate::card::pin::Pin;

/// A card reached over PKCS#11.
///
/// Hashing and padding happen here and the card gets a DigestInfo through the bare `CKM_RSA_PKCS`, or a digest through `CKM_ECDSA`:
/// the My Number Card offers nothing more. Each signature is a login, one signing and a logout, and is verified under the certificate
/// before it is returned.
///
/// # Security
/// The module is native code inside this process and sees the PIN.
pub struct Pkcs11Card {
    pkcs11: Pkcs11,
    module: PathBuf,
    slot: Slot,
    token: TokenName,
    object_id: Vec<u8>,
    certificate: Vec<u8>,
    key: CardPublicKey,
}

impl Pkcs11Card {
    /// Loads the module, finds the token and reads the certificate, without a PIN. Blocks as long as the reader does.
    ///
    /// # Errors
    /// [`CardError::NoModule`], [`CardError::NoToken`], [`CardError::SeveralTokens`], [`CardError::NoObject`],
    /// [`CardError::SeveralObjects`], [`CardError::UnsupportedKey`], or a failure of the module.
    pub fn open(options: &Pkcs11Options) -> Result<Self, CardError> {
        let pkcs11 = Pkcs11::new(&options.module).map_err(|source| CardError::NoModule { path: options.module.clone(), source })?;
        match pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            // Another card of this process has loaded the same module; it is never finalized under that card's feet.
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(source) => return Err(CardError::Token { doing: "starting the module", source }),
        }
        let (slot, token) = find_token(&pkcs11, options)?;
        let certificate = find_certificate(&pkcs11, slot, &token, &options.object)?;
        let key = CardPublicKey::from_certificate(&certificate.der)?;
        Ok(Self { pkcs11, module: options.module.clone(), slot, token, object_id: certificate.id, certificate: certificate.der, key })
    }

    fn flags(&self) -> Result<TokenFlags, Error> {
        self.pkcs11.get_token_info(self.slot).map(|info| TokenFlags::from(&info))
    }

    fn failed(&self, doing: &'static str, failure: Error) -> CardError {
        let circumstances = Circumstances {
            doing,
            token: self.token.to_string(),
            flags: self.flags().unwrap_or_default(),
            mechanism: mechanism_name(self.key.algorithm()),
        };
        classify(failure, circumstances)
    }

    fn log_in(&self, session: &Session, pin: &Pin, flags: TokenFlags) -> Result<(), CardError> {
        let typed_here = (!flags.pin_on_reader).then(|| AuthPin::from(pin.as_str()));
        let login = || session.login(UserType::User, typed_here.as_ref());
        let outcome = match login() {
            // A login left over from elsewhere in this process would let any PIN pass.
            Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => session.logout().and_then(|()| login()),
            other => other,
        };
        outcome.map_err(|e| self.failed("logging in to the card", e))
    }

    fn sign_logged_in(&self, session: &Session, input: &[u8]) -> Result<Vec<u8>, CardError> {
        let doing = "signing with the card";
        let failed = |e| self.failed(doing, e);
        let private_key = find_private_key(session, &self.object_id, &self.token).map_err(failed)??;
        let mechanism = match self.key.algorithm() {
            CardAlgorithm::RsaSha256 => Mechanism::RsaPkcs,
            CardAlgorithm::EcdsaP384Sha384 => Mechanism::Ecdsa,
        };
        session.sign(&mechanism, private_key, input).map_err(failed)
    }
}

impl Card for Pkcs11Card {
    fn describe(&self) -> CardDescription {
        let flags = self.flags().ok();
        CardDescription {
            name: format!("card {}", self.token),
            location: self.module.display().to_string(),
            trial: false,
            kind: None,
            pin_state: flags.map_or(PinState::Unknown, TokenFlags::pin_state),
            pin_entry: flags.map_or(PinEntry::Here, TokenFlags::pin_entry),
        }
    }

    fn certificate(&mut self) -> Result<Vec<u8>, CardError> {
        Ok(self.certificate.clone())
    }

    fn sign(&mut self, pin: &Pin, message: &[u8]) -> Result<Vec<u8>, CardError> {
        check_message(message)?;
        let flags = self.flags().map_err(|e| self.failed("looking at the card", e))?;
        flags.check_pin(pin)?;
        let session = self.pkcs11.open_ro_session(self.slot).map_err(|e| self.failed("opening a session with the card", e))?;
        self.log_in(&session, pin, flags)?;
        let signed = self.sign_logged_in(&session, &self.key.algorithm().card_input(message));
        // A card that went away meanwhile is logged out already, and the outcome of signing says so.
        let _ = session.logout();
        let signature = signed?;
        if !self.key.verifies(message, &signature) {
            return Err(CardError::KeyMismatch);
        }
        Ok(signature)
    }
}

impl fmt::Debug for Pkcs11Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pkcs11Card")
            .field("module", &self.module)
            .field("token", &self.token)
            .field("object_id", &hex::encode(&self.object_id))
            .finish_non_exhaustive()
    }
}

const fn mechanism_name(algorithm: CardAlgorithm) -> &'static str {
    match algorithm {
        CardAlgorithm::RsaSha256 => "CKM_RSA_PKCS",
        CardAlgorithm::EcdsaP384Sha384 => "CKM_ECDSA",
    }
}
