//! Requests: one document to sign, signed by the session key.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::canonical::{TAG_REQUEST, json_message, sha256};
use crate::{Blob, DocumentDigest, DocumentKind, RequestHash, SessionId, UnixMillis};

/// A document's own identifier: 1 to 64 characters of `A-Z a-z 0-9 - _ .` (the services use UUIDs).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct DocumentId(String);

/// A text that is not a [`DocumentId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a document id is 1 to 64 characters of A-Z a-z 0-9 - _ .")]
pub struct ParseDocumentIdError;

impl DocumentId {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DocumentId {
    type Err = ParseDocumentIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if text.is_empty() || text.len() > 64 || !text.bytes().all(allowed) {
            return Err(ParseDocumentIdError);
        }
        Ok(Self(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for DocumentId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// What the session key signs. The terminal computes the digest itself from the document that it shows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Session that it belongs to.
    pub session: SessionId,
    /// 1 to the session's max signatures; one document per number.
    pub seq: u32,
    /// What kind of document.
    pub kind: DocumentKind,
    /// The document's own identifier.
    pub document_id: DocumentId,
    /// SHA-256 of the canonical signed element.
    pub digest: DocumentDigest,
    /// The SigningTime to be rendered, in whole seconds (a multiple of 1000).
    pub signing_time: UnixMillis,
}

impl Request {
    /// The bytes that the session key signs.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        json_message(TAG_REQUEST, self)
    }

    /// SHA-256 of [`Self::message`].
    #[must_use]
    pub fn hash(&self) -> RequestHash {
        RequestHash::new(sha256(&self.message()))
    }
}

/// A request with the session key's signature over [`Request::message`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedRequest {
    /// What is asked.
    pub request: Request,
    /// By the session key.
    pub signature: Blob,
}
