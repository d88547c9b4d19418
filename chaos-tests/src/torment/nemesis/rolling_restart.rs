//! Every node is stopped in order and started, one after the other, as an upgrade does it.

use tokio::time::Instant;

use super::Injection;
use crate::torment::stage::Stage;

pub(super) async fn strike(stage: &mut Stage) -> anyhow::Result<Injection> {
    let (nodes, mut injection) = (stage.taken.free(), Injection::default());
    for node in &nodes {
        tokio::task::block_in_place(|| stage.cluster().stop_node(*node));
        let started = Instant::now();
        stage.start(&[*node])?;
        injection = injection.recovered(stage.until_serving(&[*node], started).await?);
    }
    injection.times = nodes.len() as u32;
    Ok(injection)
}
