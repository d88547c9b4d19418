//! What was measured.

use std::fmt;

use serde::Serialize;

use super::bare::Bare;
use super::whole::{Sequential, Throughput};
use crate::command::Outcome;
use crate::measure::{LoadAverage, Memory, Spread, write_load_averages};

/// The whole measurement.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// n
    pub nodes: u8,
    /// t
    pub threshold: u8,
    /// Processors that this process may use.
    pub processors: usize,
    /// Load of the machine before and after.
    pub load_average: [Option<LoadAverage>; 2],
    /// The arithmetic alone.
    pub bare: Bare,
    /// One durable write to the disk of the cluster: each of the t sites waits for at least one before its share leaves it.
    pub durable_write: Spread,
    /// The whole path for single documents.
    pub single: Sequential,
    /// Whole path over arithmetic, at the median.
    pub ratio_p50: f64,
    /// The same at the 99th of 100.
    pub ratio_p99: f64,
    /// Callers that do not wait for each other.
    pub throughput: Vec<Throughput>,
    /// Memory of the cluster's processes at the end.
    pub daemons: Daemons,
}

/// Memory of the cluster's processes.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Daemons {
    /// One for each process, the largest first.
    pub memory: Vec<Memory>,
}

impl Outcome for Report {
    /// A document that is not signed ends the run with an error.
    fn passes(&self) -> bool {
        true
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bare, single, .. } = self;
        writeln!(
            f,
            "sign-latency: {} of {} nodes and a coordinator, one machine with {} processors",
            self.threshold, self.nodes, self.processors
        )?;
        write_load_averages(f, &self.load_average)?;
        writeln!(f, "  bare arithmetic, {} bytes signed, one core", bare.message_bytes)?;
        line(f, "one signer's share", bare.share)?;
        line(f, "aggregation", bare.aggregate)?;
        line(f, "strict verification", bare.verify)?;
        line(f, &format!("{} shares and both", bare.signers), bare.total)?;
        writeln!(f, "  the disk")?;
        line(f, "one durable write", self.durable_write)?;
        writeln!(
            f,
            "  whole path, HTTPS request to signed XML, single documents of {} bytes, one after the other",
            single.document_bytes[0]
        )?;
        line(f, "call", single.call)?;
        line(f, "terminal's own work", single.terminal)?;
        writeln!(f, "    asked a second set of sites for {} of {}", single.retried, single.call.count)?;
        writeln!(f, "  ratio, whole path to arithmetic: p50 {:.1}, p99 {:.1}", self.ratio_p50, self.ratio_p99)?;
        writeln!(f, "  throughput, each caller sending its next call when it has its last answer")?;
        for one in &self.throughput {
            writeln!(f, "    {:>2} callers with {:>2} a call: {:.0} documents/s", one.clients, one.batch, one.documents_per_second)?;
            line(f, "call", one.call)?;
            writeln!(f, "    asked a second set of sites for {}", one.retried)?;
        }
        let megabytes: Vec<String> = self.daemons.memory.iter().map(|memory| format!("{:.0}", memory.rss_bytes as f64 / 1e6)).collect();
        write!(f, "  memory of the {} daemons at the end, MB: {}", megabytes.len(), megabytes.join(" "))
    }
}

fn line(f: &mut fmt::Formatter<'_>, what: &str, spread: Spread) -> fmt::Result {
    writeln!(f, "    {what:<22} {spread}  ({})", spread.count)
}
