//! A KEK in a PKCS#11 token: generated there, never outside of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use parking_lot::Mutex;
use warifu_protocol::{ClusterId, NodeId};
use zeroize::Zeroizing;

use super::file_kek::random;
use super::kek::{KekError, KekGeneration, KekProvider, RECORD_KEY_LEN, WrappedKey};
use super::sealer::NONCE_LEN;

/// Bits of a GCM tag.
const TAG_BITS: u64 = 128;
/// Longest PIN file: PINs are short, and a wrong path must not be read whole.
const PIN_BYTES_MAX: u64 = 256;
/// Time for other calls of this process to end. One that hangs is not joined by more threads for ever.
const TURN_MAX: Duration = Duration::from_secs(20);

/// The login belongs to the process, not to a session: one call at a time in the whole process.
static TURN: Mutex<()> = Mutex::new(());

/// Where the token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pkcs11Settings {
    /// The PKCS#11 module, a shared library.
    pub module: PathBuf,
    /// Label of the token.
    pub token: String,
    /// File with the user's PIN, readable by the node's user only.
    pub pin_file: PathBuf,
}

/// KEK generations as AES-256 keys in a token, one object each: made there, sensitive, not extractable.
///
/// Nothing is touched before the first call, and each call opens and closes a session of its own: a token that is away, and back later, is found. A PIN that
/// the token has refused is not tried again until its file changes, so that waiting for the token never locks it.
///
/// # Security
/// The module is native code inside this process and sees record keys and the PIN. A key that the token did not make itself, or that was extractable at any
/// time, is refused: [`KekProvider::proves_destruction`] rests on it, and on the token keeping no backup of its keys.
pub struct Pkcs11Kek {
    settings: Pkcs11Settings,
    cluster: ClusterId,
    node: NodeId,
    module: Mutex<Option<Pkcs11>>,
    /// When the file of the PIN that was refused was written.
    refused_pin: Mutex<Option<SystemTime>>,
}

impl Pkcs11Kek {
    /// For one node of one cluster; several may share a token.
    #[must_use]
    pub const fn new(settings: Pkcs11Settings, cluster: ClusterId, node: NodeId) -> Self {
        Self { settings, cluster, node, module: Mutex::new(None), refused_pin: Mutex::new(None) }
    }

    fn with_session<T>(&self, work: impl FnOnce(&Session) -> Result<T, KekError>) -> Result<T, KekError> {
        let _turn = TURN.try_lock_for(TURN_MAX).ok_or_else(|| KekError::TokenBusy { token: self.settings.token.clone() })?;
        let outcome = self.in_session(work);
        if matches!(outcome, Err(KekError::TokenAbsent { .. } | KekError::Token { .. }))
            && let Some(module) = self.module.lock().take()
        {
            // Modules do not find a token again that went away; one that starts anew does. If it cannot end, the next start says so.
            let _ = module.finalize();
        }
        outcome
    }

    fn in_session<T>(&self, work: impl FnOnce(&Session) -> Result<T, KekError>) -> Result<T, KekError> {
        let module = self.module()?;
        let slot = self.find_token(&module)?;
        let session = module.open_rw_session(slot).map_err(token("opening a session with the token"))?;
        self.log_in(&session)?;
        let outcome = work(&session);
        // The session's end logs out as well; whether this does changes nothing.
        let _ = session.logout();
        outcome
    }

