//! The answering side: other nodes' requests to this one's raft.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use openraft::Raft;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::entry::RaftEntry;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest};
use warifu_protocol::NodeId;
use warifu_protocol::transport::{BodyError, BodyStream, RpcRefusal};

use super::config::{SNAPSHOT_BYTES_MAX, SNAPSHOT_DEADLINE, TERM_LEAD_MAX};
use super::inspect::{InspectEntries, InspectRefusal, InspectedEntry, InspectedPayload, examine};
use super::messages::{self, ProposeReply, RaftRequest, SnapshotHead};
use super::propose;
use super::snapshot::{SnapshotDirectory, SnapshotFile};
use super::state::{AppliedState, LogPosition, MembershipView, ReplicatedState, encode_membership};
use super::state_machine::StateMachine;
use super::types::{Entry, LeaderId, Membership, TypeConfig, Vote};

/// Answers the role `warifu-raft/1`. A node speaks for itself only: a vote, an append or a snapshot in another node's name is refused, and so is whatever
/// [`InspectEntries`] or the form of raft's messages does not allow, before raft hears of it.
pub struct RaftService<S: ReplicatedState, I> {
    pub(super) me: NodeId,
    pub(super) raft: Raft<TypeConfig, StateMachine<S>>,
    pub(super) inspector: Arc<I>,
    pub(super) snapshots: Arc<SnapshotDirectory>,
    pub(super) state: Arc<S>,
}

impl<S: ReplicatedState, I> std::fmt::Debug for RaftService<S, I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RaftService").field("me", &self.me).finish_non_exhaustive()
    }
}

impl<S: ReplicatedState, I: InspectEntries> RaftService<S, I> {
    /// Answers a unary request of the node `from`.
    ///
    /// # Errors
    /// [`RpcRefusal`].
    pub async fn handle(&self, from: NodeId, request: Bytes) -> Result<Vec<u8>, RpcRefusal> {
        let request = messages::decode(&request).map_err(|error| RpcRefusal::malformed(error.to_string()))?;
        match request {
            RaftRequest::Append(request) => {
                let (request, cut) = self.check_append(from, request)?;
                let last = request.entries.last().map(RaftEntry::log_id);
                let reply = self.raft.append_entries(request).await.map_err(stopped)?;
                // The leader hears how far it was followed, and sends the rest again.
                let reply = if cut && reply.is_success() { AppendEntriesResponse::PartialSuccess(last) } else { reply };
                Ok(messages::encode(&reply))
            }
            RaftRequest::Vote(request) => {
                self.check_vote(from, &request.vote, false)?;
                self.check_may_vote()?;
                self.raft.vote(request).await.map(|reply| messages::encode(&reply)).map_err(stopped)
            }
            RaftRequest::PreVote(request) => {
                self.check_vote(from, &request.vote, false)?;
                self.check_may_vote()?;
                self.raft.pre_vote(request).await.map(|reply| messages::encode(&reply)).map_err(stopped)
            }
            RaftRequest::TransferLeader(request) => {
                self.check_transfer(from, &request)?;
                self.raft.handle_transfer_leader(request).await.map(|reply| messages::encode(&reply)).map_err(stopped)
            }
            RaftRequest::Propose(command) => {
                let leads = self.raft.metrics().borrow_watched().current_leader == Some(u64::from(self.me.get()));
                if leads {
                    self.inspector.weigh(from, &command.0).await.map_err(RpcRefusal::busy)?;
                }
                let reply = propose::at_leader(&self.raft, self.inspector.as_ref(), from, command.0).await;
                if let ProposeReply::Done { response, .. } = &reply {
                    self.inspector.weighed(from, response);
                }
                Ok(messages::encode(&reply))
            }
        }
    }

