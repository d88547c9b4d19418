//! What all calls share: the fleet, the clock, the queues.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use warifu_coordinator_core::{Fleet, Rules, StopRules};
use warifu_protocol::mutants::{Mutant, is_on};
use warifu_protocol::transport::Role;
use warifu_protocol::wire::{NodeStatus, OrderCall, OrderReply};
use warifu_protocol::{ClusterId, ClusterRecord, Name, NodeId, ReceiptQuorum, Threshold};

use super::batches::{self, Queued};
use super::call::{CallFailure, CallNode};
use super::roster::keep_roster;
use super::upkeep;
use crate::clock::Clock;
use crate::limits::NODE_QUEUE_MAX;
use crate::metrics::Metrics;

/// What of the genesis never changes.
#[derive(Clone, Debug)]
pub(crate) struct ClusterFacts {
    pub(crate) cluster: ClusterId,
    pub(crate) coordinator: Name,
    pub(crate) threshold: Threshold,
    pub(crate) liars: u8,
}

impl ClusterFacts {
    pub(crate) const fn new(cluster: &ClusterRecord, coordinator: Name) -> Self {
        Self { cluster: cluster.cluster, coordinator, threshold: cluster.threshold, liars: cluster.liars }
    }

    /// f+1: so many nodes include one that does not lie.
    pub(crate) fn honest_quorum(&self) -> usize {
        if is_on(Mutant::BelieveOneNode) { 1 } else { usize::from(self.liars) + 1 }
    }
}

/// What a node said of itself when it was last asked, or why it did not.
#[derive(Clone, Debug)]
pub(crate) enum Probe {
    Answered(Box<NodeStatus>),
    Failed(String),
}

pub(crate) struct Nodes {
    pub(crate) facts: ClusterFacts,
    pub(crate) clock: Clock,
    pub(crate) fleet: Mutex<Fleet>,
    pub(crate) probes: Mutex<BTreeMap<NodeId, Probe>>,
    pub(crate) metrics: Arc<Metrics>,
    /// Tells upkeep that pools may have become short.
    pub(crate) pools_used: Notify,
    calls: Arc<dyn CallNode>,
    cluster: RwLock<Arc<ClusterRecord>>,
    queues: Mutex<BTreeMap<NodeId, Worked>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// A node that is worked for: its queue, and what ends its tasks.
struct Worked {
    queue: mpsc::Sender<Queued>,
    stop: CancellationToken,
}

impl Nodes {
    /// Starts the tasks that keep pools filled, batches going and the roster followed; they end when `stop` is cancelled.
    pub(crate) fn start(
        cluster: ClusterRecord,
        coordinator: Name,
        calls: Arc<dyn CallNode>,
        metrics: Arc<Metrics>,
        stop: &CancellationToken,
        tasks: &TaskTracker,
    ) -> Arc<Self> {
        let nodes = Arc::new(Self {
            facts: ClusterFacts::new(&cluster, coordinator),
            clock: Clock::start(),
            fleet: Mutex::new(Fleet::new(cluster.node_ids())),
            probes: Mutex::default(),
            metrics,
            pools_used: Notify::new(),
            calls,
            cluster: RwLock::new(Arc::new(cluster)),
            queues: Mutex::default(),
            stop: stop.clone(),
            tasks: tasks.clone(),
        });
        nodes.work_for_members();
        tasks.spawn(stop.clone().run_until_cancelled_owned(keep_roster(Arc::clone(&nodes))));
        nodes
    }

    /// The newest cluster that is known.
    pub(crate) fn cluster(&self) -> Arc<ClusterRecord> {
        Arc::clone(&self.cluster.read())
    }

    /// What signing must know of the cluster.
    pub(crate) fn rules(&self) -> Rules {
        let cluster = self.cluster();
        Rules { nodes: cluster.nodes.len(), threshold: cluster.threshold, liars: cluster.liars }
    }

    /// Whose receipts for a stop count, and how many it takes.
    pub(crate) fn stop_rules(&self) -> StopRules {
        let cluster = self.cluster();
        StopRules {
            cluster: cluster.cluster,
            nodes: cluster.nodes.clone(),
            quorum: ReceiptQuorum { nodes: cluster.nodes.len(), threshold: cluster.threshold, liars: cluster.liars },
            clock_skew_millis_max: cluster.policy.clock_skew_millis_max,
        }
    }

    /// Takes over a changed cluster: new nodes are worked for, those that left are not called again.
    pub(super) fn follow(self: &Arc<Self>, cluster: ClusterRecord) {
        self.calls.follow(&cluster);
        let ids = cluster.node_ids();
        *self.cluster.write() = Arc::new(cluster);
        self.fleet.lock().set_nodes(ids.iter().copied());
        self.probes.lock().retain(|node, _| ids.contains(node));
        self.work_for_members();
    }

    fn work_for_members(self: &Arc<Self>) {
        let ids = self.cluster().node_ids();
        let mut queues = self.queues.lock();
        queues.retain(|node, worked| {
            let stays = ids.contains(node);
            if !stays {
                worked.stop.cancel();
            }
            stays
        });
        for node in ids {
            if queues.contains_key(&node) {
                continue;
            }
            let (queue, receiver) = mpsc::channel(NODE_QUEUE_MAX);
            let stop = self.stop.child_token();
            self.tasks.spawn(stop.clone().run_until_cancelled_owned(batches::serve(Arc::clone(self), node, receiver)));
            self.tasks.spawn(stop.clone().run_until_cancelled_owned(upkeep::keep_pool(Arc::clone(self), node)));
            self.tasks.spawn(stop.clone().run_until_cancelled_owned(upkeep::keep_status(Arc::clone(self), node)));
            queues.insert(node, Worked { queue, stop });
        }
    }

    /// Puts an item into a node's queue; false if it is full or the node has left, which counts as a failure of the node.
    pub(crate) fn enqueue(&self, node: NodeId, queued: Queued) -> bool {
        self.queues.lock().get(&node).is_some_and(|worked| worked.queue.try_send(queued).is_ok())
    }

    /// Asks on `warifu-order/1`.
    pub(crate) async fn ask(&self, node: NodeId, call: &OrderCall, deadline: Duration) -> Result<OrderReply, CallFailure> {
        self.exchange(node, Role::Order, encode(call), deadline).await
    }

    pub(super) async fn exchange<R: DeserializeOwned>(
        &self,
        node: NodeId,
        role: Role,
        request: Vec<u8>,
        deadline: Duration,
    ) -> Result<R, CallFailure> {
        let reply = self.calls.call_node(node, role, request, deadline).await?;
        match postcard::take_from_bytes(&reply) {
            Ok((reply, [])) => Ok(reply),
            Ok(_) | Err(_) => Err(CallFailure { reason: format!("node {node} answered nonsense") }),
        }
    }
}

pub(super) fn encode<T: serde::Serialize>(call: &T) -> Vec<u8> {
    postcard::to_stdvec(call).expect("calls have no map and no unsized sequence")
}
