//! The leader is killed again and again, each time as soon as the one before it serves again.

use tokio::time::{Instant, sleep};

use super::Injection;
use crate::torment::stage::Stage;

/// Leaders that are killed.
const TIMES: u32 = 3;

pub(super) async fn strike(stage: &mut Stage) -> anyhow::Result<Injection> {
    let (mut killed, mut injection) = (Vec::new(), Injection::default());
    for _ in 0..TIMES {
        let leader = stage.leader().await?;
        killed.push(leader.to_string());
        stage.kill(&[leader]);
        sleep(stage.hold / 2).await;
        let started = Instant::now();
        stage.start(&[leader])?;
        injection = injection.recovered(stage.until_serving(&[leader], started).await?);
    }
    injection.times = TIMES;
    injection.notes.push(format!("leaders {} in turn", killed.join(", ")));
    Ok(injection)
}