    fn module(&self) -> Result<Pkcs11, KekError> {
        let mut held = self.module.lock();
        if let Some(module) = &*held {
            return Ok(module.clone());
        }
        let path = &self.settings.module;
        let module = Pkcs11::new(path).map_err(|source| KekError::Module { path: path.clone(), source: Box::new(source) })?;
        match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(source) => return Err(token("starting the PKCS#11 module")(source)),
        }
        *held = Some(module.clone());
        Ok(module)
    }

    fn find_token(&self, module: &Pkcs11) -> Result<Slot, KekError> {
        let slots = module.get_slots_with_token().map_err(token("looking for the token"))?;
        let named = |slot: &Slot| module.get_token_info(*slot).is_ok_and(|info| info.label() == self.settings.token);
        slots.into_iter().find(named).ok_or_else(|| KekError::TokenAbsent { token: self.settings.token.clone() })
    }

    fn log_in(&self, session: &Session) -> Result<(), KekError> {
        let (pin, written) = read_pin(&self.settings.pin_file)?;
        if *self.refused_pin.lock() == Some(written) {
            return Err(KekError::PinRefused { path: self.settings.pin_file.clone() });
        }
        match session.login(UserType::User, Some(&AuthPin::from(pin.as_str()))) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(Error::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange | RvError::PinExpired, _)) => {
                *self.refused_pin.lock() = Some(written);
                Err(KekError::PinRefused { path: self.settings.pin_file.clone() })
            }
            Err(source) => Err(token("logging in to the token")(source)),
        }
    }

    /// What marks a key as this node's: the cluster and the node.
    fn key_id(&self) -> Vec<u8> {
        [self.cluster.as_ref(), &[self.node.get()]].concat()
    }

    fn label(&self, generation: KekGeneration) -> String {
        let cluster = hex::encode(self.cluster.as_ref());
        let short = cluster.get(..16).unwrap_or(&cluster);
        format!("{LABEL} {short} node {} generation {}", self.node, generation.0)
    }

    /// This node's keys on the token. Several of one generation cannot be told apart, so none of them is used.
    fn keys(&self, session: &Session) -> Result<BTreeMap<KekGeneration, ObjectHandle>, KekError> {
        let template = [Attribute::Class(ObjectClass::SECRET_KEY), Attribute::Token(true), Attribute::Id(self.key_id())];
        let mut found = BTreeMap::new();
        for handle in session.find_objects(&template).map_err(token("looking for keys"))? {
            let attributes = session.get_attributes(handle, &[AttributeType::Label]).map_err(token("reading a key's label"))?;
            let Some(Attribute::Label(label)) = attributes.first() else { continue };
            let number = std::str::from_utf8(label).ok().and_then(|label| label.rsplit(' ').next()?.parse().ok());
            let Some(generation) = number.map(KekGeneration) else { continue };
            if found.insert(generation, handle).is_some() {
                return Err(KekError::Unfit { generation, reason: "the token has two keys of this generation" });
            }
        }
        Ok(found)
    }

    /// A key that the token made itself and never gave out.
    fn key(&self, session: &Session, generation: KekGeneration) -> Result<ObjectHandle, KekError> {
        let handle = *self.keys(session)?.get(&generation).ok_or(KekError::UnknownGeneration { generation })?;
        let asked = [AttributeType::Local, AttributeType::AlwaysSensitive, AttributeType::NeverExtractable];
        let attributes = session.get_attributes(handle, &asked).map_err(token("reading a key's attributes"))?;
        let fit = [Attribute::Local(true), Attribute::AlwaysSensitive(true), Attribute::NeverExtractable(true)]
            .iter()
            .all(|a| attributes.contains(a));
        if fit { Ok(handle) } else { Err(KekError::Unfit { generation, reason: "the token did not make it itself, or once let it out" }) }
    }
}

/// First word of every label.
const LABEL: &str = "warifu-kek";

impl KekProvider for Pkcs11Kek {
    fn generations(&self) -> Result<BTreeSet<KekGeneration>, KekError> {
        self.with_session(|session| Ok(self.keys(session)?.into_keys().collect()))
    }

    fn create(&self, above: KekGeneration) -> Result<KekGeneration, KekError> {
        self.with_session(|session| {
            let newest = self.keys(session)?.last_key_value().map_or(above, |(newest, _)| above.max(*newest));
            let generation = KekGeneration(newest.0.checked_add(1).ok_or(KekError::Library)?);
            let template = [
                Attribute::Class(ObjectClass::SECRET_KEY),
                Attribute::KeyType(KeyType::AES),
                Attribute::ValueLen((RECORD_KEY_LEN as u64).into()),
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Modifiable(false),
                Attribute::Encrypt(true),
                Attribute::Decrypt(true),
                Attribute::Wrap(false),
                Attribute::Unwrap(false),
                Attribute::Id(self.key_id()),
                Attribute::Label(self.label(generation).into_bytes()),
            ];
            session.generate_key(&Mechanism::AesKeyGen, &template).map_err(token("making a key"))?;
            self.key(session, generation)?;
            Ok(generation)
        })
    }

