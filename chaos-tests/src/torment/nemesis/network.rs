//! What lines between sites do. Nobody's process is touched.

use std::time::Duration;

use tokio::time::sleep;
use warifu_protocol::NodeId;

use super::{Injection, named};
use crate::proxy::{Faults, Flapping, Party};
use crate::scene;
use crate::torment::stage::Stage;

/// How long a flapping line is up and down.
const UP: Duration = Duration::from_millis(700);
const DOWN: Duration = Duration::from_millis(400);

/// The leader hears no other node and is not heard by them; coordinators reach it as before.
pub(super) async fn leader_isolated(stage: &mut Stage) -> anyhow::Result<Injection> {
    let leader = stage.leader().await?;
    stage.among(&[Party::Node(leader)], &Stage::parties(&scene::nodes()), Faults::CUT);
    over(stage, 2, format!("leader {leader}")).await
}

/// The nodes fall into two parts; coordinators reach both.
pub(super) async fn split(stage: &mut Stage) -> anyhow::Result<Injection> {
    let spare = stage.taken.spare();
    let minority = stage.draw(spare, None);
    let majority: Vec<NodeId> = scene::nodes().into_iter().filter(|node| !minority.contains(node)).collect();
    stage.among(&Stage::parties(&minority), &Stage::parties(&majority), Faults::CUT);
    over(stage, 2, format!("{} | {}", named(&minority), named(&majority))).await
}

/// A site is heard by all and hears nobody.
pub(super) async fn deaf(stage: &mut Stage) -> anyhow::Result<Injection> {
    let nodes = stage.draw(1, None);
    for other in stage.mesh.parties() {
        for deaf in Stage::parties(&nodes).into_iter().filter(|deaf| *deaf != other) {
            stage.mesh.weather().set(other, deaf, Faults::CUT);
        }
    }
    over(stage, 2, named(&nodes)).await
}

/// The lines of one site come and go.
pub(super) async fn flapping(stage: &mut Stage) -> anyhow::Result<Injection> {
    let nodes = stage.draw(1, None);
    let faults = Faults { flapping: Some(Flapping { up: UP, down: DOWN }), ..Faults::CLEAR };
    stage.among(&Stage::parties(&nodes), &stage.mesh.parties(), faults);
    over(stage, 2, named(&nodes)).await
}

/// Bad lines to as many sites as may be away.
pub(super) async fn slow_sites(stage: &mut Stage) -> anyhow::Result<Injection> {
    let spare = stage.taken.spare();
    let nodes = stage.draw(spare, None);
    stage.among(&Stage::parties(&nodes), &stage.mesh.parties(), Faults::WIDE_AREA);
    over(stage, 2, named(&nodes)).await
}

/// Bad lines everywhere.
pub(super) async fn wide_area(stage: &mut Stage) -> anyhow::Result<Injection> {
    everywhere(stage, Faults::WIDE_AREA).await
}

/// Untidy lines everywhere.
pub(super) async fn untidy(stage: &mut Stage) -> anyhow::Result<Injection> {
    everywhere(stage, Faults::UNTIDY).await
}

async fn everywhere(stage: &mut Stage, faults: Faults) -> anyhow::Result<Injection> {
    let parties = stage.mesh.parties();
    stage.among(&parties, &parties, faults);
    over(stage, 2, "every line").await
}

/// Holds for so many times the usual time, and clears up.
async fn over(stage: &mut Stage, holds: u32, note: impl Into<String>) -> anyhow::Result<Injection> {
    sleep(stage.hold * holds).await;
    stage.mesh.weather().clear();
    stage.until_all_serve().await?;
    Ok(Injection::of(1, note))
}
