//! Which certificates a revocation list speaks of.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256 as Sha256Hasher};
use warifu_protocol::{Blob, Sha256};
use x509_cert::ext::pkix::crl::IssuingDistributionPoint;

use super::certificate::Certificate;
use super::crl::CrlError;
use super::extensions;
use super::name::DistinguishedName;

/// Which certificates of its issuer a list covers (issuingDistributionPoint, RFC 5280 section 5.2.5).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CrlScope {
    /// Certificates of end entities only.
    only_user: bool,
    /// Certificates of CAs only.
    only_ca: bool,
    /// DER of the names of the distribution point; empty for a list that is not one of several.
    names: Vec<Blob>,
}

impl CrlScope {
    /// Checks that a certificate of the list's issuer is one that the list speaks of.
    ///
    /// # Errors
    ///
    /// [`CrlError::OutOfScope`].
    pub fn covers(&self, certificate: &Certificate) -> Result<(), CrlError> {
        if self.only_ca && !certificate.is_ca() {
            return Err(CrlError::OutOfScope { why: "it lists CA certificates only" });
        }
        if self.only_user && certificate.is_ca() {
            return Err(CrlError::OutOfScope { why: "it lists end-entity certificates only" });
        }
        let published = certificate.distribution_points();
        let published_here = self.names.iter().any(|name| published.iter().any(|point| point == name.as_slice()));
        if !self.names.is_empty() && !published_here {
            return Err(CrlError::OutOfScope { why: "it belongs to another distribution point" });
        }
        Ok(())
    }

    pub(super) fn new(point: &IssuingDistributionPoint) -> Result<Self, CrlError> {
        if point.indirect_crl {
            return Err(CrlError::NotComplete { kind: "an indirect list" });
        }
        if point.only_some_reasons.is_some() {
            return Err(CrlError::NotComplete { kind: "a list for some reasons only" });
        }
        if point.only_contains_attribute_certs {
            return Err(CrlError::NotComplete { kind: "a list of attribute certificates" });
        }
        let names = extensions::full_names(point.distribution_point.as_ref()).map_err(|source| CrlError::Malformed { source })?;
        if point.distribution_point.is_some() && names.is_empty() {
            return Err(CrlError::NotComplete { kind: "a list of a distribution point without a full name" });
        }
        Ok(Self {
            only_user: point.only_contains_user_certs,
            only_ca: point.only_contains_ca_certs,
            names: names.into_iter().map(Blob::from).collect(),
        })
    }

    /// Names the series of lists with this scope, of one issuer name and key.
    pub(super) fn series(&self, issuer: &DistinguishedName, authority_key_id: &[u8]) -> Sha256 {
        let mut hasher = Sha256Hasher::new();
        let parts = [issuer.der(), authority_key_id].into_iter().chain(self.names.iter().map(Blob::as_slice));
        for part in parts {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        hasher.update([u8::from(self.only_user), u8::from(self.only_ca)]);
        Sha256::new(hasher.finalize().into())
    }
}
