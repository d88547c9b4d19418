//! `custody`: what bulk work on keys costs, and what it does to signing.
//!
//! The same program is the cluster's daemons when it is started with their hidden commands.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use warifu::local_cluster::{COORDINATOR_COMMAND, NODE_COMMAND};
use warifu_chaos::custody::{Options, run};

fn main() -> anyhow::Result<ExitCode> {
    let command = std::env::args_os().nth(1);
    if command.is_some_and(|command| command == NODE_COMMAND || command == COORDINATOR_COMMAND) {
        return Ok(warifu::run_main(std::env::args_os()));
    }
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(run(&options))?;
    let mut out = std::io::stdout().lock();
    if options.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{report}")?;
    }
    Ok(if report.passes() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
