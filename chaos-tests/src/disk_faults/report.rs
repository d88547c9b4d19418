//! What happened.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use warifu_protocol::NodeId;

use super::kept::Counted;
use crate::command::Outcome;
use crate::measure::{LoadAverage, write_load_averages};
use crate::open_loop::Phase;
use crate::preload::{Fault, Loss, Lost};

/// One power cut of all nodes.
#[derive(Debug, Clone, Serialize)]
pub struct CutRow {
    /// At whose fsync it was.
    pub node: NodeId,
    /// On which side of that fsync.
    pub fault: Fault,
    /// The how manieth it was since work began.
    pub nth: u64,
    /// What was taken, by node.
    pub losses: BTreeMap<NodeId, Loss>,
    /// How much was taken in all.
    pub lost: Lost,
    /// From the first process's start until every node is confirmed and there is a leader.
    pub recovery_seconds: f64,
    /// What is acknowledged by then.
    pub kept: Counted,
    /// Promises that were broken.
    pub broken: Vec<String>,
}

/// What a node did about its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Behaviour {
    /// It died, as it was meant to.
    Died,
    /// Its process ended with a clear word.
    Ended,
    /// It refuses to work and says why on `/readyz`.
    Refused,
    /// It goes on.
    ServedOn,
    /// It ended, or does not work, without a clear word.
    Silent,
}

/// One fault of one node's disk.
#[derive(Debug, Clone, Serialize)]
pub struct CaseRow {
    /// Whose.
    pub node: NodeId,
    /// What.
    pub fault: Fault,
    /// In which store.
    pub file: String,
    /// At the how manieth fsync.
    pub nth: u64,
    /// Counted from the process's start, or from some instant while it worked.
    pub at_start: bool,
    /// Whether it came to that.
    pub met: bool,
    /// What a power cut after it took.
    pub loss: Option<Loss>,
    /// How much that was.
    pub lost: Lost,
    /// What the node did.
    pub behaviour: Behaviour,
    /// Its words.
    pub words: String,
    /// From the end of the fault until every node is confirmed.
    pub recovery_seconds: f64,
    /// Promises that were broken.
    pub broken: Vec<String>,
}

/// The whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// n
    pub nodes: u8,
    /// t
    pub threshold: u8,
    /// The seed.
    pub seed: u64,
    /// Load of the machine before and after.
    pub load_average: [Option<LoadAverage>; 2],
    /// Power cuts.
    pub cuts: Vec<CutRow>,
    /// Faults of single disks.
    pub faults: Vec<CaseRow>,
    /// Signing while single disks failed.
    pub signing: Option<Phase>,
    /// What was acknowledged in all.
    pub kept: Counted,
    /// Promises that were broken in the end.
    pub broken: Vec<String>,
    /// Whole time, in seconds.
    pub seconds: f64,
}

impl Default for CutRow {
    fn default() -> Self {
        Self {
            node: FIRST,
            fault: Fault::CutBeforeSync,
            nth: 0,
            losses: BTreeMap::new(),
            lost: Lost::default(),
            recovery_seconds: 0.0,
            kept: Counted::default(),
            broken: Vec::new(),
        }
    }
}

impl Default for CaseRow {
    fn default() -> Self {
        Self {
            node: FIRST,
            fault: Fault::CutBeforeSync,
            file: String::new(),
            nth: 0,
            at_start: false,
            met: false,
            loss: None,
            lost: Lost::default(),
            behaviour: Behaviour::ServedOn,
            words: String::new(),
            recovery_seconds: 0.0,
            broken: Vec::new(),
        }
    }
}

const FIRST: NodeId = NodeId::new(1).expect("1 is a node's number");

impl Report {
    /// Everything that was broken.
    pub fn broken(&self) -> impl Iterator<Item = &String> {
        let rows = self.cuts.iter().map(|cut| &cut.broken).chain(self.faults.iter().map(|case| &case.broken));
        rows.flatten().chain(&self.broken)
    }
}

