//! A fault at one site that is there before another begins elsewhere, and still there when that has been taken back.

use anyhow::Context as _;
use rustix::process::Signal;
use tokio::time::Instant;
use warifu_protocol::NodeId;

use super::disk::{FailingDisk, Kind};
use super::{Injection, NO_SHIM, Nemesis};
use crate::torment::stage::Stage;

/// The fault, while it is there.
#[derive(Debug)]
pub(super) struct Second {
    node: NodeId,
    what: What,
}

#[derive(Debug)]
enum What {
    Killed,
    Paused,
    Disk(FailingDisk),
    NotDone,
}

impl Second {
    /// Begins it at a follower: a leader that hangs is replaced, and one that others are to torment must be there.
    pub(super) async fn begin(stage: &mut Stage, kind: Nemesis) -> anyhow::Result<Self> {
        let leader = stage.leader().await?;
        let followers: Vec<NodeId> = stage.taken.free().into_iter().filter(|node| *node != leader).collect();
        let node = *stage.dice.pick(&followers).context("there are followers")?;
        let mut disk = |kind| anyhow::Ok(FailingDisk::begin(stage, node, kind)?.map_or(What::NotDone, What::Disk));
        let what = match kind {
            Nemesis::DiskFull => disk(Kind::Full)?,
            Nemesis::DiskFails => disk(Kind::Fails)?,
            Nemesis::DiskSlow => disk(Kind::Slow)?,
            Nemesis::Paused => {
                stage.signal(&[node], Signal::STOP)?;
                What::Paused
            }
            _ => {
                stage.kill(&[node]);
                What::Killed
            }
        };
        if !matches!(what, What::NotDone) {
            stage.taken.take(node);
        }
        Ok(Self { node, what })
    }

    /// Takes it back, and waits until the site serves.
    pub(super) async fn end(self, stage: &mut Stage) -> anyhow::Result<Injection> {
        let Self { node, what } = self;
        stage.taken.give_back(node);
        match what {
            What::NotDone => Ok(Injection::of(0, NO_SHIM)),
            What::Disk(failing) => failing.end(stage).await,
            What::Paused if stage.cluster().node_process(node).is_some() => {
                stage.signal(&[node], Signal::CONT)?;
                stage.until_all_serve().await?;
                Ok(Injection::of(1, format!("node {node} paused")))
            }
            // One that was paused is gone where everything was killed.
            What::Paused | What::Killed => {
                let started = Instant::now();
                stage.start(&[node])?;
                Ok(Injection::of(1, format!("node {node} killed")).recovered(stage.until_serving(&[node], started).await?))
            }
        }
    }
}
