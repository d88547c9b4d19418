//! Whether a snapshot that another node sent may take the place of this node's state.
//!
//! Whoever claims to lead can send one, so its sender's word is worth nothing: the state that its content makes is computed beside the registry, and the
//! other nodes are asked what theirs was at that position.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use warifu_core::confirmation::{MarkTally, MarkVerdict};
use warifu_core::registry::{ClusterRecord, Registry as _};
use warifu_protocol::cluster::follow_all;
use warifu_protocol::transport::{PeerClient, Role};
use warifu_protocol::wire::{CeremonyCall, CeremonyReply};
use warifu_protocol::{AuditEntry, AuditEvent, NodeId, Sha256};

use crate::clock;
use crate::local::{AuditWrite, LocalStore};
use crate::membership::plan_members;
use crate::metrics::NodeMetrics;
use crate::raft::MembershipView;
use crate::state::{Examined, SnapshotError, StateDatabase, mark};

/// Time for one peer to sign what its state was.
const MARK_DEADLINE: Duration = Duration::from_secs(2);
/// Time for enough others to have applied the snapshot's last entry. The sender tries again after it.
const VOUCH_DEADLINE: Duration = Duration::from_secs(5);
/// Pause between rounds of questions: peers may be applying that entry now.
const RETRY: Duration = Duration::from_millis(200);
/// How long nothing is taken of a node that sent a forged snapshot, so that each costs it more than its victims. It may lead in the meantime: only those
/// that need a snapshot of it wait.
const FORGER_PAUSE: Duration = Duration::from_secs(600);

/// Why a snapshot is not installed. The state is as it was.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotRefused {
    /// Its sender sent a forged one shortly before.
    #[error("node {from} sent a forged snapshot; nothing is taken of it for ten minutes")]
    SenderPaused {
        /// Who.
        from: NodeId,
    },
    /// It cannot be read, or is of another cluster.
    #[error("the snapshot is refused")]
    Malformed(#[from] SnapshotError),
    /// The cluster in it is not the one that this node knows, changed by the orders in it alone, or its members are not planned by that cluster.
    #[error("the snapshot's cluster or members are not explained by orders: {reason}")]
    Unexplained {
        /// What does not follow.
        reason: String,
    },
    /// More nodes contradict it than may lie.
    #[error("the snapshot of {index} is forged: nodes {against:?} had another state there")]
    Forged {
        /// Its position.
        index: u64,
        /// Who says so.
        against: Vec<NodeId>,
    },
    /// Too few nodes know a state of that position, or not yet.
    #[error("the snapshot of {index} is vouched for by {vouching} other nodes, and needs {needed}")]
    NotVouchedFor {
        /// Its position.
        index: u64,
        /// How many said that they had that state.
        vouching: usize,
        /// How many must: one more than may lie.
        needed: usize,
    },
    /// This node could not find out.
    #[error("the snapshot cannot be judged: {reason}")]
    Unable {
        /// Why.
        reason: String,
    },
}

impl SnapshotRefused {
    /// For metrics.
    const fn reason(&self) -> &'static str {
        match self {
            Self::SenderPaused { .. } => "sender-paused",
            Self::Malformed(_) => "malformed",
            Self::Unexplained { .. } => "unexplained",
            Self::Forged { .. } => "forged",
            Self::NotVouchedFor { .. } => "not-vouched-for",
            Self::Unable { .. } => "unable",
        }
    }
}

/// What the sender of a snapshot says of it.
#[derive(Debug)]
pub struct Announced {
    /// Index of its last entry.
    pub index: u64,
    /// Where consensus stands after it.
    pub position: Vec<u8>,
    /// The members by then.
    pub members: MembershipView,
}

/// Judges snapshots, one at a time.
pub struct SnapshotJudge {
    node: NodeId,
    state: StateDatabase,
    local: Arc<LocalStore>,
    metrics: NodeMetrics,
    peers: PeerClient,
    scratch: PathBuf,
    turn: Semaphore,
    forgers: Mutex<BTreeMap<NodeId, Instant>>,
}

impl SnapshotJudge {
    /// Puts the parts together. `directory` takes the state that is computed, as long as that takes.
    #[must_use]
    pub fn new(
        node: NodeId,
        state: StateDatabase,
        local: Arc<LocalStore>,
        metrics: NodeMetrics,
        peers: PeerClient,
        directory: PathBuf,
    ) -> Self {
        let scratch = directory.join("snapshot-examined.redb");
        // What a crash left. If it cannot be removed now, the next examination says so.
        let _ = std::fs::remove_file(&scratch);
        Self { node, state, local, metrics, peers, scratch, turn: Semaphore::new(1), forgers: Mutex::default() }
    }

