//! Dispatches authenticated requests by role.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use warifu_protocol::transport::{BodyStream, PeerId, Role, RpcHandler, RpcRefusal};
use warifu_protocol::wire::{CeremonyCall, CeremonyReply, OrderCall, OrderReply, PacketAnswer};
use warifu_protocol::{ImportPacket, Name, NodeId};

use super::refusals::{Call, Refusals};
use super::{CeremonyService, OrderService, SignService, StopService};
use crate::raft::RaftService;
use crate::replicated::{Inspector, NodeState};

/// The node's QUIC interface.
pub struct NodeRpc {
    /// Consensus.
    pub raft: RaftService<NodeState, Inspector>,
    /// Signature shares.
    pub signing: Arc<SignService>,
    /// Commands, reads, status.
    pub orders: Arc<OrderService>,
    /// Stops.
    pub stops: Arc<StopService>,
    /// Ceremonies.
    pub ceremonies: Arc<CeremonyService>,
    /// What is refused.
    pub refusals: Arc<Refusals>,
}

impl NodeRpc {
    async fn ceremony(&self, node: NodeId, request: &[u8]) -> Result<CeremonyReply, RpcRefusal> {
        let call: CeremonyCall = decode(request)?;
        let what = Call::from(&call);
        let reply = self.ceremonies.handle(node, call).await;
        if let CeremonyReply::Refused(refusal) = &reply {
            self.refusals.call(PeerId::Node(node), &what, request, refusal.clone()).await;
        }
        Ok(reply)
    }

    async fn take_packet(&self, coordinator: Name, packet: ImportPacket, request: &[u8]) -> PacketAnswer {
        let what = Call::from(&packet);
        let answer = self.ceremonies.take_packet(packet).await;
        if let PacketAnswer::Refused(refusal) = &answer {
            self.refusals.call(PeerId::Coordinator(coordinator), &what, request, refusal.clone()).await;
        }
        answer
    }
}

impl RpcHandler for NodeRpc {
    async fn handle(&self, peer: PeerId, role: Role, request: Bytes) -> Result<Vec<u8>, RpcRefusal> {
        match (role, peer) {
            (Role::Raft, PeerId::Node(node)) => self.raft.handle(node, request).await,
            (Role::Sign, PeerId::Coordinator(name)) => encode(&self.signing.handle(name, decode(&request)?).await),
            (Role::Ceremony, PeerId::Node(node)) => encode(&self.ceremony(node, &request).await?),
            (Role::Order, PeerId::Coordinator(name)) => encode(&match decode(&request)? {
                OrderCall::Stop(stop) => OrderReply::Stop(self.stops.obey(name, *stop).await),
                OrderCall::Receipts(stop) => OrderReply::Receipts(self.stops.receipts(stop).await),
                OrderCall::ImportPacket(packet) => OrderReply::ImportPacket(self.take_packet(name, *packet, &request).await),
                OrderCall::Propose(command) => self.orders.propose_for(&name, *command).await?,
                OrderCall::Read(read) => self.orders.read(read).await,
                OrderCall::Status => {
                    OrderReply::Status(Box::new(self.orders.ask_status().await.map_err(|error| RpcRefusal::failed(error.to_string()))?))
                }
            }),
            // Nodes forward commands through consensus and have their own state: they may ask for status only.
            (Role::Order, PeerId::Node(_)) => match decode(&request)? {
                OrderCall::Status => encode(&OrderReply::Status(Box::new(
                    self.orders.ask_status().await.map_err(|error| RpcRefusal::failed(error.to_string()))?,
                ))),
                OrderCall::Propose(_) | OrderCall::Read(_) | OrderCall::Stop(_) | OrderCall::Receipts(_) | OrderCall::ImportPacket(_) => {
                    Err(RpcRefusal::denied("nodes may ask for status only"))
                }
            },
            (role, peer) => Err(RpcRefusal::denied(format!("{peer} may not use {role}"))),
        }
    }

    async fn handle_stream(&self, peer: PeerId, role: Role, head: Bytes, body: BodyStream) -> Result<Vec<u8>, RpcRefusal> {
        match (role, peer) {
            (Role::Raft, PeerId::Node(node)) => self.raft.handle_snapshot(node, head, body).await,
            (role, _) => Err(RpcRefusal::unsupported(format!("a streamed {role} request"))),
        }
    }

    async fn refused(&self, peer: PeerId, role: Role, request: Option<Bytes>, refusal: RpcRefusal) {
        self.refusals.frame(peer, role, request, refusal).await;
    }
}

fn decode<T: DeserializeOwned>(request: &[u8]) -> Result<T, RpcRefusal> {
    match postcard::take_from_bytes(request) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(RpcRefusal::malformed("bytes are left over")),
        Err(error) => Err(RpcRefusal::malformed(error.to_string())),
    }
}

fn encode<T: Serialize>(reply: &T) -> Result<Vec<u8>, RpcRefusal> {
    postcard::to_stdvec(reply).map_err(|error| RpcRefusal::failed(error.to_string()))
}
