//! `warifu-order/1`: commands on their way into the log, reads of applied state, and status.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinError;
use warifu_core::registry::{self, Overlay, Registry as _, StateStoreError};
use warifu_protocol::limits::ROSTER_ORDERS_PER_REPLY_MAX;
use warifu_protocol::transport::RpcRefusal;
use warifu_protocol::wire::{CeremonyView, CrlView, NodeStatus, ObjectRef, OrderReply, Read, Verdict, View};
use warifu_protocol::{CeremonyId, Command, LogEntry, Name, NodeId, PeerId, Refusal, Sha256};

use super::refusals::Refusals;
use crate::budget::Budgets;
use crate::bulk::BulkThread;
use crate::clock;
use crate::gate::Gate;
use crate::local::LocalStore;
use crate::metrics::NodeMetrics;
use crate::raft::Proposed;
use crate::replicated::NodeRaft;
use crate::standing::Standing;
use crate::state::{StateDatabase, StateView};
use crate::work::Work;

/// How long a command may wait for a leader and its commit: several elections.
pub(super) const PROPOSE_DEADLINE: Duration = Duration::from_secs(8);
/// Credentials in one page of a listing.
const PAGE_MAX: u16 = 1000;

/// Takes commands and answers questions.
pub struct OrderService {
    node: NodeId,
    standing: Arc<Standing>,
    state: StateDatabase,
    local: Arc<LocalStore>,
    gate: Arc<Gate>,
    metrics: NodeMetrics,
    raft: NodeRaft,
    refusals: Arc<Refusals>,
    /// What each coordinator may bring into the log by this node.
    budgets: Budgets<Name>,
}

impl OrderService {
    /// Puts the parts together.
    #[must_use]
    pub fn new(
        node: NodeId,
        standing: Arc<Standing>,
        state: StateDatabase,
        local: Arc<LocalStore>,
        gate: Arc<Gate>,
        metrics: NodeMetrics,
        raft: NodeRaft,
        refusals: Arc<Refusals>,
    ) -> Self {
        Self { node, standing, state, local, gate, metrics, raft, refusals, budgets: Budgets::default() }
    }

    /// Reads applied state.
    pub async fn read(self: &Arc<Self>, read: Read) -> OrderReply {
        let service = Arc::clone(self);
        match crate::blocking::run(move || service.look_up(&read)).await {
            Ok(Ok(view)) => OrderReply::View(view),
            Ok(Err(error)) => OrderReply::Unknown { reason: error },
            Err(_) => OrderReply::Unknown { reason: "the read was cut off".to_owned() },
        }
    }

    /// Brings a coordinator's command into the log, within what one may bring.
    ///
    /// # Errors
    /// [`RpcRefusal::Busy`] when the coordinator has brought too much, or too much that was refused.
    pub async fn propose_for(self: &Arc<Self>, coordinator: &Name, command: Command) -> Result<OrderReply, RpcRefusal> {
        let Ok(encoded) = postcard::to_stdvec(&command) else { return Err(RpcRefusal::malformed("the command cannot be encoded")) };
        self.budgets.weigh(coordinator, Some(&self.state), &encoded).await.map_err(RpcRefusal::busy)?;
        let reply = self.propose_tried(PeerId::Coordinator(coordinator.clone()), command, run_blocking).await;
        if matches!(&reply, OrderReply::Verdict(verdict) if verdict.index > 0 && verdict.outcome.is_err()) {
            self.budgets.refused(Instant::now(), coordinator);
        }
        Ok(reply)
    }

    /// Brings a command of this node into the log and waits until it is applied. A command that this node, up to date with its log, would refuse is
    /// refused without filling the log, and the audit log says so; the closing of a session that is closed is answered from the state.
    pub async fn propose(self: &Arc<Self>, command: Command) -> OrderReply {
        self.propose_tried(PeerId::Node(self.node), command, run_blocking).await
    }

