//! Command line of `simulate`.

use std::path::PathBuf;

use clap::Parser;

use super::plan::Focus;

/// Runs whole clusters of the production cores on virtual time, network and disks, each from one seed, and checks every invariant after every
/// event: first with faults, then without, when everything must become well again.
///
/// A run is determined by its seed and the program alone. Exit code 1 if an invariant broke; the report then says which seed, what happened
/// last, and the command that shows it again.
#[derive(Debug, Clone, Parser)]
#[command(name = "simulate", version)]
#[command(
    after_help = "Examples:\n  simulate --iterations 300\n  simulate --seed 1000 --minutes 30 --html report.html\n  simulate --reproduce 4711 --log facts.jsonl"
)]
pub struct Options {
    /// First seed. Default: drawn from the clock, and printed.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Seeds to run, one after the other from the first.
    #[arg(long, default_value_t = 100)]
    pub iterations: u64,
    /// Stops beginning new seeds after so many minutes of real time.
    #[arg(long)]
    pub minutes: Option<u64>,
    /// Runs this one seed, twice, compares the two, and shows what happened.
    #[arg(long, conflicts_with_all = ["seed", "iterations", "minutes"])]
    pub reproduce: Option<u64>,
    /// Virtual seconds with faults; the time until everything is well again comes on top.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub seconds: u64,
    /// What every run is mostly about; default: what its seed draws, mostly nothing.
    #[arg(long, value_enum)]
    pub focus: Option<Focus>,
    /// Seeds at the same time. Default: one for each processor.
    #[arg(long)]
    pub threads: Option<usize>,
    /// With --reproduce: writes every fact to this file, one JSON object a line.
    #[arg(long, requires = "reproduce")]
    pub log: Option<PathBuf>,
    /// Writes a page of the report that needs nothing else to be shown.
    #[arg(long)]
    pub html: Option<PathBuf>,
    /// Prints one JSON object.
    #[arg(long)]
    pub json: bool,
}
