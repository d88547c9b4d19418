//! What was measured.

use std::fmt;

use serde::Serialize;

use super::floor::Floor;
use super::load::Phase;
use crate::measure::LoadAverage;

/// The whole measurement.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// n
    pub nodes: u8,
    /// t
    pub threshold: u8,
    /// Processors that this process may use.
    pub processors: usize,
    /// Documents a second, by schedule.
    pub rate: u32,
    /// Load of the machine before and after.
    pub load_average: [Option<LoadAverage>; 2],
    /// Signing before any bulk work.
    pub before: Phase,
    /// The bulk work, in the order in which it was done.
    pub bulk: Vec<Bulk>,
    /// Signing after all of it.
    pub after: Phase,
}

/// One kind of bulk work.
#[derive(Debug, Clone, Serialize)]
pub struct Bulk {
    /// What was done.
    pub what: &'static str,
    /// Credentials that it was done to.
    pub credentials: u32,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Credentials a second.
    pub credentials_per_second: f64,
    /// The arithmetic alone.
    pub floor: Floor,
    /// This rate over the floor's.
    pub ratio_to_floor: f64,
    /// Signing meanwhile.
    pub signing: Phase,
    /// p99 of signing meanwhile over that before any bulk work.
    pub p99_ratio: f64,
}

impl Report {
    /// Whether every document was signed.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.before.failed + self.after.failed + self.bulk.iter().map(|bulk| bulk.signing.failed).sum::<u64>() == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "custody: {} of {} nodes and a coordinator, one machine with {} processors, {} documents/s by schedule",
            self.threshold, self.nodes, self.processors, self.rate
        )?;
        for (when, average) in ["before", "after"].iter().zip(self.load_average) {
            if let Some(average) = average {
                writeln!(f, "  load average {when:<7} {average}")?;
            }
        }
        line(f, "signing, before", &self.before)?;
        for bulk in &self.bulk {
            writeln!(
                f,
                "  {} of {} credentials in {:.1} s: {:.1} credentials/s",
                bulk.what, bulk.credentials, bulk.seconds, bulk.credentials_per_second
            )?;
            writeln!(
                f,
                "    arithmetic alone {:.2} ms of a core each, at most {:.1} credentials/s on this machine; ratio {:.2}",
                bulk.floor.core_millis_per_credential, bulk.floor.credentials_per_second, bulk.ratio_to_floor
            )?;
            line(f, "signing meanwhile", &bulk.signing)?;
            writeln!(f, "    p99 of signing, over that before: {:.2}", bulk.p99_ratio)?;
        }
        line(f, "signing, after", &self.after)?;
        write!(f, "  {}", if self.passes() { "PASS: every document was signed" } else { "FAIL: documents were not signed" })
    }
}

fn line(f: &mut fmt::Formatter<'_>, what: &str, phase: &Phase) -> fmt::Result {
    writeln!(
        f,
        "    {what:<18} {:>5} documents, {} not signed, {} asked a second set; p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
        phase.attempted,
        phase.failed,
        phase.retried,
        phase.call.p50_us / 1e3,
        phase.call.p99_us / 1e3,
        phase.call.max_us / 1e3
    )?;
    match &phase.first_failure {
        Some(reason) => writeln!(f, "      the first that was not: {reason}"),
        None => Ok(()),
    }
}
