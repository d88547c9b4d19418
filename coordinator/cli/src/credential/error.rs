//! What can go wrong at the CA's desk.

use warifu_api::ApiError;
use warifu_core::pki::{CertificateError, CrlError};
use warifu_protocol::SubjectFieldsError;

use super::fetch::FetchError;
use super::import::ImportError;
use crate::card::CardError;
use crate::connection::ConnectionError;
use crate::files::FileError;
use crate::orders::OrderError;

/// Why a command of the CA's desk is not carried out.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A line of a list of holders.
    #[error("line {line} of the list is wrong: {reason}")]
    Row {
        /// Which line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// A holder's name.
    #[error("the holder's subject is wrong")]
    Subject(#[from] SubjectFieldsError),
    /// No holder, or more than one ceremony takes.
    #[error("{count} holders; one order enrols 1 to {max}")]
    Count {
        /// How many.
        count: usize,
        /// How many may be.
        max: usize,
    },
    /// A certificate to install or bind.
    #[error("the certificate is refused")]
    Certificate {
        /// Why.
        #[source]
        source: CertificateError,
    },
    /// A CRL.
    #[error("the CRL is refused")]
    Crl {
        /// Why.
        #[source]
        source: CrlError,
    },
    /// A CRL's source.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A key to import.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// A card.
    #[error(transparent)]
    Card(#[from] CardError),
    /// The order.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// The connection's arguments.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The coordinator.
    #[error(transparent)]
    Api(#[from] ApiError),
}
