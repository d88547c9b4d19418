//! The run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::ValueEnum as _;
use tokio::time::{Instant, sleep};
use warifu::keys::KeyKind;
use warifu::local_cluster::{Holder, LocalCluster, OpenSession};
use warifu_core::pki::Certificate;
use warifu_protocol::NodeId;
use warifu_protocol::limits::SESSION_SIGNATURES_MAX;

use super::checker::{Evidence, check_all};
use super::desk::Desk;
use super::lines::lay;
use super::namespaces::Namespaces;
use super::nemesis::{Injection, Nemesis};
use super::options::Options;
use super::oracle::Oracle;
use super::plan::{Plan, Planned};
use super::report::{Failure, Report, Round, SLICE};
use super::sessions::{Sessions, Written};
use super::stage::{COORDINATORS, Stage};
use super::taken::Taken;
use crate::command::Progress;
use crate::commands::Commands;
use crate::measure::{Latencies, Spread, load_average};
use crate::open_loop::{Attempts, Load};
use crate::preload::{Disk, Shim};
use crate::proxy::{Faults, Injected};
use crate::scene::{self, NODES, Scene, THRESHOLD};
use crate::simulate::SeedTree;

/// Whose progress is told.
const PROGRESS: Progress = Progress("torment");
/// Between rounds, and after the last: what was on its way is over.
const SETTLE: Duration = Duration::from_secs(2);
/// Time for all sites to come to one entry once nothing happens any more.
const LEVEL_DEADLINE: Duration = Duration::from_secs(60);
/// How often they are looked at.
const POLL: Duration = Duration::from_millis(100);
/// Numbers of the session that is revoked.
const CONDEMNED_SIGNATURES: u32 = 20;
/// Longest that rounds take beyond the time in which they are begun: those of every kind, once.
const OVERTIME: u64 = 900;

/// One round as it went, before anything is known of its documents.
struct Struck {
    planned: Planned,
    injection: Injection,
    from: Instant,
    until: Instant,
    datagrams: Injected,
}

