//! Every call between the cluster's processes goes over a proxy.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use warifu::local_cluster::LocalCluster;
use warifu_node::config::NodeConfig;
use warifu_protocol::{NodeEntry, NodeId};

use super::namespaces::Namespaces;
use crate::proxy::{Mesh, Party};
use crate::scene::append;

/// Opens the proxies of a founded cluster and names them in the configurations, before anything is started; with namespaces, each node listens in its
/// own and nowhere else.
pub(crate) async fn lay(cluster: &mut LocalCluster, coordinators: u8, namespaces: Option<&Namespaces>, seed: u64) -> anyhow::Result<Mesh> {
    let entries = cluster.genesis().body().nodes.clone();
    let mut nodes = BTreeMap::new();
    for NodeEntry { id, address, .. } in &entries {
        let mut listens: SocketAddr = address.parse().context("a local cluster's addresses are of sockets")?;
        if let Some(namespaces) = namespaces {
            listens.set_ip(namespaces.address(*id).into());
        }
        nodes.insert(*id, listens);
    }
    let own = namespaces.map_or(Ipv4Addr::LOCALHOST, Namespaces::own);
    let mesh = Mesh::open(&nodes, coordinators, own, seed).await?;
    for (node, listens) in nodes {
        let path = cluster.node_directory(node).join("config.toml");
        let mut config = NodeConfig::from_toml(&std::fs::read_to_string(&path)?)?;
        config.peers = addresses(&mesh, Party::Node(node)).map(|(node, address)| (node.to_string(), address.to_string())).collect();
        config.listen.quic = listens;
        config.listen.http.set_ip(listens.ip());
        std::fs::write(&path, toml::to_string_pretty(&config)?)?;
        cluster.move_node(node, config.listen.http, namespaces.map(|namespaces| namespaces.launcher(node)).unwrap_or_default());
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
