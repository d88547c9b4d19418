//! Acknowledged means over: a revocation and a closed session under load, with one node cut off that never hears of them and a coordinator
//! that kept back what it was given before.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use warifu::keys::KeyKind;
use warifu::local_cluster::{Holder, LocalCluster};
use warifu::terminal;
use warifu_api::{ApiClient, StopReport, StopReportState};
use warifu_protocol::wire::{NotYet, SignAnswer};
use warifu_protocol::{NodeId, OrderCommand, StopId};

use crate::Running;
use crate::hammer::{Hammer, SharedSession};
use crate::hoarder::{Begun, Hoarder};
use crate::partition::Partition;

const NODES: u8 = 5;
const THRESHOLD: u8 = 3;
const COORDINATORS: u8 = 2;
/// The node that is cut off.
const LOST: u8 = 5;
/// Signatures that are begun and kept back: half are tried after the acknowledgement, half after the end.
const HOARD: usize = 8;
/// Documents that a platform may have signed in one session: more than it can ask for here.
const SIGNATURES: u32 = 2_000;
const CALL: Duration = Duration::from_secs(20);
/// Time for anything that a busy machine must come to.
const PATIENCE: Duration = Duration::from_secs(120);

fn node(number: u8) -> NodeId {
    NodeId::new(number).expect("1 to 15")
}

/// A holder whose session is hammered and whose signatures are hoarded until it is stopped.
struct Victim {
    session: Arc<SharedSession>,
    hammer: Hammer,
    hoarder: Hoarder,
    hoard: Vec<Begun>,
}

impl Victim {
    async fn at_work(run: &Running, holder: &Holder, file: &str) -> anyhow::Result<Self> {
        let (session, hammer) = hammered(run, holder, file).await?;
        let view = run.cluster.client(LocalCluster::CLIENT_CA, CALL)?.credential(holder.credential).await?;
        Ok(Self { session, hammer, hoarder: Hoarder::take_over(&run.cluster, 1, view)?, hoard: Vec::new() })
    }

    /// Begins signatures that lack nothing but the share of the node that is cut off, or of one that is not.
    async fn hoard(&mut self, count: usize) -> anyhow::Result<()> {
        let sets = [[1, 2, LOST], [3, 4, LOST], [1, 3, LOST], [1, 2, 3]];
        for set in sets.iter().cycle().take(count) {
            let signers = set.map(node);
            let mut begun = self.hoarder.begin(&self.session.lasting_request()?, &signers).await?;
            self.hoarder.ask(&mut begun, &signers[..2]).await;
            ensure!(begun.said.is_empty(), "shares are given before the stop: {:?}", begun.said);
            self.hoard.push(begun);
        }
        Ok(())
    }

    /// Asks everybody for what the first `count` hoarded signatures lack, and for signatures that are begun anew by every t of the nodes.
    /// Returns how many signatures come of the hoarded and of the new ones, and what was said of the hoarded ones.
    async fn finish(&mut self, count: usize) -> anyhow::Result<(usize, usize, Vec<(NodeId, SignAnswer)>)> {
        let all: Vec<NodeId> = (1..=NODES).map(node).collect();
        let (mut old, mut said) = (0, Vec::new());
        for mut begun in self.hoard.drain(..count) {
            self.hoarder.ask(&mut begun, &all).await;
            old += usize::from(self.hoarder.finish(&begun)?.is_some());
            said.extend(begun.said);
        }
        let mut new = 0;
        for a in 1..=NODES {
            for b in a + 1..=NODES {
                for c in b + 1..=NODES {
                    let mut begun = self.hoarder.begin(&self.session.lasting_request()?, &[a, b, c].map(node)).await?;
                    self.hoarder.ask(&mut begun, &all).await;
                    new += usize::from(self.hoarder.finish(&begun)?.is_some());
                    ensure!(
                        begun.said.values().all(|answer| matches!(answer, SignAnswer::Refused(_))),
                        "whoever gives no share says why: {:?}",
                        begun.said
                    );
                }
            }
        }
        Ok((old, new, said))
    }
}

/// Two platforms with one session, each at a coordinator of its own.
async fn hammered(run: &Running, holder: &Holder, file: &str) -> anyhow::Result<(Arc<SharedSession>, Hammer)> {
    let session = holder.log_in(&run.cluster, &run.directory.path().join(file), KeyKind::Ed25519, SIGNATURES).await?;
    let mut clients = Vec::new();
    for place in 0..usize::from(COORDINATORS) {
        clients.push(run.cluster.client_of(place, holder.client, CALL)?);
    }
    let anchors = session.anchors.clone();
    let session = SharedSession::new(session);
    let hammer = Hammer::start(&session, clients, &anchors);
    Ok((session, hammer))
}

