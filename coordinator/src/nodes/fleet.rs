//! What all calls share: the fleet, the clock, the queues.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use warifu_coordinator_core::{Fleet, Rules, StopRules};
use warifu_protocol::transport::Role;
use warifu_protocol::wire::{NodeStatus, OrderCall, OrderReply};
use warifu_protocol::{ClusterId, Genesis, Name, NodeEntry, NodeId, ReceiptQuorum};

use super::batches::{self, Queued};
use super::call::{CallFailure, CallNode};
use super::upkeep;
use crate::clock::Clock;
use crate::limits::NODE_QUEUE_MAX;
use crate::metrics::Metrics;

/// What of the genesis matters here.
#[derive(Clone, Debug)]
pub(crate) struct ClusterFacts {
    pub(crate) cluster: ClusterId,
    pub(crate) coordinator: Name,
    pub(crate) rules: Rules,
    pub(crate) nodes: Vec<NodeId>,
    entries: Vec<NodeEntry>,
    clock_skew_millis_max: u64,
}

impl ClusterFacts {
    pub(crate) fn new(genesis: &Genesis, coordinator: Name) -> Self {
        let body = genesis.body();
        let nodes: Vec<_> = body.nodes.iter().map(|node| node.id).collect();
        let rules = Rules { nodes: nodes.len(), threshold: body.threshold, liars: body.liars };
        Self {
            cluster: genesis.cluster(),
            coordinator,
            rules,
            nodes,
            entries: body.nodes.clone(),
            clock_skew_millis_max: body.policy.clock_skew_millis_max,
        }
    }

    /// Whose receipts for a stop count, and how many it takes.
    pub(crate) fn stop_rules(&self) -> StopRules {
        let Rules { nodes, threshold, liars } = self.rules;
        StopRules {
            cluster: self.cluster,
            nodes: self.entries.clone(),
            quorum: ReceiptQuorum { nodes, threshold, liars },
            clock_skew_millis_max: self.clock_skew_millis_max,
        }
    }

    /// f+1: so many nodes include one that does not lie.
    pub(crate) fn honest_quorum(&self) -> usize {
        usize::from(self.rules.liars) + 1
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
    queues: BTreeMap<NodeId, mpsc::Sender<Queued>>,
}

impl Nodes {
    /// Starts the tasks that keep pools filled and batches going; they end when `stop` is cancelled.
    pub(crate) fn start(
        facts: ClusterFacts,
        calls: Arc<dyn CallNode>,
        metrics: Arc<Metrics>,
        stop: &CancellationToken,
        tasks: &TaskTracker,
    ) -> Arc<Self> {
        let mut receivers = BTreeMap::new();
        let mut queues = BTreeMap::new();
        for node in &facts.nodes {
            let (sender, receiver) = mpsc::channel(NODE_QUEUE_MAX);
            queues.insert(*node, sender);
            receivers.insert(*node, receiver);
        }
        let nodes = Arc::new(Self {
            clock: Clock::start(),
            fleet: Mutex::new(Fleet::new(facts.nodes.iter().copied())),
            probes: Mutex::default(),
            metrics,
            pools_used: Notify::new(),
            calls,
            queues,
            facts,
        });
        for (node, receiver) in receivers {
            tasks.spawn(stop.clone().run_until_cancelled_owned(batches::serve(Arc::clone(&nodes), node, receiver)));
            tasks.spawn(stop.clone().run_until_cancelled_owned(upkeep::keep_pool(Arc::clone(&nodes), node)));
            tasks.spawn(stop.clone().run_until_cancelled_owned(upkeep::keep_status(Arc::clone(&nodes), node)));
        }
        nodes
    }

    /// Puts an item into a node's queue; false if it is full, which counts as a failure of the node.
    pub(crate) fn enqueue(&self, node: NodeId, queued: Queued) -> bool {
        self.queues.get(&node).is_some_and(|queue| queue.try_send(queued).is_ok())
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