    /// Receives a snapshot of the leader `from`, has it judged, and installs it. One of each sender at a time, so that a liar can fill no more of the disk
    /// than one snapshot.
    ///
    /// # Errors
    /// [`RpcRefusal`].
    pub async fn handle_snapshot(&self, from: NodeId, head: Bytes, mut body: BodyStream) -> Result<Vec<u8>, RpcRefusal> {
        let head: SnapshotHead = messages::decode(&head).map_err(|error| RpcRefusal::malformed(error.to_string()))?;
        self.check_snapshot(from, &head)?;
        if head.bytes > SNAPSHOT_BYTES_MAX {
            return Err(RpcRefusal::TooLarge { limit: SNAPSHOT_BYTES_MAX });
        }
        let Some(_receiving) = self.snapshots.receive(from) else {
            return Err(RpcRefusal::denied("a snapshot of this sender is being received already"));
        };
        body.allow(head.bytes);
        let received = tokio::time::timeout(SNAPSHOT_DEADLINE, self.receive(&head, body));
        let snapshot = received.await.map_err(|_| RpcRefusal::denied("the snapshot took too long"))??;
        let (stated, content) = snapshot.open().map_err(|error| RpcRefusal::malformed(error.to_string()))?;
        if stated != head.meta {
            return Err(RpcRefusal::malformed("the snapshot's file is of another position than was announced"));
        }
        let applied = AppliedState {
            position: head.meta.last_log_id.as_ref().map(LogPosition::of),
            membership: encode_membership(&head.meta.last_membership),
        };
        self.state.judge(from, applied, Box::new(content)).await.map_err(denied)?;
        // Again, for time has passed: raft stops the node for good over a snapshot that contradicts what it knows to be committed.
        self.check_snapshot(from, &head)?;
        let reply = self.raft.install_full_snapshot(head.vote, openraft::Snapshot { meta: head.meta, snapshot }).await;
        reply.map(|reply| messages::encode(&reply)).map_err(stopped)
    }

    async fn receive(&self, head: &SnapshotHead, mut body: BodyStream) -> Result<Arc<SnapshotFile>, RpcRefusal> {
        let disk = |error: std::io::Error| RpcRefusal::failed(format!("storing the snapshot: {error}"));
        let mut file = self.snapshots.temporary().map_err(disk)?;
        let mut received = 0;
        while let Some(chunk) = body.next().await.map_err(body_refused)? {
            received += chunk.len() as u64;
            file = crate::blocking::run(move || file.write_all(&chunk).map(|()| file))
                .await
                .map_err(|error| RpcRefusal::failed(error.to_string()))?
                .map_err(disk)?;
        }
        if received != head.bytes {
            return Err(RpcRefusal::malformed(format!("{received} bytes of a snapshot of {}", head.bytes)));
        }
        let snapshots = Arc::clone(&self.snapshots);
        crate::blocking::run(move || snapshots.adopt(file)).await.map_err(|error| RpcRefusal::failed(error.to_string()))?.map_err(disk)
    }

