//! A trial CA of My Number Cards.

use std::path::Path;

use warifu_core::pki::CertificateSerial;
use warifu_protocol::{AnchorKind, UnixMillis};

use super::authority::{Authority, SubjectKey, authority_methods, random};
use super::error::TrialPkiError;
use super::files;
use super::profile::{self, Validity};

/// A trial JPKI user-authentication CA: self-signed, as the real one.
#[derive(Debug)]
pub struct TrialJpki(Authority);

authority_methods!(TrialJpki, AnchorKind::JpkiUserAuthentication);

impl TrialJpki {
    /// Issues a card's user-authentication certificate over its SubjectPublicKeyInfo (RSA-2048 or P-384). It names nobody: its subject is
    /// C=JP and a random number.
    ///
    /// # Errors
    ///
    /// [`TrialPkiError::CardKey`], [`TrialPkiError::CardKeyKind`] or [`TrialPkiError::Validity`] for what was asked.
    pub fn issue_card_certificate(&self, spki: &[u8], serial: &CertificateSerial, validity: Validity) -> Result<Vec<u8>, TrialPkiError> {
        let key = SubjectKey::of_card(spki)?;
        let subject = profile::anonymous(&hex::encode_upper(random()?))?;
        let params = profile::end_entity(Self::KIND, subject, serial, validity, &key)?;
        self.0.issue(&params, &key)
    }
}
