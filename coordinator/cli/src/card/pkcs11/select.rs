//! Which token, and which objects on it.

use std::fmt;
use std::path::PathBuf;

use cryptoki::context::Pkcs11;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::slot::Slot;

use super::classify::{Circumstances, TokenFlags, classify};
use crate::card::error::CardError;

/// Which card to open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pkcs11Options {
    /// The shared library to load. It runs inside this process: name one that you trust.
    pub module: PathBuf,
    /// Which token.
    pub token: TokenSelector,
    /// Which certificate and key on it.
    pub object: ObjectSelector,
}

/// How a token is chosen among those present.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TokenSelector {
    /// By label. OpenSC shows a card with two PINs as two tokens named `LABEL (NAME OF THE PIN)`; the plain label means the one with the wanted certificate.
    Label(String),
    /// By serial number. OpenSC gives every My Number Card the same one, 00000000.
    Serial(String),
    /// By slot number, which depends on the machine and its readers.
    Slot(u64),
}

impl Default for TokenSelector {
    fn default() -> Self {
        Self::Label(TOKEN_LABEL_DEFAULT.to_owned())
    }
}

impl TokenSelector {
    fn matches(&self, token: &TokenName) -> bool {
        match self {
            Self::Label(wanted) => {
                let rest = token.label.strip_prefix(wanted.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(" ("))
            }
            Self::Serial(wanted) => token.serial == *wanted,
            Self::Slot(wanted) => token.slot == *wanted,
        }
    }
}

impl fmt::Display for TokenSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label(label) => write!(f, "label `{label}`"),
            Self::Serial(serial) => write!(f, "serial number `{serial}`"),
            Self::Slot(slot) => write!(f, "slot {slot}"),
        }
    }
}

/// How the certificate, and with it the key of the same id, is chosen on a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ObjectSelector {
    /// By `CKA_ID`, which certificate and key share.
    Id(Vec<u8>),
    /// By the certificate's label; the key's may differ.
    Label(String),
}

impl Default for ObjectSelector {
    /// The user-authentication certificate of the My Number Card, as OpenSC numbers it.
    fn default() -> Self {
        Self::Id(vec![1])
    }
}

impl ObjectSelector {
    fn attribute(&self) -> Attribute {
        match self {
            Self::Id(id) => Attribute::Id(id.clone()),
            Self::Label(label) => Attribute::Label(label.as_bytes().to_vec()),
        }
    }
}

impl fmt::Display for ObjectSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "with id {}", hex::encode(id)),
            Self::Label(label) => write!(f, "labelled `{label}`"),
        }
    }
}

/// What a person calls a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct TokenName {
    pub(super) label: String,
    pub(super) serial: String,
    pub(super) slot: u64,
}