    /// Gives the part of an append that may be followed, and whether that is less than all of it.
    fn check_append(
        &self,
        from: NodeId,
        mut request: AppendEntriesRequest<TypeConfig>,
    ) -> Result<(AppendEntriesRequest<TypeConfig>, bool), RpcRefusal> {
        self.check_vote(from, &request.vote, true)?;
        let leader = &request.vote.leader_id;
        let entries = examine(leader, request.prev_log_id.as_ref(), &request.entries, request.leader_commit.as_ref()).map_err(denied)?;
        if entries.is_empty() {
            return Ok((request, false));
        }
        // A new leader finds out what a follower has by sending it again. What is committed here was judged when it came, and raft neither
        // reads nor writes it again; judged now, by a plan that has gone on since, it would be refused, and the leader never be followed.
        let committed = self.raft.metrics().borrow_watched().local_committed;
        let contradicts =
            |entry: &&Entry| committed.is_some_and(|committed| entry.log_id > committed && entry.log_id.index <= committed.index);
        if let Some(entry) = request.entries.iter().find(contradicts) {
            return Err(RpcRefusal::denied(format!("entry {} contradicts what is committed here", entry.log_id.index)));
        }
        let known = entries.partition_point(|entry| committed.is_some_and(|committed| entry.position.index <= committed.index));
        let inspect = |end: usize| self.inspector.inspect(from, entries.get(known..end).unwrap_or_default());
        let Err(refusal) = inspect(entries.len()) else { return Ok((request, false)) };
        let explained = |entry: &InspectedEntry<'_>| {
            matches!(entry.payload, InspectedPayload::Membership(_)) || refusal.unexplained == Some(entry.position.index)
        };
        let ends: Vec<usize> =
            entries.iter().enumerate().filter(|(place, entry)| *place > 0 && explained(entry)).map(|(place, _)| place).collect();
        let passes = |end: &&usize| inspect(**end).is_ok();
        let Some(end) = ends.iter().rev().find(passes).copied() else {
            tracing::warn!(%from, %refusal, "refused a leader's entries");
            return Err(denied(refusal));
        };
        tracing::info!(%from, %refusal, taken = end, "took a leader's entries up to one that is not explained yet");
        drop(entries);
        request.entries.truncate(end);
        Ok((request, true))
    }

    fn check_may_vote(&self) -> Result<(), RpcRefusal> {
        if self.inspector.may_vote() {
            Ok(())
        } else {
            Err(RpcRefusal::denied("this node is on a new store and does not vote before the log names it a voter"))
        }
    }

    fn check_vote(&self, from: NodeId, vote: &Vote, committed: bool) -> Result<(), RpcRefusal> {
        let LeaderId { term, node_id } = vote.leader_id;
        if node_id != u64::from(from.get()) {
            tracing::warn!(%from, claimed = node_id, "refused a raft message in another node's name");
            return Err(RpcRefusal::denied(format!("node {from} speaks for node {node_id}")));
        }
        if vote.committed != committed {
            return Err(RpcRefusal::denied("a leader's vote is committed, a candidate's is not"));
        }
        let own = self.raft.metrics().borrow_watched().current_term;
        if term > own.saturating_add(TERM_LEAD_MAX) {
            return Err(RpcRefusal::denied(format!("term {term} is too far ahead of term {own}")));
        }
        Ok(())
    }

    fn check_transfer(&self, from: NodeId, request: &TransferLeaderRequest<TypeConfig>) -> Result<(), RpcRefusal> {
        self.check_vote(from, request.from_leader(), true)?;
        if *request.to_node_id() == u64::from(self.me.get()) {
            Ok(())
        } else {
            Err(RpcRefusal::denied("this is not the node that is to lead"))
        }
    }

    fn check_snapshot(&self, from: NodeId, head: &SnapshotHead) -> Result<(), RpcRefusal> {
        self.check_vote(from, &head.vote, true)?;
        let Some(last) = head.meta.last_log_id else { return Err(RpcRefusal::denied("a snapshot of nothing")) };
        if last.leader_id > head.vote.leader_id {
            return Err(RpcRefusal::denied("the snapshot is of a later leader than its sender"));
        }
        let committed = self.raft.metrics().borrow_watched().local_committed;
        if committed.is_some_and(|committed| last > committed && last.index <= committed.index) {
            return Err(RpcRefusal::denied("the snapshot contradicts what is committed here"));
        }
        let view = |membership: &Membership| MembershipView::of(membership).filter(|view| !view.voters.is_empty());
        let Some(members) = view(head.meta.last_membership.membership()) else {
            return Err(RpcRefusal::denied("the snapshot names members that cannot be"));
        };
        let position = head.meta.last_membership.log_id().as_ref().map_or_else(|| LogPosition::of(&last), LogPosition::of);
        self.inspector.receive(from, position, members).map_err(denied)
    }
}

/// A body that is too large is its sender's fault; of one that does not arrive nobody knows whose it is.
fn body_refused(error: BodyError) -> RpcRefusal {
    match error {
        BodyError::TooLarge => RpcRefusal::malformed(error.to_string()),
        BodyError::TooSlow | BodyError::BrokenOff => RpcRefusal::failed(error.to_string()),
    }
}

fn denied(refusal: InspectRefusal) -> RpcRefusal {
    RpcRefusal::denied(refusal.reason)
}

fn stopped(error: impl std::fmt::Display) -> RpcRefusal {
    RpcRefusal::failed(format!("raft has stopped here: {error}"))
}
