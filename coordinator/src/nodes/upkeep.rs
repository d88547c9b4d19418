//! What goes on without any request: pools are kept filled, nodes are asked how they are.

use std::sync::Arc;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use warifu_coordinator_core::NodeNote;
use warifu_protocol::NodeId;
use warifu_protocol::transport::Role;
use warifu_protocol::wire::{OrderCall, OrderReply, SignCall, SignReply};

use super::batches::{keep_commitments, refill};
use super::call::CallFailure;
use super::fleet::{Nodes, Probe, encode};
use crate::clock::micros_since;
use crate::limits::{STATUS_EVERY, UPKEEP_CALL_DEADLINE, UPKEEP_EVERY, UPKEEP_EVERY_SILENT};

/// What asking for one commitment costs a node in parts of what a signature share costs it.
const COMMITMENTS_PER_ITEM: usize = 8;

pub(super) async fn keep_pool(nodes: Arc<Nodes>, node: NodeId) {
    loop {
        let asked = nodes.clock.now();
        let started = Instant::now();
        let wanted = nodes.fleet.lock().commitments_wanted(node, asked);
        let mut pause = UPKEEP_EVERY;
        if wanted > 0 {
            let items = (wanted / COMMITMENTS_PER_ITEM + 1) as u64;
            nodes.fleet.lock().call_started(node, items);
            let call = encode(&SignCall::Commitments { count: refill(wanted) });
            let reply: Result<SignReply, CallFailure> = nodes.exchange(node, Role::Sign, call, UPKEEP_CALL_DEADLINE).await;
            match reply {
                Ok(reply) => {
                    nodes.fleet.lock().call_answered(node, items, micros_since(started));
                    if reply.commitments.is_empty() {
                        pause = UPKEEP_EVERY_SILENT;
                    }
                    keep_commitments(&nodes, node, asked, wanted, reply.commitments).await;
                }
                Err(failure) => {
                    tracing::debug!(%node, %failure, "no commitments");
                    let mut fleet = nodes.fleet.lock();
                    fleet.call_failed(node, items, nodes.clock.now());
                    fleet.add_commitments(node, asked, wanted, Vec::new());
                    pause = UPKEEP_EVERY_SILENT;
                }
            }
        }
        if pause == UPKEEP_EVERY {
            // Woken early when pools are drawn from.
            let _ = timeout(pause, nodes.pools_used.notified()).await;
        } else {
            tokio::time::sleep(pause).await;
        }
    }
}

pub(super) async fn keep_status(nodes: Arc<Nodes>, node: NodeId) {
    let mut every = interval(STATUS_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let started = Instant::now();
        let probe = match nodes.ask(node, &OrderCall::Status, UPKEEP_CALL_DEADLINE).await {
            Ok(OrderReply::Status(status)) if status.node == node && status.cluster == nodes.facts.cluster => Probe::Answered(status),
            Ok(OrderReply::Status(_)) => Probe::Failed("it says that it is another node, or of another cluster".to_owned()),
            Ok(_) => Probe::Failed("it answered something else than its status".to_owned()),
            Err(failure) => Probe::Failed(failure.reason),
        };
        {
            let mut fleet = nodes.fleet.lock();
            if matches!(probe, Probe::Answered(_)) {
                fleet.status_answered(node, micros_since(started));
            }
            match &probe {
                Probe::Answered(status) if status.confirmed => fleet.ready(node),
                Probe::Answered(_) => {
                    let millis = 2 * u64::try_from(STATUS_EVERY.as_millis()).unwrap_or(u64::MAX);
                    fleet.note(node, nodes.clock.now(), NodeNote::Unready { millis });
                }
                Probe::Failed(_) => {}
            }
            if let Some(view) = fleet.view(node, nodes.clock.now()) {
                nodes.metrics.observe_node(node, &view, matches!(&probe, Probe::Answered(status) if status.confirmed));
            }
        }
        log_change(node, nodes.probes.lock().insert(node, probe.clone()), &probe);
    }
}

fn log_change(node: NodeId, before: Option<Probe>, now: &Probe) {
    match (before, now) {
        (Some(Probe::Answered(_)), Probe::Failed(reason)) => tracing::warn!(%node, reason, "a node stopped answering"),
        (None | Some(Probe::Failed(_)), Probe::Answered(status)) => {
            tracing::info!(%node, confirmed = status.confirmed, boot = %status.boot, "a node answers");
        }
        (Some(Probe::Answered(before)), Probe::Answered(status)) if before.confirmed != status.confirmed => {
            tracing::info!(%node, confirmed = status.confirmed, reasons = ?status.reasons, "a node changed");
        }
        (None | Some(Probe::Failed(_)), Probe::Failed(_)) | (Some(Probe::Answered(_)), Probe::Answered(_)) => {}
    }
}
