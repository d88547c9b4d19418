//! Command line of `disk-faults`.

use std::path::PathBuf;

use clap::Parser;

use crate::command::{Again, ClusterOptions, option};

/// Cuts the power of all nodes at once, and has one disk after the other fail, under real nodes that sign and carry out orders.
///
/// Exit code 1 if a promise was broken or a document was not signed while one disk failed.
#[derive(Debug, Clone, Parser)]
#[command(name = "disk-faults", version)]
#[command(
    after_help = "Examples:\n  disk-faults --iterations 20 --faults 60 --html disk-faults.html\n  disk-faults --seed 7 --nodes 3 --threshold 2 --iterations 1 --faults 4 --json"
)]
pub struct Options {
    /// What is drawn follows from it: instants, faults, what a power cut takes. Real processes run between, so that a seed gives a like run, not
    /// the same.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Power cuts of all nodes.
    #[arg(long, default_value_t = 10)]
    pub iterations: u32,
    /// Faults of one node's disk each.
    #[arg(long, default_value_t = 24)]
    pub faults: u32,
    /// The first of them that is played; those before it are drawn and left out.
    #[arg(long, default_value_t = 1)]
    pub first: u32,
    /// n
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(3..=9))]
    pub nodes: u8,
    /// t
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=8))]
    pub threshold: u8,
    /// Documents a second, each at its own instant whether or not those before are signed.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub rate: u32,
    /// Writes the report with a time-line to this file, as HTML.
    #[arg(long)]
    pub html: Option<PathBuf>,
    /// Program, directory and output.
    #[command(flatten)]
    pub cluster: ClusterOptions,
}

impl Options {
    /// The same run again.
    pub(super) fn again(&self) -> Again {
        let arguments = [
            option("seed", self.seed),
            option("iterations", self.iterations),
            option("faults", self.faults),
            option("first", self.first),
            option("nodes", self.nodes),
            option("threshold", self.threshold),
            option("rate", self.rate),
        ];
        Again::new("disk-faults", &[arguments.concat(), self.cluster.arguments()].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::tests::must_ask_for_the_same;

    #[test]
    fn the_command_that_repeats_a_run_has_all_that_the_run_depends_on() {
        let arguments =
            "disk-faults --seed 7 --iterations 2 --faults 9 --first 8 --nodes 3 --threshold 2 --rate 5 --program warifu --dir place";
        let asked = Options::parse_from(arguments.split(' '));
        must_ask_for_the_same(&asked.again(), &asked);
    }
}
