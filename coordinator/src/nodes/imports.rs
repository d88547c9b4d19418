//! Bringing the packets of an import to the nodes. What is in them opens for their recipients alone.

use std::sync::Arc;

use futures::future::join_all;
use tokio::time::{Instant, sleep, timeout_at};
use warifu_api::{PacketDelivery, PacketState, Problem};
use warifu_protocol::wire::{OrderCall, OrderReply, PacketAnswer};
use warifu_protocol::{Fault, ImportPacket};

use super::fleet::Nodes;
use crate::limits::{PACKET_CALL_DEADLINE, PACKET_PAUSE, PACKETS_ANSWER_DEADLINE};

impl Nodes {
    /// Brings each packet to its node, again while that has not applied the order, for a bounded time. The answers are in the order of the
    /// packets.
    pub(crate) async fn bring_packets(self: &Arc<Self>, packets: Vec<ImportPacket>) -> Vec<PacketDelivery> {
        let until = Instant::now() + PACKETS_ANSWER_DEADLINE;
        join_all(packets.into_iter().map(|packet| self.bring_packet(packet, until))).await
    }

    async fn bring_packet(self: &Arc<Self>, packet: ImportPacket, until: Instant) -> PacketDelivery {
        let node = packet.node;
        let call = OrderCall::ImportPacket(Box::new(packet));
        let mut reason = "it has not answered".to_owned();
        while Instant::now() < until {
            match timeout_at(until, self.ask(node, &call, PACKET_CALL_DEADLINE)).await {
                Ok(Ok(OrderReply::ImportPacket(PacketAnswer::Taken))) => {
                    return PacketDelivery { node, state: PacketState::Taken, problem: None };
                }
                Ok(Ok(OrderReply::ImportPacket(PacketAnswer::Refused(refusal)))) => {
                    return PacketDelivery { node, state: PacketState::Refused, problem: Some(Problem::from(&refusal)) };
                }
                Ok(Ok(OrderReply::ImportPacket(PacketAnswer::NotYet))) => {
                    reason = "it has not applied the order yet, or is not confirmed".to_owned();
                }
                Ok(Ok(_)) => reason = "it answered something else".to_owned(),
                Ok(Err(failure)) => reason = failure.reason,
                Err(_) => {}
            }
            sleep(PACKET_PAUSE).await;
        }
        let problem = Problem::new(503, "packet-pending", Fault::Node, format!("node {node}: {reason}")).retry_after(1);
        PacketDelivery { node, state: PacketState::Pending, problem: Some(problem) }
    }
}
