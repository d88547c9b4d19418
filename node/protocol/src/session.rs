//! Sessions: what the card signs, what opens and what closes one.

use serde::{Deserialize, Serialize};

use crate::canonical::{TAG_CLOSE, TAG_POSSESSION, TAG_SESSION, TAG_TERMINAL, json_message, sha256};
use crate::{Blob, Challenge, ClusterId, CredentialId, Name, PublicKey, SessionId, TerminalId, UnixMillis};

/// What a session may be used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Purpose {
    /// Prescriptions or dispensings, as the holder's role allows.
    #[serde(rename = "e-prescription")]
    EPrescription,
}

/// The statement that the card signs. The terminal renders it from its own session key and nodes render it again; nobody sends the text.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// Cluster.
    pub cluster: ClusterId,
    /// Credential that the session signs with.
    pub credential: CredentialId,
    /// Key that signs the requests: Ed25519 or ECDSA P-256.
    pub session_key: PublicKey,
    /// Where.
    pub facility: Name,
    /// At which machine.
    pub terminal: TerminalId,
    /// For what.
    pub purpose: Purpose,
    /// From when.
    pub not_before: UnixMillis,
    /// Until when, at most 18 hours later.
    pub not_after: UnixMillis,
    /// Requests 1 to this number.
    pub max_signatures: u32,
    /// Random; a statement opens one session.
    pub nonce: Challenge,
}

impl Statement {
    /// The bytes that the card signs.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        json_message(TAG_SESSION, self)
    }

    /// The session's id: SHA-256 of [`Self::message`].
    #[must_use]
    pub fn session(&self) -> SessionId {
        SessionId::new(sha256(&self.message()))
    }

    /// The bytes that the terminal signs.
    #[must_use]
    pub fn terminal_message(&self) -> Vec<u8> {
        json_message(TAG_TERMINAL, self)
    }

    /// The bytes that the session key signs to prove its possession.
    #[must_use]
    pub fn possession_message(&self) -> Vec<u8> {
        json_message(TAG_POSSESSION, self)
    }
}

/// Everything that opens a session.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionOpening {
    /// The typed fields of the statement.
    pub statement: Statement,
    /// DER of the card's certificate.
    pub card_certificate: Blob,
    /// DER of CA certificates between it and an anchor.
    pub intermediates: Vec<Blob>,
    /// The card's signature over [`Statement::message`]: PKCS#1 v1.5 with SHA-256, or ECDSA P-384 with SHA-384 as r ‖ s.
    pub card_signature: Blob,
    /// The terminal's signature over [`Statement::terminal_message`].
    pub terminal_signature: Blob,
    /// The session key's signature over [`Statement::possession_message`].
    pub possession: Blob,
    /// Room for a stapled OCSP response; must be absent.
    pub ocsp: Option<Blob>,
}

/// A session key's own request to end its session.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionClosing {
    /// Which.
    pub session: SessionId,
    /// The session key's signature over [`closing_message`].
    pub signature: Blob,
}

/// The bytes that a session key signs to close its session.
#[must_use]
pub fn closing_message(session: SessionId) -> Vec<u8> {
    json_message(TAG_CLOSE, &session)
}
