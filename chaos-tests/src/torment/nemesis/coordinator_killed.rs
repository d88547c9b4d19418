//! Each coordinator is killed with documents on their way; clients ask the other one with the same request.

use std::time::Duration;

use anyhow::ensure;
use tokio::time::{Instant, sleep};
use warifu::local_cluster::LocalCluster;

use super::Injection;
use crate::torment::stage::{COORDINATORS, Stage};

/// Time for a coordinator to answer again.
const BACK_DEADLINE: Duration = Duration::from_secs(30);
/// How often, and how long, it is asked.
const POLL: Duration = Duration::from_millis(50);
const LOOK_DEADLINE: Duration = Duration::from_secs(2);

pub(super) async fn strike(stage: &mut Stage) -> anyhow::Result<Injection> {
    let mut back = Vec::new();
    for place in 0..usize::from(COORDINATORS) {
        stage.cluster().kill_coordinator(place);
        sleep(stage.hold / 2).await;
        stage.cluster().start_coordinator(place)?;
        let (started, client) = (Instant::now(), stage.cluster().client_of(place, LocalCluster::CLIENT_OPERATIONS, LOOK_DEADLINE)?);
        while client.status().await.is_err() {
            ensure!(started.elapsed() < BACK_DEADLINE, "coordinator {} does not answer {BACK_DEADLINE:?} after its start", place + 1);
            sleep(POLL).await;
        }
        back.push(format!("{:.1} s", started.elapsed().as_secs_f64()));
        sleep(stage.hold / 2).await;
    }
    Ok(Injection::of(COORDINATORS.into(), format!("each coordinator in turn; answering again after {}", back.join(", "))))
}
