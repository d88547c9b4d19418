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
    let usual = stage.environment(node);
    stage.cluster().set_node_environment(node, skewed(usual.clone(), library, offset));
    stage.start(&[node])?;
    sleep(stage.hold * 2).await;
    let seen = stage.status(node).await.map_or_else(
        || "it did not answer".to_owned(),
        |status| if status.confirmed { format!("it gave {} shares", status.shares_given) } else { status.reasons.join("; ") },
    );
    stage.kill(&[node]);
    stage.cluster().set_node_environment(node, usual);
    let started = Instant::now();
    stage.start(&[node])?;
    let recoveries = stage.until_serving(&[node], started).await?;
    Ok(Injection::of(1, format!("node {node} off by {offset} s: {seen}")).recovered(recoveries))
}

/// An environment with a clock that is off by so many seconds; what is preloaded already stays.
fn skewed(mut environment: Vec<(OsString, OsString)>, library: &str, offset: i64) -> Vec<(OsString, OsString)> {
    match environment.iter_mut().find(|(name, _)| name == PRELOAD) {
        Some((_, libraries)) => {
            libraries.push(":");
            libraries.push(library);
        }
        None => environment.push((PRELOAD.into(), library.into())),
    }
    environment.push(("FAKETIME".into(), format!("{offset:+}s").into()));
    // Only the wall clock is off: those that measure time go on as they do.
    environment.push(("FAKETIME_DONT_FAKE_MONOTONIC".into(), "1".into()));
    environment
}

const PRELOAD: &str = "LD_PRELOAD";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_preloaded_already_stays() {
        let value = |environment: &[(OsString, OsString)]| {
            let found = environment.iter().find(|(name, _)| name == PRELOAD);
            found.and_then(|(_, value)| value.to_str()).map(str::to_owned)
        };
        assert_eq!(value(&skewed(Vec::new(), "clock.so", 20)).as_deref(), Some("clock.so"));
        let usual = vec![(PRELOAD.into(), "disk.so".into())];
        let environment = skewed(usual, "clock.so", -20);
        assert_eq!(value(&environment).as_deref(), Some("disk.so:clock.so"));
        assert!(environment.contains(&("FAKETIME".into(), "-20s".into())));
    }
}