impl Outcome for Report {
    /// No promise was broken, and every document was signed while single disks failed.
    fn passes(&self) -> bool {
        self.broken().next().is_none() && self.signing.as_ref().is_none_or(|signing| signing.failed == 0 && signing.attempted > 0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "disk-faults: {} of {} sites and a coordinator on one machine, seed {}", self.threshold, self.nodes, self.seed)?;
        write_load_averages(f, &self.load_average)?;
        if !self.cuts.is_empty() {
            writeln!(f, "  power cuts of all nodes at one instant")?;
            writeln!(
                f,
                "    {:<22} {:>14} {:>10} {:>6} {:>10}  acknowledged by then",
                "at", "changes open", "taken", "names", "back after"
            )?;
        }
        for CutRow { node, fault, nth, losses: _, lost, recovery_seconds, kept, broken } in &self.cuts {
            let at = format!("{} {nth} of node {node}", if *fault == Fault::CutBeforeSync { "before" } else { "after" });
            write!(f, "    {at:<22} {:>14} {:>10} {:>6} {recovery_seconds:>8.1} s", lost.changes, lost.lost, lost.names)?;
            let Counted { documents, facilities, credentials, sessions } = kept;
            writeln!(f, "  {documents} documents, {facilities} facilities, {sessions} sessions, {credentials} keys")?;
            write_broken(f, broken)?;
        }
        if !self.faults.is_empty() {
            writeln!(f, "  one node's disk")?;
            writeln!(
                f,
                "    {:<18} {:<11} {:>4} {:<6} {:<10} {:>6} {:>10}  its words",
                "fault", "store", "k", "since", "did", "taken", "back after"
            )?;
        }
        for case in &self.faults {
            let CaseRow { fault, file, nth, at_start, met, lost, behaviour, words, recovery_seconds, broken, .. } = case;
            let fault = serde_json::to_value(fault).ok();
            let name = fault.as_ref().and_then(|fault| fault.as_str()).unwrap_or("sync-slow").to_owned();
            let did = if *met { format!("{behaviour:?}").to_lowercase() } else { "not met".to_owned() };
            let since = if *at_start { "start" } else { "then" };
            let words: String = words.lines().last().unwrap_or_default().chars().take(WORDS_SHOWN).collect();
            writeln!(f, "    {name:<18} {file:<11} {nth:>4} {since:<6} {did:<10} {:>6} {recovery_seconds:>8.1} s  {words}", lost.lost)?;
            write_broken(f, broken)?;
        }
        if let Some(signing) = &self.signing {
            writeln!(f, "  signing meanwhile: {signing}")?;
        }
        write_broken(f, &self.broken)?;
        let verdict = if self.passes() { "PASS: nothing that was acknowledged is lost" } else { "FAIL" };
        write!(f, "  {verdict}; {:.1} s", self.seconds)
    }
}

fn write_broken(f: &mut fmt::Formatter<'_>, broken: &[String]) -> fmt::Result {
    broken.iter().try_for_each(|what| writeln!(f, "    BROKEN: {what}"))
}

/// As much of a node's words as a line of the table has room for.
const WORDS_SHOWN: usize = 140;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Latencies;

    #[test]
    fn a_run_passes_only_if_no_promise_was_broken_and_documents_came_and_were_signed() {
        let phase = |attempted, failed| Phase { attempted, failed, retried: 0, call: Latencies::default().spread(), first_failure: None };
        let report = || Report {
            nodes: 3,
            threshold: 2,
            seed: 1,
            load_average: [None, None],
            cuts: vec![CutRow::default()],
            faults: vec![CaseRow::default()],
            signing: Some(phase(9, 0)),
            kept: Counted::default(),
            broken: Vec::new(),
            seconds: 1.0,
        };
        let broken = || vec!["a promise".to_owned()];
        for (case, passes, report) in [
            ("all well", true, report()),
            ("no fault was asked for", true, Report { signing: None, ..report() }),
            ("a document was not signed", false, Report { signing: Some(phase(9, 1)), ..report() }),
            ("no document came", false, Report { signing: Some(phase(0, 0)), ..report() }),
            ("broken by a cut", false, Report { cuts: vec![CutRow { broken: broken(), ..CutRow::default() }], ..report() }),
            ("broken by a fault", false, Report { faults: vec![CaseRow { broken: broken(), ..CaseRow::default() }], ..report() }),
            ("broken in the end", false, Report { broken: broken(), ..report() }),
        ] {
            assert_eq!(report.passes(), passes, "{case}");
            assert_eq!(report.to_string().contains("PASS"), passes, "{case}");
        }
    }
}
