//! A trial CA in a directory: its key, readable by the owner only, and its certificates.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use pem::Pem;
use rcgen::{KeyPair, PKCS_RSA_SHA256, PublicKeyData};
use warifu_core::pki::{Certificate, CertificateKey, Crl};
use warifu_protocol::{AnchorKind, UnixMillis};
use zeroize::Zeroizing;

use super::authority::Authority;
use super::error::TrialPkiError;

/// PKCS#8 PEM of the CA's key, mode 0600.
const KEY_FILE: &str = "ca.key";
/// PEM of the CA's certificate.
const CERTIFICATE_FILE: &str = "ca.crt";
/// PEM of the root's certificate, for the two-tier kinds.
const ROOT_FILE: &str = "root.crt";
/// Largest file that is read. An RSA-2048 key has 1.7 KiB, a certificate of at most 8 KiB has 11 KiB as PEM.
const FILE_BYTES_MAX: u64 = 16 * 1024;

/// Writes a CA into `directory`, which is made when it is absent. Files that exist are never overwritten.
pub(super) fn save(authority: &Authority, directory: &Path) -> Result<(), TrialPkiError> {
    let failed = |source| TrialPkiError::File { action: "create the directory", path: directory.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    let key = Zeroizing::new(authority.key.serialize_pem());
    write_new(&directory.join(KEY_FILE), key.as_bytes(), 0o600)?;
    write_new(&directory.join(CERTIFICATE_FILE), certificate_pem(&authority.certificate).as_bytes(), 0o644)?;
    match &authority.root {
        Some(root) => write_new(&directory.join(ROOT_FILE), certificate_pem(root).as_bytes(), 0o644),
        None => Ok(()),
    }
}

/// Reads a CA that [`save`] wrote, and checks that it is of this kind and that key and certificate belong together.
pub(super) fn load(kind: AnchorKind, directory: &Path) -> Result<Authority, TrialPkiError> {
    let key = read_key(&directory.join(KEY_FILE))?;
    let certificate = read_certificate(&directory.join(CERTIFICATE_FILE))?;
    let root = match kind {
        AnchorKind::JpkiUserAuthentication => None,
        AnchorKind::HpkiSigning | AnchorKind::HpkiAuthentication => Some(read_certificate(&directory.join(ROOT_FILE))?),
    };
    let same_key = matches!(certificate.key(), CertificateKey::Rsa { pkcs1, .. } if pkcs1 == key.der_bytes());
    if !same_key {
        return Err(TrialPkiError::KeyMismatch { directory: directory.to_owned() });
    }
    let authority = Authority::from_parts(kind, key, certificate.der().to_vec(), root.map(|root| root.der().to_vec()))?;
    // A list that it signs must be one of the certificate that was read: that compares name and key identifier, so also the kind.
    let list = authority.crl(0, &[], UnixMillis(0), UnixMillis(1000))?;
    if !Crl::parse(&list).is_ok_and(|list| list.verify(&certificate).is_ok()) {
        return Err(TrialPkiError::Content { path: directory.join(CERTIFICATE_FILE), expected: "certificate" });
    }
    Ok(authority)
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> Result<(), TrialPkiError> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().map_err(|source| TrialPkiError::File { action: "write", path: path.to_owned(), source })
}

fn read_key(path: &Path) -> Result<KeyPair, TrialPkiError> {
    let failed = |source| TrialPkiError::File { action: "read", path: path.to_owned(), source };
    if fs::metadata(path).map_err(failed)?.mode() & 0o077 != 0 {
        return Err(TrialPkiError::KeyExposed { path: path.to_owned() });
    }
    let text = read_bounded(path)?;
    KeyPair::from_pkcs8_pem_and_sign_algo(&text, &PKCS_RSA_SHA256)
        .map_err(|_| TrialPkiError::Content { path: path.to_owned(), expected: "private key" })
}

fn read_certificate(path: &Path) -> Result<Certificate, TrialPkiError> {
    let text = read_bounded(path)?;
    let pem = pem::parse(text.as_bytes()).ok().filter(|pem| pem.tag() == CERTIFICATE_LABEL);
    let pem = pem.ok_or_else(|| TrialPkiError::Content { path: path.to_owned(), expected: "certificate" })?;
    Certificate::parse(pem.contents()).map_err(|source| TrialPkiError::Certificate { path: path.to_owned(), source })
}

/// The text of a file of at most [`FILE_BYTES_MAX`] bytes; a longer one is cut and then does not parse.
fn read_bounded(path: &Path) -> Result<Zeroizing<String>, TrialPkiError> {
    let read = || -> io::Result<Zeroizing<String>> {
        let mut text = Zeroizing::new(String::new());
        File::open(path)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
        Ok(text)
    };
    read().map_err(|source| TrialPkiError::File { action: "read", path: path.to_owned(), source })
}

fn certificate_pem(der: &[u8]) -> String {
    pem::encode(&Pem::new(CERTIFICATE_LABEL, der))
}

const CERTIFICATE_LABEL: &str = "CERTIFICATE";
