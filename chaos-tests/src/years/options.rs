//! Command line of `years`.

use clap::Parser;

use crate::command::ClusterOptions;

/// Lives through what happens to keys over years, on five real sites and a coordinator, while prescriptions are signed without a pause.
///
/// Exit code 1 if a step did not hold or a document was not signed.
#[derive(Debug, Clone, Parser)]
#[command(name = "years", version)]
#[command(after_help = "Examples:\n  years --dir /var/tmp\n  years --credentials 20 --rate 5 --json")]
pub struct Options {
    /// Credentials to enrol, beside those of two physicians who sign.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub credentials: u32,
    /// Documents a second, each at its own instant whether or not those before are signed.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub rate: u32,
    /// Seconds for which the lost disk is tried when it is found again.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=120))]
    pub old_disk: u64,
    /// Program, directory and output.
    #[command(flatten)]
    pub cluster: ClusterOptions,
}
