//! `state-size`: memory and disk that one node's registry and shares need.

use std::process::ExitCode;

use clap::Parser as _;
use warifu_chaos::command::finish;
use warifu_chaos::state_size::{Options, run, run_phase};

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    if let Some(phase) = &options.phase {
        run_phase(&options, phase)?;
        return Ok(ExitCode::SUCCESS);
    }
    finish(&run(&options)?, options.common.json)
}
