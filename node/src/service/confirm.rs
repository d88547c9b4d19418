//! Confirmation: after each start and each installed snapshot the node signs nothing until f+1 others have signed its state root.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::watch;
use warifu_core::identity::NodeIdentity;
use warifu_core::registry::Registry as _;
use warifu_protocol::transport::{PeerClient, Role};
use warifu_protocol::wire::{CeremonyCall, CeremonyReply, OrderReply};
use warifu_protocol::{AuditEntry, AuditEvent, Command, Genesis, NodeId, NodeStarted, Refusal, Sha256};

use super::order::OrderService;
use super::sign::SignService;
use crate::clock;
use crate::gate::{Confirmed, Gate};
use crate::local::{AuditWrite, LocalStore, draw_boot};
use crate::replicated::Progress;
use crate::state::StateDatabase;

/// Pause between tries: peers may still be starting.
const RETRY: Duration = Duration::from_millis(200);
/// Time for one peer to sign its root.
const ROOT_DEADLINE: Duration = Duration::from_secs(2);

/// Gets this node confirmed.
pub struct ConfirmService {
    identity: NodeIdentity,
    genesis: Arc<Genesis>,
    state: StateDatabase,
    local: Arc<LocalStore>,
    gate: Arc<Gate>,
    orders: Arc<OrderService>,
    signing: Arc<SignService>,
    peers: PeerClient,
    raft: crate::replicated::NodeRaft,
}

impl ConfirmService {
    /// Puts the parts together.
    #[must_use]
    pub fn new(
        identity: NodeIdentity,
        genesis: Arc<Genesis>,
        state: StateDatabase,
        local: Arc<LocalStore>,
        gate: Arc<Gate>,
        orders: Arc<OrderService>,
        signing: Arc<SignService>,
        peers: PeerClient,
        raft: crate::replicated::NodeRaft,
    ) -> Self {
        Self { identity, genesis, state, local, gate, orders, signing, peers, raft }
    }

