//! `warifu-node`: see `warifu_node::command_line`.

use std::process::ExitCode;

fn main() -> ExitCode {
    warifu_node::run_main(std::env::args_os())
}
