//! Command line of `torment`.

use std::path::PathBuf;

use clap::Parser;

use super::nemesis::Nemesis;
use crate::command::{Again, ClusterOptions, option};

/// Torments a cluster of real processes while prescriptions are signed, and checks every promise across all disks afterwards.
///
/// Five sites with threshold three and two coordinators, each a process, every call between them over a proxy of this program. Exit code 1 if a
/// promise was broken, if a document was not signed while at most n - t sites were away, or if a time is beyond three times its goal.
#[derive(Debug, Clone, Parser)]
#[command(name = "torment", version)]
#[command(
    after_help = "Examples:\n  torment --seed 7 --minutes 10 --html torment.html\n  torment --only leader-killed --only split --seconds 60 --json"
)]
pub struct Options {
    /// Which faults, when, on whom. Default: drawn, and printed.
    #[arg(long)]
    pub seed: Option<u64>,
    /// How long, in minutes: rounds are begun until then. At least one of each kind that is asked for is done in any case.
    #[arg(long, conflicts_with = "seconds", value_parser = clap::value_parser!(u64).range(1..=600))]
    pub minutes: Option<u64>,
    /// The same in seconds. Default 120.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=36_000))]
    pub seconds: Option<u64>,
    /// Only this kind of fault; may be given several times. Default: all.
    #[arg(long, value_enum)]
    pub only: Vec<Nemesis>,
    /// Documents a second, each at its own instant whether or not those before are signed.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=200))]
    pub rate: u32,
    /// Seconds for which one fault is held; some hold it twice or half as long.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub hold: u64,
    /// Seconds without faults at the beginning, with which the rest is compared.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=120))]
    pub quiet: u64,
    /// Gives each site an address of its own, in a network namespace of its own. Needs root and `ip`.
    #[arg(long)]
    pub netns: bool,
    /// Writes the report with a time-line to this file, as HTML.
    #[arg(long)]
    pub html: Option<PathBuf>,
    /// Keeps the cluster's directory, with all disks and logs.
    #[arg(long)]
    pub keep: bool,
    /// Program, directory and output.
    #[command(flatten)]
    pub cluster: ClusterOptions,
}

impl Options {
    /// How long rounds are begun, in seconds.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.minutes.map(|minutes| minutes * 60).or(self.seconds).unwrap_or(120)
    }

    /// The same run again, from the seed that was drawn or given.
    pub(super) fn again(&self, seed: u64) -> Again {
        let mut arguments = vec![option("seed", seed), option("seconds", self.length())];
        arguments.extend(self.only.iter().map(|kind| option("only", kind.name())));
        arguments.extend([option("rate", self.rate), option("hold", self.hold), option("quiet", self.quiet)]);
        let mut arguments = arguments.concat();
        arguments.extend(self.netns.then(|| "--netns".to_owned()));
        arguments.extend(self.cluster.arguments());
        Again::new("torment", &arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::tests::must_ask_for_the_same;

    #[test]
    fn the_command_that_repeats_a_run_has_all_that_the_run_depends_on() {
        let arguments =
            "torment --seed 7 --seconds 90 --only split --only old-disk --rate 9 --hold 2 --quiet 3 --netns --program warifu --dir place";
        let asked = Options::parse_from(arguments.split(' '));
        must_ask_for_the_same(&asked.again(7), &asked);
        let usual = Options::parse_from(["torment"]);
        must_ask_for_the_same(&usual.again(8), &Options { seed: Some(8), seconds: Some(120), ..usual });
        let minutes = Options::parse_from(["torment", "--minutes", "2"]);
        must_ask_for_the_same(&minutes.again(8), &Options { seed: Some(8), seconds: Some(120), minutes: None, ..minutes });
    }
}
