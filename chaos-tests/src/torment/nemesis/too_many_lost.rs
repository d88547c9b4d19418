//! One site more than may be away: fewer than t are left, so nothing may be signed; nor is there a majority.

use tokio::time::{Instant, sleep};

use super::{Injection, named};
use crate::torment::stage::Stage;
use crate::torment::taken::Taken;

pub(super) async fn strike(stage: &mut Stage) -> anyhow::Result<Injection> {
    let nodes = stage.draw(Taken::SPARE + 1, None);
    let left = stage.taken.free().len() - nodes.len();
    stage.kill(&nodes);
    let down = Instant::now();
    sleep(stage.hold).await;
    let started = Instant::now();
    stage.start(&nodes)?;
    let recoveries = stage.until_serving(&nodes, started).await?;
    Ok(Injection::of(nodes.len() as u32, named(&nodes)).darkened(down, started, &recoveries, left))
}
