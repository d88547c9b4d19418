//! Shares are refreshed while documents keep coming, and the leader is killed in the middle of it.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::time::Instant;
use warifu::keys::KeyKind;
use warifu::local_cluster::LocalCluster;
use warifu::quickstart::Load;
use warifu_protocol::{Epoch, OrderCommand, Policy};

use crate::running_under;

/// Longer than several elections, shorter than an attempt at the refresh.
const DOWN: Duration = Duration::from_secs(4);
/// By then the refresh must have ended: several attempts on a busy machine. The load has numbers for less, so it is stopped before.
const PATIENCE: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_killed_during_a_refresh_costs_no_request_and_the_refresh_ends() -> anyhow::Result<()> {
    let mut run = running_under(Policy { ceremony_millis_max: 5_000, ..Policy::default() }).await?;
    let doctor = run.holder("doctor", "Medical Doctor").await?;
    let other = run.certified("doctor-2", "Dentist").await?;
    let client = run.cluster.client(LocalCluster::CLIENT_OPERATIONS, Duration::from_secs(10))?;
    let session = doctor.log_in(&run.cluster, &run.directory.path().join("doctor.json"), KeyKind::Ed25519, 2_000).await?;
    let load = Load::start(session)?;
    tokio::time::sleep(Duration::from_secs(2)).await;

    let mut credentials = vec![doctor.credential, other];
    credentials.sort_unstable();
    run.cluster.order(OrderCommand::Refresh { credentials: credentials.clone() }, None).await?;
    let status = client.status().await?;
    let newest = status.nodes.iter().filter_map(|report| report.status.as_ref()).max_by_key(|node| node.term);
    let leader = newest.and_then(|node| node.leader).context("a leader")?;
    let killed_at = Instant::now();
    run.cluster.kill_node(leader);
    tokio::time::sleep(DOWN).await;
    let back_at = Instant::now();
    run.cluster.start_node(leader)?;

    // The load has its end; the refresh, with participants that must all be there, may need another attempt or two after it.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let (_, summary) = load.stop((killed_at, back_at)).await;
    ensure!(summary.attempted > 200 && summary.signed_during_outage > 0, "{summary:?}");
    ensure!(summary.failed == 0, "{summary:?}");
    for credential in credentials {
        loop {
            let view = client.credential(credential).await?;
            if view.epoch == Epoch(2) {
                break;
            }
            ensure!(back_at.elapsed() < PATIENCE, "still in {:?}", view.epoch);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    Ok(())
}
