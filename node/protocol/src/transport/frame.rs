//! Frames: what stands on a stream.
//!
//! A request is `version, suite, kind` (one byte each) and then, for a unary request, the body to the end of the stream; for a streamed one the length
//! of the head (4 bytes, big endian), the head, and the body to the end of the stream. A reply is `version, suite, status` and then the handler's
//! bytes or, if the status says so, an [`RpcRefusal`] in postcard.
//!
//! A reply is of its request's version. A caller begins with the newest version that it speaks and falls back to the server's when it is told
//! that; so every version has this header, and [`RpcRefusal::WrongVersion`] is written as it is now.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::limits::REFUSAL_DETAIL_MAX;
use crate::versions::speaks;

/// FROST(Ed25519, SHA-512), RFC 9591 section 6.1.
pub const SUITE_FROST_ED25519_SHA512: u8 = 1;

pub(super) const HEADER_LEN: usize = 3;
pub(super) const KIND_UNARY: u8 = 0;
pub(super) const KIND_STREAMED: u8 = 1;
pub(super) const STATUS_OK: u8 = 0;
pub(super) const STATUS_REFUSED: u8 = 1;

/// Why a server did not answer a request. Says whose fault it is; nothing in it is secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum RpcRefusal {
    /// The request was framed for another version or suite.
    #[error("the server speaks protocol version {version}, suite {suite}; upgrade the older side")]
    WrongVersion {
        /// Newest version that the server speaks.
        version: u8,
        /// Suite that it speaks.
        suite: u8,
    },
    /// The caller sent something that is not a request of this role.
    #[error("malformed request: {detail}")]
    Malformed {
        /// What is wrong with it.
        detail: String,
    },
    /// The request is larger than the role allows.
    #[error("the request is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The request did not arrive in time.
    #[error("the request did not arrive in time")]
    TooSlow,
    /// This server does not serve the role, or not in this form.
    #[error("not served here: {detail}")]
    Unsupported {
        /// What was asked for.
        detail: String,
    },
    /// The server is over a limit; the same request may succeed later.
    #[error("busy; retry after {retry_after_ms} ms")]
    Busy {
        /// When to try again, in milliseconds.
        retry_after_ms: u32,
    },
    /// The handler examined the request and will not do it.
    #[error("denied: {detail}")]
    Denied {
        /// Why.
        detail: String,
    },
    /// The server failed; the request may be right.
    #[error("the server failed: {detail}")]
    Failed {
        /// What failed, without internals.
        detail: String,
    },
}

impl RpcRefusal {
    /// [`RpcRefusal::Malformed`] with a cut explanation.
    #[must_use]
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::Malformed { detail: cut(detail.into()) }
    }

    /// [`RpcRefusal::Denied`] with a cut explanation.
    #[must_use]
    pub fn denied(detail: impl Into<String>) -> Self {
        Self::Denied { detail: cut(detail.into()) }
    }

    /// [`RpcRefusal::Failed`] with a cut explanation.
    #[must_use]
    pub fn failed(detail: impl Into<String>) -> Self {
        Self::Failed { detail: cut(detail.into()) }
    }

    /// [`RpcRefusal::Unsupported`] with a cut explanation.
    #[must_use]
    pub fn unsupported(detail: impl Into<String>) -> Self {
        Self::Unsupported { detail: cut(detail.into()) }
    }

    /// [`RpcRefusal::Busy`] until then.
    #[must_use]
    pub fn busy(retry_after: Duration) -> Self {
        Self::Busy { retry_after_ms: u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX) }
    }

    /// The same refusal with its explanation cut, whoever made it.
    pub(super) fn bounded(self) -> Self {
        match self {
            Self::Malformed { detail } => Self::malformed(detail),
            Self::Unsupported { detail } => Self::unsupported(detail),
            Self::Denied { detail } => Self::denied(detail),
            Self::Failed { detail } => Self::failed(detail),
            other @ (Self::WrongVersion { .. } | Self::TooLarge { .. } | Self::TooSlow | Self::Busy { .. }) => other,
        }
    }
}

fn cut(mut detail: String) -> String {
    let mut end = detail.len().min(REFUSAL_DETAIL_MAX);
    while !detail.is_char_boundary(end) {
        end -= 1;
    }
    detail.truncate(end);
    detail
}

/// Header of a request or reply of ours.
pub(super) const fn header(version: u8, last: u8) -> [u8; HEADER_LEN] {
    [version, SUITE_FROST_ED25519_SHA512, last]
}

/// Splits a header whose suite is ours, and whose version is one that is spoken here; otherwise gives back the two bytes that are not.
pub(super) fn parse_header(bytes: [u8; HEADER_LEN]) -> Result<(u8, u8), (u8, u8)> {
    let [version, suite, last] = bytes;
    if speaks(version) && suite == SUITE_FROST_ED25519_SHA512 { Ok((version, last)) } else { Err((version, suite)) }
}

/// Codes with which a connection is closed, as the other end sees them.
pub(super) mod close_code {
    /// Ordinary end.
    pub(crate) const DONE: u32 = 0;
    /// The peer may not use the role that it connected for.
    pub(crate) const ROLE_NOT_ALLOWED: u32 = 1;
    /// The peer is not in the roster any more.
    pub(crate) const PEER_REMOVED: u32 = 2;
    /// The peer opened more connections than it may have; this was the oldest.
    pub(crate) const TOO_MANY_CONNECTIONS: u32 = 3;
    /// The other end fell silent, and a new connection takes over.
    pub(crate) const REPLACED: u32 = 4;
}

#[cfg(test)]
mod tests {
    use super::super::limits::REFUSAL_FRAME_MAX;
    use super::*;

    #[test]
    fn a_refusal_is_cut_at_a_character_and_fits_its_frame() {
        let refusal = RpcRefusal::denied("割".repeat(1000));
        let RpcRefusal::Denied { detail } = &refusal else { panic!("the kind is kept") };
        assert_eq!(detail.len(), REFUSAL_DETAIL_MAX - REFUSAL_DETAIL_MAX % 3);
        let bytes = postcard::to_stdvec(&refusal).expect("encodes");
        assert!(bytes.len() <= REFUSAL_FRAME_MAX);
    }
}
