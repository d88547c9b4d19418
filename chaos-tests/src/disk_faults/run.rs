//! One run.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;
use tokio::time::Instant;
use warifu_protocol::NodeId;

use super::audit::read_all;
use super::cuts::{Cut, cut};
use super::faults::Case;
use super::kept::Kept;
use super::options::Options;
use super::report::{CaseRow, Report, SLICE, by_kind};
use crate::command::Progress;
use crate::measure::load_average;
use crate::open_loop::{Attempts, Load};
use crate::preload::{Disk, Shim};
use crate::scene::Scene;

const PROGRESS: Progress = Progress("disk-faults");
/// What a node prints, in its directory.
const NODE_LOG: &str = "log";
/// Sessions for the load while single disks fail: each is for as many documents as a session may have.
const SESSIONS: usize = 3;

/// Founds a cluster on disks that forget, and has them forget and fail.
///
/// # Errors
/// When the run itself cannot go on; broken promises are in the report.
pub async fn run(options: &Options) -> anyhow::Result<Report> {
    let Options { seed, iterations, faults, first, nodes, threshold, rate, html, cluster } = options;
    ensure!(threshold < nodes, "t must be below n");
    let started = Instant::now();
    let before = load_average();
    let directory = cluster.common.working_directory(PROGRESS)?;
    let shim = Shim::build(directory.path())?;
    let mut disks = BTreeMap::new();
    let ids: Vec<NodeId> = (1..=*nodes).filter_map(NodeId::new).collect();
    let mut founded = Scene::found_of(&directory.path().join("cluster"), &cluster.program()?, 1, *nodes, *threshold).await?;
    for &node in &ids {
        let disk = Disk::new(&shim, &founded.node_directory(node), NODE_LOG, &directory.path().join(format!("journal-{node}")))?;
        founded.set_node_environment(node, disk.environment());
        disks.insert(node, disk);
    }
    let mut scene = Scene::open(founded).await?;
    let (mut kept, mut rng) = (Kept::default(), ChaCha8Rng::seed_from_u64(*seed));

    let since = |at: Instant| at.saturating_duration_since(started).as_secs_f64();
    let (mut cuts, mut all) = (Vec::new(), Attempts::default());
    for number in 1..=*iterations {
        let Cut { mut row, from, until, attempts } = cut(&mut scene, &disks, &mut kept, &mut rng, *rate, *threshold).await?;
        (row.from, row.until) = (since(from), since(until));
        all.extend(attempts);
        let over = !row.broken.is_empty();
        PROGRESS.tell(&format!("power cut {number} of {iterations}: back after {:.1} s", row.recovery_seconds))?;
        cuts.push(row);
        if over {
            break;
        }
    }

    let mut cases: Vec<CaseRow> = Vec::new();
    let mut signing = None;
    let whole = cuts.iter().all(|row| row.broken.is_empty());
    if *faults > 0 && whole {
        let mut sessions = Vec::new();
        while sessions.len() < SESSIONS {
            sessions.push(scene.log_in_anew().await?);
        }
        let (begun, load) = (Instant::now(), Load::start(sessions, *rate));
        let mut spans = Vec::new();
        for number in 0..*faults {
            let case = Case::draw(number, &ids, &mut rng);
            if number + 1 < *first {
                continue;
            }
            let from = Instant::now();
            let row = case.play(&mut scene, &disks[&case.node()], &mut kept).await?;
            spans.push((from, Instant::now()));
            let over = !row.broken.is_empty();
            PROGRESS.tell(&format!("fault {} of {faults}: {case:?}: {:?}", number + 1, row.behaviour))?;
            cases.push(row);
            if over {
                break;
            }
        }
        ensure!(!load.is_spent(), "the sessions' numbers are spent: ask for fewer faults or a lower rate");
        let attempts = load.stop().await?;
        signing = Some(attempts.between(begun, Instant::now()));
        kept.documents.extend(attempts.signed_before(Instant::now()));
        for (row, (from, until)) in cases.iter_mut().zip(spans) {
            let recovery = row.met.then(|| Duration::from_secs_f64(row.recovery_seconds));
            row.meanwhile = attempts.meanwhile(from, until, row.met.into(), recovery);
            (row.from, row.until) = (since(from), since(until));
        }
        all.extend(attempts);
    }

    let mut broken = Vec::new();
    if whole && cases.iter().all(|row| row.broken.is_empty()) {
        broken.extend(kept.forgotten(&scene.cluster).await?);
        scene.cluster.kill_all_nodes();
        broken.extend(kept.missing_audit(&read_all(&scene.cluster, &ids).await?, *threshold));
    }
    for disk in disks.values() {
        ensure!(disk.counts()?.unseen == 0, "a file was written through a shared mapping, which the shim cannot see");
    }
    let report = Report {
        nodes: *nodes,
        threshold: *threshold,
        seed: *seed,
        again: options.again(),
        load_average: [before, load_average()],
        kinds: by_kind(&cuts, &cases),
        cuts,
        faults: cases,
        signing,
        kept: kept.counted(),
        broken,
        seconds: started.elapsed().as_secs_f64(),
        failures: all.failures_outside(&[]).map(|(at, _)| since(at)).collect(),
        over_time: all.over_time(started, SLICE),
    };
    if let Some(path) = html {
        std::fs::write(path, report.html()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(report)
}
