//! A member that lies.

use std::time::Duration;

use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest, VoteRequest};
use openraft::{SnapshotMeta, Vote};
use warifu_protocol::transport::{CallError, Role, RpcRefusal};

use super::harness::{Cluster, PATIENCE, node, roster_hash};
use super::{id, normal};
use crate::raft::messages::{self, RaftRequest, SnapshotHead};
use crate::raft::types::{LeaderId, LogId, Membership, RosterNode, StoredMembership, TypeConfig};

fn append(vote: openraft::alias::VoteOf<TypeConfig>) -> RaftRequest {
    RaftRequest::Append(AppendEntriesRequest { vote, prev_log_id: Some(id(1, 1)), entries: vec![normal(1, 2, 1)], leader_commit: None })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_cannot_speak_in_another_ones_name_nor_run_away_with_the_term() {
    let cluster = Cluster::start(|_| {}).await;
    cluster.must_propose(node(1), b"command").await;
    cluster.must_agree_on(1).await;
    let leader = cluster.leader().await;
    let liar = cluster.follower_of(leader);
    let victim = *cluster.nodes.keys().find(|id| ![liar, leader].contains(id)).unwrap();
    let (other, own) = (u64::from(leader.get()), u64::from(liar.get()));
    let before = cluster.nodes[&victim].raft.status();
    let far = before.term + (1 << 21);

    let table: Vec<(&str, RaftRequest)> = vec![
        ("an append in the leader's name", append(Vote::new_committed(before.term, other))),
        ("an append in a later leader's name", append(Vote::new_committed(before.term + 1, other))),
        ("an append without a granted vote", append(Vote::new(before.term + 1, own))),
        ("an append of a far term", append(Vote::new_committed(far, own))),
        ("a candidate's vote for another", RaftRequest::Vote(VoteRequest::new(Vote::new(before.term + 1, other), Some(id(9, 99))))),
        (
            "a granted vote as a candidate's",
            RaftRequest::Vote(VoteRequest::new(Vote::new_committed(before.term + 1, own), Some(id(9, 99)))),
        ),
        ("a vote of a far term", RaftRequest::Vote(VoteRequest::new(Vote::new(far, own), Some(id(9, 99))))),
        ("a pre-vote for another", RaftRequest::PreVote(VoteRequest::new(Vote::new(before.term + 1, other), Some(id(9, 99))))),
        (
            "a transfer in the leader's name",
            RaftRequest::TransferLeader(TransferLeaderRequest::new(Vote::new_committed(before.term, other), u64::from(victim.get()), None)),
        ),
        (
            "a transfer to another node",
            RaftRequest::TransferLeader(TransferLeaderRequest::new(Vote::new_committed(before.term, own), other, None)),
        ),
    ];
    let client = &cluster.nodes[&liar].client;
    for (what, request) in table {
        let answer = client.call(victim, Role::Raft, &messages::encode(&request), PATIENCE).await;
        assert!(matches!(answer, Err(CallError::Refused { refusal: RpcRefusal::Denied { .. }, .. })), "{what}: {answer:?}");
    }
    for (what, bytes) in [("nothing", vec![]), ("an unknown request", vec![99]), ("a cut request", vec![0, 1])] {
        let answer = client.call(victim, Role::Raft, &bytes, PATIENCE).await;
        assert!(matches!(answer, Err(CallError::Refused { refusal: RpcRefusal::Malformed { .. }, .. })), "{what}: {answer:?}");
    }
    let after = cluster.nodes[&victim].raft.status();
    assert_eq!((after.term, after.last_log_index, after.leader), (before.term, before.last_log_index, before.leader));
    cluster.must_propose(victim, b"another").await;
    cluster.must_agree_on(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_snapshot_is_refused_and_stops_nobody() {
    let cluster = Cluster::start(|_| {}).await;
    cluster.must_propose(node(1), b"command").await;
    cluster.must_agree_on(1).await;
    let leader = cluster.leader().await;
    let liar = cluster.follower_of(leader);
    let victim = *cluster.nodes.keys().find(|id| ![liar, leader].contains(id)).unwrap();
    let committed = cluster.nodes[&victim].raft.status().committed.unwrap();
    let (term, own) = (committed.term + 1, u64::from(liar.get()));
    let at = |term, index| LogId::new(LeaderId { term, node_id: own }, index);
    let members = |roster| {
        let known = RosterNode { roster, ..RosterNode::default() };
        let nodes: std::collections::BTreeMap<_, _> = [(own, known)].into();
        StoredMembership::new(Some(at(term, 1)), Membership::new(vec![[own].into()], nodes).unwrap())
    };
    let head =
        |vote, last_log_id, last_membership, bytes| SnapshotHead { vote, meta: SnapshotMeta { last_log_id, last_membership }, bytes };
    let vote = Vote::new_committed(term, own);
    let ours = members(roster_hash());
    let leaders = Vote::new_committed(term, u64::from(leader.get()));
    let table = [
        ("speaks for node", head(leaders, Some(at(term, 99)), ours.clone(), 4)),
        ("of a later leader than its sender", head(vote, Some(at(term + 1, 99)), ours.clone(), 4)),
        ("contradicts what is committed", head(vote, Some(at(term, committed.index)), ours.clone(), 4)),
        ("of nothing", head(vote, None, ours.clone(), 4)),
        ("members that cannot be", head(vote, Some(at(term, 99)), StoredMembership::default(), 4)),
        ("members of another roster", head(vote, Some(at(term, 99)), members(warifu_protocol::Sha256::new([1; 32])), 4)),
        ("is larger than", head(vote, Some(at(term, 99)), ours.clone(), u64::MAX)),
        ("body is larger", head(vote, Some(at(term, 99)), ours.clone(), 3)),
        ("4 bytes of a snapshot of 5", head(vote, Some(at(term, 99)), ours.clone(), 5)),
        ("failed to fill whole buffer", head(vote, Some(at(term, 99)), ours, 4)),
    ];
    let client = &cluster.nodes[&liar].client;
    for (reason, head) in table {
        let answer = client.call_streaming(victim, Role::Raft, &messages::encode(&head), &mut b"junk".as_slice(), PATIENCE).await;
        let Err(CallError::Refused { refusal, .. }) = &answer else { panic!("{reason}: {answer:?}") };
        assert!(refusal.to_string().contains(reason), "{reason}: {refusal}");
    }
    let status = cluster.nodes[&victim].raft.status();
    assert_eq!((status.failed, status.term), (None, committed.term));
    tokio::time::sleep(Duration::from_millis(100)).await;
    cluster.must_propose(victim, b"another").await;
    cluster.must_agree_on(2).await;
}