    /// Judges the content of a snapshot.
    ///
    /// This node may have been away while the cluster was changed. The orders that changed it are in the snapshot: they are followed from the
    /// cluster that this node has applied, each under the officers and sites before it, and must lead to the cluster and the members that the
    /// snapshot names. Those of that cluster are asked.
    ///
    /// It may be installed when more other nodes than may lie sign that their state was this one at that position, and no more than may lie sign that it was
    /// another one.
    ///
    /// # Errors
    /// [`SnapshotRefused`]; a forged one is written to the audit log with the name of its sender.
    pub async fn judge(&self, from: NodeId, announced: Announced, content: Box<dyn Read + Send>) -> Result<(), SnapshotRefused> {
        let judged = self.try_judge(from, announced, content).await;
        if let Err(refused) = &judged {
            self.metrics.snapshots_refused.with_label_values(&[refused.reason()]).inc();
            tracing::warn!(%from, error = refused as &dyn std::error::Error, "a snapshot is not installed");
        }
        judged
    }

    async fn try_judge(&self, from: NodeId, announced: Announced, content: Box<dyn Read + Send>) -> Result<(), SnapshotRefused> {
        let Announced { index, position, members } = announced;
        let unable = |error: &dyn std::fmt::Display| SnapshotRefused::Unable { reason: error.to_string() };
        if self.forgers.lock().get(&from).is_some_and(|since| since.elapsed() < FORGER_PAUSE) {
            return Err(SnapshotRefused::SenderPaused { from });
        }
        let _turn = self.turn.acquire().await.map_err(|error| unable(&error))?;
        let (state, scratch) = (self.state.clone(), self.scratch.clone());
        let examined = crate::blocking::run(move || {
            let known = state
                .view()
                .map_err(SnapshotError::from)?
                .cluster()
                .map_err(|error| SnapshotRefused::Unable { reason: error.to_string() })?;
            let examined = state.examine_snapshot(content, &scratch, known.revision())?;
            Ok::<_, SnapshotRefused>((known, examined))
        });
        let (known, examined) = examined.await.map_err(|error| unable(&error))??;
        let cluster = explain(known, &examined, &members)?;
        let found = mark(&position, examined.root);
        let against = match self.ask(&cluster, index, found).await {
            Asked::Vouched => return Ok(()),
            Asked::NotYet { vouching, needed } => return Err(SnapshotRefused::NotVouchedFor { index, vouching, needed }),
            Asked::Contradicted { by } => by,
        };
        tracing::error!(%from, index, ?against, "ALARM: a forged snapshot was sent to this node; its state stays as it is");
        self.forgers.lock().insert(from, Instant::now());
        let event = AuditEvent::SnapshotForged { from, index, mark: found, against: against.clone() };
        if let Err(error) = self.local.record(vec![AuditWrite::plain(AuditEntry::new(clock::now(), event))]).await {
            tracing::error!(error = &error as &dyn std::error::Error, "a forged snapshot cannot be recorded");
        }
        Err(SnapshotRefused::Forged { index, against })
    }

    /// Asks until enough have answered or the deadline has passed.
    async fn ask(&self, cluster: &ClusterRecord, index: u64, found: Sha256) -> Asked {
        let end = Instant::now() + VOUCH_DEADLINE;
        let mut tally = MarkTally::new(cluster.clone(), self.node, index, found);
        let request = postcard::to_stdvec(&CeremonyCall::StateMark { index }).unwrap_or_default();
        loop {
            let mut answers: FuturesUnordered<_> = tally
                .silent()
                .into_iter()
                .map(|node| {
                    let request = request.clone();
                    async move { (node.id, self.peers.call(node.id, Role::Ceremony, &request, MARK_DEADLINE).await) }
                })
                .collect();
            loop {
                // Those that are still to answer may not be able to change it.
                match tally.verdict(answers.len()) {
                    Some(MarkVerdict::Vouched) => return Asked::Vouched,
                    Some(MarkVerdict::Contradicted { by }) => return Asked::Contradicted { by },
                    None => {}
                }
                let Some((node, answer)) = answers.next().await else { break };
                if let Ok(Ok(CeremonyReply::StateMark(signed))) = answer.map(|reply| postcard::from_bytes(&reply)) {
                    tally.hear(node, &signed);
                }
            }
            if Instant::now() >= end {
                let (vouching, needed) = tally.vouching();
                return Asked::NotYet { vouching, needed };
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// The cluster of a snapshot, if the orders in it lead there from the known one and its members are planned in it.
///
/// # Errors
/// [`SnapshotRefused::Unexplained`].
pub fn explain(known: ClusterRecord, examined: &Examined, members: &MembershipView) -> Result<ClusterRecord, SnapshotRefused> {
    let unexplained = |reason: String| SnapshotRefused::Unexplained { reason };
    let followed = follow_all(known, &examined.orders).map_err(|error| unexplained(error.to_string()))?;
    if followed != examined.cluster {
        return Err(unexplained("the orders lead to another cluster than the one in it".to_owned()));
    }
    if !examined.plans.allow(&members.voters, &plan_members(&members.nodes)) {
        return Err(unexplained("its members are not those of the plan in it".to_owned()));
    }
    Ok(followed)
}

enum Asked {
    Vouched,
    Contradicted { by: Vec<NodeId> },
    NotYet { vouching: usize, needed: usize },
}
