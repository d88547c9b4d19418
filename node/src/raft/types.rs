//! The types with which openraft is instantiated.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use warifu_protocol::{Sha256, SpkiHash};

openraft::declare_raft_types!(
    /// Opaque commands, opaque responses, nodes of the roster.
    pub(crate) TypeConfig:
        D = LogPayload,
        R = Vec<u8>,
        NodeId = u64,
        Node = RosterNode
);

pub(super) type Entry = openraft::alias::EntryOf<TypeConfig>;
pub(super) type LeaderId = openraft::alias::LeaderIdOf<TypeConfig>;
pub(super) type LogId = openraft::alias::LogIdOf<TypeConfig>;
pub(super) type Vote = openraft::alias::VoteOf<TypeConfig>;
pub(super) type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
pub(super) type Membership = openraft::Membership<u64, RosterNode>;
pub(super) type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;

/// One command in the log, as its author encoded it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct LogPayload(pub(crate) Vec<u8>);

impl fmt::Debug for LogPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogPayload({} bytes)", self.0.len())
    }
}

impl fmt::Display for LogPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for LogPayload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for LogPayload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl de::Visitor<'_> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the bytes of a command")
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }
        deserializer.deserialize_byte_buf(Bytes).map(Self)
    }
}

/// A member as membership entries name it: enough to check the entry against the officer-signed roster that it expresses.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RosterNode {
    /// Advertised `host:port`. For people; connections go where the node's own configuration says.
    pub address: String,
    /// SPKI hash of the node's TLS identity.
    pub spki: SpkiHash,
    /// Hash of the signed genesis or roster in which the node stands.
    pub roster: Sha256,
}

impl Default for RosterNode {
    /// A member of no roster, which no inspection accepts.
    fn default() -> Self {
        Self { address: String::new(), spki: SpkiHash::new([0; 32]), roster: Sha256::new([0; 32]) }
    }
}
