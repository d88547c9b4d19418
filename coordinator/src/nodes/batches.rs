//! Items on their way to one node: what waits together travels together.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout_at};
use warifu_coordinator_core::{AttemptId, Commitments, MonotonicMillis, NodeNote};
use warifu_protocol::NodeId;
use warifu_protocol::limits::SIGN_BATCH_MAX;
use warifu_protocol::transport::Role;
use warifu_protocol::wire::{FreshCommitments, SignAnswer, SignCall, SignItem, SignReply};

use super::call::CallFailure;
use super::fleet::{Nodes, encode};
use crate::clock::micros_since;
use crate::limits::{BATCH_WINDOW, NODE_CALLS_MAX, SIGN_CALL_DEADLINE};

/// One item, and where its answer goes.
pub(crate) struct Queued {
    pub(crate) attempt: AttemptId,
    pub(crate) item: SignItem,
    pub(crate) answers: mpsc::Sender<Answered>,
}

/// A node's answer to one item; none if the call failed.
pub(crate) struct Answered {
    pub(crate) attempt: AttemptId,
    pub(crate) node: NodeId,
    pub(crate) answer: Option<SignAnswer>,
}

/// Takes items of one node's queue and sends them in batches, a few calls at a time.
pub(super) async fn serve(nodes: Arc<Nodes>, node: NodeId, mut queue: mpsc::Receiver<Queued>) {
    let calls = Arc::new(Semaphore::new(NODE_CALLS_MAX));
    while let Some(first) = queue.recv().await {
        let mut batch = vec![first];
        // Documents of one call become ready in one turn of the scheduler.
        tokio::task::yield_now().await;
        let is_idle = calls.available_permits() == NODE_CALLS_MAX;
        let until = Instant::now() + BATCH_WINDOW;
        while batch.len() < SIGN_BATCH_MAX {
            let next = if is_idle { queue.try_recv().ok() } else { timeout_at(until, queue.recv()).await.ok().flatten() };
            match next {
                Some(queued) => batch.push(queued),
                None => break,
            }
        }
        let permit = Arc::clone(&calls).acquire_owned().await.expect("the semaphore is never closed");
        while batch.len() < SIGN_BATCH_MAX {
            match queue.try_recv() {
                Ok(queued) => batch.push(queued),
                Err(_) => break,
            }
        }
        // What has its signature by now need not be asked for.
        let before = batch.len();
        batch.retain(|queued| !queued.answers.is_closed());
        nodes.fleet.lock().items_dropped(node, (before - batch.len()) as u64);
        if batch.is_empty() {
            continue;
        }
        let nodes = Arc::clone(&nodes);
        tokio::spawn(async move {
            send(&nodes, node, batch).await;
            drop(permit);
        });
    }
}

async fn send(nodes: &Nodes, node: NodeId, batch: Vec<Queued>) {
    let count = batch.len() as u64;
    let asked = nodes.clock.now();
    let started = Instant::now();
    let wanted = nodes.fleet.lock().commitments_wanted(node, asked);
    let mut addresses = Vec::with_capacity(batch.len());
    let mut items = Vec::with_capacity(batch.len());
    for Queued { attempt, item, answers } in batch {
        addresses.push((attempt, answers));
        items.push(item);
    }
    let call = SignCall::SignBatch { items, refill: refill(wanted) };
    let reply: Result<SignReply, CallFailure> = nodes.exchange(node, Role::Sign, encode(&call), SIGN_CALL_DEADLINE).await;
    let reply = reply.and_then(|reply| {
        let expected = addresses.len();
        let found = reply.answers.len();
        if found == expected {
            Ok(reply)
        } else {
            Err(CallFailure { reason: format!("node {node} gave {found} answers to {expected} items") })
        }
    });
    match reply {
        Ok(reply) => {
            nodes.fleet.lock().call_answered(node, count, micros_since(started));
            for ((attempt, answers), answer) in addresses.into_iter().zip(reply.answers) {
                nodes.metrics.count_answer(node, &answer);
                // Whoever has its signature is gone.
                let _ = answers.try_send(Answered { attempt, node, answer: Some(answer) });
            }
            keep_commitments(nodes, node, asked, wanted, reply.commitments).await;
        }
        Err(failure) => {
            tracing::debug!(%node, %failure, items = count, "a batch failed");
            {
                let mut fleet = nodes.fleet.lock();
                fleet.call_failed(node, count, nodes.clock.now());
                fleet.add_commitments(node, asked, wanted, Vec::new());
            }
            for (attempt, answers) in addresses {
                nodes.metrics.count_failure(node);
                let _ = answers.try_send(Answered { attempt, node, answer: None });
            }
        }
    }
}

/// Checks commitments and puts them into the pool.
pub(super) async fn keep_commitments(nodes: &Nodes, node: NodeId, asked: MonotonicMillis, wanted: usize, fresh: Vec<FreshCommitments>) {
    let parse = move || -> (Vec<Commitments>, bool) {
        let sent = fresh.len().min(wanted);
        let parsed: Vec<_> = fresh.into_iter().take(wanted).filter_map(|one| Commitments::parse(one).ok()).collect();
        let all_good = parsed.len() == sent;
        (parsed, all_good)
    };
    // Each costs curve arithmetic, which must not hold up other tasks.
    let (parsed, all_good) = tokio::task::spawn_blocking(parse).await.unwrap_or_default();
    let mut fleet = nodes.fleet.lock();
    fleet.add_commitments(node, asked, wanted, parsed);
    if !all_good {
        fleet.note(node, nodes.clock.now(), NodeNote::Culprit);
        drop(fleet);
        nodes.metrics.count_culprit(node);
        tracing::warn!(%node, "a node sent commitments that are no curve points; it is left out for a while");
    }
}

pub(super) fn refill(wanted: usize) -> u16 {
    u16::try_from(wanted).unwrap_or(u16::MAX)
}
