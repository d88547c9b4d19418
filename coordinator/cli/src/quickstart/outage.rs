//! Killing the leader and more nodes under load, and bringing them back.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use warifu_api::{ApiClient, StatusAnswer};
use warifu_protocol::NodeId;

use super::error::QuickstartError;
use super::load::{Load, LoadSummary};
use crate::local_cluster::{LocalCluster, OpenSession};

/// The outage with its load, and the nodes that were killed.
pub(super) struct Outage {
    pub(super) summary: LoadSummary,
    pub(super) killed: Vec<NodeId>,
    pub(super) back: Back,
    pub(super) session: OpenSession,
}

/// What became of the nodes that were restarted.
#[derive(Default)]
pub(super) struct Back {
    /// Time from the restart until each had given signature shares again, by node.
    pub(super) times: BTreeMap<NodeId, Duration>,
    /// Why not all of them are back: [`QuickstartError::NotBack`], or the cluster's.
    pub(super) failure: Option<QuickstartError>,
}

/// Signs from [`BEFORE`] before the kill until [`AFTER`] after the restart, and longer if a node takes longer to come back.
///
/// # Errors
/// [`QuickstartError::NoLeader`], or the cluster's. Failed documents are in the summary, and nodes that are not back in [`Outage::back`]: neither
/// hides the other.
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
    Ok(Outage { summary, killed, back, session })
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

/// Waits until every restarted node has given signature shares in its new life, or is known not to.
async fn wait_back(cluster: &mut LocalCluster, client: &ApiClient, nodes: &[NodeId], since: Instant) -> Back {
    let mut back = Back::default();
    loop {
        let all = match cluster.check_processes() {
            Ok(()) => are_back(nodes, client.status().await.ok().as_ref(), since.elapsed(), &mut back.times),
            Err(error) => Err(error.into()),
        };
        match all {
            Ok(true) => return back,
            Ok(false) => tokio::time::sleep(POLL_INTERVAL).await,
            Err(failure) => return Back { failure: Some(failure), ..back },
        }
    }
}

/// Notes which of `nodes` give shares again, so long after the restart. Whether all of them do.
///
/// # Errors
/// [`QuickstartError::NotBack`] for the first that does not, after [`BACK_DEADLINE`].
fn are_back(
    nodes: &[NodeId],
    status: Option<&StatusAnswer>,
    elapsed: Duration,
    back: &mut BTreeMap<NodeId, Duration>,
) -> Result<bool, QuickstartError> {
    let mut states = BTreeMap::new();
    for report in status.iter().flat_map(|status| &status.nodes).filter(|report| nodes.contains(&report.node)) {
        let state = match &report.status {
            Some(node) if node.confirmed && node.shares_given > 0 => {
                back.entry(report.node).or_insert(elapsed);
                continue;
            }
            Some(node) if node.confirmed => "confirmed, but it gave no share yet".to_owned(),
            Some(node) => format!("not confirmed: {}", node.reasons.join("; ")),
            None => report.unreachable.clone().unwrap_or_default(),
        };
        states.insert(report.node, state);
    }
    let Some(&missing) = nodes.iter().find(|node| !back.contains_key(node)) else { return Ok(true) };
    if elapsed > BACK_DEADLINE {
        let state = states.remove(&missing).unwrap_or_else(|| "the coordinator does not answer".to_owned());
        return Err(QuickstartError::NotBack { node: missing, state });
    }
    Ok(false)
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

#[cfg(test)]
mod tests {
    use warifu_api::NodeReport;
    use warifu_protocol::wire::NodeStatus;
    use warifu_protocol::{BootId, Checkpoint, ClusterId, Sha256, UnixMillis};

    use super::*;

    fn node(id: u8) -> NodeId {
        NodeId::new(id).expect("a node id")
    }

    /// How a node is that may sign or not and has given so many shares, or that does not answer.
    fn report(id: u8, state: Option<(bool, u64)>) -> NodeReport {
        let status = state.map(|(confirmed, shares_given)| NodeStatus {
            node: node(id),
            cluster: ClusterId::new([1; 32]),
            boot: BootId::new([2; 16]),
            confirmed,
            reasons: vec!["behind".to_owned()],
            leader: None,
            term: 1,
            applied: 1,
            last_log: 1,
            now: UnixMillis(0),
            audit: Checkpoint { size: 0, root: Sha256::new([3; 32]) },
            shares_given,
            version: "0.1.0".to_owned(),
        });
        let unreachable = state.is_none().then(|| "no route".to_owned());
        NodeReport { node: node(id), status, unreachable, usable: true, excluded: false, commitments: 0, latency_micros: None }
    }

    fn answer(nodes: Vec<NodeReport>) -> StatusAnswer {
        let coordinator = "coordinator-1".parse().expect("a name");
        let cluster = ClusterId::new([1; 32]);
        StatusAnswer { cluster, coordinator, version: "0.1.0".to_owned(), threshold: 3, signers_ready: 3, reasons: Vec::new(), nodes }
    }

    #[test]
    fn a_node_is_back_once_it_is_confirmed_and_gave_a_share_and_one_that_is_not_is_named_after_the_deadline() {
        let (early, late) = (BACK_DEADLINE, BACK_DEADLINE + Duration::from_millis(1));
        let rows = [
            (Some((true, 1)), None),
            (Some((true, 0)), Some("confirmed, but it gave no share yet")),
            (Some((false, 1)), Some("not confirmed: behind")),
            (None, Some("no route")),
        ];
        for (state, lacks) in rows {
            // The third node was not killed, and is nobody's business.
            let status = answer(vec![report(1, Some((true, 7))), report(2, state), report(3, None)]);
            let look = |elapsed| {
                let mut back = BTreeMap::new();
                let all = are_back(&[node(1), node(2)], Some(&status), elapsed, &mut back).map_err(|error| error.to_string());
                (all, back.into_keys().collect::<Vec<_>>())
            };
            let told = |lacks| format!("node 2 was restarted but gave no signature share again: {lacks}");
            let seen = if lacks.is_some() { vec![node(1)] } else { vec![node(1), node(2)] };
            assert_eq!(look(early), (Ok(lacks.is_none()), seen.clone()), "{state:?}");
            assert_eq!(look(late), (lacks.map_or(Ok(true), |lacks| Err(told(lacks))), seen), "{state:?}");
        }
        let silent = are_back(&[node(1)], None, late, &mut BTreeMap::new()).expect_err("nobody answers").to_string();
        assert!(silent.contains("the coordinator does not answer"), "{silent}");
    }

    #[test]
    fn who_was_back_once_stays_so_with_the_time_of_it() {
        let mut back = BTreeMap::from([(node(1), Duration::from_secs(1))]);
        let status = answer(vec![report(1, Some((false, 0))), report(2, Some((true, 1)))]);
        let all = are_back(&[node(1), node(2)], Some(&status), Duration::from_secs(2), &mut back).expect("in time");
        assert!(all, "{back:?}");
        assert_eq!(back.into_values().collect::<Vec<_>>(), [1, 2].map(Duration::from_secs));
    }
}
