//! A site loses disk and keys and is admitted on an empty store by order; its shares are repaired.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Injection;
use crate::command::Progress;
use crate::site::{lose_disk, replace_store};
use crate::torment::stage::Stage;

/// Time for order, confirmation and repair.
const DEADLINE: Duration = Duration::from_secs(120);

pub(super) async fn strike(stage: &mut Stage) -> anyhow::Result<Injection> {
    let candidates: Vec<_> = stage.taken.free().into_iter().filter(|node| !stage.replaced.contains(node)).collect();
    let Some(node) = stage.dice.pick(&candidates).copied() else {
        return Ok(Injection::of(0, "every site was replaced before: not done again"));
    };
    let disk = lose_disk(stage.cluster(), node)?;
    stage.lost.push((node, disk));
    sleep(stage.hold).await;
    let commands = stage.commands.clone();
    replace_store(stage.cluster(), &commands, node).await?;
    stage.replaced.insert(node);
    let started = Instant::now();
    let count = stage.scene.bulk(Progress("torment"), 1, DEADLINE).until_repaired(node).await?;
    let repaired = started.elapsed();
    stage.until_serving(&[node], started).await?;
    Ok(Injection::of(1, format!("node {node} on an empty store; {count} shares repaired {:.1} s after its start", repaired.as_secs_f64())))
}
