//! `replay`: steps through the facts of one simulated run.

use std::io::BufReader;
use std::process::ExitCode;

use clap::Parser as _;
use warifu_chaos::simulate::{ReplayError, ReplayOptions, replay};

fn main() -> ExitCode {
    let options = ReplayOptions::parse();
    let shown = std::fs::File::open(&options.file).map_err(ReplayError::from).and_then(|file| {
        let out = std::io::stdout().lock();
        replay(&options, BufReader::new(file), std::io::stdin().lock(), out)
    });
    match shown {
        Ok(0) => ExitCode::from(1),
        Ok(_) => ExitCode::SUCCESS,
        // Whoever read the lines has seen enough.
        Err(ReplayError::Io(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            tell(&options, &error);
            ExitCode::from(2)
        }
    }
}

#[expect(clippy::print_stderr, reason = "a program for people")]
fn tell(options: &ReplayOptions, error: &ReplayError) {
    eprintln!("replay: {}: {error}", options.file.display());
}
