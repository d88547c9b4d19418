//! The commands on receipts.

use std::path::{Path, PathBuf};

use warifu_api::StopReport;
use warifu_protocol::cluster::ROSTER_FILE_BYTES_MAX;
use warifu_protocol::{ClusterRecord, Genesis, RosterFile, verify_roster_chain};

use super::proof::{ProofLevel, ReceiptsFile, prove};
use crate::connection::ConnectionArgs;
use crate::console::Console;
use crate::files::{self, MODE_PUBLIC};
use crate::orders::stop::progress;
use crate::orders::{OrderError, load_genesis};

/// Receipts of what was stopped
#[derive(clap::Subcommand, Debug)]
pub enum ReceiptsCommand {
    /// Check the receipts in a file against the roster; needs no cluster; exit code 1 when they do not prove the stop
    #[command(
        after_help = "It says what is proved: nothing, that the key CANNOT SIGN, or that it is GONE.\n\nExamples:\n  warifu receipts verify receipts.json --genesis genesis.toml\n  warifu receipts verify receipts.json --genesis genesis.toml --roster roster.json --revision 3"
    )]
    Verify {
        /// The receipts, as `--receipts` wrote them
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The cluster's signed genesis.toml
        #[arg(long, value_name = "FILE", env = "WARIFU_GENESIS")]
        genesis: PathBuf,
        /// The orders that changed the cluster since, as `warifu roster export` writes them: of the time when the receipts were given
        #[arg(long, value_name = "FILE", env = "WARIFU_ROSTER")]
        roster: Option<PathBuf>,
        /// Count by the roster after this many of those orders: for receipts that are older than the last of them
        #[arg(long, value_name = "NUMBER", requires = "roster")]
        revision: Option<u64>,
    },
    /// Ask the cluster again, and add to the file what nodes have said since
    #[command(
        after_help = "For receipts of nodes that were away, and for what is destroyed later by policy.\n\nExample:\n  warifu receipts update revoked.json"
    )]
    Update {
        /// The receipts, as `--receipts` wrote them
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// How to reach the coordinator
        #[command(flatten)]
        connection: ConnectionArgs,
    },
}

/// Runs a command; says whether what was asked for is proved or done.
///
/// # Errors
/// [`OrderError::File`], [`OrderError::Genesis`], [`OrderError::Roster`], [`OrderError::Receipt`], [`OrderError::Unfit`] or [`OrderError::Api`].
pub async fn run(command: ReceiptsCommand, console: Console) -> Result<bool, OrderError> {
    match command {
        ReceiptsCommand::Verify { file, genesis, roster, revision } => {
            let cluster = load_revision(&load_genesis(&genesis)?, roster.as_deref(), revision)?;
            let proof = prove(&cluster, &read(&file)?)?;
            console.data(&proof, || proof.words());
            Ok(proof.level > ProofLevel::Nothing)
        }
        ReceiptsCommand::Update { file: path, connection } => {
            let file = read(&path)?;
            let report = connection.client()?.stop(file.stop.id()).await?;
            let updated = with(file, &report);
            files::replace(&path, &files::json_bytes(&updated), MODE_PUBLIC)?;
            console.say(progress(&report));
            console.data(&updated, || format!("{} receipts, nothing left at {} nodes", updated.receipts.len(), updated.gone.len()));
            Ok(true)
        }
    }
}

/// The cluster after so many of the roster's orders; after all of them if that is not said.
fn load_revision(genesis: &Genesis, roster: Option<&Path>, revision: Option<u64>) -> Result<ClusterRecord, OrderError> {
    let Some(path) = roster else { return Ok(ClusterRecord::founded(genesis)) };
    let RosterFile { mut orders } = files::read_json(path, "roster", ROSTER_FILE_BYTES_MAX)?;
    if let Some(revision) = revision {
        let count = usize::try_from(revision).unwrap_or(usize::MAX);
        if count > orders.len() {
            let reason = format!("the roster has {} orders, there is no revision {revision}", orders.len());
            return Err(OrderError::Unfit { reason });
        }
        orders.truncate(count);
    }
    verify_roster_chain(genesis, &orders).map_err(|error| OrderError::Roster { path: path.to_owned(), source: error.into() })
}

fn read(path: &Path) -> Result<ReceiptsFile, OrderError> {
    Ok(files::read_json(path, "receipts", RECEIPTS_FILE_BYTES_MAX)?)
}

/// What the file has, and what the report has of nodes that the file has nothing of.
pub(super) fn with(mut file: ReceiptsFile, report: &StopReport) -> ReceiptsFile {
    for receipt in &report.receipts {
        if file.receipts.iter().all(|known| known.node != receipt.node) {
            file.receipts.push(receipt.clone());
        }
    }
    for gone in &report.gone {
        if file.gone.iter().all(|known| known.node != gone.node) {
            file.gone.push(gone.clone());
        }
    }
    file.receipts.sort_by_key(|receipt| receipt.node);
    file.gone.sort_by_key(|gone| gone.node);
    file
}

/// A stop and fifteen receipts have a few kilobytes.
const RECEIPTS_FILE_BYTES_MAX: usize = 256 * 1024;