async fn until(what: &str, reached: impl AsyncFn() -> bool) -> anyhow::Result<()> {
    let started = Instant::now();
    while !reached().await {
        ensure!(started.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Looks until the stop is over; whoever gives no receipt meanwhile is the node that is cut off.
async fn until_done(client: &ApiClient, stop: StopId) -> anyhow::Result<StopReport> {
    let started = Instant::now();
    loop {
        let report = client.stop(stop).await?;
        if report.state == StopReportState::Done {
            ensure!(report.missing.iter().map(|missing| missing.node).eq([node(LOST)]), "{:?}", report.missing);
            return Ok(report);
        }
        ensure!(started.elapsed() < PATIENCE, "not over: {report:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_signature_appears_after_a_stop_is_done_and_none_begins_after_its_acknowledgement() -> anyhow::Result<()> {
    let (directory, options) = Running::options(NODES, THRESHOLD)?;
    let cluster = LocalCluster::found_with_coordinators(&options, COORDINATORS)?;
    let partition = Partition::around(&cluster, node(LOST), usize::from(COORDINATORS)).await?;
    let run = Running::start(cluster, directory).await?;

    let (revoked, closed) = (run.holder("revoked", "Medical Doctor").await?, run.holder("closed", "Dentist").await?);
    let bystander = run.holder("bystander", "Medical Doctor").await?;
    let mut victims = [Victim::at_work(&run, &revoked, "revoked.json").await?, Victim::at_work(&run, &closed, "closed.json").await?];
    let (_session, going_on) = hammered(&run, &bystander, "bystander.json").await?;
    for victim in &victims {
        until("documents are signed", async || victim.hammer.signed() > 10).await?;
    }

    // Nobody reaches the node any more but the hoarder, which knows the node's own address.
    partition.cut();
    let operations = run.cluster.client(LocalCluster::CLIENT_OPERATIONS, CALL)?;
    let is_lost = async || {
        let Ok(status) = operations.status().await else { return false };
        status.nodes.iter().any(|report| report.node == node(LOST) && report.unreachable.is_some())
    };
    until("the node is lost to the coordinators", is_lost).await?;
    let hoarder = &victims[0].hoarder;
    let lost_at = hoarder.status(node(LOST)).await?.applied;
    for victim in &victims {
        let before = victim.hammer.signed();
        until("signing goes on without it", async || victim.hammer.signed() > before + 10).await?;
    }
    for victim in &mut victims {
        victim.hoard(HOARD).await?;
    }

    let ca = run.cluster.client(LocalCluster::CLIENT_CA, CALL)?;
    let clinic = run.cluster.client(closed.client, CALL)?;
    let answers = [
        run.cluster.order(OrderCommand::Revoke { credential: revoked.credential }, None).await?,
        clinic.close_session(&terminal::close(victims[1].session.id(), &victims[1].session.open().file.secret.key)?).await?,
    ];
    let acknowledged = Instant::now();
    let mut stops = Vec::new();
    for answer in answers {
        let report = answer.stop.context("it is a stop")?;
        ensure!(report.state == StopReportState::Draining, "four of five nodes obey: {report:?}");
        stops.push(report.stop);
    }

    // Shares that were given before may be completed for a while: that is what draining means, and shows that the hoarder knows its trade.
    for victim in &mut victims {
        let (old, new, said) = victim.finish(HOARD / 2).await?;
        ensure!(old > 0, "the node that is cut off completes what was begun: {said:?}");
        ensure!(new == 0, "{new} signatures began after the acknowledgement");
    }

    for stop in &stops {
        until_done(&ca, *stop).await?;
    }
    let done = Instant::now();
    ensure!(victims[0].hoarder.status(node(LOST)).await?.applied == lost_at, "the log does not reach the node that is cut off");
    for victim in &mut victims {
        let (old, new, said) = victim.finish(HOARD / 2).await?;
        ensure!((old, new) == (0, 0), "a signature appeared after the stop was done");
        let lost: Vec<&SignAnswer> = said.iter().filter(|(signer, _)| *signer == node(LOST)).map(|(_, answer)| answer).collect();
        // It never heard of the stop; it has forgotten the nonces.
        let is_dead = |answer: &&SignAnswer| matches!(answer, SignAnswer::NotYet { reason: NotYet::NonceUnknown, .. });
        ensure!(!lost.is_empty() && lost.iter().all(is_dead), "{said:?}");
        until("platforms are refused", async || victim.hammer.refused_since(done) > 5).await?;
    }
    let signed = going_on.signed();
    until("others sign on", async || going_on.signed() > signed + 5).await?;

    // Back again, the node obeys too.
    partition.heal();
    for stop in &stops {
        until("all five obey", async || ca.stop(*stop).await.is_ok_and(|report| report.receipts.len() == usize::from(NODES))).await?;
    }
    for victim in victims {
        for asked in victim.hammer.end().await {
            if asked.outcome.is_ok() {
                ensure!(asked.sent < acknowledged, "a signature began after the acknowledgement");
                ensure!(asked.answered < done, "a signature appeared after the stop was done");
            }
        }
    }
    going_on.end().await;
    run.cluster.stop();
    Ok(())
}
