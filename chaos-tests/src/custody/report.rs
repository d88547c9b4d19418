//! What was measured.

use std::fmt;

use serde::Serialize;

use super::floor::Floor;
use crate::command::Outcome;
use crate::measure::{LoadAverage, write_load_averages};
use crate::open_loop::Phase;

/// Bulk work leaves signing so much slower at most, at the slowest hundredth.
pub const P99_RATIO_MAX: f64 = 2.0;

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
    /// Credentials in one ceremony.
    pub batch: u32,
    /// Load of the machine before and after.
    pub load_average: [Option<LoadAverage>; 2],
    /// The bulk work, in the order in which it was done.
    pub bulk: Vec<Bulk>,
    /// Signing after all of it.
    pub after: Phase,
    /// Signing from the first document to the last.
    pub whole: Phase,
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
    /// Signing in the latest stretch without bulk work; absent if nothing was signed.
    pub before: Option<Phase>,
    /// Signing meanwhile.
    pub meanwhile: Option<Phase>,
    /// p99 of signing meanwhile over that before.
    pub p99_ratio: Option<f64>,
}

impl Outcome for Report {
    /// Every document was signed.
    fn passes(&self) -> bool {
        self.whole.failed == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "custody: {} of {} nodes and a coordinator, one machine with {} processors, {} documents/s by schedule, ceremonies of {}",
            self.threshold, self.nodes, self.processors, self.rate, self.batch
        )?;
        write_load_averages(f, &self.load_average)?;
        for bulk in &self.bulk {
            writeln!(
                f,
                "  {} of {} credentials in {:.1} s: {:.1} credentials/s",
                bulk.what, bulk.credentials, bulk.seconds, bulk.credentials_per_second
            )?;
            writeln!(
                f,
                "    arithmetic alone {:.2} ms of a core each, at most {:.1} credentials/s on this machine; ratio {:.3}",
                bulk.floor.core_millis_per_credential, bulk.floor.credentials_per_second, bulk.ratio_to_floor
            )?;
            if let (Some(before), Some(meanwhile), Some(ratio)) = (&bulk.before, &bulk.meanwhile, bulk.p99_ratio) {
                line(f, "signing before", before)?;
                line(f, "signing meanwhile", meanwhile)?;
                let verdict = if ratio <= P99_RATIO_MAX { "within" } else { "OVER" };
                writeln!(f, "    p99 of signing, over that before: {ratio:.2}, {verdict} {P99_RATIO_MAX:.1}")?;
            }
        }
        line(f, "signing after", &self.after)?;
        line(f, "signing in all", &self.whole)?;
        write!(f, "  {}", if self.passes() { "PASS: every document was signed" } else { "FAIL: documents were not signed" })
    }
}

fn line(f: &mut fmt::Formatter<'_>, what: &str, phase: &Phase) -> fmt::Result {
    writeln!(f, "    {what:<18} {phase}")
}
