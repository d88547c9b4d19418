//! `raft-lines`: consensus on lines and disks that fail, and every log and state checked afterwards.

use std::path::Path;
use std::process::ExitCode;

use warifu_chaos::command::main_with_cluster;
use warifu_chaos::raft_lines::{NODES_COMMAND, Options, run, run_nodes};

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, command, directory] = arguments.as_slice()
        && command == NODES_COMMAND
    {
        run_nodes(Path::new(directory))?;
        return Ok(ExitCode::SUCCESS);
    }
    main_with_cluster(|options: &Options| &options.common, run)
}
