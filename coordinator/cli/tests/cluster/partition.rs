//! A cut between one node and all other processes: what it sends and what is sent to it goes through relays on this machine, which can stop
//! passing anything on. Whoever knows the node's own address still reaches it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use tokio::net::UdpSocket;
use warifu::local_cluster::LocalCluster;
use warifu_protocol::NodeId;

/// Largest UDP datagram.
const DATAGRAM_MAX: usize = 65_536;

/// The relays around one node.
pub(crate) struct Partition {
    cut: Arc<AtomicBool>,
}

impl Partition {
    /// Puts relays around `node` into the configurations of a cluster that has not been started.
    pub(crate) async fn around(cluster: &LocalCluster, node: NodeId, coordinators: usize) -> anyhow::Result<Self> {
        let cut = Arc::new(AtomicBool::new(false));
        let nodes = &cluster.genesis().body().nodes;
        let address = |id: NodeId| -> anyhow::Result<SocketAddr> {
            Ok(nodes.iter().find(|entry| entry.id == id).context("a node of the genesis")?.address.parse()?)
        };
        let inward = relay(address(node)?, Arc::clone(&cut)).await?.to_string();
        let mut outward = BTreeMap::new();
        for entry in nodes.iter().filter(|entry| entry.id != node) {
            outward.insert(entry.id.to_string(), relay(address(entry.id)?, Arc::clone(&cut)).await?.to_string());
            let directory = cluster.node_directory(entry.id);
            override_addresses(&directory, "peers", &BTreeMap::from([(node.to_string(), inward.clone())]))?;
        }
        override_addresses(&cluster.node_directory(node), "peers", &outward)?;
        for place in 0..coordinators {
            let directory = cluster.coordinator_directory(place).context("a coordinator")?;
            override_addresses(directory, "node_addresses", &BTreeMap::from([(node.to_string(), inward.clone())]))?;
        }
        Ok(Self { cut })
    }

    /// From now on nothing passes.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }

    /// Everything passes again.
    pub(crate) fn heal(&self) {
        self.cut.store(false, Ordering::SeqCst);
    }
}

fn override_addresses(directory: &Path, table: &str, addresses: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let path = directory.join("config.toml");
    let mut config: toml::Table = toml::from_str(&std::fs::read_to_string(&path)?)?;
    config.insert(table.to_owned(), toml::Value::try_from(addresses)?);
    Ok(std::fs::write(path, toml::to_string(&config)?)?)
}

/// Relays datagrams to `target` and their answers back, each sender under a port of its own. Ends with the runtime.
async fn relay(target: SocketAddr, cut: Arc<AtomicBool>) -> anyhow::Result<SocketAddr> {
    let front = Arc::new(UdpSocket::bind("127.0.0.1:0").await?);
    let address = front.local_addr()?;
    tokio::spawn(async move {
        let mut backs: BTreeMap<SocketAddr, Arc<UdpSocket>> = BTreeMap::new();
        let mut buffer = vec![0; DATAGRAM_MAX];
        loop {
            // A port that nobody listens at any more comes back as an error of a later call.
            let Ok((length, sender)) = front.recv_from(&mut buffer).await else { continue };
            let back = match backs.get(&sender) {
                Some(back) => Arc::clone(back),
                None => {
                    let Ok(back) = UdpSocket::bind("127.0.0.1:0").await else { continue };
                    let back = Arc::new(back);
                    backs.insert(sender, Arc::clone(&back));
                    tokio::spawn(answers(Arc::clone(&back), Arc::clone(&front), sender, Arc::clone(&cut)));
                    back
                }
            };
            if !cut.load(Ordering::SeqCst) {
                let _ = back.send_to(&buffer[..length], target).await;
            }
        }
    });
    Ok(address)
}

async fn answers(back: Arc<UdpSocket>, front: Arc<UdpSocket>, sender: SocketAddr, cut: Arc<AtomicBool>) {
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        let Ok((length, _)) = back.recv_from(&mut buffer).await else { continue };
        if !cut.load(Ordering::SeqCst) {
            let _ = front.send_to(&buffer[..length], sender).await;
        }
    }
}
