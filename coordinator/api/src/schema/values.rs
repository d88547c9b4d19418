//! Identifiers, keys and other values that are one text or number.

use serde::Deserialize;
use utoipa::ToSchema;

/// An identifier of 16 bytes in hexadecimal, lower case.
#[derive(Deserialize, ToSchema)]
#[schema(pattern = "^[0-9a-f]{32}$")]
pub struct Id16(pub String);

/// A hash, or another value of 32 bytes, in hexadecimal, lower case.
#[derive(Deserialize, ToSchema)]
#[schema(pattern = "^[0-9a-f]{64}$")]
pub struct Id32(pub String);

/// Bytes in base64 with padding.
#[derive(Deserialize, ToSchema)]
#[schema(pattern = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$")]
pub struct Base64(pub String);

/// Bytes as they are.
#[derive(Deserialize, ToSchema)]
#[schema(value_type = String, format = Binary)]
pub struct Binary(pub Vec<u8>);

/// A public key: its algorithm and its bytes in hexadecimal, lower case; points of NIST curves uncompressed.
#[derive(Deserialize, ToSchema)]
#[schema(pattern = "^(ed25519:[0-9a-f]{64}|p256:04[0-9a-f]{128}|p384:04[0-9a-f]{192})$")]
pub struct PublicKey(pub String);

/// A name of a facility, officer, coordinator or holder.
#[derive(Deserialize, ToSchema)]
#[schema(pattern = "^[a-z0-9._-]{1,64}$")]
pub struct Name(pub String);

/// A document's own identifier.
#[derive(Deserialize, ToSchema)]
#[schema(pattern = "^[A-Za-z0-9._-]{1,64}$")]
pub struct DocumentId(pub String);

/// A site.
#[derive(Deserialize, ToSchema)]
#[schema(minimum = 1, maximum = 15)]
pub struct NodeId(pub u8);

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Deserialize, ToSchema)]
pub struct UnixMillis(pub u64);

/// Whose move it is after a failure.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Whoever made the request at the terminal: the platform's software or the holder.
    Request,
    /// The holder's card, its binding or its CA's lists.
    Card,
    /// The officers or their order.
    Order,
    /// The coordinator.
    Coordinator,
    /// A node.
    Node,
    /// The cluster as a whole, for now: try again.
    Cluster,
}
