//! Stops: obeyed at once, receipted, and brought into the log.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use warifu_core::identity::NodeIdentity;
use warifu_core::registry::{Registry as _, StopStanding, check_stop, is_stop_logged, is_stop_object_known};
use warifu_protocol::limits::HOLDS_UNKNOWN_MAX;
use warifu_protocol::wire::{StopAnswer, StopReceipts};
use warifu_protocol::{BootId, Name, NodeSigned, PeerId, Receipt, Refusal, StopCommand, StopId, StopObject, UnixMillis};

use super::order::OrderService;
use super::refusals::Refusals;
use crate::clock;
use crate::gate::Gate;
use crate::holds::Holds;
use crate::local::{HoldEnd, HoldRecord, LocalStore};
use crate::metrics::NodeMetrics;
use crate::replicated::NodeRaft;
use crate::state::StateDatabase;

/// How often holds are looked at: a fraction of what [`warifu_core::stopping`] waits.
const TICK: Duration = Duration::from_millis(250);

/// Obeys stops.
pub struct StopService {
    identity: NodeIdentity,
    state: StateDatabase,
    local: Arc<LocalStore>,
    gate: Arc<Gate>,
    holds: Arc<Holds>,
    orders: Arc<OrderService>,
    raft: NodeRaft,
    metrics: NodeMetrics,
    refusals: Arc<Refusals>,
}

impl StopService {
    /// Puts the parts together.
    #[must_use]
    pub const fn new(
        identity: NodeIdentity,
        state: StateDatabase,
        local: Arc<LocalStore>,
        gate: Arc<Gate>,
        holds: Arc<Holds>,
        orders: Arc<OrderService>,
        raft: NodeRaft,
        metrics: NodeMetrics,
        refusals: Arc<Refusals>,
    ) -> Self {
        Self { identity, state, local, gate, holds, orders, raft, metrics, refusals }
    }

    /// Obeys a stop if it is valid, durably, and says so. The same stop again gets the same receipt; the audit log says what was refused.
    pub async fn obey(self: &Arc<Self>, coordinator: Name, stop: StopCommand) -> StopAnswer {
        let command = stop.clone().into_command();
        let answer = self.answer(stop).await;
        if let StopAnswer::Refused(refusal) = &answer {
            self.refusals.command(PeerId::Coordinator(coordinator), &command, refusal).await;
        }
        answer
    }

    async fn answer(self: &Arc<Self>, stop: StopCommand) -> StopAnswer {
        let Some((object, _)) = stop.target() else { return StopAnswer::Refused(Refusal::NotStopping) };
        let boot = self.gate.boot();
        let service = Arc::clone(self);
        let asked = stop.clone();
        let judged = crate::blocking::run(move || service.judge(&asked)).await;
        let standing = match judged {
            Ok(Ok(Judged::Known(receipt))) => return StopAnswer::Obeyed(receipt),
            Ok(Ok(Judged::Standing(Ok(standing)))) => standing,
            Ok(Ok(Judged::Standing(Err(refusal)))) => return StopAnswer::Refused(refusal),
            Ok(Err(reason)) => return StopAnswer::Failed { reason },
            Err(_) => return StopAnswer::Failed { reason: "the check was cut off".to_owned() },
        };
        let (known, ended) = match standing {
            StopStanding::Hold { known } => {
                if !known && self.holds.counts().1 >= HOLDS_UNKNOWN_MAX {
                    return StopAnswer::Refused(Refusal::HoldsTooMany { limit: HOLDS_UNKNOWN_MAX as u64 });
                }
                self.holds.hold(stop.clone(), known, clock::boot_millis());
                (known, None)
            }
            StopStanding::Applied => {
                if !self.gate.is_open() {
                    // Its state may be somebody's invention.
                    return StopAnswer::Unconfirmed;
                }
                self.holds.note(object, clock::boot_millis());
                let applied = self.raft.status().applied.map_or(0, |position| position.index);
                (true, Some(HoldEnd::Logged(applied)))
            }
        };
        let held_since = clock::now();
        let receipt = self.receipt(&stop, held_since, boot);
        let record = HoldRecord { stop: stop.clone(), held_since, known, receipt, ended };
        let kept = match self.local.record_hold(record).await {
            Ok(kept) => kept,
            // The object stays held in memory: a node that cannot write gives no share anyway.
            Err(error) => return StopAnswer::Failed { reason: error.to_string() },
        };
        self.metrics.stops.with_label_values(&[if kept.receipt.is_some() { "receipt" } else { "unconfirmed" }]).inc();
        if ended.is_none() {
            // The log may have taken it between the look at the state and the hold.
            self.settle(vec![(stop.id(), stop)]).await;
        }
        kept.receipt.map_or(StopAnswer::Unconfirmed, StopAnswer::Obeyed)
    }

