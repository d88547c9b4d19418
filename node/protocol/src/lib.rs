//! Warifu's identifiers, wire and log types, canonical encodings and limits.
//!
//! The types are inert: no IO, no clock, no policy. Whatever crosses a process boundary or is hashed, signed or stored is defined here.

pub mod audit;
pub mod blob;
pub mod canonical;
pub mod cluster;
pub mod command;
pub mod document;
pub mod genesis;
pub mod history;
pub mod ids;
pub mod import;
pub mod keys;
pub mod limits;
pub mod mutants;
pub mod order;
mod order_words;
pub mod packet;
pub mod peer;
pub mod policy;
pub mod refresh;
pub mod refusal;
pub mod repair;
pub mod request;
pub mod roster;
pub mod session;
pub mod stop;
pub mod subject;
#[cfg(feature = "transport")]
pub mod transport;
pub mod versions;
pub mod wire;

pub use audit::{AuditEntry, AuditEvent, AuditSubject, CallRefusal};
pub use blob::Blob;
pub use cluster::{ClusterRecord, RetiredNode, RosterChainError, RosterFile, verify_roster_chain};
pub use command::*;
pub use document::DocumentKind;
pub use genesis::{Genesis, GenesisBody, GenesisDocument, GenesisError, GenesisSignature};
pub use history::{CredentialChange, CredentialEvent};
pub use ids::*;
pub use import::*;
pub use keys::{ParsePublicKeyError, PublicKey, SignatureInvalid};
pub use order::*;
pub use packet::{PacketError, SealingKey, seal_packet};
pub use peer::PeerId;
pub use policy::{ApprovalRule, CommandClass, Policy, PolicyError};
pub use refresh::*;
pub use refusal::{Fault, Refusal};
pub use repair::*;
pub use request::{DocumentId, ParseDocumentIdError, Request, SignedRequest};
pub use roster::*;
pub use session::{Purpose, SessionClosing, SessionOpening, Statement, closing_message};
pub use stop::*;
pub use subject::*;
pub use versions::{LOG_ENTRY_VERSION, LOG_ENTRY_VERSION_FIRST, log_entry_version};
