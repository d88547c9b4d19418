//! What reads of the registry show, and what applied commands make.

use serde::Deserialize;
use utoipa::ToSchema;

use super::{AuthenticatorKind, Base64, Id16, Id32, Name, NodeId, SubjectFields, UnixMillis};

/// What an applied command made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub enum Applied {
    /// Nothing that the caller must know.
    Done,
    /// A key-generation ceremony.
    CeremonyStarted(Id16),
    /// A session.
    SessionOpened(Id32),
    /// More CRL pieces are expected.
    CrlExpected {
        /// The order that announced it.
        order: Id16,
        /// Next piece.
        next: u32,
    },
    /// A CRL became active.
    CrlActive,
}

/// States of a credential.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CredentialState {
    /// Its key is being generated.
    Generating,
    /// It has a key.
    Generated,
    /// It has a certificate.
    Certified,
    /// It has a card and may sign.
    Active,
    /// It may not sign for now.
    Suspended,
    /// It will never sign again.
    Revoked,
    /// Its key is destroyed; what is left says that it was there.
    Destroyed,
}

/// Where a credential's key comes from. It never changes.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Origin {
    /// Generated across the sites: it was never whole.
    Generated,
    /// It existed whole before.
    Imported {
        /// The order that imported it.
        order: Id16,
        /// The officers who approved that.
        officers: Vec<Name>,
    },
}

/// What a credential shows; no certificate of a card, no serial.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialView {
    /// Identifier.
    pub credential: Id16,
    /// The CA's identifier of the holder.
    pub holder: Name,
    /// Its subject.
    pub subject: SubjectFields,
    /// Its state.
    pub state: CredentialState,
    /// Its version, for the next order.
    pub version: u64,
    /// Generation of its shares.
    pub epoch: u32,
    /// Ceremony that made its key.
    pub ceremony: Id16,
    /// Serialized FROST `PublicKeyPackage`, once generated.
    pub public_key_package: Option<Base64>,
    /// DER of its certificate, once installed.
    pub certificate: Option<Base64>,
    /// Its bound cards.
    pub authenticators: Vec<AuthenticatorView>,
    /// Cards whose binding has not taken effect yet.
    pub pending: Vec<PendingView>,
    /// Nodes that hold a share of this epoch now, ascending: those that can sign.
    pub holders: Vec<NodeId>,
    /// Where its key comes from.
    pub origin: Origin,
    /// When it is destroyed by itself, being revoked.
    pub destroy_at: Option<UnixMillis>,
}

/// A bound card, without its serial.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuthenticatorView {
    /// SHA-256 of its certificate.
    pub card: Id32,
    /// How it is recognised.
    pub kind: AuthenticatorKind,
    /// Whether officers suspended it.
    pub suspended: bool,
}

/// A card whose binding takes effect by itself.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PendingView {
    /// SHA-256 of its certificate.
    pub card: Id32,
    /// How it is recognised.
    pub kind: AuthenticatorKind,
    /// When it takes effect unless it is ended before.
    pub effective_at: UnixMillis,
    /// The order that asked for it.
    pub order: Id16,
}

/// Something that changed a credential.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialEvent {
    /// Log index of the entry that did it.
    pub index: u64,
    /// Time of that entry.
    pub at: UnixMillis,
    /// What changed.
    pub change: CredentialChange,
    /// The order behind it, if it was one.
    pub order: Option<Id16>,
    /// The officers who approved that order.
    pub officers: Vec<Name>,
}

/// What changed.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum CredentialChange {
    /// It was enrolled.
    Enrolled,
    /// It got its key.
    KeyMade {
        /// The ceremony that made it.
        ceremony: Id16,
        /// Nodes that confirmed and hold a share.
        holders: Vec<NodeId>,
    },
    /// A certificate was installed.
    Certified {
        /// Which.
        certificate: Id32,
    },
    /// A card was bound.
    Bound {
        /// Its certificate.
        card: Id32,
        /// How it is recognised.
        kind: AuthenticatorKind,
    },
    /// A card's binding ended.
    Unbound {
        /// Its certificate.
        card: Id32,
    },
    /// It came into another state by other means than the above.
    State {
        /// The new state.
        state: CredentialState,
    },
    /// Its shares are of a new epoch.
    Refreshed {
        /// The new epoch.
        epoch: u32,
        /// Nodes that hold a share of it.
        holders: Vec<NodeId>,
    },
    /// Nodes came to hold a share, or hold one no more.
    Holders {
        /// Nodes that hold one now.
        holders: Vec<NodeId>,
    },
    /// It got a key that existed whole before.
    KeyImported {
        /// The order that imported it; the ceremony has the same identifier.
        order: Id16,
        /// The officers who approved that order.
        officers: Vec<Name>,
        /// Nodes that confirmed and hold a share.
        holders: Vec<NodeId>,
    },
}

/// What a ceremony shows.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CeremonyView {
    /// Identifier.
    pub ceremony: Id16,
    /// Attempt, from 1.
    pub attempt: u32,
    /// Who takes part.
    pub participants: Vec<NodeId>,
    /// Participants whose round-1 packages are in the log.
    pub round1: Vec<NodeId>,
    /// Participants that confirmed.
    pub confirmed: Vec<NodeId>,
    /// Whether the keys are in use.
    pub done: bool,
    /// Whether it was given up.
    pub failed: bool,
}

/// What an active CRL shows.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CrlView {
    /// The CA's subject.
    pub issuer: String,
    /// CRLNumber, decimal.
    pub number: String,
    /// thisUpdate.
    pub this_update: UnixMillis,
    /// nextUpdate.
    pub next_update: UnixMillis,
    /// Entries.
    pub revoked: u64,
}

/// A node's audit log as a tree of hashes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// Number of entries.
    pub size: u64,
    /// RFC 6962 root hash.
    pub root: Id32,
}

/// How a node is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeStatus {
    /// Which node.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: Id32,
    /// This start.
    pub boot: Id16,
    /// Whether it may sign.
    pub confirmed: bool,
    /// Reasons why it is not ready; empty when it is.
    pub reasons: Vec<String>,
    /// The leader that it sees.
    pub leader: Option<NodeId>,
    /// Raft term.
    pub term: u64,
    /// Last applied index.
    pub applied: u64,
    /// Last index in its log.
    pub last_log: u64,
    /// Its clock.
    pub now: UnixMillis,
    /// Its audit log.
    pub audit: Checkpoint,
    /// Signature shares given since its start.
    pub shares_given: u64,
    /// Version of the program.
    pub version: String,
}
