//! The links of a whole cluster.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use warifu_protocol::NodeId;

use super::link::{Link, Route};
use super::weather::{Party, Weather};
use crate::simulate::SeedTree;

/// A link from every caller to every node; all end when it is dropped.
#[derive(Debug)]
pub struct Mesh {
    weather: Arc<Weather>,
    links: BTreeMap<(Party, NodeId), Link>,
}

/// A link cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("no socket for the link from {from} to node {to}")]
pub struct MeshError {
    /// Whose.
    pub from: Party,
    /// To which node.
    pub to: NodeId,
    /// What the system said.
    #[source]
    pub source: std::io::Error,
}

impl Mesh {
    /// Opens links among these nodes, by where they listen, and from so many coordinators, at this machine's address `at`. Draws come from `seed`.
    ///
    /// # Errors
    /// [`MeshError`].
    pub async fn open(nodes: &BTreeMap<NodeId, SocketAddr>, coordinators: u8, at: Ipv4Addr, seed: u64) -> Result<Self, MeshError> {
        let (weather, seeds) = (Arc::new(Weather::default()), SeedTree::new(seed));
        let callers = nodes.keys().map(|&node| Party::Node(node)).chain((0..coordinators).map(Party::Coordinator));
        let mut links = BTreeMap::new();
        for from in callers {
            for (&to, &target) in nodes.iter().filter(|&(&to, _)| Party::Node(to) != from) {
                let route = Route { from, to: Party::Node(to), target, at, weather: Arc::clone(&weather), seeds };
                links.insert((from, to), Link::open(route).await.map_err(|source| MeshError { from, to, source })?);
            }
        }
        Ok(Self { weather, links })
    }

    /// Where a caller reaches each node.
    #[must_use]
    pub fn addresses_for(&self, caller: Party) -> BTreeMap<NodeId, SocketAddr> {
        self.links.iter().filter(|((from, _), _)| *from == caller).map(|((_, to), link)| (*to, link.address())).collect()
    }

    /// The faults of all pairs.
    #[must_use]
    pub const fn weather(&self) -> &Arc<Weather> {
        &self.weather
    }

    /// Everybody who calls.
    #[must_use]
    pub fn parties(&self) -> Vec<Party> {
        let mut parties: Vec<Party> = self.links.keys().map(|(from, _)| *from).collect();
        parties.dedup();
        parties
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everybody_has_a_way_of_their_own_to_every_other_node() {
        let node = |id| NodeId::new(id).expect("a node id");
        let nodes = (1..=3).map(|id| (node(id), SocketAddr::from((Ipv4Addr::LOCALHOST, 9)))).collect();
        let mesh = Mesh::open(&nodes, 2, Ipv4Addr::LOCALHOST, 1).await.expect("sockets");
        assert_eq!(mesh.parties().len(), 5);
        let mut all: Vec<SocketAddr> = Vec::new();
        for party in mesh.parties() {
            let addresses = mesh.addresses_for(party);
            assert_eq!(addresses.len(), if matches!(party, Party::Node(_)) { 2 } else { 3 });
            all.extend(addresses.values());
        }
        let links = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!((all.len(), links), (12, 12));
    }
}
