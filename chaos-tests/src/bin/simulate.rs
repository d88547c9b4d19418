//! `simulate`: whole clusters of the production cores on virtual time, from seeds.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use warifu_chaos::simulate::{Options, run};

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
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
