//! `sign-latency`: what one signature costs, bare and on a real cluster.

use std::process::ExitCode;

use warifu_chaos::command::main_with_cluster;
use warifu_chaos::sign_latency::{Options, run};

fn main() -> anyhow::Result<ExitCode> {
    main_with_cluster(|options: &Options| &options.cluster.common, run)
}
