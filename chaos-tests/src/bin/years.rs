//! `years`: the life of keys on real processes, site losses and all, while prescriptions keep being signed.

use std::process::ExitCode;

use warifu_chaos::command::main_with_cluster;
use warifu_chaos::years::{Options, run};

fn main() -> anyhow::Result<ExitCode> {
    main_with_cluster(|options: &Options| &options.cluster.common, run)
}
