//! Stops: sent to every node directly and to the log at the same time, and pursued until all nodes obey.

use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use moka::sync::Cache;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use warifu_api::{MissingReceipt, StopReport, StopReportState};
use warifu_coordinator_core::{StopProgress, StopState};
use warifu_protocol::wire::{OrderCall, OrderReply};
use warifu_protocol::{NodeId, Refusal, StopCommand, StopId};

use super::fleet::Nodes;
use super::propose::{ProposeError, Proposed};
use crate::clock::wall_now;
use crate::limits::{
    RECEIPTS_CALL_DEADLINE, STOP_ANSWER_DEADLINE, STOP_CACHE_ENTRIES, STOP_CACHE_LIFE, STOP_CALL_DEADLINE, STOP_GRACE, STOP_LOG_DEADLINE,
    STOP_PURSUE_PAUSE, STOP_PURSUED_FOR, STOP_PURSUED_MAX,
};

/// Stops that this coordinator has to do with. What it keeps of them saves asking again; the nodes have the receipts.
pub(crate) struct Stops {
    nodes: Arc<Nodes>,
    known: Cache<StopId, Arc<Pursuit>>,
    /// One permit for each stop that is pursued in the background.
    pursued: Arc<Semaphore>,
    ended: CancellationToken,
    tasks: TaskTracker,
}

/// One stop, and whether somebody pursues it.
struct Pursuit {
    progress: Mutex<StopProgress>,
    /// Told of each answer.
    changed: watch::Sender<()>,
    permit: Mutex<Option<OwnedSemaphorePermit>>,
}

/// What became of a stop so far.
#[derive(Debug)]
pub(crate) struct Stopped {
    pub(crate) report: StopReport,
    /// What the log said, if it said anything in time.
    pub(crate) log: Option<Result<Proposed, ProposeError>>,
    /// So many nodes refused that it cannot be obeyed.
    pub(crate) refused: Option<Refusal>,
}

impl Stops {
    /// Background work ends when `ended` is cancelled.
    pub(crate) fn new(nodes: Arc<Nodes>, ended: CancellationToken, tasks: TaskTracker) -> Self {
        let known = Cache::builder().max_capacity(STOP_CACHE_ENTRIES).time_to_live(STOP_CACHE_LIFE).build();
        Self { nodes, known, pursued: Arc::new(Semaphore::new(STOP_PURSUED_MAX)), ended, tasks }
    }

    /// Sends a stop everywhere and waits, for a bounded time, until enough nodes obey and the log has it. It is pursued after that.
    /// `None` for a command that stops nothing.
    pub(crate) async fn stop(&self, stop: StopCommand) -> Option<Stopped> {
        let pursuit = self.pursuit(&stop)?;
        let nodes = Arc::clone(&self.nodes);
        let command = stop.into_command();
        let mut log = self.tasks.spawn(async move { nodes.propose(command).await });
        self.pursue(&pursuit);
        let until = Instant::now() + STOP_ANSWER_DEADLINE;
        pursuit.enough(until).await;
        let log = timeout_at(Instant::now() + STOP_LOG_DEADLINE, &mut log).await.ok().and_then(Result::ok);
        if let Some(Ok(Proposed { index, outcome: Ok(_), .. })) = &log {
            pursuit.progress.lock().logged(*index);
        }
        let refused = pursuit.progress.lock().refused();
        Some(Stopped { report: pursuit.report(), log, refused })
    }

    /// Asks all nodes what they keep of a stop, brings it to those that have not heard of it, and says how far it is. `None` when no node
    /// knows of it.
    pub(crate) async fn look(&self, id: StopId) -> Option<StopReport> {
        let order = self.nodes.cluster().node_ids();
        let mut asked: FuturesUnordered<_> = order
            .into_iter()
            .map(|node| {
                let nodes = Arc::clone(&self.nodes);
                async move { (node, nodes.ask(node, &OrderCall::Receipts(id), RECEIPTS_CALL_DEADLINE).await) }
            })
            .collect();
        while let Some((node, reply)) = asked.next().await {
            let Ok(OrderReply::Receipts(Some(kept))) = reply else { continue };
            // The id is the hash of what the authors signed, so that no node can put another stop in its place.
            if kept.stop.id() != id {
                continue;
            }
            let Some(pursuit) = self.pursuit(&kept.stop) else { continue };
            let mut progress = pursuit.progress.lock();
            if let Some(receipt) = kept.receipt {
                progress.receipt(wall_now(), node, receipt);
            }
            if let Some(gone) = kept.gone {
                progress.gone(node, gone);
            }
            if let Some(index) = kept.logged {
                progress.logged(index);
            }
        }
        let pursuit = self.known.get(&id)?;
        if !pursuit.progress.lock().missing().is_empty() {
            self.pursue(&pursuit);
            pursuit.enough(Instant::now() + STOP_ANSWER_DEADLINE).await;
        }
        Some(pursuit.report())
    }

