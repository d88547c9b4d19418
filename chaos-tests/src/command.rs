//! What the programs have in common: their options, being the daemons of their own clusters, progress, and how they end.

use std::fmt;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use serde::Serialize;
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};
use warifu::local_cluster::{COORDINATOR_COMMAND, NODE_COMMAND};

/// Hidden command of a program that founds clusters: what follows it goes to the code of `warifu`.
pub(crate) const WARIFU_COMMAND: &str = "__warifu";

/// Where a program works, and how it says what it found.
#[derive(Debug, Clone, clap::Args)]
pub struct CommonOptions {
    /// Where files are made; on a disk, not in memory. Default: a new directory under the system's temporary one. Removed at the end.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Prints one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// What a program needs to found a cluster of processes.
#[derive(Debug, Clone, clap::Args)]
pub struct ClusterOptions {
    /// The `warifu` program whose daemons and commands are run. Default: this program, which has their code in it.
    #[arg(long)]
    pub program: Option<PathBuf>,
    /// Directory and output.
    #[command(flatten)]
    pub common: CommonOptions,
}

/// How a run is repeated: with the same options, at the same commit.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Again {
    /// The commit that the working directory stands at, if git says so.
    pub commit: String,
    /// The whole command.
    pub command: String,
}

impl Again {
    /// This program, as it was built, with these arguments.
    pub(crate) fn new(program: &str, arguments: &[String]) -> Self {
        let profile = if cfg!(debug_assertions) { "" } else { " --release" };
        let command = format!("cargo run{profile} --locked -p warifu-chaos --bin {program} -- {}", arguments.join(" "));
        Self { commit: commit(), command }
    }
}

impl fmt::Display for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (commit {})", self.command, self.commit)
    }
}

/// The commit that the working directory stands at, if git says so.
pub(crate) fn commit() -> String {
    let output = std::process::Command::new("git").args(["rev-parse", "HEAD"]).output();
    output
        .ok()
        .filter(|output| output.status.success())
        .map_or_else(|| "unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// An option with its value, as arguments.
pub(crate) fn option(name: &str, value: impl fmt::Display) -> [String; 2] {
    [format!("--{name}"), value.to_string()]
}

/// What came of a run, for people by its text.
pub trait Outcome: Serialize + fmt::Display {
    /// Whether what the program holds to be true was so.
    fn passes(&self) -> bool;
}

/// The name under which a program tells how far it is, on standard error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress(pub(crate) &'static str);

impl Progress {
    /// One line.
    pub(crate) fn tell(self, what: &str) -> anyhow::Result<()> {
        Ok(writeln!(std::io::stderr().lock(), "{}: {what}", self.0)?)
    }
}

impl CommonOptions {
    /// Those of them on which it depends what happens, as arguments.
    pub(crate) fn arguments(&self) -> Vec<String> {
        self.dir.iter().flat_map(|dir| option("dir", dir.display())).collect()
    }

    /// A directory for a run; removed when it is dropped.
    pub(crate) fn working_directory(&self, progress: Progress) -> anyhow::Result<TempDir> {
        let prefix = format!("{}-", progress.0);
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix);
        let Some(parent) = &self.dir else { return Ok(builder.tempdir()?) };
        std::fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        Ok(builder.tempdir_in(parent)?)
    }
}

impl ClusterOptions {
    /// As [`CommonOptions::arguments`].
    pub(crate) fn arguments(&self) -> Vec<String> {
        let program = self.program.iter().flat_map(|program| option("program", program.display()));
        program.chain(self.common.arguments()).collect()
    }

    /// The program whose daemons are started.
    pub(crate) fn program(&self) -> anyhow::Result<PathBuf> {
        self.program.clone().map_or_else(|| std::env::current_exe().context("this program's own path"), Ok)
    }
}

/// Prints what came of a run. The exit code says whether it passes.
///
/// # Errors
/// When nobody listens.
pub fn finish(outcome: &impl Outcome, json: bool) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, outcome)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{outcome}")?;
    }
    Ok(if outcome.passes() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Waits until somebody wants this program to end.
async fn interrupted() -> anyhow::Result<anyhow::Error> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed?,
        _ = terminated.recv() => {}
    }
    Ok(anyhow::anyhow!("interrupted"))
}

/// The `main` of a program that founds clusters: under hidden commands it is their daemons and `warifu` itself.
///
/// # Errors
/// When the run fails; there is nothing to print then.
pub fn main_with_cluster<O: Parser, R: Outcome>(
    common: impl FnOnce(&O) -> &CommonOptions,
    run: impl AsyncFnOnce(&O) -> anyhow::Result<R>,
) -> anyhow::Result<ExitCode> {
    let mut arguments: Vec<_> = std::env::args_os().collect();
    if let Some(command) = arguments.get(1) {
        if command == WARIFU_COMMAND {
            arguments.remove(1);
            return Ok(warifu::run_main(arguments));
        }
        if command == NODE_COMMAND || command == COORDINATOR_COMMAND {
            return Ok(warifu::run_main(arguments));
        }
    }
    let options = O::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // Whatever was begun is dropped with the run: processes, directories, namespaces.
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = run(&options) => outcome,
            interrupted = interrupted() => Err(interrupted?),
        }
    })?;
    finish(&outcome, common(&options).json)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Checks that a command has every option that its run depends on: read again, it asks for the same.
    pub(crate) fn must_ask_for_the_same<O: Parser + fmt::Debug>(again: &Again, asked: &O) {
        let arguments = again.command.split_once(" -- ").expect("arguments after the program's name").1;
        let read = O::try_parse_from(std::iter::once("program").chain(arguments.split(' '))).expect("options that this program has");
        assert_eq!(format!("{read:?}"), format!("{asked:?}"));
    }
}
