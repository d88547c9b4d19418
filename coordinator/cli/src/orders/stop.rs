//! Waiting until a stop is over, and its receipts in a file that anybody can check.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use warifu_api::{ApiClient, StopReport, StopReportState};
use warifu_protocol::{StopCommand, StopKind};

use super::file::OrderError;
use super::receipts::ReceiptsFile;
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

pub(super) fn progress(report: &StopReport) -> String {
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
