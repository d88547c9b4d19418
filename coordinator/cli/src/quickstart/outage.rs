//! Killing the leader and more nodes under load, and bringing them back.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use warifu_api::ApiClient;
use warifu_protocol::NodeId;

use super::error::QuickstartError;
use super::load::{Load, LoadSummary};
use crate::local_cluster::{LocalCluster, OpenSession};

/// The outage with its load, and the nodes that were killed.
pub(super) struct Outage {
    pub(super) summary: LoadSummary,
    pub(super) killed: Vec<NodeId>,
    /// Seconds from the restart until each killed node had given signature shares again, by node.
    pub(super) back: BTreeMap<NodeId, Duration>,
    pub(super) session: OpenSession,
}

/// Signs from [`BEFORE`] before the kill until [`AFTER`] after the restart, and longer if a node takes longer to come back.
///
/// # Errors
/// [`QuickstartError::NoLeader`], [`QuickstartError::NotBack`], or the cluster's. Failed documents are in the summary.
pub(super) async fn run(cluster: &mut LocalCluster, session: OpenSession) -> Result<Outage, QuickstartError> {
    let client = cluster.client(LocalCluster::CLIENT_OPERATIONS, STATUS_DEADLINE)?;
    let load = Load::start(session)?;
    tokio::time::sleep(BEFORE).await;
    let killed = choose(cluster, &client).await?;
    let killed_at = Instant::now();
    for &node in &killed {
        cluster.kill_node(node);
    }
    tokio::time::sleep(DOWN).await;
    cluster.check_processes()?;
    let restarted_at = Instant::now();
    for &node in &killed {
        cluster.start_node(node)?;
    }
    let back = wait_back(cluster, &client, &killed, restarted_at).await;
    tokio::time::sleep_until(restarted_at + AFTER).await;
    let (session, summary) = load.stop((killed_at, restarted_at)).await;
    Ok(Outage { summary, killed, back: back?, session })
}

/// The leader, and as many others as leave the threshold.
async fn choose(cluster: &LocalCluster, client: &ApiClient) -> Result<Vec<NodeId>, QuickstartError> {
    let status = client.status().await?;
    let newest = status.nodes.iter().filter_map(|report| report.status.as_ref()).max_by_key(|node| node.term);
    let leader = newest.and_then(|node| node.leader).ok_or(QuickstartError::NoLeader)?;
    let body = cluster.genesis().body();
    let count = body.nodes.len() - usize::from(body.threshold.0);
    let others = cluster.running().filter(|&node| node != leader);
    Ok(std::iter::once(leader).chain(others).take(count).collect())
}

/// Waits until every restarted node has given signature shares in its new life.
async fn wait_back(
    cluster: &mut LocalCluster,
    client: &ApiClient,
    nodes: &[NodeId],
    since: Instant,
) -> Result<BTreeMap<NodeId, Duration>, QuickstartError> {
    let mut back = BTreeMap::new();
    loop {
        cluster.check_processes()?;
        let status = client.status().await;
        let mut states = BTreeMap::new();
        for report in status.iter().flat_map(|status| &status.nodes).filter(|report| nodes.contains(&report.node)) {
            let state = match &report.status {
                Some(node) if node.confirmed && node.shares_given > 0 => {
                    back.entry(report.node).or_insert_with(|| since.elapsed());
                    continue;
                }
                Some(node) if node.confirmed => "confirmed, but it gave no share yet".to_owned(),
                Some(node) => format!("not confirmed: {}", node.reasons.join("; ")),
                None => report.unreachable.clone().unwrap_or_default(),
            };
            states.insert(report.node, state);
        }
        let Some(&missing) = nodes.iter().find(|node| !back.contains_key(node)) else { return Ok(back) };
        if since.elapsed() > BACK_DEADLINE {
            let state = states.remove(&missing).unwrap_or_else(|| "the coordinator does not answer".to_owned());
            return Err(QuickstartError::NotBack { node: missing, state });
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Load before the kill.
const BEFORE: Duration = Duration::from_secs(5);
/// How long nodes are down: longer than several elections.
const DOWN: Duration = Duration::from_secs(6);
/// Load after the restart.
const AFTER: Duration = Duration::from_secs(5);
/// By then a restarted node must have been confirmed and asked for shares.
const BACK_DEADLINE: Duration = Duration::from_secs(25);
/// How often the nodes are looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// How long one look may take.
const STATUS_DEADLINE: Duration = Duration::from_secs(5);
