//! What happened.

use std::fmt;

use serde::Serialize;

use crate::command::Outcome;
use crate::measure::{LoadAverage, write_load_averages};
use crate::open_loop::Phase;

/// One step.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// What was done.
    pub step: String,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// What came of it, or why it did not hold.
    pub result: String,
    /// Whether it held.
    pub holds: bool,
    /// Signing meanwhile.
    pub signing: Option<Phase>,
}

/// The whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// n
    pub nodes: u8,
    /// t
    pub threshold: u8,
    /// Credentials that were enrolled in bulk.
    pub credentials: u32,
    /// Documents a second, by schedule.
    pub rate: u32,
    /// Load of the machine before and after.
    pub load_average: [Option<LoadAverage>; 2],
    /// The steps, in order. The run ends with the first that does not hold.
    pub steps: Vec<Step>,
    /// Signing from the first document to the last.
    pub signing: Phase,
    /// Whole time, in seconds.
    pub seconds: f64,
}

impl Outcome for Report {
    /// Every step held, and every document was signed.
    fn passes(&self) -> bool {
        self.signing.failed == 0 && self.signing.attempted > 0 && self.steps.iter().all(|step| step.holds)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "years: {} of {} sites and a coordinator on one machine, {} credentials, {} documents/s by schedule",
            self.threshold, self.nodes, self.credentials, self.rate
        )?;
        write_load_averages(f, &self.load_average)?;
        for step in &self.steps {
            let mark = if step.holds { "ok  " } else { "FAIL" };
            writeln!(f, "  {mark} {:>8.1} s  {}", step.seconds, step.step)?;
            for line in step.result.lines() {
                writeln!(f, "                    {line}")?;
            }
            if let Some(signing) = &step.signing {
                writeln!(f, "                    signing: {signing}")?;
            }
        }
        writeln!(f, "  signing in all: {}", self.signing)?;
        let verdict = if self.passes() { "PASS: every step held and every document was signed" } else { "FAIL" };
        write!(f, "  {verdict}; {:.1} s", self.seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Latencies;

    #[test]
    fn a_run_passes_only_if_documents_came_all_were_signed_and_every_step_held() {
        let phase = |attempted, failed| Phase { attempted, failed, retried: 0, call: Latencies::default().spread(), first_failure: None };
        let step = |holds| Step { step: "a step".to_owned(), seconds: 1.0, result: "a word".to_owned(), holds, signing: None };
        let report = |steps: Vec<Step>, signing| Report {
            nodes: 5,
            threshold: 3,
            credentials: 1,
            rate: 1,
            load_average: [None, None],
            steps,
            signing,
            seconds: 1.0,
        };
        for (case, passes, report) in [
            ("all well", true, report(vec![step(true)], phase(9, 0))),
            ("a document was not signed", false, report(vec![step(true)], phase(9, 1))),
            ("no document came", false, report(vec![step(true)], phase(0, 0))),
            ("a step did not hold", false, report(vec![step(true), step(false)], phase(9, 0))),
        ] {
            assert_eq!(report.passes(), passes, "{case}");
            assert_eq!(report.to_string().contains("PASS"), passes, "{case}");
        }
    }
}
