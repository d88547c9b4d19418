//! Clients that write: each has an order of its own logged, at one node after the other until one says what became of it. What they know at the end is held
//! against the logs.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use warifu::clock::now;
use warifu::local_cluster::LocalCluster;
use warifu::orders::OrderFile;
use warifu_protocol::transport::{PeerClient, PeerEntry, PeerId, PeerRoster, Role, TlsIdentity};
use warifu_protocol::wire::{OrderCall, OrderReply};
use warifu_protocol::{Command, Name, NodeId, ObjectVersion, OrderCommand, OrderId, Refusal};

use crate::proxy::{Mesh, Party};
use crate::simulate::{Dice, SeedTree};

/// Parties that call; clients share their lines.
pub(super) const CALLERS: u8 = 2;
/// Time for one call: a client that waited for a lost leader would find no other.
const CALL_DEADLINE: Duration = Duration::from_secs(3);
/// Pause before the next try.
const RETRY: Duration = Duration::from_millis(50);
/// Longer than any run: an order that ended would be refused for that alone.
const ORDER_LIFE_MILLIS: u64 = 24 * 3_600_000;

/// One write, as its client knows it.
#[derive(Debug, Clone)]
pub(super) struct Write {
    pub(super) order: OrderId,
    pub(super) facility: Name,
    pub(super) began: Instant,
    pub(super) outcome: Outcome,
}

/// What a client knows of its write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is in the log and was applied.
    Acknowledged(Instant),
    /// Nobody said; it may come into the log at any time.
    Unknown,
    /// It was refused, which no write here should be.
    Refused(String),
}

/// The running clients.
#[derive(Debug)]
pub(super) struct Clients {
    stop: watch::Sender<bool>,
    give_up: watch::Sender<bool>,
    running: JoinSet<anyhow::Result<()>>,
    writes: Arc<Mutex<Vec<Write>>>,
}

struct Client {
    cluster: Arc<LocalCluster>,
    peers: PeerClient,
    nodes: Vec<NodeId>,
    dice: Dice,
    writes: Arc<Mutex<Vec<Write>>>,
}

impl Clients {
    /// Begins, with so many clients.
    pub(super) fn start(cluster: &Arc<LocalCluster>, mesh: &Mesh, count: u8, seeds: SeedTree) -> anyhow::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let (give_up, given_up) = watch::channel(false);
        let (mut running, writes) = (JoinSet::new(), Arc::new(Mutex::new(Vec::new())));
        let entries = &cluster.genesis().body().nodes;
        for number in 0..count {
            let place = number % CALLERS;
            let directory = cluster.coordinator_directory(place.into()).context("as many coordinators as were founded")?;
            let identity = TlsIdentity::load(&directory.join("identity.pem"), &directory.join("identity.key"))?;
            let addresses = mesh.addresses_for(Party::Coordinator(place));
            let peer = |entry: &warifu_protocol::NodeEntry| {
                let address = addresses.get(&entry.id).map(ToString::to_string).unwrap_or_default();
                (PeerId::Node(entry.id), PeerEntry { spki: entry.tls_spki, address })
            };
            let roster = PeerRoster::new(cluster.genesis().cluster(), entries.iter().map(peer).collect());
            let client = Client {
                cluster: Arc::clone(cluster),
                peers: PeerClient::new(&identity, Arc::new(roster) as _)?,
                nodes: entries.iter().map(|entry| entry.id).collect(),
                dice: seeds.rng("client", number.into()),
                writes: Arc::clone(&writes),
            };
            running.spawn(client.run(stopped.clone(), given_up.clone()));
        }
        Ok(Self { stop, give_up, running, writes })
    }

    /// Begins no more writes; false if one of those that were begun was not acknowledged by then.
    pub(super) async fn finish(&mut self, deadline: Duration) -> anyhow::Result<bool> {
        let _ = self.stop.send(true);
        let all = async {
            while let Some(ended) = self.running.join_next().await {
                ended.context("a client panicked")??;
            }
            anyhow::Ok(())
        };
        let in_time = tokio::time::timeout(deadline, all).await;
        let _ = self.give_up.send(true);
        while let Some(ended) = self.running.join_next().await {
            ended.context("a client panicked")??;
        }
        in_time.map_or(Ok(false), |ended| ended.map(|()| true))
    }

    /// What is known so far.
    pub(super) fn writes(&self) -> Vec<Write> {
        self.writes.lock().clone()
    }
}

impl Client {
    async fn run(mut self, stopped: watch::Receiver<bool>, mut given_up: watch::Receiver<bool>) -> anyhow::Result<()> {
        while !*stopped.borrow() {
            let facility: Name = format!("lines-{}", hex::encode(self.dice.bytes::<8>())).parse()?;
            let command = OrderCommand::EnrolFacility { facility: facility.clone() };
            let id = OrderId::new(self.dice.bytes());
            let mut order = OrderFile::draft_as(id, self.cluster.genesis().cluster(), command, ObjectVersion(0), now(), ORDER_LIFE_MILLIS);
            for rule in self.cluster.genesis().body().policy.rules_for(order.0.body.order.class()) {
                for officer in self.cluster.officers.of_role(rule.role, rule.count.into()) {
                    order.approve(officer, now())?;
                }
            }
            let (began, command) = (Instant::now(), Command::Order(order.0));
            let place = {
                let mut writes = self.writes.lock();
                writes.push(Write { order: id, facility, began, outcome: Outcome::Unknown });
                writes.len() - 1
            };
            let outcome = tokio::select! {
                outcome = self.written(command) => outcome?,
                _ = given_up.wait_for(|given_up| *given_up) => return Ok(()),
            };
            if let Some(write) = self.writes.lock().get_mut(place) {
                write.outcome = outcome;
            }
        }
        Ok(())
    }

    /// Asks until somebody knows.
    async fn written(&mut self, command: Command) -> anyhow::Result<Outcome> {
        let call = postcard::to_stdvec(&OrderCall::Propose(Box::new(command)))?;
        let mut is_first = true;
        loop {
            let node = *self.dice.pick(&self.nodes).context("there are nodes")?;
            let reply = self.peers.call(node, Role::Order, &call, CALL_DEADLINE).await;
            let reply = reply.ok().map(|reply| postcard::from_bytes::<OrderReply>(&reply)).transpose()?;
            if let Some(OrderReply::Verdict(verdict)) = reply {
                return Ok(match verdict.outcome {
                    Ok(_) => Outcome::Acknowledged(Instant::now()),
                    // An earlier try came into the log, and nobody could say so.
                    Err(Refusal::OrderReplayed) if !is_first => Outcome::Acknowledged(Instant::now()),
                    Err(refusal) => Outcome::Refused(refusal.to_string()),
                });
            }
            is_first = false;
            sleep(RETRY).await;
        }
    }
}
