//! Bodies of calls and answers. Objects of the protocol appear in them in their own JSON form.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use warifu_protocol::wire::{Applied, CredentialView, CrlView, NodeStatus, SessionView};
use warifu_protocol::{
    Blob, ClusterId, CredentialEvent, CredentialId, Gone, ImportPacket, Name, NodeId, NodeSigned, ObjectVersion, Order, Receipt, SessionId,
    SignedRequest, StopId, StopKind, StopObject, UnixMillis,
};

use crate::{Problem, schema};

/// A session was opened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionOpened {
    /// The session.
    #[schema(value_type = schema::Id32)]
    pub session: SessionId,
    /// Place of the entry in the log; absent if the outcome of the first try was lost and the session was found open afterwards.
    pub index: Option<u64>,
}

/// A session as the nodes know it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionAnswer {
    /// The session.
    #[schema(value_type = schema::SessionView)]
    pub session: SessionView,
}

/// Documents to sign.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignBody {
    /// 1 to [`DOCUMENTS_MAX`](crate::limits::DOCUMENTS_MAX) documents; each succeeds or fails by itself.
    pub documents: Vec<SignDocument>,
}

/// One document to sign.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignDocument {
    /// The whole document with an empty place for its signature.
    pub xml: String,
    /// The request that the session key signed. Its session and number are the idempotency key: the same request again is signed again.
    #[schema(value_type = schema::SignedRequest)]
    pub request: SignedRequest,
}

/// What became of the documents, in the order of the call.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignAnswerBody {
    /// One for each document.
    pub results: Vec<SignResult>,
}

/// What became of one document.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(tag = "status", rename_all = "lowercase", deny_unknown_fields)]
pub enum SignResult {
    /// It is signed, and the signature was verified.
    Signed {
        /// Session of the request.
        #[schema(value_type = schema::Id32)]
        session: SessionId,
        /// Number of the request.
        seq: u32,
        /// The document with its signature.
        xml: String,
        /// The Ed25519 signature value, 64 bytes.
        #[schema(value_type = schema::Base64)]
        signature: Blob,
        /// The sites that signed.
        #[schema(value_type = Vec<schema::NodeId>)]
        signers: Vec<NodeId>,
        /// Sets of sites that were asked, 1 if nothing went wrong.
        attempts: u32,
    },
    /// It is not.
    Failed {
        /// Session of the request.
        #[schema(value_type = schema::Id32)]
        session: SessionId,
        /// Number of the request.
        seq: u32,
        /// Why.
        problem: Problem,
    },
}

/// A command was applied.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderAnswer {
    /// Place of the entry in the log; absent if the outcome of the first try was lost and the order was found applied afterwards.
    pub index: Option<u64>,
    /// What it made.
    #[schema(value_type = schema::Applied)]
    pub applied: Applied,
    /// For what stops somebody: which nodes obey.
    #[serde(default)]
    pub stop: Option<StopReport>,
}

/// The sealed packets of an import.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PacketsBody {
    /// At most one for each node; all of one order.
    #[schema(value_type = Vec<schema::ImportPacket>)]
    pub packets: Vec<ImportPacket>,
}

/// What the nodes made of packets.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PacketsAnswer {
    /// One for each packet, in the order of the call.
    pub deliveries: Vec<PacketDelivery>,
}

/// What became of one packet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PacketDelivery {
    /// For whom.
    #[schema(value_type = schema::NodeId)]
    pub node: NodeId,
    /// Whether the node has it. That its share is on its disk, its confirmation of the ceremony says.
    pub state: PacketState,
    /// Why not, if not.
    pub problem: Option<Problem>,
}

/// What became of one packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PacketState {
    /// The node has it.
    Taken,
    /// Not yet, or not known: send it again.
    Pending,
    /// The node will never take it.
    Refused,
}

/// How far a stop is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StopReport {
    /// Hash of what its authors signed; `GET /v1/stops/{stop}` asks again.
    #[schema(value_type = schema::Id32)]
    pub stop: StopId,
    /// What may not sign.
    #[schema(value_type = schema::StopObject)]
    pub object: StopObject,
    /// How it ends.
    #[schema(value_type = schema::StopKind)]
    pub kind: StopKind,
    /// How far it is.
    pub state: StopReportState,
    /// When what was given before can no longer be completed; absent while receipts are missing.
    #[schema(value_type = Option<schema::UnixMillis>)]
    pub until: Option<UnixMillis>,
    /// Receipts that it takes: n−t+1+f.
    pub needed: u64,
    /// f: nodes that may lie without the receipts being worth less.
    pub liars: u8,
    /// The receipts, ascending by node.
    #[schema(value_type = Vec<schema::NodeSigned<schema::Receipt>>)]
    pub receipts: Vec<NodeSigned<Receipt>>,
    /// Nodes without one; the stop is brought to them for a while.
    pub missing: Vec<MissingReceipt>,
    /// Place of the log entry that says so, if it is known to be in the log.
    pub logged: Option<u64>,
    /// For a destruction: the nodes that say that nothing is left.
    #[serde(default)]
    #[schema(value_type = Vec<schema::NodeSigned<schema::Gone>>)]
    pub gone: Vec<NodeSigned<Gone>>,
}

