//! What quickstart did.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::load::LoadSummary;
use super::shell::word;
use crate::console::{Console, table};

/// One step.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Step {
    /// What was done.
    pub step: String,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// What came of it.
    pub result: String,
}

/// The whole run. Its JSON form is the output of `warifu quickstart --json`.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct QuickstartReport {
    /// Whether everything that was promised came true.
    pub success: bool,
    /// Why not.
    pub problem: Option<String>,
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// The load and the outage, once they were run.
    pub outage: Option<LoadSummary>,
    /// Whole time, in seconds.
    pub seconds: f64,
    /// The signed prescription.
    pub prescription: Option<PathBuf>,
    /// The signed dispensing.
    pub dispensing: Option<PathBuf>,
    /// The CA that both chain to.
    pub trust: Option<PathBuf>,
    /// Where keys, stores and logs are, if they were kept.
    pub directory: Option<PathBuf>,
}

/// Writes steps down while they happen.
#[derive(Debug)]
pub(super) struct Recorder {
    console: Console,
    start: Instant,
    pub(super) report: QuickstartReport,
}

impl Recorder {
    pub(super) fn new(console: Console) -> Self {
        Self { console, start: Instant::now(), report: QuickstartReport::default() }
    }

    /// Runs a step under a spinner. `result` says what came of it.
    pub(super) async fn step<T, E: std::fmt::Display>(
        &mut self,
        name: &str,
        work: impl Future<Output = Result<T, E>>,
        result: impl FnOnce(&T) -> String,
    ) -> Result<T, E> {
        let spinner = self.console.spinner(name);
        let start = Instant::now();
        let outcome = work.await;
        spinner.finish_and_clear();
        let text = match &outcome {
            Ok(value) => result(value),
            Err(_) => "FAILED".to_owned(),
        };
        self.report.steps.push(Step { step: name.to_owned(), seconds: rounded(start.elapsed()), result: text });
        outcome
    }

    /// Ends the run and shows it.
    pub(super) fn finish(mut self, problem: Option<String>) -> QuickstartReport {
        self.report.seconds = rounded(self.start.elapsed());
        self.report.success = problem.is_none();
        self.report.problem = problem;
        self.console.data(&self.report, || text(&self.report));
        self.report
    }
}

fn text(report: &QuickstartReport) -> String {
    let rows = report.steps.iter().map(|step| [step.step.clone(), format!("{:.1} s", step.seconds), step.result.clone()]);
    let mut text = table(["step", "time", "result"], rows);
    let mut line = |label: &str, value: String| {
        text.push('\n');
        text.push_str(&format!("{label:<14}{value}"));
    };
    line("whole time", format!("{:.1} s", report.seconds));
    for (label, path) in [("prescription", &report.prescription), ("dispensing", &report.dispensing), ("trusted CA", &report.trust)] {
        if let Some(path) = path {
            line(label, path.display().to_string());
        }
    }
    if let (Some(dispensing), Some(trust)) = (&report.dispensing, &report.trust) {
        line("check it", format!("warifu verify {} --trust {}", word(dispensing), word(trust)));
    }
    if let Some(directory) = &report.directory {
        line("files", directory.display().to_string());
    }
    text
}

/// To a millisecond: more is noise.
pub(super) fn rounded(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}
