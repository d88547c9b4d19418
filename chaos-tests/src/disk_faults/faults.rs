//! One node's disk fails while the others go on.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::RngCore as _;
use tokio::time::Instant;
use warifu_protocol::NodeId;

use super::cuts::{READY, until_ready};
use super::kept::Kept;
use super::report::{Behaviour, CaseRow};
use crate::preload::{Disk, Fault, Loss, Occasion};
use crate::scene::Scene;
use crate::site::page;

/// How long an fsync takes on a disk that is slow: longer than an election, shorter than what anybody would call dead.
const SLOW_MILLIS: u64 = 5_000;
/// Longest wait for the fsync that is meant.
const MEET_DEADLINE: Duration = Duration::from_secs(20);
/// Time for a node to say what it makes of it.
const WORD_DEADLINE: Duration = Duration::from_secs(20);
/// How often a node is looked at.
const POLL: Duration = Duration::from_millis(100);
/// The fault is at most so many fsyncs away.
const SYNCS_MAX: u64 = 24;
/// How a node says that a store or consensus has stopped for good, on `/readyz` or as its last words.
const WORDS: [&str; 5] = ["has failed", "consensus has stopped", "os error 5", "os error 28", "the store failed"];

/// The stores, as parts of their paths, and any.
const FILES: [Option<&str>; 4] = [Some("local.redb"), Some("state.redb"), Some("raft.redb"), None];

/// One fault.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    node: NodeId,
    fault: Fault,
    file: Option<&'static str>,
    nth: u64,
    at_start: bool,
    /// What a power cut takes after it, if there is one.
    loss: Option<Loss>,
}

impl Case {
    /// The `number`-th case: kinds of faults and files take turns, so that few cases have many kinds, and the rest is drawn.
    pub(crate) fn draw(number: u32, nodes: &[NodeId], rng: &mut ChaCha8Rng) -> Self {
        let faults = [
            Fault::SyncFails,
            Fault::WriteFull,
            Fault::SyncSlow(SLOW_MILLIS),
            Fault::WriteTorn,
            Fault::SyncFailsKept,
            Fault::CutBeforeSync,
            Fault::WriteFails,
            Fault::CutAfterSync,
        ];
        let number = number as usize;
        let fault = faults[number % faults.len()];
        let file = FILES[(number + number / faults.len()) % FILES.len()];
        let loss = if rng.next_u32().is_multiple_of(2) { Loss::All } else { Loss::Pieces(rng.next_u64()) };
        let at_start = rng.next_u32().is_multiple_of(3);
        Self {
            node: nodes[rng.next_u32() as usize % nodes.len()],
            fault,
            file,
            // A start has few fsyncs.
            nth: 1 + rng.next_u64() % if at_start { 4 } else { SYNCS_MAX },
            at_start,
            // Where the disk is only full, a restart may do. What an fsync lost is lost.
            loss: (matches!(fault, Fault::SyncFails) || !rng.next_u32().is_multiple_of(3)).then_some(loss),
        }
    }

    /// Whose disk it is.
    pub(crate) const fn node(&self) -> NodeId {
        self.node
    }

    /// Plays it, while others sign and order.
    pub(crate) async fn play(self, scene: &mut Scene, disk: &Disk, kept: &mut Kept) -> anyhow::Result<CaseRow> {
        let Self { node, fault, file, nth, at_start, loss } = self;
        let before = disk.counts()?.fired;
        if at_start {
            scene.cluster.kill_node(node);
        }
        // A full disk stays full.
        disk.arm(fault, &Occasion { nth, file, lasting: fault == Fault::WriteFull })?;
        if at_start {
            scene.cluster.start_node(node)?;
        }
        let met = async {
            let end = Instant::now() + MEET_DEADLINE;
            while disk.counts()?.fired == before && Instant::now() < end {
                tokio::time::sleep(POLL).await;
            }
            anyhow::Ok(disk.counts()?.fired > before)
        };
        let met = tokio::select! {
            ended = kept.order(scene) => { ended?; false }
            met = met => met?,
        };
        let mut row = CaseRow { node, fault, file: file.unwrap_or("any").to_owned(), nth, at_start, met, loss, ..CaseRow::default() };
        if met {
            (row.behaviour, row.words) = watch(scene, node, fault).await?;
        }
        let expected = match fault {
            Fault::CutBeforeSync | Fault::CutAfterSync => row.behaviour == Behaviour::Died,
            Fault::SyncSlow(_) => row.behaviour == Behaviour::ServedOn,
            _ => matches!(row.behaviour, Behaviour::Refused | Behaviour::Ended),
        };
        if met && !expected {
            row.broken.push(format!("node {node} does not say what became of its disk: {}", row.words));
        }
        let started = Instant::now();
        if row.behaviour != Behaviour::ServedOn {
            scene.cluster.kill_node(node);
            disk.disarm()?;
            if let Some(loss) = loss {
                row.lost = disk.cut_power(loss)?;
            }
            scene.cluster.start_node(node)?;
        }
        disk.disarm()?;
        if let Err(error) = until_ready(&mut scene.cluster).await {
            row.broken.push(format!("node {node} does not come back: {error}"));
        }
        row.recovery_seconds = started.elapsed().as_secs_f64();
        Ok(row)
    }
}

/// What the node does about it, and its words.
async fn watch(scene: &mut Scene, node: NodeId, fault: Fault) -> anyhow::Result<(Behaviour, String)> {
    tokio::time::sleep(fault.pause().unwrap_or_default()).await;
    let (end, mut said) = (Instant::now() + WORD_DEADLINE, String::new());
    let has_word = |text: &str| WORDS.iter().any(|word| text.contains(word));
    loop {
        if let Err(error) = scene.cluster.check_node(node) {
            let words = error.to_string();
            let died = words.contains("SIGKILL");
            let behaviour = if died {
                Behaviour::Died
            } else if has_word(&words) {
                Behaviour::Ended
            } else {
                Behaviour::Silent
            };
            return Ok((behaviour, words));
        }
        if let Some(page) = page(&scene.cluster, node, "/readyz").await {
            let ready = page.starts_with(READY);
            said = page.split_once("\r\n\r\n").map_or(page.as_str(), |(_, body)| body).trim().to_owned();
            if has_word(&said) {
                return Ok((Behaviour::Refused, said));
            }
            if ready && fault.pause().is_some() {
                return Ok((Behaviour::ServedOn, said));
            }
        }
        if Instant::now() >= end {
            return Ok((Behaviour::Silent, said));
        }
        tokio::time::sleep(POLL).await;
    }
}
