//! One call to one node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use warifu_protocol::transport::{CallError, ClientError, PeerClient, PeerEntry, PeerId, PeerRoster, Role, TlsIdentity};
use warifu_protocol::{Genesis, NodeId};

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
}

impl CallNode for PeerClient {
    fn call_node(
        &self,
        node: NodeId,
        role: Role,
        request: Vec<u8>,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Vec<u8>, CallFailure>> {
        let client = self.clone();
        async move { client.call(node, role, &request, deadline).await.map_err(CallFailure::from) }.boxed()
    }
}

impl From<CallError> for CallFailure {
    fn from(error: CallError) -> Self {
        Self { reason: error.to_string() }
    }
}

/// A QUIC client of the genesis' nodes, some of them at other addresses.
///
/// # Errors
/// When there is no socket for it.
pub(crate) fn connect(genesis: &Genesis, addresses: &BTreeMap<NodeId, String>, identity: &TlsIdentity) -> Result<PeerClient, ClientError> {
    let entries = genesis.body().nodes.iter().map(|node| {
        let address = addresses.get(&node.id).unwrap_or(&node.address).clone();
        (PeerId::Node(node.id), PeerEntry { spki: node.tls_spki, address })
    });
    PeerClient::new(identity, Arc::new(PeerRoster::new(entries.collect())))
}
