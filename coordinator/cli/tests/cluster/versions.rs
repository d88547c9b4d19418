//! Programs of two versions in one cluster, as processes: nobody's document waits for an upgrade, and a program that is too old says so.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use warifu::keys::KeyKind;
use warifu::local_cluster::{Holder, LocalCluster, LocalClusterOptions};
use warifu_protocol::{LOG_ENTRY_VERSION, NodeId, Policy, versions};

use crate::hammer::{Hammer, SharedSession};
use crate::{READY, Running};

/// More documents than the load comes to while five sites are upgraded.
const SIGNATURES: u32 = 10_000;
/// Time for a node to follow the log to where it cannot go on, or to end by itself.
const TOLD: Duration = Duration::from_secs(60);
/// How long a node that cannot go on is watched: it stays up and signs nothing.
const WATCHED: Duration = Duration::from_secs(3);
/// Pause between two looks.
const POLL: Duration = Duration::from_millis(100);

/// The environment of the program of the next version.
fn next() -> Vec<(OsString, OsString)> {
    vec![(versions::VARIABLE.into(), "next".into())]
}

fn node(id: u8) -> NodeId {
    NodeId::new(id).expect("a node id")
}

/// A session is opened and closed: two entries of the version in use.
async fn write(cluster: &LocalCluster, doctor: &Holder, file: &str) -> anyhow::Result<()> {
    let session = doctor.log_in(cluster, &cluster.directory().join(file), KeyKind::Ed25519, 1).await?;
    Ok(session.log_out().await.map(drop)?)
}

fn install(cluster: &mut LocalCluster, id: NodeId, program: Vec<(OsString, OsString)>) -> anyhow::Result<()> {
    tokio::task::block_in_place(|| cluster.stop_node(id));
    cluster.set_node_environment(id, program);
    Ok(cluster.start_node(id)?)
}

/// Replaces a site's program by the next, and waits until it is confirmed.
async fn upgrade(cluster: &mut LocalCluster, id: NodeId) -> anyhow::Result<()> {
    install(cluster, id, next())?;
    Ok(cluster.wait_ready(READY).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn five_sites_are_upgraded_one_by_one_under_load_and_an_older_program_says_what_it_lacks_and_signs_nothing() -> anyhow::Result<()> {
    let (directory, options) = Running::options(5, 3)?;
    let policy = Policy { session_signatures_max: SIGNATURES, ..Policy::default() };
    let mut run = Running::start(LocalCluster::found(&LocalClusterOptions { policy, ..options })?, directory).await?;
    let doctor = run.holder("doctor", "Medical Doctor").await?;
    let session = doctor.log_in(&run.cluster, &run.directory.path().join("load.json"), KeyKind::Ed25519, SIGNATURES).await?;
    let (anchors, client) = (session.anchors.clone(), run.cluster.client(doctor.client, Duration::from_secs(15))?);
    let session = SharedSession::new(session);
    let load = Hammer::start(&session, vec![client], &anchors);

    for id in (1..=4).map(node) {
        upgrade(&mut run.cluster, id).await?;
        // Were it of a version that some cannot read, they would refuse it.
        write(&run.cluster, &doctor, &format!("beside-{id}.json")).await.with_context(|| format!("with node {id} upgraded"))?;
    }
    // Node 4 is away while the last site goes over, and comes back with the older program.
    run.cluster.kill_node(node(4));
    upgrade(&mut run.cluster, node(5)).await?;
    write(&run.cluster, &doctor, "after.json").await?;
    run.cluster.set_node_environment(node(4), Vec::new());
    run.cluster.start_node(node(4))?;
    let (says, knows) = (format!("uses version {} of log entries", LOG_ENTRY_VERSION + 1), format!("knows {LOG_ENTRY_VERSION};"));
    let end = Instant::now() + TOLD;
    loop {
        let told = run.cluster.node_status(node(4)).await;
        if told.as_ref().is_some_and(|told| told.reasons.iter().any(|reason| reason.contains(&says) && reason.contains(&knows))) {
            break;
        }
        ensure!(Instant::now() < end, "the older program does not say what it lacks: {told:?}");
        tokio::time::sleep(POLL).await;
    }
    // What was proposed before all knew more is still of the older version.
    tokio::time::sleep(WATCHED).await;
    let told = run.cluster.node_status(node(4)).await.context("it stays up")?;
    write(&run.cluster, &doctor, "without-it.json").await?;
    tokio::time::sleep(WATCHED).await;
    run.cluster.check_node(node(4))?;
    let later = run.cluster.node_status(node(4)).await.context("it stays up")?;
    assert_eq!((later.confirmed, later.shares_given), (false, 0), "{later:?}");
    assert_eq!(later.applied, told.applied, "it follows the log no further");
    let others = run.cluster.node_status(node(1)).await.context("node 1 answers")?;
    assert!(others.applied > later.applied, "the others go on");
    let log = std::fs::read_to_string(run.cluster.node_directory(node(4)).join("log"))?;
    let warned = log.lines().filter(|line| line.contains("speaks a version that this program does not")).count();
    assert!((1..=60).contains(&warned), "newer peers are named once for each connection, not {warned} times");

    install(&mut run.cluster, node(4), next())?;
    run.cluster.wait_ready(READY).await?;
    write(&run.cluster, &doctor, "all.json").await?;
    let asked = load.end().await;
    let failed: Vec<&String> = asked.iter().filter_map(|asked| asked.outcome.as_ref().err()).collect();
    assert!(failed.is_empty(), "{} of {} documents failed: {failed:?}", failed.len(), asked.len());
    assert!(asked.len() > 100, "only {} documents", asked.len());

    install(&mut run.cluster, node(4), Vec::new())?;
    let end = Instant::now() + TOLD;
    while run.cluster.check_node(node(4)).is_ok() {
        ensure!(Instant::now() < end, "the older program runs on a newer state");
        tokio::time::sleep(POLL).await;
    }
    let log = std::fs::read_to_string(run.cluster.node_directory(node(4)).join("log"))?;
    let last = log.rfind("replaced by an older one").and_then(|place| log.get(place..)).context("it says why it does not start")?;
    assert!(last.contains(&says) && last.contains(&knows), "{last}");
    Ok(())
}
