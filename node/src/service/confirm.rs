//! Confirmation: after each start and each installed snapshot the node signs nothing until f+1 others have signed its state root.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::watch;
use warifu_core::confirmation::{RootTally, RootVerdict};
use warifu_core::identity::NodeIdentity;
use warifu_core::registry::Registry as _;
use warifu_protocol::transport::{PeerClient, Role};
use warifu_protocol::wire::{CeremonyCall, CeremonyReply, OrderReply};
use warifu_protocol::{AuditEntry, AuditEvent, BootId, Command, NodeId, NodeStarted, Sha256, log_entry_version};

use super::order::OrderService;
use super::sign::SignService;
use crate::clock;
use crate::gate::{Confirmed, Gate};
use crate::local::{AuditWrite, LocalStore, draw_boot};
use crate::replicated::{NodeState, OwnStart, Progress};
use crate::standing::Standing;
use crate::state::StateDatabase;

/// Pause between tries: peers may still be starting.
const RETRY: Duration = Duration::from_millis(200);
/// Time for an entry that was logged to be applied here, before it is proposed again.
const APPLIED_DEADLINE: Duration = Duration::from_secs(2);
/// Time for one peer to sign its root.
const ROOT_DEADLINE: Duration = Duration::from_secs(2);
/// Time for enough of them. Peers that took the state after this node's start from a snapshot have no root of it and never will: so a new start is logged,
/// whose root all come to have.
const GATHER_DEADLINE: Duration = Duration::from_secs(30);

/// Gets this node confirmed.
pub struct ConfirmService {
    identity: NodeIdentity,
    standing: Arc<Standing>,
    state: StateDatabase,
    local: Arc<LocalStore>,
    gate: Arc<Gate>,
    orders: Arc<OrderService>,
    signing: Arc<SignService>,
    peers: PeerClient,
    replicated: Arc<NodeState>,
}

impl ConfirmService {
    /// Puts the parts together.
    #[must_use]
    pub fn new(
        identity: NodeIdentity,
        standing: Arc<Standing>,
        state: StateDatabase,
        local: Arc<LocalStore>,
        gate: Arc<Gate>,
        orders: Arc<OrderService>,
        signing: Arc<SignService>,
        peers: PeerClient,
        replicated: Arc<NodeState>,
    ) -> Self {
        Self { identity, standing, state, local, gate, orders, signing, peers, replicated }
    }

