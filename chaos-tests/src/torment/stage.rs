//! The cluster under torment, and what every nemesis does with it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};
use warifu::local_cluster::{Holder, LocalCluster, OpenSession};
use warifu_protocol::wire::NodeStatus;
use warifu_protocol::{NodeId, versions};

use super::checker::TriedDisk;
use super::desk::Desk;
use super::oracle::Oracle;
use super::taken::Taken;
use crate::commands::Commands;
use crate::preload::Disk;
use crate::proxy::{Faults, Mesh, Party};
use crate::scene::Scene;
use crate::simulate::Dice;

/// Time for a node to sign again after its start. A late one is in the report; one that never comes ends the run.
const SERVING_DEADLINE: Duration = Duration::from_secs(60);
/// Time for the nodes to agree on a leader.
const LEADER_DEADLINE: Duration = Duration::from_secs(30);
/// How often nodes are looked at.
const POLL: Duration = Duration::from_millis(50);
/// Coordinators.
pub(super) const COORDINATORS: u8 = 2;

/// Everything that nemeses use.
pub(super) struct Stage {
    pub(super) scene: Scene,
    pub(super) mesh: Mesh,
    pub(super) commands: Commands,
    pub(super) dice: Dice,
    pub(super) desk: Desk,
    pub(super) oracle: Oracle,
    /// A physician whose key is to be revoked, and a session of theirs.
    pub(super) condemned: Option<(Holder, OpenSession)>,
    /// The session of those who have many documents signed in one call.
    pub(super) batches: OpenSession,
    /// Disks that are no node's any more, with the node that they were of: their audit logs count as those of others do.
    pub(super) lost: Vec<(NodeId, PathBuf)>,
    /// Old disks on which nodes were tried.
    pub(super) tried: Vec<TriedDisk>,
    /// Nodes that run on a replaced store.
    pub(super) replaced: BTreeSet<NodeId>,
    /// Nodes that run the program of the next version.
    pub(super) upgraded: BTreeSet<NodeId>,
    /// Sites that another fault of this round has.
    pub(super) taken: Taken,
    /// The nodes' disks, if they can forget and fail.
    pub(super) disks: BTreeMap<NodeId, Disk>,
    /// How long one fault is held.
    pub(super) hold: Duration,
}

impl Stage {
    /// The cluster.
    pub(super) const fn cluster(&mut self) -> &mut LocalCluster {
        &mut self.scene.cluster
    }

    /// So many of the free nodes, drawn; `first` among them if it is given.
    pub(super) fn draw(&mut self, count: usize, first: Option<NodeId>) -> Vec<NodeId> {
        let mut drawn: Vec<NodeId> = first.into_iter().collect();
        let mut others: Vec<NodeId> = self.taken.free().into_iter().filter(|node| Some(*node) != first).collect();
        while drawn.len() < count && !others.is_empty() {
            let place = self.dice.below(others.len() as u64) as usize;
            drawn.push(others.swap_remove(place));
        }
        drawn
    }

    /// From one to as many nodes as may be away.
    pub(super) fn draw_spare(&mut self) -> Vec<NodeId> {
        let count = self.dice.between(1, self.taken.spare() as u64) as usize;
        self.draw(count, None)
    }

    /// The leader as the node with the newest term sees it, once it is one that no other fault has.
    pub(super) async fn leader(&self) -> anyhow::Result<NodeId> {
        let end = Instant::now() + LEADER_DEADLINE;
        loop {
            let mut newest = None;
            for node in self.scene.cluster.running().filter(|node| !self.taken.has(*node)) {
                if let Some(status) = self.status(node).await
                    && newest.as_ref().is_none_or(|before: &NodeStatus| before.term <= status.term)
                {
                    newest = Some(status);
                }
            }
            if let Some(leader) = newest.and_then(|status| status.leader)
                && !self.taken.has(leader)
            {
                return Ok(leader);
            }
            ensure!(Instant::now() < end, "no node sees a leader after {LEADER_DEADLINE:?}, or none but one that is about to be lost");
            sleep(POLL).await;
        }
    }

    /// How a node says that it is, at its own socket.
    pub(super) async fn status(&self, node: NodeId) -> Option<NodeStatus> {
        self.scene.cluster.node_status(node).await
    }

