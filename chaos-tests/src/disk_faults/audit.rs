//! What nodes that do not run have on their disks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use warifu::local_cluster::LocalCluster;
use warifu_node::config::NodeConfig;
use warifu_node::local::{LocalDamage, LocalStore};
use warifu_node::sealing::FileKek;
use warifu_node::store::open_unchanged;
use warifu_protocol::{AuditEvent, ClusterId, NodeId, SessionId, Sha256};

/// Audit entries that are read at once.
const PAGE: usize = 1000;

/// One site's log.
#[derive(Debug, Default)]
pub(crate) struct SiteLog {
    /// Documents of which a signature share was about to leave.
    pub(crate) documents: BTreeSet<(SessionId, u32)>,
    /// What is wrong with it by itself.
    pub(crate) broken: Vec<String>,
}

/// Reads the local stores of nodes, none of which may run; nothing of them is changed.
pub(crate) async fn read_all(cluster: &LocalCluster, nodes: &[NodeId]) -> anyhow::Result<BTreeMap<NodeId, SiteLog>> {
    let id = cluster.genesis().cluster();
    let mut logs = BTreeMap::new();
    for &node in nodes {
        let directory = cluster.node_directory(node);
        let log = tokio::task::spawn_blocking(move || read(&directory, node, id)).await?;
        let unreadable =
            |error: anyhow::Error| SiteLog { broken: vec![format!("the store cannot be read: {error:#}")], ..SiteLog::default() };
        let mut log = log.unwrap_or_else(unreadable);
        log.broken.iter_mut().for_each(|text| *text = format!("node {node}: {text}"));
        logs.insert(node, log);
    }
    Ok(logs)
}

fn read(directory: &Path, node: NodeId, cluster: ClusterId) -> anyhow::Result<SiteLog> {
    let config = NodeConfig::load(&directory.join("config.toml"))?;
    let database = open_unchanged(&config.node.data.join("local.redb"))?;
    let kek = FileKek::open(&config.kek_directory()).map(|kek| Arc::new(kek) as _).map_err(|error| error.to_string());
    let look = LocalDamage::look(&database, node, cluster, kek);
    let mut log = SiteLog { broken: look.damage, ..SiteLog::default() };
    log.broken.extend(look.locked.map(|why| format!("the shares cannot be opened: {why}")));
    let store = LocalStore::open_locked(database, node, cluster)?;
    let mut nonces = BTreeMap::new();
    let mut next = 0;
    loop {
        let page = store.entries(next, PAGE)?;
        let Some((last, _)) = page.last() else { break };
        next = last + 1;
        for (position, entry) in page {
            let (nonce, rendered) = match entry.event {
                AuditEvent::DocumentShare { request, rendered, nonce, .. } => {
                    log.documents.insert((request.request.session, request.request.seq));
                    (nonce, rendered)
                }
                AuditEvent::CsrShare { rendered, nonce, .. } => (nonce, rendered),
                _ => continue,
            };
            let first: Option<(u64, Sha256)> = nonces.insert(nonce, (position, rendered));
            log.broken.extend(first.map(|(first, _)| format!("nonce {nonce} is used at {first} and at {position}")));
        }
    }
    Ok(log)
}
