//! SIGSTOP and SIGCONT: a machine that stands still and goes on as if nothing had been.

use rustix::process::Signal;
use tokio::time::sleep;

use super::{Injection, named};
use crate::torment::stage::Stage;

pub(super) async fn strike(stage: &mut Stage) -> anyhow::Result<Injection> {
    let nodes = stage.draw_spare();
    stage.signal(&nodes, Signal::STOP)?;
    sleep(stage.hold).await;
    stage.signal(&nodes, Signal::CONT)?;
    stage.until_all_serve().await?;
    Ok(Injection::of(nodes.len() as u32, named(&nodes)))
}
