//! Command line of `state-size`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::command::CommonOptions;

/// Loads a registry and its shares as one node holds them, and measures memory, disk and reads.
#[derive(Debug, Clone, Parser)]
#[command(name = "state-size", version)]
pub struct Options {
    /// Credentials to load.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub credentials: u64,
    /// Binds a card to one of so many credentials; 0 for none. Each costs two RSA signatures to make.
    #[arg(long, default_value_t = 10)]
    pub bound_every: u64,
    /// Reads of credentials, and of shares, by random ids.
    #[arg(long, default_value_t = 20_000)]
    pub reads: u64,
    /// Directory and output.
    #[command(flatten)]
    pub common: CommonOptions,
    /// What this process is; set by the program itself.
    #[command(subcommand)]
    pub phase: Option<Phase>,
}

/// What a measured process does. Each is a process of its own, so that its memory is its own.
#[derive(Debug, Clone, Subcommand)]
pub enum Phase {
    /// Applies what comes over standard input, then reads, then writes a snapshot.
    #[command(name = "__load", hide = true)]
    Load {
        /// Directory of everything.
        directory: PathBuf,
    },
    /// Opens the stores and reads.
    #[command(name = "__reopen", hide = true)]
    Reopen {
        /// Directory of everything.
        directory: PathBuf,
    },
    /// Installs the snapshot into an empty registry.
    #[command(name = "__install", hide = true)]
    Install {
        /// Directory of everything.
        directory: PathBuf,
    },
}
