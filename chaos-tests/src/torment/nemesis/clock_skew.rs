//! A site's wall clock is ahead or behind, by a little or by more than the cluster bears, from its start on. libfaketime does it; where it is not
//! installed nothing is done, and the report says so.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Context as _;
use tokio::time::{Instant, sleep};

use super::Injection;
use crate::torment::stage::Stage;

/// Where distributions put it.
const LIBRARIES: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib64/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
];
/// Seconds that a clock is off: those beyond the policy's skew, which is two minutes, take the site away.
const OFFSETS: [i64; 4] = [20, -20, 600, -600];

pub(super) async fn strike(stage: &mut Stage) -> anyhow::Result<Injection> {
    let Some(library) = LIBRARIES.into_iter().find(|path| Path::new(path).exists()) else {
        return Ok(Injection::of(0, "libfaketime is not installed: not done"));
    };
    let node = *stage.draw(1, None).first().context("there are nodes")?;
    let offset = *stage.dice.pick(&OFFSETS).context("there are offsets")?;
    stage.kill(&[node]);
    let variables =
        [("LD_PRELOAD", library.to_owned()), ("FAKETIME", format!("{offset:+}s")), ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned())];
    let environment = variables.map(|(name, value)| (OsString::from(name), OsString::from(value)));
    stage.cluster().set_node_environment(node, environment.to_vec());
    stage.start(&[node])?;
    sleep(stage.hold * 2).await;
    let seen = stage.status(node).await.map_or_else(
        || "it did not answer".to_owned(),
        |status| if status.confirmed { format!("it gave {} shares", status.shares_given) } else { status.reasons.join("; ") },
    );
    stage.kill(&[node]);
    stage.cluster().set_node_environment(node, Vec::new());
    let started = Instant::now();
    stage.start(&[node])?;
    let recoveries = stage.until_serving(&[node], started).await?;
    Ok(Injection::of(1, format!("node {node} off by {offset} s: {seen}")).recovered(recoveries))
}
