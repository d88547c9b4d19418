//! `torment`: real processes under seeded faults, and every promise checked across their disks.

use std::process::ExitCode;

use warifu_chaos::command::main_with_cluster;
use warifu_chaos::torment::{Options, run};

fn main() -> anyhow::Result<ExitCode> {
    main_with_cluster(|options: &Options| &options.cluster.common, run)
}
