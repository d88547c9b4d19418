//! The run.

use std::time::Duration;

use tokio::time::Instant;
use warifu_protocol::NodeId;

use super::floor::{Floor, floors};
use super::options::Options;
use super::report::{Bulk, Report};
use crate::command::Progress;
use crate::commands::Commands;
use crate::measure::{load_average, processors};
use crate::open_loop::{Attempts, Load};
use crate::plot::{Plot, page};
use crate::scene::{NODES, Scene, THRESHOLD};
use crate::site;

/// Whose progress is told.
const PROGRESS: Progress = Progress("custody");
/// Sessions of 10,000 documents, as many as one credential may have open: at 50 a second, almost an hour.
const SESSIONS: usize = 16;
/// Keys that the floors are measured with: some seconds.
const FLOOR_CREDENTIALS: u32 = 200;
/// Time for all bulk work of one kind.
const BULK_DEADLINE: Duration = Duration::from_secs(3_600);
/// Time for a replaced site to be confirmed on its new store.
const BACK_DEADLINE: Duration = Duration::from_secs(120);
/// Time that one point of the plot stands for.
const SLICE: Duration = Duration::from_secs(2);

/// Sets up a cluster, measures, and takes it down.
///
/// # Errors
/// When the cluster does not come up or bulk work does not end; the figures are worth nothing then.
pub async fn run(options: &Options) -> anyhow::Result<Report> {
    let before = load_average();
    let program = options.cluster.program()?;
    let directory = options.cluster.common.working_directory(PROGRESS)?;
    PROGRESS.tell("the arithmetic alone")?;
    let floors = tokio::task::spawn_blocking(|| floors(NODES, THRESHOLD, FLOOR_CREDENTIALS)).await??;
    PROGRESS.tell("founding a cluster")?;
    let mut scene = Scene::set(&directory.path().join("cluster"), &program).await?;
    let commands = Commands::of(&scene.cluster, &program);
    let ahead = options.credentials.saturating_sub(options.enrol);
    let mut stretches = Vec::new();
    if ahead > 0 {
        PROGRESS.tell(&format!("generating {ahead} keys while nothing is signed"))?;
        let from = Instant::now();
        scene.bulk(PROGRESS, options.batch, BULK_DEADLINE).enrol(0, ahead).await?;
        stretches.push(Stretch {
            what: "key generation, nothing signed",
            credentials: ahead,
            floor: floors.generation,
            quiet_until: from,
            from,
            until: Instant::now(),
        });
    }
    let sessions = scene.log_in_often(SESSIONS).await?;
    let load = Load::start(sessions, options.rate);
    let started = Instant::now();
    quiet(options).await?;

    PROGRESS.tell(&format!("generating {} keys", options.enrol))?;
    let from = Instant::now();
    scene.bulk(PROGRESS, options.batch, BULK_DEADLINE).enrol(ahead, options.enrol).await?;
    stretches.push(Stretch {
        what: "key generation",
        credentials: options.enrol,
        floor: floors.generation,
        quiet_until: from,
        from,
        until: Instant::now(),
    });
    quiet(options).await?;
    let quiet_until = Instant::now();

    let bulk = scene.bulk(PROGRESS, options.batch, BULK_DEADLINE);
    let epochs = bulk.epochs().await?;
    let site = NodeId::new(NODES).expect("a node id");
    PROGRESS.tell(&format!("site {site} loses its disk and comes back on an empty one"))?;
    site::lose_disk(&mut scene.cluster, site)?;
    site::replace_store(&mut scene.cluster, &commands, site).await?;
    scene.cluster.wait_ready(BACK_DEADLINE).await?;
    let from = Instant::now();
    let bulk = scene.bulk(PROGRESS, options.batch, BULK_DEADLINE);
    let repaired = bulk.until_repaired(site).await?;
    let until = Instant::now();
    stretches.push(Stretch { what: "repair of one site", credentials: repaired, floor: floors.repair, quiet_until, from, until });

    // What the lost disk had is refreshed without an order, as soon as it is repaired.
    PROGRESS.tell(&format!("refreshing {} keys", epochs.len()))?;
    let (from, count) = (until, bulk.until_refreshed(&epochs, NODES.into()).await?);
    let last = Instant::now();
    stretches.push(Stretch { what: "refresh", credentials: count, floor: floors.refresh, quiet_until, from, until: last });
    quiet(options).await?;
    let ended = Instant::now();
    anyhow::ensure!(!load.is_spent(), "the sessions' numbers were spent before the end; take a lower --rate");
    let attempts = load.stop().await?;
    scene.cluster.check_processes()?;
    tokio::task::spawn_blocking(move || scene.cluster.stop()).await?;

    if let Some(path) = &options.plot {
        let marks: Vec<_> =
            stretches.iter().filter(|one| one.from >= started).map(|one| (one.what, one.from - started, one.until - started)).collect();
        let slices = attempts.over_time(started, SLICE);
        let plot = Plot { slice: SLICE, slices: &slices, marks: &marks, failures: &[] };
        std::fs::write(path, page("custody", &format!("{}{}", plot.legend(), plot.svg())))?;
    }
    let quiet = Duration::from_secs(options.quiet);
    Ok(Report {
        nodes: NODES,
        threshold: THRESHOLD,
        processors: processors(),
        rate: options.rate,
        batch: options.batch,
        load_average: [before, load_average()],
        bulk: stretches.iter().map(|stretch| stretch.bulk(&attempts, started, quiet)).collect(),
        whole: attempts.between(started, ended),
        after: attempts.between(last, ended),
    })
}

async fn quiet(options: &Options) -> anyhow::Result<()> {
    PROGRESS.tell(&format!("signing {} documents a second and nothing else for {} s", options.rate, options.quiet))?;
    tokio::time::sleep(Duration::from_secs(options.quiet)).await;
    Ok(())
}

/// The stretch of one kind of bulk work.
struct Stretch {
    what: &'static str,
    credentials: u32,
    floor: Floor,
    /// End of the latest stretch of signing without bulk work.
    quiet_until: Instant,
    from: Instant,
    until: Instant,
}

impl Stretch {
    /// Signing without bulk work is that of the latest quiet stretch.
    fn bulk(&self, attempts: &Attempts, signing_since: Instant, quiet: Duration) -> Bulk {
        let seconds = (self.until - self.from).as_secs_f64();
        let rate = f64::from(self.credentials) / seconds;
        let is_signing = self.from >= signing_since;
        let phases =
            is_signing.then(|| (attempts.between(self.quiet_until - quiet, self.quiet_until), attempts.between(self.from, self.until)));
        let p99_ratio = phases.as_ref().map(|(before, meanwhile)| meanwhile.call.p99_us / before.call.p99_us);
        let (before, meanwhile) = phases.unzip();
        Bulk {
            what: self.what,
            credentials: self.credentials,
            seconds,
            credentials_per_second: rate,
            ratio_to_floor: rate / self.floor.credentials_per_second,
            floor: self.floor,
            before,
            meanwhile,
            p99_ratio,
        }
    }
}