    /// As [`Self::propose`], for commands of ceremonies: whether they would be refused is found out at the priority of bulk work.
    pub async fn propose_bulk(self: &Arc<Self>, command: Command, bulk: &BulkThread) -> OrderReply {
        self.propose_tried(PeerId::Node(self.node), command, |trial| bulk.run(trial)).await
    }

    async fn propose_tried<F: Future<Output = Option<Option<Trial>>>>(
        self: &Arc<Self>,
        peer: PeerId,
        command: Command,
        run: impl FnOnce(BoxedTrial) -> F,
    ) -> OrderReply {
        let entry = LogEntry::new(clock::now(), command.clone()).in_version(self.standing.log_version());
        let bytes = match entry.encode() {
            Ok(bytes) => bytes,
            Err(error) => {
                let refusal = Refusal::Malformed { what: "the command".to_owned(), reason: error.to_string() };
                self.record_refusal(peer, &command, &refusal).await;
                return refused(refusal);
            }
        };
        let service = Arc::clone(self);
        let tried = command.clone();
        match run(Box::new(move || service.try_out(&tried, &bytes))).await.flatten() {
            Some(Trial::Refused(refusal)) => {
                self.record_refusal(peer, &command, &refusal).await;
                return refused(refusal);
            }
            Some(Trial::Done(verdict)) => return OrderReply::Verdict(verdict),
            None => {}
        }
        let encoded = match postcard::to_stdvec(&command) {
            Ok(encoded) => encoded,
            Err(error) => return OrderReply::Unknown { reason: error.to_string() },
        };
        match self.raft.propose(encoded, PROPOSE_DEADLINE).await {
            Ok(done) => said(&done),
            Err(error) => OrderReply::Unknown { reason: error.to_string() },
        }
    }

