//! What peers send, read without a raft: for whoever tries the decoders with anything.

use super::inspect::examine;
use super::messages::{
    AppendReply, ProposeReply, RaftRequest, SnapshotHead, SnapshotReply, TransferLeaderReply, VoteReply, decode, encode,
};

/// Reads bytes as each kind of message that peers send to raft, and writes again what could be read, with the kind's name. Entries of an append request are
/// examined too, as they are before raft sees them; what comes of that is of no account here.
#[must_use]
pub fn reread(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let request = decode::<RaftRequest>(bytes).ok().map(|request| {
        if let RaftRequest::Append(append) = &request {
            let leader = &append.vote.leader_id;
            let _ = examine(leader, append.prev_log_id.as_ref(), &append.entries, append.leader_commit.as_ref());
        }
        encode(&request)
    });
    let kinds = [
        ("request", request),
        ("snapshot head", decode::<SnapshotHead>(bytes).ok().map(|head| encode(&head))),
        ("append reply", decode::<AppendReply>(bytes).ok().map(|reply| encode(&reply))),
        ("vote reply", decode::<VoteReply>(bytes).ok().map(|reply| encode(&reply))),
        ("transfer reply", decode::<TransferLeaderReply>(bytes).ok().map(|reply| encode(&reply))),
        ("snapshot reply", decode::<SnapshotReply>(bytes).ok().map(|reply| encode(&reply))),
        ("proposal reply", decode::<ProposeReply>(bytes).ok().map(|reply| encode(&reply))),
    ];
    kinds.into_iter().filter_map(|(kind, again)| Some((kind, again?))).collect()
}
