//! Command line of `mutants`.

use clap::{Parser, ValueEnum};

use crate::simulate::Focus;

/// Weakens one check of the program at a time and runs what must notice it: seeds of the simulator until an invariant breaks, a test that
/// must fail, or both. What notices must find nothing wrong with a program that is not weakened.
///
/// The program must be built with the weakenings in it: WARIFU_MUTANTS=1. Exit code 1 if nothing noticed one of them.
#[derive(Debug, Clone, Parser)]
#[command(name = "mutants", version)]
#[command(
    after_help = "Examples:\n  WARIFU_MUTANTS=1 cargo run --locked -p warifu-chaos --bin mutants\n  mutants --few 6 --rotation 41\n  mutants --only keep-nonce --seeds 200\n  mutants --about stops --seeds 20 --seconds 20"
)]
pub struct Options {
    /// Weakens only this; may be given more than once.
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,
    /// Weakens only so many, another choice with each rotation.
    #[arg(long, conflicts_with = "only")]
    pub few: Option<usize>,
    /// Which choice of --few.
    #[arg(long, default_value_t = 0, requires = "few")]
    pub rotation: usize,
    /// Runs only the seeds or only the tests, and only where they are to notice something.
    #[arg(long, value_enum)]
    pub by: Option<By>,
    /// Runs seeds that are mostly about this for every weakening, whether or not seeds are to notice it: to find out which do.
    #[arg(long, value_enum, conflicts_with = "by")]
    pub about: Option<Focus>,
    /// Prints the list, and what is to notice each, and weakens nothing.
    #[arg(long)]
    pub list: bool,
    /// Seeds after which an invariant must have broken.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,
    /// First seed.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Virtual seconds of each seed with faults.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub seconds: u64,
    /// Seeds at the same time. Default: one for each processor.
    #[arg(long)]
    pub threads: Option<usize>,
    /// Prints one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// What notices weakenings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum By {
    /// Seeds of the simulator, in which an invariant breaks.
    Seeds,
    /// Tests, which fail.
    Tests,
}
