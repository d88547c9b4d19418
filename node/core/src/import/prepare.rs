//! An import as the officer's tool makes it: what is ordered, and the packets beside it.

use rand_core::CryptoRngCore;
use warifu_protocol::canonical::sha256;
use warifu_protocol::{Blob, ClusterRecord, Enrolment, ImportPacket, KeyImport, NodeId, OrderId, PacketError, Refusal, Sha256};

use super::deal::{DealError, deal};
use super::seed::ImportSeed;
use super::terms::{check_import, packet_plaintext};

/// Why an import cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// Splitting the key.
    #[error(transparent)]
    Deal(#[from] DealError),
    /// A site without a sealing key, which no roster has.
    #[error("node {node} has no entry in the roster")]
    NodeUnknown {
        /// Which.
        node: NodeId,
    },
    /// Sealing a node's share.
    #[error("the packet for node {node} cannot be sealed")]
    Seal {
        /// For whom.
        node: NodeId,
        /// Why.
        #[source]
        source: PacketError,
    },
    /// What every node would refuse.
    #[error("every node would refuse this import")]
    Refused(#[source] Refusal),
}

/// Splits the key of a seed for all nodes of a cluster, proves the shares by trial signatures, and has one packet for each node sealed, for
/// this order alone. `seal` takes a sealing key, a context and a plaintext, as [`warifu_protocol::seal_packet`] does.
///
/// # Errors
/// See [`PrepareError`].
pub fn prepare(
    cluster: &ClusterRecord,
    order: OrderId,
    enrolment: Enrolment,
    seed: &ImportSeed,
    rng: &mut impl CryptoRngCore,
    seal: impl Fn(&[u8], &[u8], &[u8]) -> Result<Blob, PacketError>,
) -> Result<(KeyImport, Vec<ImportPacket>), PrepareError> {
    let nodes = cluster.node_ids();
    let dealt = deal(seed, cluster.threshold, &nodes, rng)?;
    let mut import = KeyImport { enrolment, commitment: dealt.commitment.clone(), packets: Vec::new() };
    let mut packets = Vec::with_capacity(nodes.len());
    for node in &nodes {
        let unknown = PrepareError::NodeUnknown { node: *node };
        let (Some(share), Some(entry)) = (dealt.share(*node), cluster.node(*node)) else { return Err(unknown) };
        let context = import.packet_context(cluster.cluster, order, *node);
        let sealed = seal(entry.sealing_key.as_slice(), &context, &packet_plaintext(share));
        let sealed = sealed.map_err(|source| PrepareError::Seal { node: *node, source })?;
        packets.push(ImportPacket { order, node: *node, sealed });
    }
    import.packets = packets.iter().map(|packet| (packet.node, Sha256::new(sha256(packet.sealed.as_slice())))).collect();
    check_import(&import, cluster.threshold, &nodes).map_err(PrepareError::Refused)?;
    Ok((import, packets))
}
