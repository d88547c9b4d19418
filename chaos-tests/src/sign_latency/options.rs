//! Command line of `sign-latency`.

use clap::Parser;

use crate::command::ClusterOptions;

/// Measures one signature on an idle machine: bare cryptography, the whole path, and throughput.
///
/// The cluster is five nodes with threshold three and one coordinator, each a process, on loopback.
#[derive(Debug, Clone, Parser)]
#[command(name = "sign-latency", version)]
pub struct Options {
    /// Single documents, one after the other.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=9_000))]
    pub documents: u32,
    /// Signatures of the bare arithmetic.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub bare: u32,
    /// Seconds of each measurement of throughput.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub seconds: u64,
    /// Program, directory and output.
    #[command(flatten)]
    pub cluster: ClusterOptions,
}
