//! The run.

use std::time::Duration;

use super::bare::bare;
use super::options::Options;
use super::report::{Daemons, Report};
use super::whole::{sequential, signed_bytes, throughput};
use crate::command::Progress;
use crate::measure::{Memory, durable_writes, load_average, processors};
use crate::scene::{NODES, Scene, THRESHOLD};

/// Whose progress is told.
const PROGRESS: Progress = Progress("sign-latency");
/// Callers and documents in a call, for throughput: 16 workplaces, one nightly job, and several of these.
const THROUGHPUT: [(u32, u32); 3] = [(16, 1), (1, 32), (4, 32)];

/// Durable writes that are timed: under a second on most disks.
const DURABLE_WRITES: u32 = 200;

/// Sets up a cluster, measures, and takes it down.
///
/// # Errors
/// When the cluster does not come up or a document is not signed; the figures are worth nothing then.
pub async fn run(options: &Options) -> anyhow::Result<Report> {
    let before = load_average();
    let program = options.cluster.program()?;
    let directory = options.cluster.common.working_directory(PROGRESS)?;
    PROGRESS.tell("founding a cluster")?;
    let mut scene = Scene::set(&directory.path().join("cluster"), &program).await?;
    let mut session = scene.log_in().await?;
    let message = signed_bytes(&mut session).await?;
    PROGRESS.tell(&format!("bare arithmetic, {} times", options.bare))?;
    let count = options.bare;
    let bare = tokio::task::spawn_blocking(move || bare(&message, NODES, THRESHOLD, count)).await??;
    let place = directory.path().to_owned();
    let durable_write = tokio::task::spawn_blocking(move || durable_writes(&place, DURABLE_WRITES)).await??;
    PROGRESS.tell(&format!("{} documents, one after the other", options.documents))?;
    let single = sequential(&mut session, options.documents).await?;
    let mut measured = Vec::new();
    for (clients, batch) in THROUGHPUT {
        PROGRESS.tell(&format!("{clients} callers with {batch} documents a call"))?;
        let session = scene.log_in().await?;
        measured.push(throughput(session, clients, batch, Duration::from_secs(options.seconds)).await?);
    }
    scene.cluster.check_processes()?;
    let mut memory: Vec<Memory> = children()?.into_iter().filter_map(|child| Memory::of(child).ok()).collect();
    memory.sort_unstable_by_key(|memory| std::cmp::Reverse(memory.rss_bytes));
    let after = load_average();
    tokio::task::spawn_blocking(move || scene.cluster.stop()).await?;
    Ok(Report {
        nodes: NODES,
        threshold: THRESHOLD,
        processors: processors(),
        load_average: [before, after],
        ratio_p50: single.call.p50_us / bare.total.p50_us,
        ratio_p99: single.call.p99_us / bare.total.p99_us,
        bare,
        durable_write,
        single,
        throughput: measured,
        daemons: Daemons { memory },
    })
}

/// Processes that this one started.
fn children() -> anyhow::Result<Vec<u32>> {
    let mut children = Vec::new();
    for thread in std::fs::read_dir("/proc/self/task")? {
        let listed = std::fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
        children.extend(listed.split_whitespace().filter_map(|id| id.parse::<u32>().ok()));
    }
    Ok(children)
}