    /// What a node has in its environment when nothing is done to it.
    pub(super) fn environment(&self, node: NodeId) -> Vec<(OsString, OsString)> {
        let mut environment = self.disks.get(&node).map(Disk::environment).unwrap_or_default();
        if self.upgraded.contains(&node) {
            environment.push((versions::VARIABLE.into(), "next".into()));
        }
        environment
    }

    /// Refuses to go on when a process has ended by itself at which no other fault is.
    pub(super) fn check_processes(&mut self) -> anyhow::Result<()> {
        Ok(self.scene.cluster.check_processes_but(self.taken.nodes())?)
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self, nodes: &[NodeId]) {
        nodes.iter().for_each(|node| self.cluster().kill_node(*node));
    }

    /// Starts these nodes.
    pub(super) fn start(&mut self, nodes: &[NodeId]) -> anyhow::Result<()> {
        for node in nodes {
            self.cluster().start_node(*node)?;
        }
        Ok(())
    }

    /// SIGSTOP or SIGCONT.
    pub(super) fn signal(&self, nodes: &[NodeId], signal: Signal) -> anyhow::Result<()> {
        for node in nodes {
            let process = self.scene.cluster.node_process(*node).context("the node runs")?;
            signal_process(process, signal).with_context(|| format!("node {node} cannot be signalled"))?;
        }
        Ok(())
    }

    /// The same of the coordinator at this place, from 0.
    pub(super) fn signal_coordinator(&self, place: usize, signal: Signal) -> anyhow::Result<()> {
        let process = self.scene.cluster.coordinator_process(place).context("the coordinator runs")?;
        signal_process(process, signal).with_context(|| format!("coordinator {} cannot be signalled", place + 1))
    }

    /// Puts faults on every pair of these parties, in both directions.
    pub(super) fn among(&self, parties: &[Party], others: &[Party], faults: Faults) {
        for one in parties {
            for other in others.iter().filter(|other| *other != one) {
                self.mesh.weather().set_both(*one, *other, faults);
            }
        }
    }

    /// As a party.
    pub(super) fn parties(nodes: &[NodeId]) -> Vec<Party> {
        nodes.iter().map(|node| Party::Node(*node)).collect()
    }

    /// Waits until each of these nodes is confirmed and has given a signature share since its start; how long each took since `since`.
    pub(super) async fn until_serving(&mut self, nodes: &[NodeId], since: Instant) -> anyhow::Result<BTreeMap<NodeId, Duration>> {
        let before = nodes.iter().map(|node| (*node, 0)).collect();
        self.until_more_than(before, since).await
    }

    /// Waits until every free node has given a further signature share, for after a fault that took nobody's process away.
    pub(super) async fn until_all_serve(&mut self) -> anyhow::Result<()> {
        let mut before = BTreeMap::new();
        for node in self.taken.free() {
            let status = self.status(node).await.with_context(|| format!("node {node} does not answer at its socket"))?;
            before.insert(node, status.shares_given);
        }
        self.until_more_than(before, Instant::now()).await.map(|_| ())
    }

    /// Waits until each node is confirmed and has given more shares than this; how long each took since `since`.
    async fn until_more_than(&mut self, before: BTreeMap<NodeId, u64>, since: Instant) -> anyhow::Result<BTreeMap<NodeId, Duration>> {
        let mut serving = BTreeMap::new();
        loop {
            self.check_processes()?;
            let mut last = String::new();
            for (node, shares) in &before {
                if serving.contains_key(node) {
                    continue;
                }
                match self.status(*node).await {
                    Some(status) if status.confirmed && status.shares_given > *shares => {
                        serving.insert(*node, since.elapsed());
                    }
                    Some(status) => {
                        let given = status.shares_given.saturating_sub(*shares);
                        last = format!("node {node}: confirmed {}, {given} shares given, {}", status.confirmed, status.reasons.join("; "));
                    }
                    None => last = format!("node {node} does not answer at its socket"),
                }
            }
            if serving.len() == before.len() {
                return Ok(serving);
            }
            ensure!(since.elapsed() < SERVING_DEADLINE, "not serving after {SERVING_DEADLINE:?}; {last}");
            sleep(POLL).await;
        }
    }
}

fn signal_process(id: u32, signal: Signal) -> anyhow::Result<()> {
    let process = Pid::from_raw(id.cast_signed()).context("a process id")?;
    Ok(kill_process(process, signal)?)
}
