//! The power of all nodes is cut at once.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::ensure;
use rand_chacha::ChaCha8Rng;
use rand_core::RngCore as _;
use tokio::time::Instant;
use warifu::local_cluster::LocalCluster;
use warifu_protocol::NodeId;

use super::audit::read_all;
use super::kept::Kept;
use super::report::CutRow;
use crate::open_loop::{Attempts, Load};
use crate::preload::{Disk, Fault, Loss, Lost, Occasion};
use crate::scene::Scene;
use crate::site::page;

/// Time for a restarted cluster to be confirmed on a busy machine.
const READY_DEADLINE: Duration = Duration::from_secs(90);
/// Longest work before a cut.
const WORK_DEADLINE: Duration = Duration::from_secs(15);
/// How often it is looked whether the first node has died.
const POLL: Duration = Duration::from_millis(5);
/// How often a starting node is asked.
const READY_POLL: Duration = Duration::from_millis(50);
/// How a node that is ready begins its answer.
pub(crate) const READY: &str = "HTTP/1.1 200";
/// The power goes at most so many fsyncs of one node after work has begun.
const SYNCS_MAX: u64 = 120;

/// What came of one cut.
pub(crate) struct Cut {
    pub(crate) row: CutRow,
    pub(crate) from: Instant,
    pub(crate) until: Instant,
    pub(crate) attempts: Attempts,
}

/// One cut: work, darkness, and what is there when the light is on again.
pub(crate) async fn cut(
    scene: &mut Scene,
    disks: &BTreeMap<NodeId, Disk>,
    kept: &mut Kept,
    rng: &mut ChaCha8Rng,
    rate: u32,
    threshold: u8,
) -> anyhow::Result<Cut> {
    let from = Instant::now();
    let load = Load::start(vec![scene.log_in_anew().await?], rate);
    // The cut is at an fsync of one node, before or after it; what the others are doing then is chance.
    let (node, disk) = disks.iter().nth(rng.next_u32() as usize % disks.len()).expect("there are nodes");
    let fault = if rng.next_u32().is_multiple_of(2) { Fault::CutBeforeSync } else { Fault::CutAfterSync };
    let before = disk.counts()?.fired;
    let nth = 1 + rng.next_u64() % SYNCS_MAX;
    disk.arm(fault, &Occasion { nth, file: None, lasting: false })?;
    let died = async {
        let end = Instant::now() + WORK_DEADLINE;
        while disk.counts()?.fired == before && Instant::now() < end {
            tokio::time::sleep(POLL).await;
        }
        anyhow::Ok(())
    };
    tokio::select! {
        ended = kept.order(scene) => ended?,
        ended = died => ended?,
    }
    scene.cluster.kill_all_nodes();
    let (dark, stopping) = (Instant::now(), tokio::spawn(load.stop()));

    let mut row = CutRow { node: *node, fault, nth, ..CutRow::default() };
    for (node, disk) in disks {
        disk.disarm()?;
        let loss = if rng.next_u32().is_multiple_of(3) { Loss::All } else { Loss::Pieces(rng.next_u64()) };
        row.losses.insert(*node, loss);
        row.lost = row.lost.and(disk.cut_power(loss)?);
    }
    let nodes: Vec<NodeId> = disks.keys().copied().collect();
    let logs = read_all(&scene.cluster, &nodes).await?;
    let light = Instant::now();
    scene.cluster.start()?;
    let ready = until_ready(&mut scene.cluster).await;
    let until = Instant::now();
    row.recovery_seconds = (until - light).as_secs_f64();
    // The coordinator tries on in the dark: what it has signed later is in no log that was read.
    let attempts = stopping.await??;
    kept.documents.extend(attempts.signed_before(dark));
    row.broken.extend(kept.missing_audit(&logs, threshold));
    kept.documents.extend(attempts.signed_before(Instant::now()));
    match ready {
        Ok(()) => row.broken.extend(kept.forgotten(&scene.cluster).await?),
        Err(error) => row.broken.push(format!("the cluster does not come back: {error}")),
    }
    row.kept = kept.counted();
    row.meanwhile = attempts.meanwhile(from, until, 1, Some(until - light));
    Ok(Cut { row, from, until, attempts })
}

/// Waits until every running node says of itself that it is ready, which a coordinator may believe of one that has just died; and then until the
/// coordinator says so.
pub(crate) async fn until_ready(cluster: &mut LocalCluster) -> anyhow::Result<()> {
    let end = Instant::now() + READY_DEADLINE;
    let nodes: Vec<NodeId> = cluster.running().collect();
    for node in nodes {
        loop {
            cluster.check_processes()?;
            let said = page(cluster, node, "/readyz").await;
            if said.as_ref().is_some_and(|page| page.starts_with(READY)) {
                break;
            }
            ensure!(Instant::now() < end, "node {node} is not ready after {READY_DEADLINE:?}: {}", said.unwrap_or_default());
            tokio::time::sleep(READY_POLL).await;
        }
    }
    Ok(cluster.wait_ready(READY_DEADLINE).await?)
}

impl Lost {
    fn and(self, other: Self) -> Self {
        Self {
            files: self.files + other.files,
            changes: self.changes + other.changes,
            lost: self.lost + other.lost,
            names: self.names + other.names,
        }
    }
}