/// How far a stop is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StopReportState {
    /// Receipts are missing: t nodes could still start a signature.
    Incomplete,
    /// No t nodes are left that would start one; what was given before dies at `until`.
    Draining,
    /// Nothing can be completed any more.
    Done,
}

/// A node that has given no receipt.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MissingReceipt {
    /// Which.
    #[schema(value_type = schema::NodeId)]
    pub node: NodeId,
    /// Why.
    pub reason: String,
}

/// One stop.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StopAnswerBody {
    /// How far it is.
    pub stop: StopReport,
}

/// One credential.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialAnswer {
    /// The credential.
    #[schema(value_type = schema::CredentialView)]
    pub credential: CredentialView,
}

/// A page of credentials in ascending order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialsAnswer {
    /// The credentials.
    #[schema(value_type = Vec<schema::CredentialView>)]
    pub credentials: Vec<CredentialView>,
    /// `after` of the next page; absent at the end.
    #[schema(value_type = Option<schema::Id16>)]
    pub next: Option<CredentialId>,
}

/// What happened to a credential, in order. Of a long life the beginning and the latest events are kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HistoryAnswer {
    /// Whose.
    #[schema(value_type = schema::Id16)]
    pub credential: CredentialId,
    /// The events.
    #[schema(value_type = Vec<schema::CredentialEvent>)]
    pub events: Vec<CredentialEvent>,
}

/// A certificate signing request (PKCS#10).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CsrAnswer {
    /// Whose.
    #[schema(value_type = schema::Id16)]
    pub credential: CredentialId,
    /// PEM, `CERTIFICATE REQUEST`.
    pub pem: String,
    /// The same in DER.
    #[schema(value_type = schema::Base64)]
    pub der: Blob,
}

/// An object's version.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VersionAnswer {
    /// To be written into the next order that changes it; 0 for an object that does not exist.
    #[schema(value_type = u64)]
    pub version: ObjectVersion,
}

/// The active CRLs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CrlsAnswer {
    /// One for each CA that has one.
    #[schema(value_type = Vec<schema::CrlView>)]
    pub crls: Vec<CrlView>,
}

/// Orders that changed the cluster, in the order in which they were applied. Each is to be verified from the one before, back to the genesis.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RosterAnswer {
    /// Those after the revision that was asked for; empty when there are no more.
    #[schema(value_type = Vec<schema::Order>)]
    pub orders: Vec<Order>,
}

/// A ceremony.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CeremonyAnswer {
    /// The ceremony.
    #[schema(value_type = schema::CeremonyView)]
    pub ceremony: warifu_protocol::wire::CeremonyView,
}

/// The cluster as this coordinator sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StatusAnswer {
    /// The cluster.
    #[schema(value_type = schema::Id32)]
    pub cluster: ClusterId,
    /// Which coordinator answers.
    #[schema(value_type = schema::Name)]
    pub coordinator: Name,
    /// Version of its program.
    pub version: String,
    /// t: nodes that a signature needs.
    pub threshold: u8,
    /// Nodes that can be asked for a share now.
    pub signers_ready: u64,
    /// Why signing is not possible; empty if it is.
    pub reasons: Vec<String>,
    /// Every node of the roster.
    pub nodes: Vec<NodeReport>,
}

/// One node as this coordinator sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeReport {
    /// Which.
    #[schema(value_type = schema::NodeId)]
    pub node: NodeId,
    /// What it says of itself, if it answers.
    #[schema(value_type = Option<schema::NodeStatus>)]
    pub status: Option<NodeStatus>,
    /// Why it does not answer, if it does not.
    pub unreachable: Option<String>,
    /// Whether it may be asked for shares now.
    pub usable: bool,
    /// Whether it is left out because it gave a false signature share.
    pub excluded: bool,
    /// Its unused commitments here.
    pub commitments: u64,
    /// Its latency here in microseconds, once measured.
    pub latency_micros: Option<u64>,
}

/// Query of a page of credentials.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialsQuery {
    /// Credentials after this one.
    #[serde(default)]
    #[schema(value_type = Option<schema::Id16>)]
    pub after: Option<CredentialId>,
    /// 1 to [`CREDENTIALS_PAGE_MAX`](crate::limits::CREDENTIALS_PAGE_MAX).
    #[serde(default)]
    pub limit: Option<u16>,
}
