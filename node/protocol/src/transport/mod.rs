//! The authenticated channel between nodes, and from coordinators to nodes: QUIC with TLS 1.3, both ends pinned by the SPKI hash in the roster.
//!
//! Read in this order: [`Role`] (what may be called by whom), [`PeerDirectory`] (who is who), [`TlsIdentity`], [`Server`] with [`RpcHandler`],
//! [`PeerClient`]. One RPC is one bidirectional stream; its frames are described in [`RpcRefusal`]'s module.
//!
//! The rest of the crate is inert; this module is behind the feature `transport`, which only the shells turn on.

mod client;
mod connection_id;
mod directory;
mod frame;
mod identity;
mod limits;
mod role;
mod server;
mod streams;
mod tls;
mod verify;

pub use client::{CallError, ClientError, PeerClient};
pub use directory::{PeerDirectory, PeerEntry, PeerRoster};
pub use frame::{RpcRefusal, SUITE_FROST_ED25519_SHA512};
pub use identity::{IdentityError, TlsIdentity};
pub use limits::*;
pub use role::Role;
pub use server::{BindError, RpcHandler, Server};
pub use streams::{BodyError, BodyStream};
pub use tls::server_name;
pub use verify::{Chain, KnownKeys, PinnedClients, spki_hash};

pub use crate::PeerId;
