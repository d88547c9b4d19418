//! Command line of `custody`.

use clap::Parser;
use warifu_protocol::limits::CEREMONY_CREDENTIALS_MAX;

use crate::command::ClusterOptions;

/// Measures bulk work on keys while a cluster signs: enrolment, repair of a site that lost its disk, and refresh.
///
/// The cluster is five nodes with threshold three and one coordinator, each a process, on loopback. Exit code 1 if a document was not
/// signed.
#[derive(Debug, Clone, Parser)]
#[command(name = "custody", version)]
#[command(
    after_help = "Examples:\n  custody --dir /var/tmp\n  custody --enrol 256 --credentials 512 --rate 25 --json\n  custody --dir /var/tmp --plot custody.html"
)]
pub struct Options {
    /// Credentials to generate keys for while documents are signed.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub enrol: u32,
    /// Credentials that are repaired and refreshed. Keys for those beyond --enrol are generated before, while nothing is signed.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub credentials: u32,
    /// Credentials in one ceremony of key generation: larger ones are a little quicker in all and hold signing up for longer. Repair and refresh take as
    /// many as nodes are configured to.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=CEREMONY_CREDENTIALS_MAX as i64))]
    pub batch: u32,
    /// Documents a second, each at its own instant whether or not those before are signed.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub rate: u32,
    /// Seconds of signing without bulk work, before each kind of it and after the last.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=120))]
    pub quiet: u64,
    /// Writes a plot of signing over time to this file, as HTML.
    #[arg(long)]
    pub plot: Option<std::path::PathBuf>,
    /// Program, directory and output.
    #[command(flatten)]
    pub cluster: ClusterOptions,
}
