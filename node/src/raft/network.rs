//! The calling side: openraft's requests to other nodes.

use std::sync::Arc;
use std::time::Duration;

use openraft::alias::{SnapshotOf, VoteOf};
use openraft::error::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest, VoteRequest};
use openraft::{OptionalSend, RPCTypes, RaftNetworkFactory, RaftNetworkV2};
use serde::de::DeserializeOwned;
use warifu_protocol::transport::{CallError, PeerClient, Role};
use warifu_protocol::{NodeId, SpkiHash};

use super::config::{APPEND_DEADLINE, SNAPSHOT_DEADLINE};
use super::messages::{self, AppendReply, RaftRequest, SnapshotHead, SnapshotReply, TransferLeaderReply, VoteReply};
use super::snapshot::SnapshotFile;
use super::state::node_id;
use super::types::{RosterNode, TypeConfig};

/// Makes the callers of all nodes. Addresses come from the client's directory; of what the log says of a node only its key is used.
pub(super) struct Network {
    pub(super) me: NodeId,
    pub(super) client: PeerClient,
}

/// Calls one node.
pub(super) struct PeerCaller {
    me: NodeId,
    target: u64,
    spki: SpkiHash,
    client: PeerClient,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = PeerCaller;

    async fn new_client(&mut self, target: u64, node: &RosterNode) -> PeerCaller {
        PeerCaller { me: self.me, target, spki: node.spki, client: self.client.clone() }
    }
}

impl PeerCaller {
    async fn call<T: DeserializeOwned>(
        &self,
        kind: RPCTypes,
        request: &RaftRequest,
        deadline: Duration,
    ) -> Result<T, RPCError<TypeConfig>> {
        let target = self.target()?;
        let reply = self.client.call(target, Role::Raft, &messages::encode(request), deadline).await;
        self.read(reply.map_err(|error| self.translate(kind, &error))?)
    }

    /// Whom the membership means. A node that came back on a new store has a new key, and is not who the membership meant until an entry
    /// names it so: its empty log must not be taken for the old one.
    fn target(&self) -> Result<NodeId, RPCError<TypeConfig>> {
        let target = node_id(self.target).ok_or_else(|| Unreachable::from_string(format!("{} is no node's number", self.target)))?;
        if self.client.spki_of(target).is_some_and(|spki| spki != self.spki) {
            return Err(Unreachable::from_string(format!("node {target} has another key than the membership names")).into());
        }
        Ok(target)
    }

    fn read<T: DeserializeOwned>(&self, reply: Vec<u8>) -> Result<T, RPCError<TypeConfig>> {
        messages::decode(&reply)
            .map_err(|error| NetworkError::from_string(format!("node {} answered nonsense: {error}", self.target)).into())
    }

    fn translate(&self, action: RPCTypes, error: &CallError) -> RPCError<TypeConfig> {
        match error {
            CallError::Deadline { deadline, .. } => {
                Timeout { action, id: u64::from(self.me.get()), target: self.target, timeout: *deadline }.into()
            }
            CallError::UnknownPeer { .. }
            | CallError::Unreachable { .. }
            | CallError::NotAdmitted { .. }
            | CallError::OtherCluster { .. }
            | CallError::WrongVersion { .. } => Unreachable::new(error).into(),
            _ => NetworkError::new(error).into(),
        }
    }
}

impl RaftNetworkV2<TypeConfig> for PeerCaller {
    type SnapshotData = Arc<SnapshotFile>;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendReply, RPCError<TypeConfig>> {
        let deadline = if rpc.entries.is_empty() { option.hard_ttl() } else { option.hard_ttl().max(APPEND_DEADLINE) };
        self.call(RPCTypes::AppendEntries, &RaftRequest::Append(rpc), deadline).await
    }

    async fn vote(&mut self, rpc: VoteRequest<TypeConfig>, option: RPCOption) -> Result<VoteReply, RPCError<TypeConfig>> {
        self.call(RPCTypes::Vote, &RaftRequest::Vote(rpc), option.hard_ttl()).await
    }

    async fn pre_vote(&mut self, rpc: VoteRequest<TypeConfig>, option: RPCOption) -> Result<VoteReply, RPCError<TypeConfig>> {
        self.call(RPCTypes::Vote, &RaftRequest::PreVote(rpc), option.hard_ttl()).await
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderReply, RPCError<TypeConfig>> {
        self.call(RPCTypes::TransferLeader, &RaftRequest::TransferLeader(req), option.hard_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<TypeConfig>,
        snapshot: SnapshotOf<TypeConfig, Self::SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotReply, StreamingError<TypeConfig>> {
        let send = async {
            let target = self.target()?;
            let (mut file, bytes) = snapshot
                .snapshot
                .open_raw()
                .await
                .map_err(|error| RPCError::from(NetworkError::from_string(format!("snapshot file: {error}"))))?;
            let head = messages::encode(&SnapshotHead { vote, meta: snapshot.meta.clone(), bytes });
            let deadline = option.hard_ttl().max(SNAPSHOT_DEADLINE);
            let reply = self.client.call_streaming(target, Role::Raft, &head, &mut file, deadline).await;
            self.read(reply.map_err(|error| self.translate(RPCTypes::InstallSnapshot, &error))?)
        };
        tokio::select! {
            sent = send => sent.map_err(|error: RPCError<TypeConfig>| match error {
                RPCError::Timeout(error) => StreamingError::Timeout(error),
                RPCError::Unreachable(error) => StreamingError::Unreachable(error),
                RPCError::Network(error) => StreamingError::Network(error),
                RPCError::RemoteError(never) => match never.source {},
            }),
            closed = cancel => Err(closed.into()),
        }
    }
}
