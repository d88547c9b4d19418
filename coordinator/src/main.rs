//! The program `warifu-coordinator`.

use anyhow::Context as _;
use clap::Parser as _;

fn main() -> anyhow::Result<()> {
    warifu_coordinator::run_daemon(&warifu_coordinator::Args::parse()).context("the coordinator cannot run")
}
