//! `custody`: what bulk work on keys costs, and what it does to signing.

use std::process::ExitCode;

use warifu_chaos::command::main_with_cluster;
use warifu_chaos::custody::{Options, run};

fn main() -> anyhow::Result<ExitCode> {
    main_with_cluster(|options: &Options| &options.cluster.common, run)
}
