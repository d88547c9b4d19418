//! Every call between the cluster's processes goes over a proxy.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use anyhow::Context as _;
use warifu::local_cluster::LocalCluster;
use warifu_node::config::NodeConfig;
use warifu_protocol::NodeId;

use crate::proxy::{Mesh, Party};
use crate::scene::append;

/// Opens the proxies of a founded cluster and names them in the configurations, before anything is started.
pub(crate) async fn lay(cluster: &LocalCluster, coordinators: u8, seed: u64) -> anyhow::Result<Mesh> {
    let entries = &cluster.genesis().body().nodes;
    let nodes = entries.iter().map(|entry| Ok((entry.id, entry.address.parse()?))).collect::<anyhow::Result<BTreeMap<_, SocketAddr>>>();
    let mesh = Mesh::open(&nodes.context("a local cluster's addresses are of sockets")?, coordinators, seed).await?;
    for entry in entries {
        let path = cluster.node_directory(entry.id).join("config.toml");
        let mut config = NodeConfig::from_toml(&std::fs::read_to_string(&path)?)?;
        config.peers = addresses(&mesh, Party::Node(entry.id)).map(|(node, address)| (node.to_string(), address.to_string())).collect();
        std::fs::write(&path, toml::to_string_pretty(&config)?)?;
    }
    for place in 0..coordinators {
        let directory = cluster.coordinator_directory(place.into()).context("as many coordinators as were founded")?;
        let mut text = "\n[node_addresses]\n".to_owned();
        for (node, address) in addresses(&mesh, Party::Coordinator(place)) {
            writeln!(text, "{node} = \"{address}\"")?;
        }
        append(&directory.join("config.toml"), &text)?;
    }
    Ok(mesh)
}

fn addresses(mesh: &Mesh, caller: Party) -> impl Iterator<Item = (NodeId, SocketAddr)> {
    mesh.addresses_for(caller).into_iter()
}