    /// Works until `stop` says so.
    pub async fn run(self, mut progress: watch::Receiver<Progress>, mut stop: watch::Receiver<bool>) {
        let mut snapshots = progress.borrow().snapshots;
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                done = self.confirm(&mut progress) => if !done { return },
            }
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                changed = progress.wait_for(|progress| progress.snapshots > snapshots) => match changed {
                    Ok(progress) => snapshots = progress.snapshots,
                    Err(_) => return,
                },
            }
            if let Err(error) = self.begin_again().await {
                tracing::error!(error = &error as &dyn std::error::Error, "a new confirmation cannot begin");
                return;
            }
        }
    }

    /// A snapshot came from one peer: everything learnt before it is void.
    async fn begin_again(&self) -> Result<(), crate::local::LocalStoreError> {
        let boot = draw_boot();
        self.gate.unconfirm(boot);
        self.signing.drop_nonces();
        self.local.begin_again(boot).await
    }

    /// Says whether the node was confirmed; `false` when it never will be.
    async fn confirm(&self, progress: &mut watch::Receiver<Progress>) -> bool {
        let Some(index) = self.announce().await else { return false };
        if progress.wait_for(|progress| progress.applied >= index).await.is_err() {
            return false;
        }
        loop {
            match self.gather(index).await {
                Gathered::Enough { root, by } => return self.open(index, root, by).await,
                Gathered::Diverged { with } => {
                    let text =
                        format!("the state root at {index} differs from that of {with:?}: a snapshot was forged or a store is damaged");
                    self.alarm(text).await;
                    return false;
                }
                Gathered::NotYet => tokio::time::sleep(RETRY).await,
            }
        }
    }

    /// Logs `NodeStarted` and returns its index.
    async fn announce(&self) -> Option<u64> {
        loop {
            let (audit, starts) = match self.local.checkpoint().and_then(|audit| Ok((audit, self.local.starts()?))) {
                Ok(found) => found,
                Err(error) => {
                    self.alarm(format!("the local store cannot be read: {error}")).await;
                    return None;
                }
            };
            let body = NodeStarted {
                store: self.local.meta().store,
                incarnation: self.local.incarnation(),
                boot: self.gate.boot(),
                audit_size: audit.size,
                raft_index: self.raft.status().last_log_index.unwrap_or(0),
                earlier: starts.earlier(),
            };
            match self.orders.propose(Command::NodeStarted(self.identity.sign(body))).await {
                OrderReply::Verdict(verdict) => match verdict.outcome {
                    Ok(_) => return Some(verdict.index),
                    Err(refusal) => {
                        // The answer to an earlier try may have been lost after it was applied.
                        if let Some(index) = self.started_at() {
                            return Some(index);
                        }
                        if !matches!(refusal, Refusal::NodeUnknown { .. }) {
                            self.alarm(format!("the cluster does not let this node in: {refusal}")).await;
                            return None;
                        }
                    }
                },
                OrderReply::Unknown { reason } => tracing::debug!(reason, "the start is not logged yet"),
                OrderReply::View(_) | OrderReply::Status(_) => {}
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    fn started_at(&self) -> Option<u64> {
        let record = self.state.view().ok()?.node(self.identity.node()).ok()??;
        (record.boot == self.gate.boot()).then_some(record.started_at)
    }

    async fn gather(&self, index: u64) -> Gathered {
        let Some(own) = self.state.view().ok().and_then(|view| view.root_at(index).ok().flatten()) else { return Gathered::NotYet };
        let needed = usize::from(self.genesis.body().liars) + 1;
        let boot = self.gate.boot();
        let Ok(request) = postcard::to_stdvec(&CeremonyCall::StateRoot { boot, index }) else { return Gathered::NotYet };
        let others = self.genesis.body().nodes.iter().filter(|node| node.id != self.identity.node());
        let mut answers: FuturesUnordered<_> = others
            .map(|node| {
                let request = request.clone();
                async move { (node, self.peers.call(node.id, Role::Ceremony, &request, ROOT_DEADLINE).await) }
            })
            .collect();
        let (mut same, mut other) = (Vec::new(), Vec::new());
        while let Some((node, answer)) = answers.next().await {
            let Ok(Ok(CeremonyReply::StateRoot(signed))) = answer.map(|reply| postcard::from_bytes(&reply)) else { continue };
            let valid = signed.node == node.id
                && signed.body.boot == boot
                && signed.body.index == index
                && signed.verify(self.genesis.cluster(), &node.identity).is_ok();
            if valid && signed.body.root == own {
                same.push(node.id);
            } else if valid {
                other.push(node.id);
            }
            if same.len() >= needed {
                same.sort_unstable();
                return Gathered::Enough { root: own, by: same };
            }
            // One node may lie about its root; f+1 that differ mean that this node's state is wrong.
            if other.len() >= needed {
                return Gathered::Diverged { with: other };
            }
        }
        Gathered::NotYet
    }

    async fn open(&self, index: u64, root: Sha256, by: Vec<NodeId>) -> bool {
        let boot = self.gate.boot();
        let event = AuditEvent::Confirmed { index, root, by: by.clone() };
        let recorded = match self.record(event).await {
            Ok(()) => self.local.note_confirmed().await,
            failed => failed,
        };
        if let Err(error) = recorded {
            tracing::error!(error = &error as &dyn std::error::Error, "the confirmation cannot be recorded");
            return false;
        }
        tracing::info!(index, %root, ?by, "confirmed: this node may sign");
        self.gate.confirm(boot, Confirmed { index, by })
    }

    async fn alarm(&self, text: String) {
        tracing::error!(text, "ALARM: this node stops signing");
        self.gate.raise_alarm(text.clone());
        if let Err(error) = self.record(AuditEvent::Alarm { text }).await {
            tracing::error!(error = &error as &dyn std::error::Error, "the alarm cannot be recorded");
        }
    }

    async fn record(&self, event: AuditEvent) -> Result<(), crate::local::LocalStoreError> {
        let write = AuditWrite { entry: AuditEntry::new(clock::now(), event), spend: None, otherwise: None };
        self.local.record(vec![write]).await.map(|_| ())
    }
}

enum Gathered {
    Enough { root: Sha256, by: Vec<NodeId> },
    Diverged { with: Vec<NodeId> },
    NotYet,
}
