//! The bytes of every message between rafts, as they are on the wire and, of entries, on disk.

use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, VoteRequest, VoteResponse};
use openraft::{EntryPayload, SnapshotMeta, Vote};

use super::{id, normal};
use crate::raft::messages::{AppendReply, ProposeReply, RaftRequest, SnapshotHead, SnapshotReply, VoteReply, encode};
use crate::raft::reread;
use crate::raft::state::LogPosition;
use crate::raft::types::{Entry, LogPayload, Membership, RosterNode, StoredMembership};

/// One of each, by name, in hexadecimal: also the inputs that the fuzz targets begin with.
const FRAMES: &str = include_str!("frames.txt");

fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let (vote, leads) = (Vote::new(3, 2), Vote::new_committed(3, 2));
    let node = RosterNode {
        address: "10.0.0.1:7400".to_owned(),
        spki: warifu_protocol::SpkiHash::new([1; 32]),
        roster: warifu_protocol::Sha256::new([2; 32]),
    };
    let members =
        Membership::new(vec![[1, 2].into()], [(1, node.clone()), (2, node)].into_iter().collect::<std::collections::BTreeMap<_, _>>());
    let members = members.unwrap();
    let entries = vec![
        Entry { log_id: id(1, 6), payload: EntryPayload::Blank },
        normal(1, 7, 3),
        Entry { log_id: id(2, 8), payload: EntryPayload::Membership(members.clone()) },
    ];
    let append = AppendEntriesRequest { vote: leads, prev_log_id: Some(id(1, 5)), entries, leader_commit: Some(id(1, 6)) };
    let meta = SnapshotMeta { last_log_id: Some(id(2, 8)), last_membership: StoredMembership::new(Some(id(2, 8)), members) };
    vec![
        ("append", encode(&RaftRequest::Append(append))),
        ("vote", encode(&RaftRequest::Vote(VoteRequest::new(vote, Some(id(2, 8)))))),
        ("pre-vote", encode(&RaftRequest::PreVote(VoteRequest::new(vote, None)))),
        ("transfer", encode(&RaftRequest::TransferLeader(TransferLeaderRequest::new(leads, 1, Some(id(2, 8)))))),
        ("propose", encode(&RaftRequest::Propose(LogPayload(vec![1, 2, 3])))),
        ("snapshot-head", encode(&SnapshotHead { vote: leads, meta, bytes: 4096 })),
        ("append-reply", encode::<AppendReply>(&AppendEntriesResponse::PartialSuccess(Some(id(2, 8))))),
        ("vote-reply", encode::<VoteReply>(&VoteResponse::new(vote, Some(id(2, 8)), true))),
        ("snapshot-reply", encode::<SnapshotReply>(&SnapshotResponse::new(leads))),
        ("done", encode(&ProposeReply::Done { position: LogPosition { term: 2, leader: 1, index: 8 }, response: vec![9] })),
        ("not-leader", encode(&ProposeReply::NotLeader { leader: Some(2) })),
        ("refused", encode(&ProposeReply::Refused { reason: "no".to_owned() })),
    ]
}

#[test]
fn messages_between_rafts_keep_their_bytes() {
    let lines: Vec<String> = samples().iter().map(|(name, bytes)| format!("{name} {}\n", hex::encode(bytes))).collect();
    assert_eq!(FRAMES, lines.concat(), "a change of the format of raft's messages, or of entries on disk");
    for (name, bytes) in samples() {
        let read = reread(&bytes);
        assert!(read.iter().any(|(_, again)| *again == bytes), "{name} is not read as it was written: {read:?}");
    }
}
