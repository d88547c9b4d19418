//! What was measured.

use std::fmt;

use serde::{Deserialize, Serialize};
use warifu_protocol::Sha256;

use crate::command::Outcome;
use crate::measure::{LoadAverage, Memory, Spread, write_load_averages};

/// The bound: 512 MB of resident memory for the registry and the shares of one node with 100,000 credentials.
pub const MEMORY_MAX_BYTES: u64 = 512_000_000;

/// One measured process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HolderReport {
    /// Memory with empty stores.
    pub empty: Option<Memory>,
    /// Memory after loading, opening or installing.
    pub settled: Memory,
    /// Memory at the end, after reading and writing a snapshot.
    pub end: Memory,
    /// Time of loading, opening or installing.
    pub seconds: f64,
    /// The part of it in which the stores worked and did not wait for input.
    pub busy_seconds: f64,
    /// Time of writing a snapshot.
    pub snapshot_seconds: Option<f64>,
    /// Log entries applied.
    pub entries: u64,
    /// State root.
    pub root: Sha256,
    /// Reads by random ids.
    pub reads: Option<Reads>,
    /// Sizes of files.
    pub sizes: StoreSizes,
}

/// Latencies of reads by random ids, each from a view of its own.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Reads {
    /// A credential's record, decoded.
    pub credential: Spread,
    /// A share, unsealed and decoded.
    pub share: Spread,
}

/// Sizes of files in bytes.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct StoreSizes {
    /// Registry.
    pub state_bytes: u64,
    /// Shares and audit log.
    pub local_bytes: u64,
    /// A snapshot.
    pub snapshot_bytes: u64,
}

/// The whole measurement.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Credentials loaded.
    pub credentials: u64,
    /// Those with a card.
    pub bound: u64,
    /// Configured caches in bytes: registry, and shares with audit log.
    pub caches_bytes: [u64; 2],
    /// Bytes of one certificate of the load.
    pub certificate_bytes: u64,
    /// Loading.
    pub load: HolderReport,
    /// Opening again.
    pub reopen: HolderReport,
    /// Installing a snapshot.
    pub install: HolderReport,
    /// Load of the machine before and after.
    pub load_average: [Option<LoadAverage>; 2],
    /// What was not made as a cluster makes it.
    pub simplified: Vec<String>,
}

impl Report {
    /// The most that any of the processes ever had resident.
    #[must_use]
    pub fn peak_bytes(&self) -> u64 {
        [&self.load, &self.reopen, &self.install].iter().map(|holder| holder.end.peak_bytes).max().unwrap_or_default()
    }
}

impl Outcome for Report {
    /// Memory stayed within the bound and all three processes had the same registry.
    fn passes(&self) -> bool {
        self.peak_bytes() <= MEMORY_MAX_BYTES && self.load.root == self.reopen.root && self.load.root == self.install.root
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let load = &self.load;
        writeln!(f, "state-size: registry and shares of one node, {} credentials, {} with a card", self.credentials, self.bound)?;
        write_load_averages(f, &self.load_average)?;
        writeln!(f, "  caches configured    registry {}, shares and audit log {}", mb(self.caches_bytes[0]), mb(self.caches_bytes[1]))?;
        writeln!(
            f,
            "  files                registry {}, shares and audit log {}, snapshot {}",
            mb(load.sizes.state_bytes),
            mb(load.sizes.local_bytes),
            mb(load.sizes.snapshot_bytes)
        )?;
        writeln!(
            f,
            "  load                 {} entries in {:.1} s: {:.0} credentials/s ({:.0}/s of the stores' own time)",
            load.entries,
            load.seconds,
            self.credentials as f64 / load.seconds,
            self.credentials as f64 / load.busy_seconds
        )?;
        if let Some(seconds) = load.snapshot_seconds {
            writeln!(f, "  snapshot             written in {seconds:.1} s, installed in {:.1} s", self.install.seconds)?;
        }
        for (what, holder) in [("after loading", load), ("after a restart", &self.reopen)] {
            if let Some(reads) = &holder.reads {
                let Reads { credential, share } = reads;
                writeln!(
                    f,
                    "  reads {what:<15} credential p50 {:.1} us, p99 {:.1} us; share p50 {:.1} us, p99 {:.1} us ({} each)",
                    credential.p50_us, credential.p99_us, share.p50_us, share.p99_us, credential.count
                )?;
            }
        }
        if let Some(empty) = load.empty {
            writeln!(f, "  memory, empty        {}", mb(empty.rss_bytes))?;
        }
        for (what, holder) in [("load", load), ("restart", &self.reopen), ("install", &self.install)] {
            let Memory { rss_bytes, peak_bytes } = holder.end;
            writeln!(
                f,
                "  memory, {what:<12} resident {} then {} at the end, peak {}",
                mb(holder.settled.rss_bytes),
                mb(rss_bytes),
                mb(peak_bytes)
            )?;
        }
        for line in &self.simplified {
            writeln!(f, "  not as in a cluster: {line}")?;
        }
        if self.load.root != self.reopen.root || self.load.root != self.install.root {
            writeln!(f, "  the state roots differ")?;
        }
        let verdict = if self.passes() { "PASS" } else { "FAIL" };
        write!(f, "{verdict}: peak {} of {}", mb(self.peak_bytes()), mb(MEMORY_MAX_BYTES))
    }
}

fn mb(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
