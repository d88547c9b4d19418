//! What nodes send each other, in postcard.

use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::state::LogPosition;
use super::types::{LogPayload, SnapshotMeta, TypeConfig, Vote};

/// A unary request. The order of the variants is the wire format.
#[derive(Serialize, Deserialize)]
pub(super) enum RaftRequest {
    Append(AppendEntriesRequest<TypeConfig>),
    Vote(VoteRequest<TypeConfig>),
    PreVote(VoteRequest<TypeConfig>),
    TransferLeader(TransferLeaderRequest<TypeConfig>),
    Propose(LogPayload),
}

/// The head of a streamed snapshot; the file follows.
#[derive(Serialize, Deserialize)]
pub(super) struct SnapshotHead {
    pub(super) vote: Vote,
    pub(super) meta: SnapshotMeta,
    pub(super) bytes: u64,
}

pub(super) type AppendReply = AppendEntriesResponse<TypeConfig>;
pub(super) type VoteReply = VoteResponse<TypeConfig>;
pub(super) type TransferLeaderReply = TransferLeaderResponse<TypeConfig>;
pub(super) type SnapshotReply = SnapshotResponse<TypeConfig>;

/// What became of a proposal.
#[derive(Serialize, Deserialize)]
pub(super) enum ProposeReply {
    /// Committed and applied.
    Done { position: LogPosition, response: Vec<u8> },
    /// Not carried out here; perhaps by this node.
    NotLeader { leader: Option<u64> },
    /// The leader will not log it.
    Refused { reason: String },
}

pub(super) fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    postcard::to_stdvec(message).expect("raft messages have neither sequences of unknown length nor floats")
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, postcard::Error> {
    match postcard::take_from_bytes(bytes)? {
        (message, []) => Ok(message),
        _ => Err(postcard::Error::SerdeDeCustom),
    }
}