    /// What this node keeps of a stop.
    pub async fn receipts(self: &Arc<Self>, stop: StopId) -> Option<Box<StopReceipts>> {
        let service = Arc::clone(self);
        let look = move || {
            let record = service.local.hold(stop).ok()??;
            let gone = match record.stop.target() {
                Some((StopObject::Credential(credential), kind)) if kind.may_destroy() => service.local.gone(credential).ok().flatten(),
                Some(_) | None => None,
            };
            Some((record, gone))
        };
        let (HoldRecord { stop, receipt, ended, .. }, gone) = crate::blocking::run(look).await.ok()??;
        let (receipt, logged) = match ended {
            None => (receipt, None),
            Some(HoldEnd::Logged(index)) => (receipt, Some(index)),
            Some(HoldEnd::Refused(_) | HoldEnd::Expired) => (None, None),
        };
        Some(Box::new(StopReceipts { stop, receipt, logged, gone }))
    }

    /// Works until `stop` says so: what is held is brought into the log, whoever leads.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(TICK) => {}
            }
            let now = clock::boot_millis();
            self.holds.tidy(now);
            let open = self.holds.open();
            self.metrics.holds_open.set(i64::try_from(open.len()).unwrap_or(i64::MAX));
            if open.is_empty() {
                continue;
            }
            self.settle(open.into_iter().map(|(id, hold)| (id, hold.stop)).collect()).await;
            let mut replace_leader = false;
            for (stop, step) in self.holds.steps(now) {
                replace_leader |= step.replace_leader;
                if step.propose {
                    let orders = Arc::clone(&self.orders);
                    tokio::spawn(async move { orders.propose(stop.into_command()).await });
                }
            }
            if replace_leader {
                self.replace_leader().await;
            }
        }
    }

    fn judge(&self, stop: &StopCommand) -> Result<Judged, String> {
        let kept = self.local.hold(stop.id()).map_err(|error| error.to_string())?;
        let (given, ended) = kept.map_or((None, None), |record| (record.receipt, record.ended));
        if let (Some(receipt), None) = (&given, ended) {
            return Ok(Judged::Known(receipt.clone()));
        }
        let view = self.state.view().map_err(|error| error.to_string())?;
        let standing = check_stop(&view, clock::now(), stop).map_err(|error| error.to_string())?;
        Ok(match (given, ended, standing) {
            (Some(receipt), Some(HoldEnd::Logged(_)), Ok(StopStanding::Applied)) => Judged::Known(receipt),
            (_, _, standing) => Judged::Standing(standing),
        })
    }

    /// A receipt, if the node has been confirmed in this start all the while.
    fn receipt(&self, stop: &StopCommand, held_since: UnixMillis, boot: BootId) -> Option<NodeSigned<Receipt>> {
        let (object, kind) = stop.target()?;
        if !self.gate.is_open() || self.gate.boot() != boot {
            return None;
        }
        let store = self.local.meta().store;
        Some(self.identity.sign(Receipt { stop: stop.id(), object, kind, held_since, store, boot }))
    }

    /// Ends the holds that the state says by itself, as far as the state is confirmed.
    async fn settle(self: &Arc<Self>, stops: Vec<(StopId, StopCommand)>) {
        if !self.gate.is_open() {
            return;
        }
        let applied = self.raft.status().applied.map_or(0, |position| position.index);
        let service = Arc::clone(self);
        let found = crate::blocking::run(move || service.settled(&stops, applied)).await;
        let ended = match found {
            Ok(Ok(ended)) if !ended.is_empty() => ended,
            Ok(Ok(_)) | Err(_) => return,
            Ok(Err(reason)) => return tracing::error!(reason, "holds cannot be compared with the state"),
        };
        self.holds.end(ended.iter().map(|(stop, _)| *stop), clock::boot_millis());
        if let Err(error) = self.local.end_holds(ended, clock::now()).await {
            tracing::error!(error = &error as &dyn std::error::Error, "the end of a hold cannot be recorded");
        }
    }

    fn settled(&self, stops: &[(StopId, StopCommand)], applied: u64) -> Result<Vec<(StopId, HoldEnd)>, String> {
        let view = self.state.view().map_err(|error| error.to_string())?;
        let failed = |error: warifu_core::registry::StateStoreError| error.to_string();
        let time = view.time().map_err(failed)?;
        let mut ended = Vec::new();
        for (id, stop) in stops {
            if is_stop_logged(&view, stop).map_err(failed)? {
                ended.push((*id, HoldEnd::Logged(applied)));
                continue;
            }
            let StopCommand::Order(order) = stop else { continue };
            let known = order.body.order.stops().map(|(object, _)| is_stop_object_known(&view, object)).transpose().map_err(failed)?;
            if known == Some(false) && order.body.not_after < time {
                ended.push((*id, HoldEnd::Expired));
            }
        }
        Ok(ended)
    }

    /// Has another node elected in the place of one that does not log what is held here.
    async fn replace_leader(&self) {
        let status = self.raft.status();
        let behind = status.applied.map(|position| position.index) != status.committed.map(|position| position.index);
        let Some(leader) = status.leader else { return };
        if status.is_leader || behind {
            return;
        }
        tracing::warn!(%leader, term = status.term, "the leader has not logged a stop that this node obeys: it is to be replaced");
        self.metrics.leaders_replaced.inc();
        self.raft.replace_leader().await;
    }
}

enum Judged {
    /// Obeyed before.
    Known(NodeSigned<Receipt>),
    Standing(Result<StopStanding, Refusal>),
}