impl fmt::Display for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` (serial {}, slot {})", self.label, self.serial, self.slot)
    }
}

/// A certificate as it stands on a token.
pub(super) struct CardCertificate {
    pub(super) id: Vec<u8>,
    pub(super) der: Vec<u8>,
}

/// Finds the one token that answers the selection.
///
/// Where several do, the one that shows the wanted certificate is taken: of the two tokens that OpenSC makes of a My Number Card only
/// the one for user authentication shows its certificate without a PIN.
pub(super) fn find_token(pkcs11: &Pkcs11, options: &Pkcs11Options) -> Result<(Slot, TokenName), CardError> {
    let slots = pkcs11.get_slots_with_initialized_token().map_err(|source| CardError::Token { doing: "listing the cards", source })?;
    let mut present = Vec::new();
    for slot in slots.into_iter().take(SLOTS_MAX) {
        // A card pulled while the list is read is simply not there.
        if let Ok(info) = pkcs11.get_token_info(slot) {
            let label = info.label().trim_end().to_owned();
            let serial = info.serial_number().trim_end().to_owned();
            present.push((slot, TokenName { label, serial, slot: slot.id() }));
        }
    }
    let mut matching: Vec<_> = present.iter().filter(|(_, name)| options.token.matches(name)).cloned().collect();
    if matching.len() > 1 {
        let shows_certificate = |(slot, name): &(Slot, TokenName)| find_certificate(pkcs11, *slot, name, &options.object).is_ok();
        let showing: Vec<_> = matching.iter().filter(|token| shows_certificate(token)).cloned().collect();
        if showing.len() == 1 {
            matching = showing;
        }
    }
    let wanted = options.token.to_string();
    match <[_; 1]>::try_from(matching) {
        Ok([token]) => Ok(token),
        Err(none) if none.is_empty() => Err(CardError::NoToken { wanted, present: in_words(&present) }),
        Err(several) => Err(CardError::SeveralTokens { wanted, matching: in_words(&several) }),
    }
}

/// Reads the selected certificate, without a PIN.
pub(super) fn find_certificate(
    pkcs11: &Pkcs11,
    slot: Slot,
    token: &TokenName,
    selector: &ObjectSelector,
) -> Result<CardCertificate, CardError> {
    let failed = |failure| {
        let circumstances = Circumstances {
            doing: "reading the card's certificate",
            token: token.to_string(),
            flags: TokenFlags::default(),
            mechanism: "reading of certificates",
        };
        classify(failure, circumstances)
    };
    let session = pkcs11.open_ro_session(slot).map_err(failed)?;
    let template = [Attribute::Class(ObjectClass::CERTIFICATE), selector.attribute()];
    let found = session.find_objects(&template).map_err(failed)?;
    let handle = only(found, "certificate", token, &selector.to_string())?;
    let wanted = [AttributeType::Id, AttributeType::Value];
    let (mut id, mut der) = (Vec::new(), Vec::new());
    for attribute in session.get_attributes(handle, &wanted).map_err(failed)? {
        match attribute {
            Attribute::Id(value) => id = value,
            Attribute::Value(value) => der = value,
            _ => {}
        }
    }
    Ok(CardCertificate { id, der })
}

/// Finds the private key that belongs to a certificate; the session must be logged in.
pub(super) fn find_private_key(
    session: &Session,
    id: &[u8],
    token: &TokenName,
) -> Result<Result<ObjectHandle, CardError>, cryptoki::error::Error> {
    let template = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Id(id.to_vec())];
    let found = session.find_objects(&template)?;
    Ok(only(found, "private key", token, &ObjectSelector::Id(id.to_vec()).to_string()))
}

fn only(found: Vec<ObjectHandle>, what: &'static str, token: &TokenName, wanted: &str) -> Result<ObjectHandle, CardError> {
    match found[..] {
        [handle] => Ok(handle),
        [] => Err(CardError::NoObject { token: token.to_string(), what, wanted: wanted.to_owned() }),
        _ => {
            let wanted = wanted.to_owned();
            Err(CardError::SeveralObjects { token: token.to_string(), what, wanted })
        }
    }
}

fn in_words(tokens: &[(Slot, TokenName)]) -> String {
    if tokens.is_empty() {
        return "none".to_owned();
    }
    tokens.iter().map(|(_, name)| name.to_string()).collect::<Vec<_>>().join(", ")
}

/// Token label of the My Number Card (OpenSC).
pub const TOKEN_LABEL_DEFAULT: &str = "JPKI";

/// Slots looked at; OpenSC offers four for each of at most 16 readers.
const SLOTS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_also_means_the_tokens_that_opensc_makes_of_one_card() {
        let named = |label: &str| TokenName { label: label.into(), serial: "00000000".into(), slot: 3 };
        let jpki = TokenSelector::default();
        for label in ["JPKI", "JPKI (User Authentication PIN)", "JPKI (Digital Signature PIN)"] {
            assert!(jpki.matches(&named(label)), "{label}");
        }
        for label in ["JPKI2", "JPKI-test", "jpki", "My JPKI", ""] {
            assert!(!jpki.matches(&named(label)), "{label}");
        }
        let whole = TokenSelector::Label("JPKI (User Authentication PIN)".into());
        assert!(whole.matches(&named("JPKI (User Authentication PIN)")));
        assert!(!whole.matches(&named("JPKI (Digital Signature PIN)")));
        assert!(TokenSelector::Serial("00000000".into()).matches(&named("any")));
        assert!(!TokenSelector::Serial("0000000".into()).matches(&named("any")));
        assert!(TokenSelector::Slot(3).matches(&named("any")));
        assert!(!TokenSelector::Slot(2).matches(&named("any")));
    }
}
