//! What a service manager's SIGTERM does to a daemon at work: the daemon ends in order, and no document is lost by it.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use warifu::keys::KeyKind;
use warifu::local_cluster::LocalCluster;
use warifu_api::{ApiClient, SignBody, SignDocument, SignResult};
use warifu_node::blocking;
use warifu_node::local::LocalStore;
use warifu_node::store::{Database, DatabaseOptions};
use warifu_protocol::{AuditEntry, AuditEvent, NodeId};

use crate::hammer::{Hammer, SharedSession};
use crate::{NODES, Running, THRESHOLD};

const COORDINATORS: u8 = 2;
/// Documents of one call: so many that it is still being worked on when the coordinator is told to stop.
const BATCH: usize = 100;
/// More than the load and the calls come to, and as many as a session may ask for.
const SIGNATURES: u32 = 2_000;
/// Documents of the load that show that signing goes on.
const MORE: usize = 10;
const CALL: Duration = Duration::from_secs(30);
/// Longer than a daemon lets itself have.
const ENDS: Duration = Duration::from_secs(20);

/// Sends SIGTERM.
fn terminate(process: Option<u32>) -> anyhow::Result<()> {
    let process = process.context("the process runs")?.to_string();
    ensure!(Command::new("kill").args(["-TERM", &process]).status()?.success(), "process {process} cannot be told");
    Ok(())
}

/// The last entry of the audit log of a node that does not run. It is read from a copy, since opening a store counts as a start of it.
async fn last_audited(cluster: &LocalCluster, id: NodeId) -> anyhow::Result<AuditEntry> {
    let (store, copy) = (cluster.node_directory(id).join("data/local.redb"), cluster.directory().join("copy.redb"));
    let cluster = cluster.genesis().cluster();
    let read = move || {
        std::fs::copy(store, &copy)?;
        let store = LocalStore::open_locked(Database::open(&copy, DatabaseOptions::default())?, id, cluster)?;
        let last = store.checkpoint()?.size.checked_sub(1).context("entries")?;
        let (_, entry) = store.entries(last, 1)?.pop().context("the last entry")?;
        anyhow::Ok(entry)
    };
    blocking::run(read).await?
}

/// Many documents for one call.
fn batch(session: &SharedSession) -> anyhow::Result<SignBody> {
    let prepared = (0..BATCH).map(|_| session.prepare(warifu::clock::now()));
    let document = |prepared: warifu::terminal::Prepared| SignDocument { xml: prepared.xml, request: prepared.request };
    Ok(SignBody { documents: prepared.map(|prepared| prepared.map(document)).collect::<Result<_, _>>()? })
}

/// Has a batch signed. Returns when it was asked for and answered, and what was not signed.
async fn sign_together(batch: &SignBody, client: &ApiClient) -> anyhow::Result<(Instant, Instant, Vec<SignResult>)> {
    let asked = Instant::now();
    let mut results = client.sign(batch).await?.results;
    ensure!(results.len() == BATCH, "one result for each document");
    results.retain(|result| !matches!(result, SignResult::Signed { .. }));
    Ok((asked, Instant::now(), results))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_and_a_coordinator_that_are_terminated_under_load_end_in_order_and_no_document_fails() -> anyhow::Result<()> {
    let (directory, options) = Running::options(NODES, THRESHOLD.0)?;
    let mut run = Running::start(LocalCluster::found_with_coordinators(&options, COORDINATORS)?, directory).await?;
    let doctor = run.holder("doctor", "Medical Doctor").await?;
    let session = doctor.log_in(&run.cluster, &run.directory.path().join("load.json"), KeyKind::Ed25519, SIGNATURES).await?;
    let (stopping, staying) = (run.cluster.client_of(0, doctor.client, CALL)?, run.cluster.client_of(1, doctor.client, CALL)?);
    let anchors = session.anchors.clone();
    let session = SharedSession::new(session);
    let load = Hammer::start(&session, vec![staying], &anchors);
    load.sign_on(MORE).await?;

    let node = NodeId::new(NODES).context("a node id")?;
    terminate(run.cluster.node_process(node))?;
    let ended = tokio::task::block_in_place(|| run.cluster.node_ended(node, ENDS)).context("the node ends by itself")?;
    ensure!(ended.success(), "the node: {ended}");
    let last = last_audited(&run.cluster, node).await?;
    ensure!(last.event == AuditEvent::Stopped, "the node's last word: {last:?}");
    load.sign_on(MORE).await?;

    // The first call is slow, since there is no connection yet and no view of the credential. The second tells how long one takes on this
    // machine, and the third is under way when the coordinator is told to stop.
    let mut takes = Duration::ZERO;
    for _ in 0..2 {
        let (asked, answered, failed) = sign_together(&batch(&session)?, &stopping).await?;
        ensure!(failed.is_empty(), "{failed:?}");
        takes = answered - asked;
    }
    let (process, last) = (run.cluster.coordinator_process(0), batch(&session)?);
    let told = async {
        tokio::time::sleep(takes / 10).await;
        terminate(process).map(|()| Instant::now())
    };
    // In this order, so that the call is written before the time begins.
    let (call, told) = tokio::join!(sign_together(&last, &stopping), told);
    let (_, answered, failed) = call.context("a call that was under way")?;
    ensure!(answered > told?, "the call was over before the coordinator was told to stop");
    ensure!(failed.is_empty(), "{failed:?}");
    let ended = tokio::task::block_in_place(|| run.cluster.coordinator_ended(0, ENDS)).context("the coordinator ends by itself")?;
    ensure!(ended.success(), "the coordinator: {ended}");
    load.sign_on(MORE).await?;

    let asked = load.end().await;
    let failed: Vec<&String> = asked.iter().filter_map(|asked| asked.outcome.as_ref().err()).collect();
    ensure!(failed.is_empty(), "{} of {} documents failed: {failed:?}", failed.len(), asked.len());
    run.cluster.stop();
    Ok(())
}