    fn pursuit(&self, stop: &StopCommand) -> Option<Arc<Pursuit>> {
        let progress = StopProgress::new(self.nodes.stop_rules(), stop.clone())?;
        let fresh =
            || Arc::new(Pursuit { progress: Mutex::new(progress.clone()), changed: watch::Sender::new(()), permit: Mutex::new(None) });
        let pursuit = self.known.get_with(stop.id(), fresh);
        let (is_same, is_obeyed) = {
            let progress = pursuit.progress.lock();
            (progress.stop() == stop, !progress.receipts().is_empty())
        };
        if is_same || is_obeyed {
            return Some(pursuit);
        }
        // The id leaves signatures out: a copy with bad ones must not stand in the way of the good one.
        let pursuit = fresh();
        self.known.insert(stop.id(), Arc::clone(&pursuit));
        Some(pursuit)
    }

    /// Sends the stop to the nodes that do not obey yet, again and again for a while. Above the bound on pursuits it is sent once.
    fn pursue(&self, pursuit: &Arc<Pursuit>) {
        {
            let mut permit = pursuit.permit.lock();
            if permit.is_some() {
                return;
            }
            *permit = Arc::clone(&self.pursued).try_acquire_owned().ok();
        }
        let (nodes, pursuit) = (Arc::clone(&self.nodes), Arc::clone(pursuit));
        let work = async move {
            let until = Instant::now() + STOP_PURSUED_FOR;
            loop {
                round(&nodes, &pursuit).await;
                let goes_on = pursuit.permit.lock().is_some() && Instant::now() < until;
                if pursuit.progress.lock().missing().is_empty() || !goes_on {
                    break;
                }
                sleep(STOP_PURSUE_PAUSE).await;
            }
            pursuit.permit.lock().take();
        };
        self.tasks.spawn(self.ended.clone().run_until_cancelled_owned(work));
    }
}

async fn round(nodes: &Arc<Nodes>, pursuit: &Arc<Pursuit>) {
    let (stop, missing) = {
        let progress = pursuit.progress.lock();
        (progress.stop().clone(), progress.missing())
    };
    let call = OrderCall::Stop(Box::new(stop));
    let mut asked: FuturesUnordered<_> = missing
        .into_iter()
        .map(|(node, _): (NodeId, String)| {
            let (nodes, call) = (Arc::clone(nodes), call.clone());
            async move { (node, nodes.ask(node, &call, STOP_CALL_DEADLINE).await) }
        })
        .collect();
    while let Some((node, reply)) = asked.next().await {
        {
            let mut progress = pursuit.progress.lock();
            match reply {
                Ok(OrderReply::Stop(answer)) => progress.answered(wall_now(), node, answer),
                Ok(_) => progress.failed(node, "it answered something else than a stop".to_owned()),
                Err(failure) => progress.failed(node, failure.reason),
            }
        }
        pursuit.changed.send_replace(());
    }
}

impl Pursuit {
    /// Waits until enough nodes obey, and a moment for the others; or until all have answered; or until the deadline.
    async fn enough(&self, until: Instant) {
        let mut changed = self.changed.subscribe();
        let mut until = until;
        loop {
            {
                let progress = self.progress.lock();
                let (given, missing) = (progress.receipts().len(), progress.missing());
                let all_answered = missing.iter().all(|(_, reason)| reason != StopProgress::NOT_ASKED);
                if all_answered || progress.refused().is_some() {
                    return;
                }
                if given >= progress.quorum().needed() {
                    until = until.min(Instant::now() + STOP_GRACE);
                }
            }
            if !matches!(timeout_at(until, changed.changed()).await, Ok(Ok(()))) {
                return;
            }
        }
    }

    fn report(&self) -> StopReport {
        let progress = self.progress.lock();
        let (object, kind) = progress.target();
        let (state, until) = match progress.state(wall_now()) {
            StopState::Incomplete => (StopReportState::Incomplete, None),
            StopState::Draining { until } => (StopReportState::Draining, Some(until)),
            StopState::Done { since } => (StopReportState::Done, Some(since)),
        };
        let missing = progress.missing().into_iter().map(|(node, reason)| MissingReceipt { node, reason }).collect();
        StopReport {
            stop: progress.stop().id(),
            object,
            kind,
            state,
            until,
            needed: progress.quorum().needed() as u64,
            liars: progress.quorum().liars,
            receipts: progress.receipts(),
            missing,
            logged: progress.logged_at(),
            gone: progress.all_gone(),
        }
    }
}
