//! Waiting until a stop is over, and its receipts in a file that anybody can check.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use warifu_api::{ApiClient, StopReport, StopReportState};
use warifu_protocol::{
    Genesis, Gone, NodeId, NodeSigned, Receipt, ReceiptError, ReceiptQuorum, StopCommand, StopKind, UnixMillis, check_gone, check_receipts,
    limits,
};

use super::args::load_genesis;
use super::file::OrderError;
use super::submit::Submitted;
use crate::console::Console;
use crate::files::{self, MODE_PUBLIC};

/// What is done after something was stopped.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Stopping")]
pub struct StopArgs {
    /// For what stops somebody: do not wait until nothing that was given before can be completed
    #[arg(long)]
    pub no_wait: bool,

    /// For what stops somebody: write the nodes' receipts to this file
    #[arg(long, value_name = "FILE")]
    pub receipts: Option<PathBuf>,
}

/// The receipts of one stop, with the stop itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptsFile {
    /// What was ordered, and by whom.
    pub stop: StopCommand,
    /// Which nodes obey.
    pub receipts: Vec<NodeSigned<Receipt>>,
    /// For a destruction: which nodes say that nothing is left.
    #[serde(default)]
    pub gone: Vec<NodeSigned<Gone>>,
}

/// What receipts prove.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Proof {
    /// What was stopped, in words.
    pub what: String,
    /// The nodes that obey, ascending.
    pub nodes: Vec<NodeId>,
    /// n−t+1+f
    pub needed: usize,
    /// f
    pub liars: u8,
    /// Whether there are enough: no t nodes are left that would start a signature.
    pub proved: bool,
    /// When, by the nodes' clocks, the last nonce of before was dead.
    pub over_at: Option<UnixMillis>,
    /// For a destruction: whether all nodes say that no share is left in a form that can be read.
    pub gone: bool,
    /// Whether the KEKs of all nodes can prove that the keys of those shares are destroyed.
    pub gone_provably: bool,
}

/// Checks receipts against the genesis, without any cluster.
///
/// # Errors
/// The first receipt that does not count.
pub fn prove(genesis: &Genesis, file: &ReceiptsFile) -> Result<Proof, ReceiptError> {
    let body = genesis.body();
    let (object, kind) = file.stop.target().ok_or(ReceiptError::NotStopping)?;
    let nodes = check_receipts(genesis.cluster(), &body.nodes, &file.stop, &file.receipts)?;
    let quorum = ReceiptQuorum { nodes: body.nodes.len(), threshold: body.threshold, liars: body.liars };
    let needed = quorum.needed();
    let mut since: Vec<UnixMillis> = file.receipts.iter().map(|receipt| receipt.body.held_since).collect();
    since.sort_unstable();
    let over_at = needed.checked_sub(1).and_then(|last| since.get(last)).map(|since| since.plus(limits::NONCE_LIFE_MILLIS));
    let proved = nodes.len() >= needed;
    let mut said = BTreeSet::new();
    for gone in &file.gone {
        check_gone(genesis.cluster(), &body.nodes, &file.stop, gone)?;
        if !said.insert(gone.node) {
            return Err(ReceiptError::Duplicate { node: gone.node });
        }
    }
    let gone = said.len() == body.nodes.len();
    let gone_provably = gone && file.gone.iter().all(|gone| gone.body.proves_destruction && !gone.body.destroyed.is_empty());
    Ok(Proof {
        what: format!("{kind}: {object}"),
        nodes: nodes.into_iter().collect(),
        needed,
        liars: quorum.liars,
        proved,
        over_at,
        gone,
        gone_provably,
    })
}

