//! One site's disk is full, fails, tears a write or is slow. The site may refuse or end; the others sign on.

use anyhow::Context as _;
use tokio::time::{Instant, sleep};

use super::Injection;
use crate::preload::{Fault, Loss, Occasion};
use crate::torment::stage::Stage;

/// How long an fsync takes on a slow disk, in milliseconds.
const SLOW_MILLIS: u64 = 5_000;
/// So much of what the node says is told.
const SAID_MAX: usize = 100;

/// ENOSPC for every write.
pub(super) async fn full(stage: &mut Stage) -> anyhow::Result<Injection> {
    strike(stage, Fault::WriteFull, true).await
}

/// EIO for one fsync or write; what was not durable is lost, or there, or half of it.
pub(super) async fn fails(stage: &mut Stage) -> anyhow::Result<Injection> {
    let kinds = [Fault::SyncFails, Fault::SyncFailsKept, Fault::WriteFails, Fault::WriteTorn];
    let fault = *stage.dice.pick(&kinds).context("there are kinds")?;
    strike(stage, fault, false).await
}

/// Every fsync takes five seconds.
pub(super) async fn slow(stage: &mut Stage) -> anyhow::Result<Injection> {
    strike(stage, Fault::SyncSlow(SLOW_MILLIS), true).await
}

async fn strike(stage: &mut Stage, fault: Fault, lasting: bool) -> anyhow::Result<Injection> {
    let node = *stage.draw(1, None).first().context("there are nodes")?;
    let nth = stage.dice.between(1, 5);
    let Some(disk) = stage.disks.get(&node) else { return Ok(Injection::of(0, "the shim for disks is not there: not done")) };
    let before = disk.counts()?.fired;
    disk.arm(fault, &Occasion { nth, file: None, lasting })?;
    sleep(stage.hold * 2).await;
    let fired = disk.counts()?.fired - before;
    let said = match stage.status(node).await {
        Some(status) if status.reasons.is_empty() => "it served on".to_owned(),
        Some(status) => status.reasons.concat().chars().take(SAID_MAX).collect(),
        None => "it does not answer".to_owned(),
    };
    stage.kill(&[node]);
    let loss = Loss::Pieces(stage.dice.below(u64::MAX));
    let disk = stage.disks.get(&node).context("it was there")?;
    disk.disarm()?;
    disk.cut_power(loss)?;
    let started = Instant::now();
    stage.start(&[node])?;
    let recoveries = stage.until_serving(&[node], started).await?;
    Ok(Injection::of(u32::try_from(fired)?, format!("{fault:?} at node {node}: {said}")).recovered(recoveries))
}
