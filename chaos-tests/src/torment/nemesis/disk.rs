//! One site's disk is full, fails, tears a write or is slow. The site may refuse or end; the others sign on.

use anyhow::Context as _;
use tokio::time::{Instant, sleep};
use warifu_protocol::NodeId;

use super::{Injection, NO_SHIM};
use crate::preload::{Fault, Loss, Occasion};
use crate::torment::stage::Stage;

/// How long an fsync takes on a slow disk, in milliseconds.
const SLOW_MILLIS: u64 = 5_000;
/// So much of what the node says is told.
const SAID_MAX: usize = 100;
/// It begins at most so many fsyncs of the node later.
const SYNCS_MAX: u64 = 5;

/// What is wrong with a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// ENOSPC for every write.
    Full,
    /// EIO for one fsync or write; what was not durable is lost, or there, or half of it.
    Fails,
    /// Every fsync takes five seconds.
    Slow,
}

pub(super) async fn strike(stage: &mut Stage, kind: Kind) -> anyhow::Result<Injection> {
    let node = *stage.draw(1, None).first().context("there are nodes")?;
    let Some(failing) = FailingDisk::begin(stage, node, kind)? else { return Ok(Injection::of(0, NO_SHIM)) };
    sleep(stage.hold * 2).await;
    failing.end(stage).await
}

/// A node whose disk fails.
#[derive(Debug)]
pub(super) struct FailingDisk {
    node: NodeId,
    fault: Fault,
    /// Faults that were met before.
    before: u64,
}

impl FailingDisk {
    /// Has it fail from now on, or soon; nothing without the shim.
    pub(super) fn begin(stage: &mut Stage, node: NodeId, kind: Kind) -> anyhow::Result<Option<Self>> {
        let fault = *stage.dice.pick(kind.faults()).context("there are kinds")?;
        let nth = stage.dice.between(1, SYNCS_MAX);
        let Some(disk) = stage.disks.get(&node) else { return Ok(None) };
        let before = disk.counts()?.fired;
        disk.arm(fault, &Occasion { nth, file: None, lasting: kind != Kind::Fails })?;
        Ok(Some(Self { node, fault, before }))
    }

    /// Ends it as people would: the machine is turned off, the disk mended, the machine turned on.
    pub(super) async fn end(self, stage: &mut Stage) -> anyhow::Result<Injection> {
        let Self { node, fault, before } = self;
        let said = match stage.status(node).await {
            Some(status) if status.reasons.is_empty() => "it served on".to_owned(),
            Some(status) => status.reasons.concat().chars().take(SAID_MAX).collect(),
            None => "it does not answer".to_owned(),
        };
        stage.kill(&[node]);
        let loss = Loss::Pieces(stage.dice.below(u64::MAX));
        let disk = stage.disks.get(&node).context("it was there")?;
        let fired = disk.counts()?.fired - before;
        disk.disarm()?;
        disk.cut_power(loss)?;
        let started = Instant::now();
        stage.start(&[node])?;
        let recoveries = stage.until_serving(&[node], started).await?;
        Ok(Injection::of(u32::try_from(fired)?, format!("{fault:?} at node {node}: {said}")).recovered(recoveries))
    }
}

impl Kind {
    const fn faults(self) -> &'static [Fault] {
        match self {
            Self::Full => &[Fault::WriteFull],
            Self::Fails => &[Fault::SyncFails, Fault::SyncFailsKept, Fault::WriteFails, Fault::WriteTorn],
            Self::Slow => &[Fault::SyncSlow(SLOW_MILLIS)],
        }
    }
}
