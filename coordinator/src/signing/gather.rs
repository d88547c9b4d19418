//! Drives one [`Signing`] to its end.

use std::sync::Arc;

use rand::rngs::OsRng;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use warifu_coordinator_core::{Effect, Job, NodeNote, SignFailure, Signed, Signing, limits::ATTEMPTS_MAX};
use warifu_protocol::NodeId;

use crate::nodes::{Answered, Nodes, Queued};

/// Every answer to one job fits, so that nothing waits for its reader.
const ANSWERS_MAX: usize = ATTEMPTS_MAX as usize * NodeId::MAX as usize;

/// Gathers one signature within the core's deadline.
pub(crate) async fn gather(nodes: &Arc<Nodes>, job: Job) -> Result<Signed, SignFailure> {
    let started = Instant::now();
    let outcome = run(nodes, job).await;
    nodes.metrics.observe_signing(outcome.as_ref(), started.elapsed().as_secs_f64());
    outcome
}

async fn run(nodes: &Arc<Nodes>, job: Job) -> Result<Signed, SignFailure> {
    let (sender, mut answers) = mpsc::channel(ANSWERS_MAX);
    let mut signing = Signing::new(job, nodes.rules(), nodes.clock.now());
    loop {
        let now = nodes.clock.now();
        if signing.wants_signers(now) {
            signing.launch(&mut nodes.fleet.lock(), now, &mut OsRng);
            nodes.pools_used.notify_waiters();
        }
        while let Some(effect) = signing.poll_effect() {
            match effect {
                Effect::Send { attempt, node, item } => {
                    if !nodes.enqueue(node, Queued { attempt, item, answers: sender.clone() }) {
                        nodes.fleet.lock().items_dropped(node, 1);
                        signing.handle_failure(attempt, node, now);
                    }
                }
                Effect::Note { node, note } => {
                    nodes.fleet.lock().note(node, now, note);
                    if note == NodeNote::Culprit {
                        nodes.metrics.count_culprit(node);
                        tracing::warn!(%node, "a node gave a false signature share; it is left out for a while");
                    }
                }
                Effect::Done(outcome) => return outcome,
            }
        }
        if signing.wants_signers(now) {
            continue;
        }
        let timeout = signing.poll_timeout().map_or_else(Instant::now, |at| nodes.clock.instant(at));
        tokio::select! {
            Some(Answered { attempt, node, answer }) = answers.recv() => match answer {
                Some(answer) => signing.handle_answer(attempt, node, answer, nodes.clock.now()),
                None => signing.handle_failure(attempt, node, nodes.clock.now()),
            },
            () = sleep_until(timeout) => signing.handle_timeout(nodes.clock.now()),
        }
    }
}
