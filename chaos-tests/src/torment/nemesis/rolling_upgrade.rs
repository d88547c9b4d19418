//! Every node is stopped in order and started with the program of the next version, one after the other; there is no way back. A release cannot pass for
//! its own next version: nothing is done there, and the report says so.

use tokio::time::Instant;
use warifu_protocol::versions;

use super::Injection;
use crate::torment::stage::Stage;

pub(super) async fn strike(stage: &mut Stage) -> anyhow::Result<Injection> {
    if !cfg!(debug_assertions) {
        return Ok(Injection::of(0, "a release has no next version to pass for: not done"));
    }
    let (nodes, mut injection) = (stage.taken.free(), Injection::default());
    let nodes: Vec<_> = nodes.into_iter().filter(|node| !stage.upgraded.contains(node)).collect();
    for node in &nodes {
        tokio::task::block_in_place(|| stage.cluster().stop_node(*node));
        stage.upgraded.insert(*node);
        let environment = stage.environment(*node);
        stage.cluster().set_node_environment(*node, environment);
        let started = Instant::now();
        stage.start(&[*node])?;
        injection = injection.recovered(stage.until_serving(&[*node], started).await?);
    }
    injection.times = nodes.len() as u32;
    injection.notes.push(format!("{} sites speak version {} now", stage.upgraded.len(), versions::PROTOCOL_VERSION + 1));
    Ok(injection)
}
