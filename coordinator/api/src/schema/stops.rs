//! Stops, and what nodes sign about them.

use serde::Deserialize;
use utoipa::ToSchema;

use super::{Base64, Id16, Id32, NodeId, UnixMillis};

/// What may not sign any more.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum StopObject {
    /// A credential, with all its sessions.
    Credential(Id16),
    /// One session.
    Session(Id32),
    /// The sessions that one card opened.
    Card {
        /// Whose.
        credential: Id16,
        /// The card's certificate.
        card: Id32,
    },
}

/// How it ends.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StopKind {
    /// Until it is resumed.
    Suspend,
    /// For good.
    Revoke,
    /// A session, for good.
    CloseSession,
    /// A card, until its binding is resumed.
    SuspendBinding,
    /// For good, with the key.
    Destroy,
}

/// A node's signed statement.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeSigned<T> {
    /// Who says it.
    pub node: NodeId,
    /// What.
    pub body: T,
    /// Ed25519 by the node's identity key.
    pub signature: Base64,
}

/// A node says that it durably obeys a stop: from `held_since` on it starts no signature for the object until a later resume.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Which stop.
    pub stop: Id32,
    /// What may not sign.
    pub object: StopObject,
    /// How it ends.
    pub kind: StopKind,
    /// Since when, by the node's clock.
    pub held_since: UnixMillis,
    /// The store that remembers it.
    pub store: Id16,
    /// The start that the node was confirmed in when it gave the receipt.
    pub boot: Id16,
}

/// A node says that no share of a destroyed credential is on its disk in a form that can be read.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Gone {
    /// Whose shares.
    pub credential: Id16,
    /// The store that they were in.
    pub store: Id16,
    /// KEK generations that were destroyed after the deletion.
    pub destroyed: Vec<u32>,
    /// Whether the KEK provably kept no copy of them; a KEK in a file cannot prove it.
    pub proves_destruction: bool,
    /// When, by the node's clock.
    pub at: UnixMillis,
}
