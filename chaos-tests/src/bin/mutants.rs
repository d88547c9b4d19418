//! `mutants`: weakens the program on purpose and sees to it that it is noticed.

use std::process::ExitCode;

use clap::Parser as _;
use warifu_chaos::command::finish;
use warifu_chaos::mutants::{Options, run};

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    finish(&run(&options)?, options.json)
}
