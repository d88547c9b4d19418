//! Command line of `custody`.

use std::path::PathBuf;

use clap::Parser;

/// Measures bulk work on keys while a cluster signs: credentials a second, their ratio to the bare arithmetic, and what it does to signing.
///
/// The cluster is five nodes with threshold three and one coordinator, each a process, on loopback. Exit code 1 if a document was not
/// signed.
#[derive(Debug, Clone, Parser)]
#[command(name = "custody", version)]
#[command(after_help = "Examples:\n  custody --dir /var/tmp\n  custody --credentials 256 --rate 25 --json")]
pub struct Options {
    /// Credentials to generate keys for.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub credentials: u32,
    /// Documents a second, each at its own instant whether or not those before are signed.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub rate: u32,
    /// Seconds of signing without bulk work, before and after it.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=120))]
    pub quiet: u64,
    /// The `warifu` program whose daemons are started. Default: this program, which has their code in it.
    #[arg(long)]
    pub program: Option<PathBuf>,
    /// Where the cluster's directory is made; on a disk, not in memory. Default: under the system's temporary one; removed at the end.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Prints one JSON object.
    #[arg(long)]
    pub json: bool,
}