    fn wrap(&self, generation: KekGeneration, key: &[u8; RECORD_KEY_LEN], context: &[u8]) -> Result<WrappedKey, KekError> {
        self.with_session(|session| {
            let handle = self.key(session, generation)?;
            let mut nonce = *random::<NONCE_LEN>()?;
            let mut bytes = nonce.to_vec();
            let params = GcmParams::new(&mut nonce, context, TAG_BITS.into()).map_err(token("preparing AES-GCM"))?;
            bytes.extend(session.encrypt(&Mechanism::AesGcm(params), handle, key).map_err(token("wrapping with AES-GCM"))?);
            Ok(WrappedKey(bytes))
        })
    }

    fn unwrap(&self, generation: KekGeneration, wrapped: &WrappedKey, context: &[u8]) -> Result<Zeroizing<[u8; RECORD_KEY_LEN]>, KekError> {
        let (nonce, ciphertext) = wrapped.0.split_first_chunk::<NONCE_LEN>().ok_or(KekError::Unwrap { generation })?;
        self.with_session(|session| {
            let handle = self.key(session, generation)?;
            let mut nonce = *nonce;
            let params = GcmParams::new(&mut nonce, context, TAG_BITS.into()).map_err(token("preparing AES-GCM"))?;
            let plain = match session.decrypt(&Mechanism::AesGcm(params), handle, ciphertext) {
                Ok(plain) => Zeroizing::new(plain),
                // Tokens say one of these for a tag that is wrong.
                Err(Error::Pkcs11(RvError::GeneralError | RvError::EncryptedDataInvalid | RvError::EncryptedDataLenRange, _)) => {
                    return Err(KekError::Unwrap { generation });
                }
                Err(source) => return Err(token("unwrapping with AES-GCM")(source)),
            };
            Ok(Zeroizing::new(plain.as_slice().try_into().map_err(|_| KekError::Unwrap { generation })?))
        })
    }

    fn proves_destruction(&self) -> bool {
        true
    }

    fn destroy(&self, generation: KekGeneration) -> Result<(), KekError> {
        self.with_session(|session| {
            let keys = self.keys(session)?;
            let handle = *keys.get(&generation).ok_or(KekError::UnknownGeneration { generation })?;
            if keys.last_key_value().is_some_and(|(newest, _)| *newest == generation) {
                return Err(KekError::Current { generation });
            }
            session.destroy_object(handle).map_err(token("destroying a key"))?;
            if self.keys(session)?.contains_key(&generation) {
                return Err(KekError::Unfit { generation, reason: "the token still has it after destroying it" });
            }
            Ok(())
        })
    }
}

impl fmt::Debug for Pkcs11Kek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pkcs11Kek").field("settings", &self.settings).field("node", &self.node).finish_non_exhaustive()
    }
}

fn token(doing: &'static str) -> impl FnOnce(Error) -> KekError {
    move |source| KekError::Token { doing, source: Box::new(source) }
}

/// The PIN, and when its file was written.
fn read_pin(path: &Path) -> Result<(Zeroizing<String>, SystemTime), KekError> {
    let file = |source| KekError::File { path: path.to_owned(), source };
    let metadata = fs::metadata(path).map_err(file)?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KekError::Exposed { path: path.to_owned(), mode });
    }
    if metadata.len() > PIN_BYTES_MAX {
        return Err(KekError::Malformed { path: path.to_owned(), len: usize::try_from(metadata.len()).unwrap_or(usize::MAX) });
    }
    let text = Zeroizing::new(fs::read_to_string(path).map_err(file)?);
    Ok((Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()), metadata.modified().map_err(file)?))
}
