//! One call to one node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use warifu_protocol::transport::{CallError, ClientError, PeerClient, PeerEntry, PeerId, PeerRoster, Role, TlsIdentity};
use warifu_protocol::{ClusterRecord, NodeEntry, NodeId};

/// A call without an answer. Whether it was carried out is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct CallFailure {
    /// What happened.
    pub reason: String,
}

/// The way to the nodes. Tests put simulated nodes in its place.
pub trait CallNode: Send + Sync + 'static {
    /// Sends a request and gives the answer, within `deadline`.
    fn call_node(&self, node: NodeId, role: Role, request: Vec<u8>, deadline: Duration)
    -> BoxFuture<'static, Result<Vec<u8>, CallFailure>>;

    /// Takes over a changed roster, verified before.
    fn follow(&self, cluster: &ClusterRecord);
}

/// QUIC to the nodes of the roster, some of them at other addresses than it says.
pub(crate) struct QuicNodes {
    client: PeerClient,
    roster: Arc<PeerRoster>,
    addresses: BTreeMap<NodeId, String>,
}

impl CallNode for QuicNodes {
    fn call_node(
        &self,
        node: NodeId,
        role: Role,
        request: Vec<u8>,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Vec<u8>, CallFailure>> {
        let client = self.client.clone();
        async move { client.call(node, role, &request, deadline).await.map_err(CallFailure::from) }.boxed()
    }

    fn follow(&self, cluster: &ClusterRecord) {
        self.roster.replace(entries(cluster, &self.addresses));
    }
}

impl From<CallError> for CallFailure {
    fn from(error: CallError) -> Self {
        Self { reason: error.to_string() }
    }
}

impl QuicNodes {
    /// Opens the socket.
    ///
    /// # Errors
    /// When there is no socket for it.
    pub(crate) fn new(cluster: &ClusterRecord, addresses: BTreeMap<NodeId, String>, identity: &TlsIdentity) -> Result<Self, ClientError> {
        let roster = Arc::new(PeerRoster::new(cluster.cluster, entries(cluster, &addresses)));
        let client = PeerClient::new(identity, Arc::clone(&roster) as _)?;
        Ok(Self { client, roster, addresses })
    }

    /// Closes the connections.
    pub(crate) async fn shutdown(&self) {
        self.client.shutdown().await;
    }
}

fn entries(cluster: &ClusterRecord, addresses: &BTreeMap<NodeId, String>) -> BTreeMap<PeerId, PeerEntry> {
    let entry = |node: &NodeEntry| {
        let address = addresses.get(&node.id).unwrap_or(&node.address).clone();
        (PeerId::Node(node.id), PeerEntry { spki: node.tls_spki, address })
    };
    cluster.nodes.iter().map(entry).collect()
}
