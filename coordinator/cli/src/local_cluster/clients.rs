//! TLS for HTTPS: a CA for the coordinator's certificate, and client certificates, which are pinned by their keys.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData,
};
use warifu_api::{ApiClient, ApiClientConfig};
use warifu_protocol::canonical::sha256;
use warifu_protocol::{Name, SpkiHash};
use zeroize::Zeroizing;

use super::error::LocalClusterError;
use crate::files::{self, MODE_PUBLIC, MODE_SECRET};

/// Files of one client.
#[derive(Clone, Debug)]
pub struct ClientFiles {
    /// PEM of the certificate.
    pub certificate: PathBuf,
    /// PEM of the private key.
    pub key: PathBuf,
}

/// A client that the coordinator knows.
#[derive(Clone, Debug)]
pub struct ClientIdentity {
    /// Its name.
    pub name: &'static str,
    /// Its role in the coordinator's configuration.
    pub role: &'static str,
    /// The facilities that it serves.
    pub facilities: Vec<Name>,
    /// SHA-256 of its key.
    pub spki: SpkiHash,
    /// Its files.
    pub files: ClientFiles,
}

impl ClientIdentity {
    /// Makes a key and a self-signed certificate in `directory`: whom the coordinator lets in follows from the key alone.
    ///
    /// # Errors
    /// [`LocalClusterError::Certificate`] or [`LocalClusterError::File`].
    pub(super) fn create(
        directory: &Path,
        name: &'static str,
        role: &'static str,
        facilities: Vec<Name>,
    ) -> Result<Self, LocalClusterError> {
        let failed = |source| LocalClusterError::Certificate { whom: name, source };
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = named(name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.self_signed(&key).map_err(failed)?;
        let files = ClientFiles { certificate: directory.join(format!("{name}.pem")), key: directory.join(format!("{name}.key")) };
        files::write_new(&files.certificate, certificate.pem().as_bytes(), MODE_PUBLIC)?;
        files::write_new(&files.key, Zeroizing::new(key.serialize_pem()).as_bytes(), MODE_SECRET)?;
        Ok(Self { name, role, facilities, spki: SpkiHash::new(sha256(&key.subject_public_key_info())), files })
    }

    /// A client of the coordinator at `base`.
    ///
    /// # Errors
    /// [`LocalClusterError::File`] or [`LocalClusterError::Api`].
    pub(super) fn connect(&self, base: &str, ca: &Path, deadline: Duration) -> Result<ApiClient, LocalClusterError> {
        let config = ApiClientConfig {
            base: base.to_owned(),
            ca_pem: files::read(ca, "CA certificate", PEM_BYTES_MAX)?,
            certificate_pem: files::read(&self.files.certificate, "client certificate", PEM_BYTES_MAX)?,
            key_pem: files::read_secret(&self.files.key, "client key", PEM_BYTES_MAX)?.to_vec(),
            deadline,
        };
        Ok(ApiClient::new(&config)?)
    }
}

/// Makes a CA for the coordinator's HTTPS certificate (`ca`) and the certificate (`server`) with its key. The CA's key is forgotten.
///
/// # Errors
/// [`LocalClusterError::Certificate`] or [`LocalClusterError::File`].
pub(super) fn create_server(ca: &Path, server: &ClientFiles) -> Result<(), LocalClusterError> {
    let failed = |source| LocalClusterError::Certificate { whom: "the coordinator", source };
    let ca_key = KeyPair::generate().map_err(failed)?;
    let mut ca_params = named("warifu local TRIAL CA");
    ca_params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca_params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca_certificate = ca_params.self_signed(&ca_key).map_err(failed)?;
    let issuer = Issuer::new(ca_params, ca_key);
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).map_err(failed)?;
    params.distinguished_name = subject("warifu local coordinator");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.signed_by(&key, &issuer).map_err(failed)?;
    files::write_new(ca, ca_certificate.pem().as_bytes(), MODE_PUBLIC)?;
    files::write_new(&server.certificate, certificate.pem().as_bytes(), MODE_PUBLIC)?;
    files::write_new(&server.key, Zeroizing::new(key.serialize_pem()).as_bytes(), MODE_SECRET)?;
    Ok(())
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(name);
    params
}

fn subject(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

const PEM_BYTES_MAX: usize = 64 * 1024;
