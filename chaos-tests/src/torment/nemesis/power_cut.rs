//! The power of every site goes in one instant: every node is killed, and each disk loses what was not fsynced, or pieces of it.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Injection, NO_SHIM};
use crate::preload::{Fault, Loss, Lost, Occasion};
use crate::torment::stage::Stage;

/// Of a thousand disks, so many lose everything that was not fsynced; the others lose pieces of it.
const ALL_PERMILLE: u32 = 333;
/// The power goes at most so many fsyncs of one node later.
const SYNCS_MAX: u64 = 40;
/// How often it is looked whether that node is dead.
const POLL: Duration = Duration::from_millis(2);

pub(super) async fn strike(stage: &mut Stage) -> anyhow::Result<Injection> {
    if stage.disks.is_empty() {
        return Ok(Injection::of(0, NO_SHIM));
    }
    let nodes = stage.taken.free();
    // At an fsync that does not happen any more: between two there is rarely anything to lose.
    let nth = stage.dice.between(1, SYNCS_MAX);
    let first = stage.draw(1, None);
    if let Some(disk) = first.first().and_then(|node| stage.disks.get(node)) {
        let before = disk.counts()?.fired;
        disk.arm(Fault::CutBeforeSync, &Occasion { nth, file: None, lasting: false })?;
        let end = Instant::now() + stage.hold * 2;
        while disk.counts()?.fired == before && Instant::now() < end {
            sleep(POLL).await;
        }
    }
    stage.cluster().kill_all_nodes();
    let (down, mut lost) = (Instant::now(), Lost::default());
    for disk in stage.disks.values() {
        let loss = if stage.dice.permille(ALL_PERMILLE) { Loss::All } else { Loss::Pieces(stage.dice.below(u64::MAX)) };
        disk.disarm()?;
        let taken = disk.cut_power(loss)?;
        lost.files += taken.files;
        lost.changes += taken.changes;
        lost.lost += taken.lost;
        lost.names += taken.names;
    }
    sleep(stage.hold / 2).await;
    let started = Instant::now();
    stage.start(&nodes)?;
    let recoveries = stage.until_serving(&nodes, started).await?;
    let note = format!("all nodes; {} of {} changes that were not durable lost, and {} names", lost.lost, lost.changes, lost.names);
    Ok(Injection::of(nodes.len() as u32, note).darkened(down, started, &recoveries, 0))
}