    /// Works until `stop` says so.
    pub async fn run(self, progress: watch::Receiver<Progress>, mut stop: watch::Receiver<bool>) {
        let (mut installed, mut applied) = (progress.clone(), progress);
        loop {
            let snapshots = installed.borrow().snapshots;
            let work = async {
                if self.confirm(&mut applied).await {
                    // Confirmed or alarmed: only a snapshot or a restart changes that.
                    std::future::pending::<()>().await;
                }
                self.gate.unconfirm(draw_boot());
            };
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = work => {}
                changed = installed.wait_for(|progress| progress.snapshots > snapshots) => if changed.is_err() { return },
            }
            if let Err(error) = self.begin_again().await {
                tracing::error!(error = &error as &dyn std::error::Error, "a new confirmation cannot begin");
                return;
            }
        }
    }

    /// A snapshot came from one peer, and everything learnt before it is void; or others cannot say what their state was at this start. The gate was closed
    /// before, under a new boot id.
    async fn begin_again(&self) -> Result<(), crate::local::LocalStoreError> {
        self.signing.drop_nonces();
        self.local.begin_again(self.gate.boot()).await
    }

    /// Gets this start confirmed, or raises an alarm; `false` when it has to be begun again.
    async fn confirm(&self, progress: &mut watch::Receiver<Progress>) -> bool {
        let boot = self.gate.boot();
        let Some(index) = self.announce(boot, progress).await else { return true };
        let until = Instant::now() + GATHER_DEADLINE;
        while Instant::now() < until {
            match self.gather(boot, index).await {
                Gathered::Enough { root, by } => {
                    self.open(boot, index, root, by).await;
                    return true;
                }
                Gathered::Diverged { with } => {
                    let text =
                        format!("the state root at {index} differs from that of {with:?}: a snapshot was forged or a store is damaged");
                    self.alarm(text).await;
                    return true;
                }
                Gathered::NotYet => tokio::time::sleep(RETRY).await,
            }
        }
        tracing::info!(index, "too few nodes have said what their state was when this start was logged; another is logged");
        false
    }

    /// Logs `NodeStarted` and returns its index. What the leader says of it does not count: this node's own applied entry does.
    async fn announce(&self, boot: BootId, progress: &mut watch::Receiver<Progress>) -> Option<u64> {
        loop {
            let local = Arc::clone(&self.local);
            let look = crate::blocking::run(move || local.starts());
            let starts = match look.await {
                Ok(Ok(found)) => found,
                // The process ends.
                Err(_) => return None,
                Ok(Err(error)) => {
                    self.alarm(format!("the local store cannot be read: {error}")).await;
                    return None;
                }
            };
            let body = NodeStarted {
                store: self.local.meta().store,
                incarnation: self.local.incarnation(),
                boot,
                audit_size: starts.audit_size,
                raft_index: starts.raft_index,
                earlier: starts.earlier(),
                log_version: log_entry_version(),
            };
            if let OrderReply::Unknown { reason } = self.orders.propose(Command::NodeStarted(self.identity.sign(body))).await {
                tracing::debug!(reason, "the start is not logged yet");
            }
            let applied = progress.wait_for(|_| self.replicated.own_start(boot).is_some());
            // Late or not, what was applied by then decides.
            let _ = tokio::time::timeout(APPLIED_DEADLINE, applied).await;
            match self.replicated.own_start(boot) {
                Some(OwnStart { index, refusal: None, .. }) => return Some(index),
                Some(OwnStart { refusal: Some(refusal), .. }) => {
                    self.alarm(format!("the cluster does not let this node in: {refusal}")).await;
                    return None;
                }
                None => tokio::time::sleep(RETRY).await,
            }
        }
    }

    async fn gather(&self, boot: BootId, index: u64) -> Gathered {
        let state = self.state.clone();
        let own = crate::blocking::run(move || state.view().ok()?.root_at(index).ok().flatten()).await;
        let Ok(Some(own)) = own else { return Gathered::NotYet };
        let cluster = self.standing.cluster();
        let Ok(request) = postcard::to_stdvec(&CeremonyCall::StateRoot { boot, index }) else { return Gathered::NotYet };
        let others = cluster.nodes.iter().filter(|node| node.id != self.identity.node());
        let mut answers: FuturesUnordered<_> = others
            .map(|node| {
                let request = request.clone();
                async move { (node, self.peers.call(node.id, Role::Ceremony, &request, ROOT_DEADLINE).await) }
            })
            .collect();
        let mut tally = RootTally::new(&cluster, self.identity.node(), boot, index, own);
        while let Some((node, answer)) = answers.next().await {
            let Ok(Ok(CeremonyReply::StateRoot(signed))) = answer.map(|reply| postcard::from_bytes(&reply)) else { continue };
            match tally.hear(node, &signed) {
                Some(RootVerdict::Confirmed { by }) => return Gathered::Enough { root: own, by },
                Some(RootVerdict::Diverged { with }) => return Gathered::Diverged { with },
                None => {}
            }
        }
        Gathered::NotYet
    }

    async fn open(&self, boot: BootId, index: u64, root: Sha256, by: Vec<NodeId>) {
        let recorded = match self.record(AuditEvent::Confirmed { index, root, by: by.clone() }).await {
            Ok(()) => self.local.note_confirmed().await,
            failed => failed,
        };
        if let Err(error) = recorded {
            tracing::error!(error = &error as &dyn std::error::Error, "the confirmation cannot be recorded");
        } else if self.gate.confirm(boot, Confirmed { index, by: by.clone() }) {
            tracing::info!(index, %root, ?by, "confirmed: this node may sign");
        }
    }

    async fn alarm(&self, text: String) {
        tracing::error!(text, "ALARM: this node stops signing");
        self.gate.raise_alarm(text.clone());
        if let Err(error) = self.record(AuditEvent::Alarm { text }).await {
            tracing::error!(error = &error as &dyn std::error::Error, "the alarm cannot be recorded");
        }
    }

    async fn record(&self, event: AuditEvent) -> Result<(), crate::local::LocalStoreError> {
        let write = AuditWrite::plain(AuditEntry::new(clock::now(), event));
        self.local.record(vec![write]).await.map(|_| ())
    }
}

enum Gathered {
    Enough { root: Sha256, by: Vec<NodeId> },
    Diverged { with: Vec<NodeId> },
    NotYet,
}