/// Founds, torments, heals, checks.
///
/// # Errors
/// When the cluster cannot be set up, or its disks not be read. Whatever goes wrong under torment is in the report.
pub async fn run(options: &Options) -> anyhow::Result<Report> {
    let (before, start) = (load_average(), Instant::now());
    let seed = options.seed.unwrap_or_else(rand::random);
    let program = options.cluster.program()?;
    let directory = options.cluster.common.working_directory(PROGRESS)?;
    // Before everything that is in them, so that it is taken down after it.
    let namespaces = options.netns.then(|| Namespaces::make(&scene::nodes())).transpose()?;
    PROGRESS.tell(&format!("seed {seed}: founding a cluster"))?;
    let kinds = if options.only.is_empty() { Nemesis::value_variants().to_vec() } else { options.only.clone() };
    let mut cluster = Scene::found(&directory.path().join("cluster"), &program, COORDINATORS).await?;
    let mesh = lay(&mut cluster, COORDINATORS, namespaces.as_ref(), seed).await?;
    let disks = if kinds.iter().any(|kind| kind.needs_disks()) { watched_disks(&mut cluster, directory.path())? } else { BTreeMap::new() };
    let mut scene = Scene::open(cluster).await?;
    let oracle = Oracle::default();
    let desk = Desk::new(&scene.cluster, COORDINATORS, oracle.clone())?;
    let churner = scene.physician("churner").await?;
    let condemned = with_session(&scene, "condemned", CONDEMNED_SIGNATURES).await?;
    let (_, batches) = with_session(&scene, "batches", SESSION_SIGNATURES_MAX).await?;
    oracle.opened(batches.session());
    let numbers = u64::from(options.rate) * (options.quiet + options.length() + OVERTIME);
    let sessions = scene.log_in_often(usize::try_from(numbers.div_ceil(SESSION_SIGNATURES_MAX.into()))?).await?;
    sessions.iter().for_each(|session| oracle.opened(session.session()));
    let commands = Commands::of(&scene.cluster, &program);
    let signing = {
        let desk = desk.clone();
        Load::start_with(sessions, options.rate, move |session, seq| {
            let desk = desk.clone();
            async move { desk.sign(&session, seq).await }
        })
    };
    let writing = Sessions::start(&scene.cluster, churner, desk.clone(), oracle.clone())?;
    let seeds = SeedTree::new(seed);
    let mut stage = Stage {
        scene,
        mesh,
        commands,
        dice: seeds.rng("victims", 0),
        desk,
        oracle,
        condemned: Some(condemned),
        batches,
        lost: Vec::new(),
        tried: Vec::new(),
        replaced: BTreeSet::new(),
        upgraded: BTreeSet::new(),
        taken: Taken::default(),
        disks,
        hold: Duration::from_secs(options.hold),
    };
    PROGRESS.tell(&format!("{} documents a second without faults, for {} s", options.rate, options.quiet))?;
    // The first documents come while connections are made.
    sleep(SETTLE).await;
    let started = Instant::now();
    sleep(Duration::from_secs(options.quiet)).await;
    let quiet = Instant::now();
    let plan = Plan::new(kinds.clone(), seeds.rng("plan", 0));
    let (struck, mut stuck) = torment(&mut stage, plan, kinds.len(), Duration::from_secs(options.length())).await;
    if let Some(error) = &stuck {
        PROGRESS.tell(&format!("STUCK: {error}"))?;
    }
    stage.mesh.weather().clear();
    sleep(SETTLE).await;
    let ended = Instant::now();
    PROGRESS.tell("the end of the load")?;
    if signing.is_spent() {
        stuck.get_or_insert_with(|| "the sessions' numbers were spent before the end; take a lower --rate".to_owned());
    }
    let attempts = signing.stop().await?;
    let writes = match writing.stop().await {
        Ok(writes) => writes,
        Err(error) => {
            stuck.get_or_insert_with(|| format!("{error:#}"));
            Vec::new()
        }
    };
    if stuck.is_none()
        && let Err(error) = until_level(&mut stage).await
    {
        stuck = Some(format!("{error:#}"));
    }
    PROGRESS.tell("reading every disk")?;
    let over_time = attempts.over_time(started, SLICE);
    let excused: Vec<(Instant, Instant)> = struck.iter().flat_map(|one| one.injection.excused.iter().copied()).collect();
    let failures = attempts.failures_outside(&excused);
    let failures = failures.map(|(at, reason)| Failure { at: seconds(at, started), reason: reason.to_owned() }).collect();
    let rounds = struck.iter().map(|one| one.round(&attempts, &writes, started)).collect();
    let checked = check(stage).await?;
    let kept = if options.keep { Some(directory.keep().display().to_string()) } else { None };
    let report = Report {
        seed,
        again: options.again(seed),
        nodes: NODES,
        threshold: THRESHOLD,
        rate: options.rate,
        load_average: [before, load_average()],
        quiet: attempts.between(started, quiet),
        quiet_gap: attempts.longest_gap(started, quiet).as_secs_f64(),
        quiet_writes: spread(&writes, started, quiet),
        rounds,
        signing: attempts.between(started, ended),
        writes: spread(&writes, started, ended),
        failures,
        stuck,
        not_done: BTreeMap::new(),
        times_missed: Vec::new(),
        checked,
        seconds: start.elapsed().as_secs_f64(),
        kept,
        over_time,
        namespaces: namespaces.map(|namespaces| namespaces.names()).unwrap_or_default(),
    }
    .judged();
    if let Some(path) = &options.html {
        std::fs::write(path, report.html()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(report)
}

/// Puts the shim under every node's disk; none without a C compiler.
fn watched_disks(cluster: &mut LocalCluster, directory: &Path) -> anyhow::Result<BTreeMap<NodeId, Disk>> {
    let shim = match Shim::build(directory) {
        Ok(shim) => shim,
        Err(error) => {
            PROGRESS.tell(&format!("disks neither forget nor fail: {error:#}"))?;
            return Ok(BTreeMap::new());
        }
    };
    let mut disks = BTreeMap::new();
    for node in scene::nodes() {
        let disk = Disk::new(&shim, &cluster.node_directory(node), "log", &directory.join(format!("journal-{node}")))?;
        cluster.set_node_environment(node, disk.environment());
        disks.insert(node, disk);
    }
    Ok(disks)
}

/// Rounds until the time is over and every kind was there; and what ended them early.
async fn torment(stage: &mut Stage, mut plan: Plan, kinds: usize, length: Duration) -> (Vec<Struck>, Option<String>) {
    let (start, mut struck) = (Instant::now(), Vec::new());
    while struck.len() < kinds || start.elapsed() < length {
        let Some(planned) = plan.draw() else { break };
        match round(stage, planned).await {
            Ok(one) => struck.push(one),
            Err(error) => return (struck, Some(format!("{}: {error:#}", planned.title()))),
        }
        sleep(SETTLE).await;
    }
    (struck, None)
}

async fn round(stage: &mut Stage, planned: Planned) -> anyhow::Result<Struck> {
    let (from, before) = (Instant::now(), stage.mesh.weather().injected());
    if planned.untidy {
        let parties = stage.mesh.parties();
        stage.among(&parties, &parties, Faults::UNTIDY);
    }
    let injection = planned.strike(stage).await?;
    stage.mesh.weather().clear();
    stage.check_processes()?;
    let (until, datagrams) = (Instant::now(), stage.mesh.weather().injected().since(&before));
    let took = (until - from).as_secs_f64();
    PROGRESS.tell(&format!("{}: {} ({took:.1} s)", planned.title(), injection.notes.join("; ")))?;
    Ok(Struck { planned, injection, from, until, datagrams })
}

/// A physician of their own with a session.
async fn with_session(scene: &Scene, name: &str, signatures: u32) -> anyhow::Result<(Holder, OpenSession)> {
    let holder = scene.physician(name).await?;
    let file = scene.cluster.directory().join(format!("{name}-session.json"));
    let session = holder.log_in(&scene.cluster, &file, KeyKind::Ed25519, signatures).await?;
    Ok((holder, session))
}

/// Waits until every site has applied everything that any has, so that their disks can be compared.
async fn until_level(stage: &mut Stage) -> anyhow::Result<()> {
    let end = Instant::now() + LEVEL_DEADLINE;
    loop {
        let mut places = Vec::new();
        for node in scene::nodes() {
            if let Some(status) = stage.status(node).await {
                places.push((status.applied, status.last_log));
            }
        }
        let first = places.first().copied();
        if places.len() == usize::from(NODES) && places.iter().all(|place| Some(*place) == first && place.0 == place.1) {
            return Ok(());
        }
        ensure!(Instant::now() < end, "the sites do not come to one entry: applied and last of each that answers are {places:?}");
        sleep(POLL).await;
    }
}

/// Kills everything, so that the disks are as a power cut leaves them, and reads them.
async fn check(stage: Stage) -> anyhow::Result<Vec<super::checker::Checked>> {
    let Stage { scene, mesh, oracle, lost, tried, .. } = stage;
    let mut cluster = scene.cluster;
    let nodes: Vec<NodeId> = cluster.running().collect();
    nodes.into_iter().for_each(|node| cluster.kill_node(node));
    drop(mesh);
    let (genesis, said) = (cluster.genesis().clone(), oracle.said());
    let configs: Vec<PathBuf> = scene::nodes().into_iter().map(|node| cluster.node_directory(node).join("config.toml")).collect();
    let anchors = vec![Certificate::parse(cluster.hpki.certificate_der())?];
    let cluster: Arc<LocalCluster> = Arc::new(cluster);
    tokio::task::spawn_blocking(move || {
        let checked = Evidence::read(&genesis, &configs, &lost, &tried, said, anchors).map(|evidence| check_all(&evidence));
        drop(cluster);
        checked
    })
    .await?
}

impl Struck {
    fn round(&self, attempts: &Attempts, writes: &[Written], started: Instant) -> Round {
        let Self { planned, injection, from, until, datagrams } = self;
        let longest = |times: &mut dyn Iterator<Item = Duration>| times.max().map(|time| time.as_secs_f64());
        Round {
            nemesis: planned.nemesis,
            second: planned.second,
            untidy: planned.untidy,
            title: planned.title(),
            away: planned.nemesis.away(),
            times: injection.times,
            second_times: injection.second_times,
            from: seconds(*from, started),
            until: seconds(*until, started),
            signing: attempts.between(*from, *until),
            unknown: attempts.unanswered(*from, *until),
            longest_gap: attempts.longest_gap(*from, *until).as_secs_f64(),
            longest_write: longest(
                &mut writes.iter().filter(|one| one.began < *until && one.ended > *from).map(|one| one.ended - one.began),
            ),
            recovery: longest(&mut injection.recoveries.iter().map(|(_, time)| *time)),
            signed_in_the_dark: attempts.signed_within(&injection.dark),
            datagrams: *datagrams,
            notes: injection.notes.clone(),
        }
    }
}

fn seconds(at: Instant, started: Instant) -> f64 {
    at.saturating_duration_since(started).as_secs_f64()
}

fn spread(writes: &[Written], from: Instant, until: Instant) -> Spread {
    let mut latencies = Latencies::default();
    writes.iter().filter(|one| one.began >= from && one.began < until).for_each(|one| latencies.record(one.ended - one.began));
    latencies.spread()
}
