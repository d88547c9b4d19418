//! `state-size`: memory and disk that one node's registry and shares need.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use warifu_chaos::state_size::{Options, run, run_phase};

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    if let Some(phase) = &options.phase {
        run_phase(&options, phase)?;
        return Ok(ExitCode::SUCCESS);
    }
    let report = run(&options)?;
    let mut out = std::io::stdout().lock();
    if options.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{report}")?;
    }
    Ok(if report.passes() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
