//! What can go wrong with a trial CA.

use std::io;
use std::path::PathBuf;

use warifu_core::pki::{CertificateError, CertificateKeyError, CsrError, HcRoleError};

/// Why a trial CA cannot be made, kept or used.
#[derive(Debug, thiserror::Error)]
pub enum TrialPkiError {
    /// The certificate library refused.
    #[error("cannot make a {what}")]
    Make {
        /// What was to be made.
        what: &'static str,
        /// Why not.
        #[source]
        source: rcgen::Error,
    },
    /// The machine gives no random numbers.
    #[error("the operating system gives no random numbers")]
    Random,
    /// The request for a certificate is not acceptable.
    #[error("the certificate request is refused")]
    Request {
        /// Why.
        #[source]
        source: CsrError,
    },
    /// Role names that cannot be certified.
    #[error("the roles cannot stand in a certificate")]
    Roles {
        /// Why.
        #[source]
        source: HcRoleError,
    },
    /// A public key that cards do not have.
    #[error("the card's public key is not accepted")]
    CardKey {
        /// Why.
        #[source]
        source: CertificateKeyError,
    },
    /// A readable public key that cards do not have.
    #[error("cards have RSA or P-384 keys, this one is {kind}")]
    CardKeyKind {
        /// What it is.
        kind: &'static str,
    },
    /// A validity that ends before it begins.
    #[error("the validity ends before it begins")]
    Validity,
    /// A file cannot be read or written.
    #[error("cannot {action} {path}")]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The key file can be read by others.
    #[error("{path} can be read by others than its owner; run `chmod 600` on it")]
    KeyExposed {
        /// The file.
        path: PathBuf,
    },
    /// A file that is not what it should be.
    #[error("{path} is not a {expected} of a trial CA of this kind")]
    Content {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// A certificate file outside the profile.
    #[error("the certificate in {path} is refused")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: CertificateError,
    },
    /// Key and certificate of two different CAs.
    #[error("key and certificate in {directory} do not belong together")]
    KeyMismatch {
        /// Where they lie.
        directory: PathBuf,
    },
}