/// Reads and checks a file of receipts; says whether they prove the stop.
///
/// # Errors
/// [`OrderError::File`], [`OrderError::Genesis`] or [`OrderError::Receipt`].
pub fn verify_file(path: &Path, genesis: &Path, console: Console) -> Result<bool, OrderError> {
    let genesis = load_genesis(genesis)?;
    let file: ReceiptsFile = files::read_json(path, "receipts", RECEIPTS_FILE_BYTES_MAX)?;
    let proof = prove(&genesis, &file)?;
    console.data(&proof, || {
        let nodes = proof.nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let given = format!("{}\nreceipts of nodes {nodes}: {} of {} needed (f = {})", proof.what, proof.nodes.len(), proof.needed, proof.liars);
        let level = match (proof.gone, proof.gone_provably) {
            (_, true) => "\nGONE: all nodes destroyed the keys that its shares were sealed under, and their KEKs prove it",
            (true, false) => "\nsaid to be gone by all nodes; the KEK of at least one of them cannot prove it",
            (false, _) if file.gone.is_empty() => "",
            (false, _) => "\nnot gone yet at every node",
        };
        match proof.over_at {
            Some(at) if proof.proved => {
                format!("{given}\nPROVED: no t nodes are left that would start a signature; what was given before was dead from {at} on, by the nodes' clocks{level}")
            }
            Some(_) | None => format!("{given}\nNOT PROVED: t nodes without a receipt, or lying, could still sign"),
        }
    });
    Ok(proof.proved)
}

/// Waits until a stop that was submitted is over, and writes its receipts. Nothing for an answer that is of no stop.
///
/// # Errors
/// [`OrderError::StopIncomplete`] when nodes are missing past the deadline, [`OrderError::Api`], [`OrderError::File`].
pub async fn follow(
    client: &ApiClient,
    stop: StopCommand,
    submitted: &mut Submitted,
    args: &StopArgs,
    console: Console,
) -> Result<(), OrderError> {
    let Some(report) = submitted.stop.as_mut() else { return Ok(()) };
    let spinner = console.spinner(&progress(report));
    let until = Instant::now() + FOLLOW_DEADLINE;
    // A destruction is over when nothing is left at any node.
    let is_over = |report: &StopReport| {
        let nodes = report.receipts.len() + report.missing.len();
        report.state == StopReportState::Done && (report.kind != StopKind::Destroy || report.gone.len() == nodes)
    };
    while !args.no_wait && !is_over(report) && Instant::now() < until {
        tokio::time::sleep(FOLLOW_PAUSE).await;
        *report = client.stop(report.stop).await?;
        spinner.set_message(progress(report));
    }
    spinner.finish_and_clear();
    console.say(progress(report));
    if let Some(path) = &args.receipts {
        let file = ReceiptsFile { stop, receipts: report.receipts.clone(), gone: report.gone.clone() };
        files::write_new(path, &files::json_bytes(&file), MODE_PUBLIC)?;
        console.say(format!("receipts written to {}", path.display()));
    }
    if report.state == StopReportState::Incomplete {
        let missing = report.missing.iter().map(|missing| format!("node {}: {}", missing.node, missing.reason)).collect();
        return Err(OrderError::StopIncomplete { missing });
    }
    Ok(())
}

fn progress(report: &StopReport) -> String {
    let given = format!("{} of {} receipts (f = {})", report.receipts.len(), report.needed, report.liars);
    match (report.state, report.until) {
        (StopReportState::Done, _) => format!("done: {} cannot sign any more; {given}", report.object),
        (StopReportState::Draining, Some(until)) => format!("draining until {until}: no signature of {} begins; {given}", report.object),
        (StopReportState::Draining | StopReportState::Incomplete, _) => {
            let missing = report.missing.iter().map(|missing| missing.node.to_string()).collect::<Vec<_>>().join(", ");
            format!("incomplete: {} may still sign; {given}; missing: nodes {missing}", report.object)
        }
    }
}

/// Longer than a nonce lives, with time for nodes that are slow to answer.
const FOLLOW_DEADLINE: Duration = Duration::from_secs(60);
const FOLLOW_PAUSE: Duration = Duration::from_secs(1);
/// A stop and fifteen receipts have a few kilobytes.
const RECEIPTS_FILE_BYTES_MAX: usize = 256 * 1024;
