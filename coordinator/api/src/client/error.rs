//! What can go wrong with a call.

use std::time::Duration;

use crate::Problem;

/// A call that gave no answer of the wanted kind.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The base URL is not `https://host[:port]`.
    #[error("`{url}` is not a base URL like https://host:port")]
    Url {
        /// What was given.
        url: String,
    },
    /// Certificates or key cannot be used.
    #[error("TLS files of the client: {reason}")]
    Tls {
        /// What is wrong.
        reason: String,
    },
    /// No connection, or it was lost: the call may or may not have been carried out.
    #[error("the coordinator at {url} cannot be reached: {reason}")]
    Unreachable {
        /// Where.
        url: String,
        /// What happened, with all causes.
        reason: String,
    },
    /// No answer in time: the call may or may not have been carried out.
    #[error("the coordinator at {url} did not answer within {deadline:?}")]
    Deadline {
        /// Where.
        url: String,
        /// How long was waited.
        deadline: Duration,
    },
    /// The coordinator says no.
    #[error(transparent)]
    Problem(Box<Problem>),
    /// The answer is not what this version expects.
    #[error("the coordinator answered status {status} with {reason}")]
    Unexpected {
        /// HTTP status.
        status: u16,
        /// What is wrong with the body.
        reason: String,
    },
}

impl ApiError {
    /// The problem document, if the coordinator gave one.
    #[must_use]
    pub const fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            Self::Url { .. } | Self::Tls { .. } | Self::Unreachable { .. } | Self::Deadline { .. } | Self::Unexpected { .. } => None,
        }
    }
}
