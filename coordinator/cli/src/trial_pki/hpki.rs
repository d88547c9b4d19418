//! Trial CAs of the health-care PKI: one that certifies signing keys, one for authentication cards.

use std::path::Path;

use rcgen::PKCS_ED25519;
use warifu_core::pki::{CertificateSerial, verify_csr};
use warifu_protocol::{AnchorKind, SubjectFields, UnixMillis};

use super::authority::{Authority, SubjectKey, authority_methods, random_serial};
use super::error::TrialPkiError;
use super::files;
use super::profile::{self, Validity};

/// A trial HPKI signing CA under a trial root: certifies the threshold keys of holders.
#[derive(Debug)]
pub struct TrialHpki(Authority);

/// A trial HPKI authentication CA under a trial root of its own: certifies cards of kind `hpki_card`.
#[derive(Debug)]
pub struct TrialHpkiAuthentication(Authority);

authority_methods!(TrialHpki, AnchorKind::HpkiSigning);
authority_methods!(TrialHpkiAuthentication, AnchorKind::HpkiAuthentication);

impl TrialHpki {
    /// Verifies a request and issues the signing certificate for its key and subject, with these hcRoles (1 to 16).
    ///
    /// # Errors
    ///
    /// [`TrialPkiError::Request`], [`TrialPkiError::Roles`] or [`TrialPkiError::Validity`] for what was asked.
    pub fn issue_signing_certificate(&self, csr: &[u8], roles: &[&str], validity: Validity) -> Result<Vec<u8>, TrialPkiError> {
        let (subject, group_key) = verify_csr(csr).map_err(|source| TrialPkiError::Request { source })?;
        let key = SubjectKey { algorithm: &PKCS_ED25519, bytes: group_key.to_vec() };
        let mut params = profile::end_entity(Self::KIND, profile::holder(&subject)?, &random_serial()?, validity, &key)?;
        params.custom_extensions.push(profile::roles(roles)?);
        self.0.issue(&params, &key)
    }
}

impl TrialHpkiAuthentication {
    /// Issues the authentication certificate of an HPKI card over its SubjectPublicKeyInfo (RSA-2048 or P-384), with the holder's name
    /// and hcRoles.
    ///
    /// # Errors
    ///
    /// [`TrialPkiError::CardKey`], [`TrialPkiError::CardKeyKind`], [`TrialPkiError::Roles`] or [`TrialPkiError::Validity`] for what was
    /// asked.
    pub fn issue_card_certificate(
        &self,
        spki: &[u8],
        subject: &SubjectFields,
        roles: &[&str],
        validity: Validity,
    ) -> Result<Vec<u8>, TrialPkiError> {
        let key = SubjectKey::of_card(spki)?;
        let mut params = profile::end_entity(Self::KIND, profile::holder(subject)?, &random_serial()?, validity, &key)?;
        params.custom_extensions.push(profile::roles(roles)?);
        self.0.issue(&params, &key)
    }
}
