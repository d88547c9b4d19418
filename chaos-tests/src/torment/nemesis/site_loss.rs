//! As many sites as may be away are, the leader among them.

use tokio::time::{Instant, sleep};

use super::{Injection, named};
use crate::torment::stage::Stage;

pub(super) async fn strike(stage: &mut Stage) -> anyhow::Result<Injection> {
    let leader = stage.leader().await?;
    let spare = stage.taken.spare();
    let nodes = stage.draw(spare, Some(leader));
    stage.kill(&nodes);
    sleep(stage.hold * 2).await;
    let started = Instant::now();
    stage.start(&nodes)?;
    let recoveries = stage.until_serving(&nodes, started).await?;
    Ok(Injection::of(nodes.len() as u32, named(&nodes)).recovered(recoveries))
}
