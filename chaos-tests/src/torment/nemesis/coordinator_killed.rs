//! Each coordinator is killed with documents of one call on their way: when a node has given its shares of them and before the client has its answer.
//! The client asks the other coordinator with the same requests, and has every document signed. To be killed just then it is let run in slices too
//! short to take the shares of all documents in, and the nodes are looked at while it stands still.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::process::Signal;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use warifu::clock::now;
use warifu::local_cluster::LocalCluster;
use warifu::terminal::Prepared;
use warifu_api::ApiError;
use warifu_coordinator::document::sample;
use warifu_protocol::{DocumentKind, NodeId};

use super::Injection;
use crate::scene::document_id;
use crate::torment::stage::{COORDINATORS, Stage};

/// Documents of one call.
const BATCH: u32 = 32;
/// Calls that are tried until a coordinator is killed in the middle of one: on a busy machine a slice may be longer than was asked for.
const TRIES: u32 = 4;
/// How long a coordinator runs between two looks at the nodes.
const SLICE: Duration = Duration::from_millis(2);
/// How long it stands still at least, for nodes to give the shares that they were asked for in the slice before.
const STANDSTILL: Duration = Duration::from_millis(10);
/// Time for a node to give its shares of a batch: less than the client waits, for all slices and looks.
const SHARES_DEADLINE: Duration = Duration::from_secs(5);
/// Time for a coordinator to answer again.
const BACK_DEADLINE: Duration = Duration::from_secs(30);
/// How often, and how long, it is asked.
const POLL: Duration = Duration::from_millis(50);
const LOOK_DEADLINE: Duration = Duration::from_secs(2);

pub(super) async fn strike(stage: &mut Stage) -> anyhow::Result<Injection> {
    let (mut back, mut in_flight) = (Vec::new(), Vec::new());
    for place in 0..usize::from(COORDINATORS) {
        let mut caught = 0;
        for _ in 0..TRIES {
            caught = kill_under_batch(stage, place).await?;
            if caught > 0 {
                break;
            }
            // It may have been killed for nothing, right after its answer.
            until_back(stage, place).await?;
        }
        in_flight.push(caught);
        stage.cluster().kill_coordinator(place);
        sleep(stage.hold / 2).await;
        back.push(format!("{:.1} s", until_back(stage, place).await?.as_secs_f64()));
        sleep(stage.hold / 2).await;
    }
    let counts: Vec<String> = in_flight.iter().map(ToString::to_string).collect();
    let note = format!(
        "each coordinator in turn, with {} documents of one call on their way, all signed by the other; answering again after {}",
        counts.join(" and "),
        back.join(" and ")
    );
    Ok(Injection::of(in_flight.iter().map(|caught| u32::from(*caught > 0)).sum(), note))
}

/// Starts a coordinator that does not run; how long it took to answer.
async fn until_back(stage: &mut Stage, place: usize) -> anyhow::Result<Duration> {
    stage.cluster().start_coordinator(place)?;
    let (started, client) = (Instant::now(), stage.cluster().client_of(place, LocalCluster::CLIENT_OPERATIONS, LOOK_DEADLINE)?);
    while client.status().await.is_err() {
        ensure!(started.elapsed() < BACK_DEADLINE, "coordinator {} does not answer {BACK_DEADLINE:?} after its start", place + 1);
        sleep(POLL).await;
    }
    Ok(started.elapsed())
}

/// Kills a coordinator in the middle of a call and has the other one sign what was asked: how many documents were on their way, which is none if the
/// answer was faster.
async fn kill_under_batch(stage: &mut Stage, place: usize) -> anyhow::Result<u32> {
    let first = stage.batches.file.take_seqs(BATCH, now())?;
    let (session, key) = (stage.batches.session(), &stage.batches.file.secret.key);
    let prepared = |seq| Prepared::new(sample::prescription(&document_id()), DocumentKind::Prescription, session, seq, key, now());
    let batch: Vec<Prepared> = (first..first + BATCH).map(prepared).collect::<Result<_, _>>()?;
    let (desk, anchors) = (stage.desk.clone(), stage.batches.anchors.clone());
    let before = shares_given(stage).await;
    let call = {
        let (desk, batch, anchors) = (desk.clone(), batch.clone(), anchors.clone());
        tokio::spawn(async move { desk.sign_batch(place, &batch, &anchors).await })
    };
    let is_shared = until_shares(stage, place, &before, &call).await?;
    if is_shared {
        stage.cluster().kill_coordinator(place);
    }
    let (unsigned, in_flight) = match call.await.context("the call's task panicked")? {
        Ok(unsigned) => (unsigned, 0),
        Err(ApiError::Unreachable { .. } | ApiError::Deadline { .. }) => {
            let again = desk.sign_batch(place + 1, &batch, &anchors).await;
            let again = again.context("the other coordinator does not sign what the one that was killed was asked for")?;
            (again, if is_shared { BATCH } else { 0 })
        }
        Err(error) => return Err(error).context("a batch"),
    };
    ensure!(unsigned.is_empty(), "{} of {BATCH} documents of one call are not signed: {}", unsigned.len(), unsigned[0]);
    Ok(in_flight)
}

/// How many shares each node that runs has given.
async fn shares_given(stage: &Stage) -> BTreeMap<NodeId, u64> {
    let mut given = BTreeMap::new();
    for node in stage.taken.free() {
        given.extend(stage.status(node).await.map(|status| (node, status.shares_given)));
    }
    given
}

/// Has a coordinator run in slices until some node has given as many shares more as one batch takes of it, and leaves it standing still then; false,
/// and it runs on, if there is an answer before, or none has in time.
async fn until_shares<T>(stage: &Stage, place: usize, before: &BTreeMap<NodeId, u64>, call: &JoinHandle<T>) -> anyhow::Result<bool> {
    let end = Instant::now() + SHARES_DEADLINE;
    while !call.is_finished() && Instant::now() < end {
        stage.signal_coordinator(place, Signal::STOP)?;
        sleep(STANDSTILL).await;
        let given = shares_given(stage).await;
        let more = given.iter().filter_map(|(node, shares)| Some(shares.saturating_sub(*before.get(node)?)));
        if more.max().unwrap_or_default() >= BATCH.into() && !call.is_finished() {
            return Ok(true);
        }
        stage.signal_coordinator(place, Signal::CONT)?;
        sleep(SLICE).await;
    }
    Ok(false)
}
