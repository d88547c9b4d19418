//! The members of a cluster as its genesis names them.

use serde::{Deserialize, Serialize};

use crate::{Blob, Name, NodeId, PublicKey, SpkiHash};

/// A site's node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeEntry {
    /// Identifier, also of its shares.
    pub id: NodeId,
    /// Advertised `host:port` of its QUIC endpoint. A peer's configuration may override it; identity is the SPKI.
    pub address: String,
    /// SHA-256 of the SubjectPublicKeyInfo of its TLS certificate.
    pub tls_spki: SpkiHash,
    /// Ed25519 key that signs what the node says in the log.
    pub identity: PublicKey,
    /// Hybrid sealing key for packets made offline: X25519 (32 bytes) then ML-KEM-768 (1184 bytes).
    pub sealing_key: Blob,
}

/// A coordinator: it may ask for signature shares and relay orders, and holds no secret of a credential.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoordinatorEntry {
    /// Identifier.
    pub id: Name,
    /// SHA-256 of the SubjectPublicKeyInfo of its TLS certificate.
    pub tls_spki: SpkiHash,
    /// Ed25519 identity key.
    pub identity: PublicKey,
}

/// Roles of EN 419 241-1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OfficerRole {
    /// Decides on keys, roster, policy and anchors.
    SecurityOfficer,
    /// Runs the machines.
    Administrator,
    /// Enrols, certifies, binds, revokes.
    Operator,
    /// Reads.
    Auditor,
}

impl std::fmt::Display for OfficerRole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::SecurityOfficer => "security officer",
            Self::Administrator => "administrator",
            Self::Operator => "operator",
            Self::Auditor => "auditor",
        })
    }
}

/// A person who may approve orders.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfficerEntry {
    /// Identifier.
    pub id: Name,
    /// What the officer may approve.
    pub role: OfficerRole,
    /// Ed25519 or ECDSA P-256/P-384 key.
    pub key: PublicKey,
}

/// What a trust anchor may vouch for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnchorKind {
    /// HPKI CA whose certificates holders sign with (nonRepudiation).
    HpkiSigning,
    /// HPKI CA of authentication cards (digitalSignature).
    HpkiAuthentication,
    /// JPKI user-authentication CA of My Number Cards.
    JpkiUserAuthentication,
}

/// A pinned CA certificate. Several generations may be pinned at once.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnchorEntry {
    /// What it vouches for.
    pub kind: AnchorKind,
    /// DER of the CA certificate.
    pub certificate: Blob,
    /// Accepted certificate policies of end entities, as dotted OIDs; at least one.
    pub policies: Vec<String>,
}

/// How a holder's card is recognised.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum AuthenticatorKind {
    /// My Number Card, user-authentication certificate.
    #[serde(rename = "mnc")]
    MyNumberCard,
    /// HPKI card, authentication certificate.
    #[serde(rename = "hpki_card")]
    HpkiCard,
}

impl AuthenticatorKind {
    /// The anchors that certificates of this kind chain to.
    #[must_use]
    pub const fn anchor_kind(self) -> AnchorKind {
        match self {
            Self::MyNumberCard => AnchorKind::JpkiUserAuthentication,
            Self::HpkiCard => AnchorKind::HpkiAuthentication,
        }
    }
}
