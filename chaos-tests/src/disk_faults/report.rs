//! What happened.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use warifu_protocol::NodeId;

use super::kept::Counted;
use crate::command::{Again, Outcome};
use crate::meanwhile::{self, Meanwhile};
use crate::measure::{LoadAverage, Spread, write_load_averages};
use crate::open_loop::Phase;
use crate::plot::{Plot, escaped, page};
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
    /// How documents fared, from the first of its load until then.
    pub meanwhile: Meanwhile,
    /// When that began and ended, in seconds from the beginning of the run.
    pub from: f64,
    /// When every node was confirmed.
    pub until: f64,
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
    /// How documents fared, from when the fault was asked for until then.
    pub meanwhile: Meanwhile,
    /// When that began and ended, in seconds from the beginning of the run.
    pub from: f64,
    /// When every node was confirmed.
    pub until: f64,
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
    /// A like run again.
    pub again: Again,
    /// Load of the machine before and after.
    pub load_average: [Option<LoadAverage>; 2],
    /// Each kind of fault with how documents fared meanwhile.
    pub kinds: BTreeMap<String, Meanwhile>,
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
    /// When documents came that were not signed, in seconds from the beginning of the run.
    pub failures: Vec<f64>,
    /// Signing over time.
    #[serde(skip)]
    pub over_time: Vec<Spread>,
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
            meanwhile: Meanwhile::default(),
            from: 0.0,
            until: 0.0,
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
            meanwhile: Meanwhile::default(),
            from: 0.0,
            until: 0.0,
            broken: Vec::new(),
        }
    }
}

const FIRST: NodeId = NodeId::new(1).expect("1 is a node's number");

/// Time that one point of the time-line stands for.
pub(super) const SLICE: Duration = Duration::from_secs(1);
/// A power cut in the table of kinds.
const POWER_CUT: &str = "power-cut";

/// As it is in reports.
fn name_of(fault: Fault) -> String {
    let value = serde_json::to_value(fault).ok();
    value.as_ref().and_then(|value| value.as_str()).unwrap_or("sync-slow").to_owned()
}

/// Each kind of fault with how documents fared meanwhile.
pub(super) fn by_kind(cuts: &[CutRow], faults: &[CaseRow]) -> BTreeMap<String, Meanwhile> {
    let mut kinds = BTreeMap::<String, Meanwhile>::new();
    let cuts = cuts.iter().map(|cut| (POWER_CUT.to_owned(), &cut.meanwhile));
    for (kind, meanwhile) in cuts.chain(faults.iter().map(|case| (name_of(case.fault), &case.meanwhile))) {
        let known = kinds.entry(kind).or_default();
        *known = known.and(meanwhile);
    }
    kinds
}

impl Report {
    /// One page with the time-line and the tables.
    #[must_use]
    pub fn html(&self) -> String {
        let span = |from, until| (Duration::from_secs_f64(from), Duration::from_secs_f64(until));
        let cuts = self.cuts.iter().map(|cut| (POWER_CUT.to_owned(), span(cut.from, cut.until)));
        let spans: Vec<_> = cuts.chain(self.faults.iter().map(|case| (name_of(case.fault), span(case.from, case.until)))).collect();
        let marks: Vec<_> = spans.iter().map(|(kind, (from, until))| (kind.as_str(), *from, *until)).collect();
        let failures: Vec<Duration> = self.failures.iter().copied().map(Duration::from_secs_f64).collect();
        let plot = Plot { slice: SLICE, slices: &self.over_time, marks: &marks, failures: &failures };
        let table = meanwhile::table(&[], self.kinds.iter().map(|(kind, meanwhile)| (kind.as_str(), meanwhile, Vec::new())));
        let title = format!("disk-faults, seed {}", self.seed);
        page(&title, &format!("{}{}{table}<pre>{}</pre>", plot.legend(), plot.svg(), escaped(&self.to_string())))
    }

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
        writeln!(f, "{}", meanwhile::line(meanwhile::HEADS))?;
        for (kind, meanwhile) in &self.kinds {
            writeln!(f, "{}", meanwhile::line(meanwhile.cells(kind)))?;
        }
        if !self.cuts.is_empty() {
            writeln!(f, "  power cuts of all nodes at one instant")?;
            writeln!(
                f,
                "    {:<22} {:>14} {:>10} {:>6} {:>10}  acknowledged by then",
                "at", "changes open", "taken", "names", "back after"
            )?;
        }
        for CutRow { node, fault, nth, lost, recovery_seconds, kept, broken, .. } in &self.cuts {
            let at = format!("{} {nth} of node {node}", if *fault == Fault::CutBeforeSync { "before" } else { "after" });
            write!(f, "    {at:<22} {:>14} {:>10} {:>6} {recovery_seconds:>8.1} s", lost.changes, lost.lost, lost.names)?;
            writeln!(f, "  {kept}")?;
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
            let name = name_of(*fault);
            let did = if *met { format!("{behaviour:?}").to_lowercase() } else { "not met".to_owned() };
            let since = if *at_start { "start" } else { "then" };
            let words: String = words.lines().last().unwrap_or_default().chars().take(WORDS_SHOWN).collect();
            writeln!(f, "    {name:<18} {file:<11} {nth:>4} {since:<6} {did:<10} {:>6} {recovery_seconds:>8.1} s  {words}", lost.lost)?;
            write_broken(f, broken)?;
        }
        if let Some(signing) = &self.signing {
            writeln!(f, "  signing meanwhile: {signing}")?;
        }
        writeln!(f, "  looked for in the end: {}", self.kept)?;
        write_broken(f, &self.broken)?;
        let verdict = if self.passes() { "PASS: nothing that was acknowledged is lost" } else { "FAIL" };
        writeln!(f, "  {verdict}; {:.1} s", self.seconds)?;
        write!(f, "  the same faults again: {}", self.again)
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
            again: Again { commit: "abc".to_owned(), command: "disk-faults --seed 1".to_owned() },
            load_average: [None, None],
            kinds: BTreeMap::new(),
            cuts: vec![CutRow::default()],
            faults: vec![CaseRow::default()],
            signing: Some(phase(9, 0)),
            kept: Counted::default(),
            broken: Vec::new(),
            seconds: 1.0,
            failures: vec![0.5],
            over_time: Vec::new(),
        };
        let html = {
            let meanwhile = |failed| Meanwhile { times: 1, requests: 9, failed, unknown: 0, longest_gap: 0.5, recovery: Some(2.0) };
            let case = |fault, failed| CaseRow { fault, meanwhile: meanwhile(failed), until: 1.0, ..CaseRow::default() };
            let faults = vec![case(Fault::SyncSlow(5), 1), case(Fault::SyncSlow(5), 0), case(Fault::WriteFull, 0)];
            let cuts = vec![CutRow { meanwhile: meanwhile(3), until: 1.0, ..CutRow::default() }];
            Report { kinds: by_kind(&cuts, &faults), cuts, faults, ..report() }.html()
        };
        for row in
            ["<td>power-cut<td>1<td>9<td>3<", "<td>sync-slow<td>2<td>18<td>1<", "<td>write-full<td>1<td>9<td>0<td>0<td>0.50<td>2.00</tr>"]
        {
            assert!(html.contains(row), "{row} is not in {html}");
        }
        assert!(html.contains("power-cut</text>") && html.contains("v12"), "the time-line has faults and documents that were not signed");
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
            assert!(report.to_string().contains("again: disk-faults --seed 1 (commit abc)"), "{case}");
        }
    }
}
