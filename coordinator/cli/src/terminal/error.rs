//! What can go wrong at a terminal.

use warifu_api::{ApiError, Problem};
use warifu_coordinator::document::DocumentError;
use warifu_core::pki::{AnchorError, CertificateError, PathError};
use warifu_protocol::{ClusterId, SessionId, UnixMillis};

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
    /// A genesis of another cluster.
    #[error("session {session} is one of cluster {expected}, and the genesis of cluster {found}")]
    WrongCluster {
        /// Which session.
        session: SessionId,
        /// Its cluster.
        expected: ClusterId,
        /// The genesis's.
        found: ClusterId,
    },
    /// A pinned CA cannot be read.
    #[error("a CA that the cluster pins cannot be read")]
    Anchor(#[from] AnchorError),
    /// The certificate in the answer is of no pinned CA.
    #[error(
        "the certificate in the coordinator's answer is of no CA that this terminal knows to be pinned; nothing was written. If CAs were added, \
         sign again with the cluster's current --roster; if there is a CA between, with --intermediate"
    )]
    Path(#[from] PathError),
}

impl TerminalError {
    /// Whether the cluster has decided about the very request that was sent: it will not be signed. After all else, a lost answer or one that is
    /// at fault, it may be signed or have been.
    #[must_use]
    pub fn is_definite(&self) -> bool {
        matches!(self, Self::Refused { problem } if problem.status < SERVER_ERROR_STATUS)
    }
}

/// First HTTP status of the server's own failures, which leave open what was done.
pub(super) const SERVER_ERROR_STATUS: u16 = 500;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use warifu_protocol::Fault;

    use super::*;

    #[test]
    fn only_a_refusal_of_the_request_itself_is_definite() {
        let problem = |status| Box::new(Problem::new(status, "code", Fault::Request, "detail"));
        let url = || "https://coordinator".to_owned();
        let rows = [
            (true, TerminalError::Refused { problem: problem(409) }),
            (false, TerminalError::Refused { problem: problem(503) }),
            // A call that is turned away as a whole says nothing of what an earlier one with the same request did.
            (false, ApiError::Problem(problem(429)).into()),
            (false, ApiError::Problem(problem(503)).into()),
            (false, ApiError::Unreachable { url: url(), reason: "lost".to_owned() }.into()),
            (false, ApiError::Deadline { url: url(), deadline: Duration::from_secs(1) }.into()),
            (false, ApiError::Unexpected { status: 200, reason: "half a body".to_owned() }.into()),
            (false, TerminalError::Answer { reason: "another document".to_owned() }),
        ];
        for (definite, error) in rows {
            assert_eq!(error.is_definite(), definite, "{error:?}");
        }
    }
}
