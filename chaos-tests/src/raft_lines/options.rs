//! Command line of `raft-lines`.

use std::path::PathBuf;

use clap::Parser;

use crate::command::{Again, CommonOptions, option};

/// Has clients write into the log of five nodes while lines and disks between and under them fail, and checks that nothing that was acknowledged is lost,
/// doubled, or different anywhere.
///
/// Exit code 1 if a promise was broken, or if the nodes did not come to one state, and every client to an acknowledgement, once the faults were over.
#[derive(Debug, Clone, Parser)]
#[command(name = "raft-lines", version)]
#[command(after_help = "Examples:\n  raft-lines --seed 7 --seconds 300 --html raft-lines.html\n  raft-lines --rounds 3 --json")]
pub struct Options {
    /// Which faults, when, on whom. Default: drawn, and printed.
    #[arg(long)]
    pub seed: Option<u64>,
    /// How long faults are on, in seconds: rounds are begun until then.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=36_000))]
    pub seconds: u64,
    /// At most so many rounds. Default: as many as there is time for.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub rounds: Option<u64>,
    /// Longest time of one round, in milliseconds; the shortest is a quarter of it.
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u64).range(200..=60_000))]
    pub round_millis: u64,
    /// Clients that write at the same time, each its next order when it knows what became of its last.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub clients: u8,
    /// Time for everything to heal, in seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=600))]
    pub heal: u64,
    /// Writes the report with a time-line to this file, as HTML.
    #[arg(long)]
    pub html: Option<PathBuf>,
    /// Keeps the directory, with all disks and logs.
    #[arg(long)]
    pub keep: bool,
    /// Directory and output.
    #[command(flatten)]
    pub common: CommonOptions,
}

impl Options {
    /// The same run again, from the seed that was drawn or given.
    pub(super) fn again(&self, seed: u64) -> Again {
        let mut arguments = vec![option("seed", seed), option("seconds", self.seconds)];
        arguments.extend(self.rounds.map(|rounds| option("rounds", rounds)));
        arguments.extend([option("round-millis", self.round_millis), option("clients", self.clients), option("heal", self.heal)]);
        Again::new("raft-lines", &[arguments.concat(), self.common.arguments()].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::tests::must_ask_for_the_same;

    #[test]
    fn the_command_that_repeats_a_run_has_all_that_the_run_depends_on() {
        let arguments = "raft-lines --seed 7 --seconds 90 --rounds 3 --round-millis 700 --clients 2 --heal 9 --dir place";
        let asked = Options::parse_from(arguments.split(' '));
        must_ask_for_the_same(&asked.again(7), &asked);
        let usual = Options::parse_from(["raft-lines"]);
        must_ask_for_the_same(&usual.again(8), &Options { seed: Some(8), ..usual });
    }
}
