//! SIGKILL of nodes that may be away.

use tokio::time::{Instant, sleep};

use super::{Injection, named};
use crate::torment::stage::Stage;

pub(super) async fn strike(stage: &mut Stage) -> anyhow::Result<Injection> {
    let nodes = stage.draw_spare();
    stage.kill(&nodes);
    sleep(stage.hold).await;
    let started = Instant::now();
    stage.start(&nodes)?;
    let recoveries = stage.until_serving(&nodes, started).await?;
    Ok(Injection::of(nodes.len() as u32, named(&nodes)).recovered(recoveries))
}
