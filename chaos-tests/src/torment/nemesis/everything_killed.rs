//! Every node killed in one instant, and started again after a while.

use tokio::time::{Instant, sleep};

use super::Injection;
use crate::torment::stage::Stage;

pub(super) async fn strike(stage: &mut Stage) -> anyhow::Result<Injection> {
    let nodes = stage.taken.free();
    stage.cluster().kill_all_nodes();
    let down = Instant::now();
    sleep(stage.hold / 2).await;
    let started = Instant::now();
    stage.start(&nodes)?;
    let recoveries = stage.until_serving(&nodes, started).await?;
    Ok(Injection::of(nodes.len() as u32, "all nodes").darkened(down, started, &recoveries, 0))
}