    /// Whether this node leads.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.raft.status().is_leader
    }

    /// What is under way in the background, as this node sees it.
    #[must_use]
    pub fn work(&self) -> Work {
        let (plans, members) = (self.standing.plans(), self.raft.status().members);
        let (voters, nodes) = members.map_or_else(Default::default, |members| (members.voters, members.nodes.into_keys().collect()));
        let count = |gauge: &prometheus::IntGauge| u64::try_from(gauge.get()).unwrap_or(0);
        Work {
            shares_missing: count(&self.metrics.shares_missing),
            refreshes_due: count(&self.metrics.refreshes_due),
            plan: plans.current.number,
            plan_reached: plans.reached,
            planned_voters: plans.current.voters.iter().copied().collect(),
            voters: voters.into_iter().map(|set| set.into_iter().collect()).collect(),
            members: nodes,
        }
    }

    /// How this node is, for callers that run async code.
    ///
    /// # Errors
    /// When the look is cut off, as the process ends.
    pub async fn ask_status(self: &Arc<Self>) -> Result<NodeStatus, JoinError> {
        let service = Arc::clone(self);
        crate::blocking::run(move || service.status()).await
    }

    /// Why this node is not ready, for callers that run async code.
    pub async fn ask_reasons(self: &Arc<Self>) -> Vec<String> {
        let service = Arc::clone(self);
        crate::blocking::run(move || service.reasons()).await.unwrap_or_else(|_| vec!["shutting down".to_owned()])
    }

    /// How this node is. Reads the stores.
    #[must_use]
    pub fn status(&self) -> NodeStatus {
        let raft = self.raft.status();
        NodeStatus {
            node: self.node,
            cluster: self.standing.cluster().cluster,
            boot: self.gate.boot(),
            confirmed: self.gate.is_open(),
            reasons: self.reasons(),
            leader: raft.leader,
            term: raft.term,
            applied: raft.applied.map_or(0, |position| position.index),
            last_log: raft.last_log_index.unwrap_or(0),
            now: clock::now(),
            audit: self.local.checkpoint().unwrap_or(warifu_protocol::Checkpoint { size: 0, root: Sha256::new([0; 32]) }),
            shares_given: self.metrics.shares_given.get(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Why this node is not ready; empty when it is. Reads the stores.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let mut reasons = self.gate.reasons();
        if self.raft.status().leader.is_none() {
            reasons.push("no leader is known: nothing can be ordered; signing is not affected".to_owned());
        }
        if let crate::store::StoreHealth::Failed { reason } = self.local.health() {
            reasons.push(format!("the local store has failed ({reason}); free or replace the disk and restart"));
        }
        if let crate::store::StoreHealth::Failed { reason } = self.state.health() {
            reasons.push(format!("the state store has failed ({reason}); free or replace the disk and restart"));
        }
        let raft = self.raft.status();
        if let Some(reason) = raft.failed {
            reasons.push(format!("consensus has stopped ({reason}); restart the node"));
        }
        if let crate::store::StoreHealth::Failed { reason } = raft.store {
            reasons.push(format!("the raft log has failed ({reason}); free or replace the disk and restart"));
        }
        if let Ok(view) = self.state.view() {
            let now = clock::now();
            if view.time().is_ok_and(|time| now < time) {
                reasons.push("this machine's clock is behind the log".to_owned());
            }
            let policy = &self.standing.cluster().policy;
            for crl in view.crls().unwrap_or_default().iter().filter(|crl| crl.fresh_until(policy) < now) {
                reasons.push(format!("the CRL of {} is stale; sessions with its certificates are refused", crl.issuer));
            }
            for issuer in registry::crls_missing(&view).unwrap_or_default() {
                reasons.push(format!("there is no CRL of {issuer}; sessions with its certificates are refused until one is brought in"));
            }
        }
        reasons
    }

    /// What need not be logged: a refusal that holds now, if this node has applied all of its log, and a closing that changes nothing.
    fn try_out(&self, command: &Command, bytes: &[u8]) -> Option<Trial> {
        if !self.gate.is_open() {
            return None;
        }
        let raft = self.raft.status();
        let applied = raft.applied.map(|position| position.index);
        let view = self.state.view().ok()?;
        let is_closed = match command {
            Command::SessionClosed(closing) => view.session(closing.session).ok()?.is_some_and(|session| session.closed),
            _ => false,
        };
        let up_to_date = raft.leader.is_some() && applied == raft.last_log_index;
        if !up_to_date && !is_closed {
            return None;
        }
        let outcome = registry::apply(&mut Overlay::new(&view), u64::MAX, bytes).ok()?;
        match outcome.verdict.outcome {
            Err(refusal) => up_to_date.then_some(Trial::Refused(refusal)),
            done @ Ok(_) => is_closed.then_some(Trial::Done(Verdict { index: applied?, outcome: done })),
        }
    }

    async fn record_refusal(&self, peer: PeerId, command: &Command, refusal: &Refusal) {
        self.metrics.entries_applied.with_label_values(&[command.kind(), "not-logged"]).inc();
        self.refusals.command(peer, command, refusal).await;
    }

    fn look_up(&self, read: &Read) -> Result<Option<View>, String> {
        let view = self.state.view().map_err(|error| error.to_string())?;
        answer(&view, read).map_err(|error| error.to_string())
    }
}

/// Finds out what a command would come to.
type BoxedTrial = Box<dyn FnOnce() -> Option<Trial> + Send>;

async fn run_blocking(trial: BoxedTrial) -> Option<Option<Trial>> {
    crate::blocking::run(trial).await.ok()
}

/// What a command comes to that is not logged.
enum Trial {
    Refused(Refusal),
    Done(Verdict),
}

/// What whoever asked is told of a command that was applied.
fn said(done: &Proposed) -> OrderReply {
    match postcard::from_bytes::<Verdict>(&done.response) {
        Ok(Verdict { outcome: Err(refusal), .. }) if done.after_unknown => {
            OrderReply::Unknown { reason: format!("an earlier try may have been applied, and another is refused: {refusal}") }
        }
        Ok(verdict) => OrderReply::Verdict(verdict),
        Err(error) => OrderReply::Unknown { reason: format!("the verdict cannot be decoded: {error}") },
    }
}

fn answer(state: &StateView, read: &Read) -> Result<Option<View>, StateStoreError> {
    Ok(match read {
        Read::Credential(id) => {
            let stores = state.store_numbers()?;
            state.credential(*id)?.map(|record| View::Credential(Box::new(record.view(*id, &stores))))
        }
        Read::Session(id) => state.session(*id)?.map(|record| View::Session(Box::new(record.view()))),
        Read::Ceremony(id) => ceremony(state, *id)?.map(View::Ceremony),
        Read::ObjectVersion(object) => Some(View::ObjectVersion(match object {
            ObjectRef::Credential(id) => state.credential(*id)?.map(|record| record.version).unwrap_or_default(),
            ObjectRef::Facility(id) => state.facility(id)?.map(|record| record.version).unwrap_or_default(),
            ObjectRef::Terminal(id) => state.terminal(*id)?.map(|record| record.version).unwrap_or_default(),
            ObjectRef::Roster => state.cluster()?.roster_version,
            ObjectRef::Policy => state.cluster()?.policy_version,
            ObjectRef::Anchors => state.cluster()?.anchors_version,
        })),
        Read::Credentials { after, limit } => {
            let found = state.credentials(*after, usize::from((*limit).clamp(1, PAGE_MAX)))?;
            let stores = state.store_numbers()?;
            Some(View::Credentials(found.iter().map(|(id, record)| record.view(*id, &stores)).collect()))
        }
        Read::OrderApplied(id) => state.order_applied(*id)?.then_some(View::OrderApplied(*id)),
        Read::History(id) => Some(View::History(state.history(*id)?)),
        Read::RosterOrders { after } => Some(View::RosterOrders(state.roster_orders(*after, ROSTER_ORDERS_PER_REPLY_MAX)?)),
        Read::Crls => Some(View::Crls(
            state
                .crls()?
                .into_iter()
                .map(|crl| CrlView {
                    issuer: crl.issuer,
                    number: crl.number.to_string(),
                    this_update: crl.this_update,
                    next_update: crl.next_update,
                    revoked: crl.revoked,
                })
                .collect(),
        )),
    })
}

fn ceremony(state: &StateView, id: CeremonyId) -> Result<Option<CeremonyView>, StateStoreError> {
    if let Some(record) = state.ceremony(id)? {
        return Ok(Some(CeremonyView {
            ceremony: id,
            attempt: record.attempt,
            participants: record.participants,
            round1: record.round1,
            confirmed: record.confirmed,
            done: record.step == registry::CeremonyStep::Done,
            failed: record.step == registry::CeremonyStep::Failed,
        }));
    }
    Ok(state.import(id)?.map(|record| CeremonyView {
        ceremony: id,
        attempt: 1,
        participants: record.nodes(),
        round1: Vec::new(),
        done: record.step == registry::ImportStep::Done,
        failed: record.step == registry::ImportStep::Failed,
        confirmed: record.confirmed,
    }))
}

const fn refused(refusal: Refusal) -> OrderReply {
    OrderReply::Verdict(Verdict { index: 0, outcome: Err(refusal) })
}

#[cfg(test)]
mod tests {
    use warifu_protocol::wire::Applied;

    use super::*;
    use crate::raft::LogPosition;

    #[test]
    fn what_a_second_try_is_refused_for_is_no_verdict_on_the_first() {
        let done = |outcome: Result<Applied, Refusal>, after_unknown| {
            let response = postcard::to_stdvec(&Verdict { index: 7, outcome }).expect("verdicts can be encoded");
            said(&Proposed { position: LogPosition { term: 1, leader: 1, index: 7 }, response, after_unknown })
        };
        let is_verdict = |reply: &OrderReply| matches!(reply, OrderReply::Verdict(_));
        assert!(is_verdict(&done(Ok(Applied::Done), false)) && is_verdict(&done(Ok(Applied::Done), true)));
        assert!(is_verdict(&done(Err(Refusal::OrderReplayed), false)));
        assert!(matches!(done(Err(Refusal::OrderReplayed), true), OrderReply::Unknown { reason } if reason.contains("refused")));
    }
}
