//! The key with which a process proves who it is.

use std::fmt;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::hkdf;
use rustls::crypto::aws_lc_rs as provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::verify;
use crate::SpkiHash;

/// A self-signed certificate and its private key. Only the key counts: peers pin the hash of its SubjectPublicKeyInfo and ignore names and dates.
///
/// # Security
/// The key can be written only by [`TlsIdentity::save`]; `Debug` shows the public hash alone.
#[derive(Clone)]
pub struct TlsIdentity {
    certificate: CertificateDer<'static>,
    key: Arc<Zeroizing<Vec<u8>>>,
    certified: Arc<CertifiedKey>,
    spki: SpkiHash,
}

/// An identity that cannot be made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file cannot be read or written.
    #[error("TLS identity file {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The key file can be read by others: anybody could have taken it.
    #[error("TLS key file {} has mode {mode:03o}; make a new identity, or set 0600 if nobody else could read it", path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a PEM certificate and a PKCS#8 key of a kind that TLS 1.3 can use.
    #[error("not a usable TLS identity: {detail}")]
    Unusable {
        /// What is wrong.
        detail: String,
    },
    /// The certificate is of another key.
    #[error("certificate and private key do not belong together")]
    Mismatch,
}

impl TlsIdentity {
    /// A new Ed25519 identity.
    ///
    /// # Errors
    /// [`IdentityError::Unusable`] if the cryptographic library fails.
    pub fn generate() -> Result<Self, IdentityError> {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).map_err(unusable)?;
        let certificate = rcgen::CertificateParams::new(vec!["warifu.invalid".to_owned()])
            .and_then(|params| params.self_signed(&key))
            .map_err(unusable)?;
        Self::from_der(certificate.der().clone(), Zeroizing::new(key.serialize_der()))
    }

    /// Reads an identity from PEM texts: one certificate, one PKCS#8 private key.
    ///
    /// # Errors
    /// [`IdentityError::Unusable`] or [`IdentityError::Mismatch`].
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        let certificate = CertificateDer::from_pem_slice(certificate).map_err(unusable)?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(key).map_err(unusable)?;
        Self::from_der(certificate, Zeroizing::new(key.secret_pkcs8_der().to_vec()))
    }

    /// Reads an identity from two PEM files. The key file must belong to its owner alone.
    ///
    /// # Errors
    /// Any [`IdentityError`].
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, IdentityError> {
        let mode = std::fs::metadata(key).map_err(|source| file(key, source))?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(IdentityError::Exposed { path: key.to_owned(), mode });
        }
        let certificate_pem = std::fs::read(certificate).map_err(|source| file(certificate, source))?;
        let key_pem = Zeroizing::new(std::fs::read(key).map_err(|source| file(key, source))?);
        Self::from_pem(&certificate_pem, &key_pem)
    }

    /// Writes both PEM files, the key with mode 0600. Files that exist are not overwritten.
    ///
    /// # Errors
    /// [`IdentityError::File`].
    pub fn save(&self, certificate: &Path, key: &Path) -> Result<(), IdentityError> {
        let key_pem = Zeroizing::new(pem_text("PRIVATE KEY", &self.key));
        create(key, 0o600, key_pem.as_bytes())?;
        create(certificate, 0o644, self.certificate_pem().as_bytes())
    }

    /// The certificate as PEM text.
    #[must_use]
    pub fn certificate_pem(&self) -> String {
        pem_text("CERTIFICATE", &self.certificate)
    }

    /// What peers pin: SHA-256 of the DER SubjectPublicKeyInfo.
    #[must_use]
    pub const fn spki_hash(&self) -> SpkiHash {
        self.spki
    }

    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }

    /// Key of the stateless resets. It follows from the identity, so that a restarted process can disown its former connections at once and
    /// their other ends need not wait for silence.
    pub(super) fn reset_key(&self) -> aws_lc_rs::hmac::Key {
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, b"warifu-quic-reset-v1").extract(&self.key);
        let mut bytes = Zeroizing::new([0; 32]);
        prk.expand(&[], hkdf::HKDF_SHA256).and_then(|okm| okm.fill(bytes.as_mut())).expect("32 bytes are one block of HKDF-SHA256");
        aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, bytes.as_ref())
    }

    fn from_der(certificate: CertificateDer<'static>, key: Zeroizing<Vec<u8>>) -> Result<Self, IdentityError> {
        let spki = verify::spki_hash(&certificate).map_err(unusable)?;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.as_slice()));
        let signer = provider::sign::any_supported_type(&private).map_err(unusable)?;
        let certified = CertifiedKey::new(vec![certificate.clone()], signer);
        certified.keys_match().map_err(|_| IdentityError::Mismatch)?;
        Ok(Self { certificate, key: Arc::new(key), certified: Arc::new(certified), spki })
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity").field("spki", &self.spki).field("key", &"<redacted>").finish_non_exhaustive()
    }
}

fn unusable(error: impl fmt::Display) -> IdentityError {
    IdentityError::Unusable { detail: error.to_string() }
}

fn file(path: &Path, source: std::io::Error) -> IdentityError {
    IdentityError::File { path: path.to_owned(), source }
}

fn create(path: &Path, mode: u32, content: &[u8]) -> Result<(), IdentityError> {
    let write = || {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().map_err(|source| file(path, source))
}

fn pem_text(label: &str, der: &[u8]) -> String {
    use base64::Engine;
    /// Characters per line, RFC 7468 section 2.
    const LINE: usize = 64;
    let body = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(der));
    let mut text = String::with_capacity(body.len() + body.len() / LINE + 64);
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}
