//! The coordinator daemon as this program runs it.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::process::{self, ExitCode};
use std::thread;

use clap::Parser as _;
use warifu_coordinator::Args;

use crate::error::{Exit, chain};

/// Flag, taken off before the daemon sees its arguments: end with standard input.
pub(super) const EXIT_WITH_STDIN: &str = "--exit-with-stdin";

/// Runs the coordinator with these arguments, the program's name left away; with `--exit-with-stdin` among them the process ends when its
/// standard input does. It holds nothing that would have to be written first.
pub fn run_coordinator(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let (watch, arguments): (Vec<OsString>, Vec<OsString>) =
        arguments.into_iter().partition(|argument| argument.to_str() == Some(EXIT_WITH_STDIN));
    if !watch.is_empty() {
        thread::spawn(|| {
            // Whatever comes or goes wrong, the end is the end.
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            process::exit(0);
        });
    }
    let program = OsString::from("warifu-coordinator");
    let arguments = match Args::try_parse_from(std::iter::once(program).chain(arguments)) {
        Ok(arguments) => arguments,
        Err(error) => {
            // A closed terminal cannot be told.
            let _ = error.print();
            return Exit::Usage.into();
        }
    };
    match warifu_coordinator::run_daemon(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "warifu-coordinator: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}
