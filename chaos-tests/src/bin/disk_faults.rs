//! `disk-faults`: real nodes on disks that forget what was not fsynced and that fail on purpose.

use std::process::ExitCode;

use warifu_chaos::command::main_with_cluster;
use warifu_chaos::disk_faults::{Options, run};
use warifu_chaos::preload::{WRITER_COMMAND, run_writer};

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, command, rest @ ..] = arguments.as_slice()
        && command == WRITER_COMMAND
    {
        run_writer(rest)?;
        return Ok(ExitCode::SUCCESS);
    }
    main_with_cluster(|options: &Options| &options.cluster.common, run)
}
