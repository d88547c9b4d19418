//! What can go wrong at a terminal.

use warifu_api::{ApiError, Problem};
use warifu_coordinator::document::DocumentError;
use warifu_core::pki::{AnchorError, CertificateError, PathError};
use warifu_protocol::{SessionId, UnixMillis};

use crate::card::CardError;
use crate::connection::ConnectionError;
use crate::console::ConfirmError;
use crate::files::FileError;
use crate::keys::LocalKeyError;
use crate::orders::OrderError;

/// Why a session is not opened, or a document not signed.
#[derive(Debug, thiserror::Error)]
pub enum TerminalError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A key.
    #[error(transparent)]
    Key(#[from] LocalKeyError),
    /// The card.
    #[error(transparent)]
    Card(#[from] CardError),
    /// An order, or the genesis that it is for.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// Nobody agreed.
    #[error(transparent)]
    Confirm(#[from] ConfirmError),
    /// The connection's arguments.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The coordinator.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The document cannot be signed.
    #[error("the document cannot be signed")]
    Document(#[from] DocumentError),
    /// The cluster does not sign this document.
    #[error("the document is not signed: {}", problem.detail)]
    Refused {
        /// Why.
        problem: Box<Problem>,
    },
    /// The session is past its end.
    #[error("session {session} ended at {not_after}; log in again")]
    SessionEnded {
        /// Which.
        session: SessionId,
        /// Its end.
        not_after: UnixMillis,
    },
    /// All numbers of the session are used.
    #[error("session {session} was opened for {max} documents, and all its numbers are used; log in again")]
    SessionSpent {
        /// Which.
        session: SessionId,
        /// How many.
        max: u32,
    },
    /// Another process uses the session file.
    #[error("the session file is in use by another process: try again when it is done")]
    SessionBusy,
    /// The coordinator opened another session than the terminal asked for.
    #[error("the coordinator answered for session {found}, not {expected}; it is at fault, and nothing of it was kept")]
    SessionMismatch {
        /// Session in the answer.
        found: SessionId,
        /// Session of the statement.
        expected: SessionId,
    },
    /// The answer does not hold.
    #[error("the coordinator's answer is refused: {reason}; it is at fault, and nothing was written")]
    Answer {
        /// What is wrong with it.
        reason: String,
    },
    /// The certificate in the answer cannot be read.
    #[error("the certificate in the coordinator's answer is refused; nothing was written")]
    Certificate(#[from] CertificateError),
    /// A pinned CA cannot be read.
    #[error("a CA that the genesis pins cannot be read")]
    Anchor(#[from] AnchorError),
    /// The certificate in the answer is of no pinned CA.
    #[error("the certificate in the coordinator's answer is of no CA that the genesis pins; nothing was written")]
    Path(#[from] PathError),
}
