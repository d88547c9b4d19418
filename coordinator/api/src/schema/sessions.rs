//! What opens and closes a session, and what is signed in one.

use serde::Deserialize;
use utoipa::ToSchema;

use super::{Base64, DocumentId, Id16, Id32, Name, PublicKey, UnixMillis};

/// What a session may be used for.
#[derive(Deserialize, ToSchema)]
pub enum Purpose {
    /// Prescriptions or dispensings, as the holder's role allows.
    #[serde(rename = "e-prescription")]
    EPrescription,
}

/// The statement that the card signs.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// Cluster.
    pub cluster: Id32,
    /// Credential that the session signs with.
    pub credential: Id16,
    /// Key that signs the requests: Ed25519 or ECDSA P-256.
    pub session_key: PublicKey,
    /// Where.
    pub facility: Name,
    /// At which machine.
    pub terminal: Id16,
    /// For what.
    pub purpose: Purpose,
    /// From when.
    pub not_before: UnixMillis,
    /// Until when, at most 18 hours later.
    pub not_after: UnixMillis,
    /// Requests 1 to this number.
    pub max_signatures: u32,
    /// Random; a statement opens one session.
    pub nonce: Id32,
}

/// Everything that opens a session.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionOpening {
    /// The typed fields of the statement.
    pub statement: Statement,
    /// DER of the card's certificate.
    pub card_certificate: Base64,
    /// DER of CA certificates between it and an anchor.
    pub intermediates: Vec<Base64>,
    /// The card's signature over the statement: PKCS#1 v1.5 with SHA-256, or ECDSA P-384 with SHA-384 as r ‖ s.
    pub card_signature: Base64,
    /// The terminal's signature over the statement.
    pub terminal_signature: Base64,
    /// The session key's signature over the statement.
    pub possession: Base64,
    /// Room for a stapled OCSP response; must be absent.
    pub ocsp: Option<Base64>,
}

/// A session key's own request to end its session.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionClosing {
    /// Which.
    pub session: Id32,
    /// The session key's signature.
    pub signature: Base64,
}

/// What a session shows.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionView {
    /// Identifier.
    pub session: Id32,
    /// The statement's fields.
    pub statement: Statement,
    /// Whether it was closed.
    pub closed: bool,
}

/// Which of the two documents of the e-prescription service is signed.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DocumentKind {
    /// Signed by a physician or dentist.
    Prescription,
    /// Signed by a pharmacist.
    Dispensing,
}

/// What the session key signs.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Session that it belongs to.
    pub session: Id32,
    /// 1 to the session's max signatures; one document per number.
    pub seq: u32,
    /// What kind of document.
    pub kind: DocumentKind,
    /// The document's own identifier.
    pub document_id: DocumentId,
    /// SHA-256 of the canonical signed element.
    pub digest: Id32,
    /// The SigningTime to be rendered, in whole seconds (a multiple of 1000).
    pub signing_time: UnixMillis,
}

/// A request with the session key's signature over it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignedRequest {
    /// What is asked.
    pub request: Request,
    /// By the session key.
    pub signature: Base64,
}
