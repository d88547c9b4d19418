//! `warifu`: the one command for people.

use std::process::ExitCode;

fn main() -> ExitCode {
    warifu::run_main(std::env::args_os())
}
