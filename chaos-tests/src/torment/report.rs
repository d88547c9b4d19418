//! What happened.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::time::Duration;

use serde::Serialize;

use super::checker::Checked;
use super::nemesis::{Away, MEANWHILE, NOT_DONE, Nemesis};
use crate::command::{Again, Outcome};
use crate::measure::{LoadAverage, Spread, optional_seconds, write_load_averages};
use crate::open_loop::Phase;
use crate::plot::{Plot, escaped, page};
use crate::proxy::Injected;

/// Longest time without a signature while at most n - t sites are away.
const SIGNING_GAP_GOAL: Duration = Duration::from_secs(1);
/// Longest time that one write of the log takes while at most n - t sites are away.
const WRITE_GOAL: Duration = Duration::from_secs(3);
/// Longest time from a node's start to its first signature share.
const RECOVERY_GOAL: Duration = Duration::from_secs(5);
/// Beyond so many times a goal the run fails: goals are for machines that do nothing else.
const GOAL_TIMES_MAX: u32 = 3;
/// Time that one point of the time-line stands for.
pub(super) const SLICE: Duration = Duration::from_secs(1);
/// Reasons of failures that are shown.
const FAILURES_SHOWN: usize = 10;

/// One round: one kind of fault, and what was wrong elsewhere meanwhile, until all sites serve again.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    /// All of it in words.
    pub title: String,
    /// What was done.
    pub nemesis: Nemesis,
    /// What was wrong at another site, from before until after.
    pub second: Option<Nemesis>,
    /// Whether lines were untidy as well.
    pub untidy: bool,
    /// How many sites were away.
    pub away: Away,
    /// How often it was done.
    pub times: u32,
    /// How often the second was done, if there is one.
    pub second_times: Option<u32>,
    /// When it began and ended, in seconds from the first document.
    pub from: f64,
    /// When all sites served again.
    pub until: f64,
    /// Documents that came meanwhile.
    pub signing: Phase,
    /// Of those not signed: nobody answered, so they may be signed.
    pub unknown: u64,
    /// Longest time in which no document was signed, in seconds.
    pub longest_gap: f64,
    /// Longest time that a write of the log took, in seconds; absent if none ended meanwhile.
    pub longest_write: Option<f64>,
    /// Longest time from a node's start to its first signature share, in seconds; absent if none was started.
    pub recovery: Option<f64>,
    /// Documents signed while fewer than t sites were there.
    pub signed_in_the_dark: usize,
    /// What the proxies did.
    pub datagrams: Injected,
    /// On whom, and what came of it.
    pub notes: Vec<String>,
}

/// A document that was not signed although enough sites were there.
#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    /// When it came, in seconds from the first.
    pub at: f64,
    /// Why.
    pub reason: String,
}

/// The whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Where everything drawn comes from.
    pub seed: u64,
    /// The same plan again.
    pub again: Again,
    /// n
    pub nodes: u8,
    /// t
    pub threshold: u8,
    /// Documents a second, by schedule.
    pub rate: u32,
    /// Load of the machine before and after.
    pub load_average: [Option<LoadAverage>; 2],
    /// Signing without faults, in the same run.
    pub quiet: Phase,
    /// Longest time in which no document was signed then, in seconds.
    pub quiet_gap: f64,
    /// Writes of the log then.
    pub quiet_writes: Spread,
    /// The rounds, in order.
    pub rounds: Vec<Round>,
    /// Signing from the first document to the last.
    pub signing: Phase,
    /// Writes of the log from the first to the last.
    pub writes: Spread,
    /// Documents that were not signed although enough sites were there.
    pub failures: Vec<Failure>,
    /// What ended the run early.
    pub stuck: Option<String>,
    /// Kinds of faults that came to nothing in every round of theirs, with the reason.
    pub not_done: BTreeMap<Nemesis, String>,
    /// Times beyond three times their goals.
    pub times_missed: Vec<String>,
    /// The promises.
    pub checked: Vec<Checked>,
    /// Whole time, in seconds.
    pub seconds: f64,
    /// Where the disks are, if they were kept.
    pub kept: Option<String>,
    /// The network namespaces of the sites, if they have any.
    pub namespaces: Vec<String>,
    /// Signing over time.
    #[serde(skip)]
    pub over_time: Vec<Spread>,
}

impl Report {
    /// Promises that were broken.
    pub fn violations(&self) -> impl Iterator<Item = &String> {
        self.checked.iter().flat_map(|checked| &checked.violations)
    }

    /// Whether nothing was signed while fewer than t sites were there.
    fn is_dark_dark(&self) -> bool {
        self.rounds.iter().all(|round| round.signed_in_the_dark == 0)
    }

    /// Whether every promise was kept and every document signed that had to be. A check that looked at nothing says nothing of its promise.
    #[must_use]
    pub fn keeps_promises(&self) -> bool {
        let is_looked_at = !self.checked.is_empty() && self.checked.iter().all(|checked| checked.looked_at > 0);
        self.stuck.is_none() && self.violations().next().is_none() && is_looked_at && self.failures.is_empty() && self.is_dark_dark()
    }

    /// With what follows from the rounds.
    pub(super) fn judged(mut self) -> Self {
        self.not_done = not_done(&self.rounds);
        self.times_missed = times_missed(&self.rounds);
        self
    }

    /// One page with the time-line and the tables.
    #[must_use]
    pub fn html(&self) -> String {
        let seconds = Duration::from_secs_f64;
        let marks: Vec<_> = self.rounds.iter().map(|round| (round.title.as_str(), seconds(round.from), seconds(round.until))).collect();
        let failures: Vec<Duration> = self.failures.iter().map(|failure| seconds(failure.at)).collect();
        let plot = Plot { slice: SLICE, slices: &self.over_time, marks: &marks, failures: &failures };
        page(
            &format!("torment, seed {}", self.seed),
            &format!("{}{}{}<pre>{}</pre>", plot.legend(), plot.svg(), self.table(), escaped(&self.to_string())),
        )
    }

    fn table(&self) -> String {
        let mut table = format!("<table><tr><th>{}</tr>", HEADS.join("<th>"));
        for round in &self.rounds {
            let _ = write!(table, "<tr><td>{}</tr>", round.cells().map(|cell| escaped(&cell)).join("<td>"));
        }
        table.push_str("</table>\n");
        table
    }
}

/// Kinds of faults that came to nothing in every round of theirs, be it as the first or the second of it, with the reason.
fn not_done(rounds: &[Round]) -> BTreeMap<Nemesis, String> {
    let mut reasons = BTreeMap::<Nemesis, Vec<Option<&str>>>::new();
    for round in rounds {
        let reason = |second: bool| {
            let said = |note: &&str| note.ends_with(NOT_DONE) && note.starts_with(MEANWHILE) == second;
            round.notes.iter().map(String::as_str).find(said).map(|note| note.trim_start_matches(MEANWHILE))
        };
        reasons.entry(round.nemesis).or_default().push(reason(false));
        if let Some(second) = round.second {
            reasons.entry(second).or_default().push(reason(true));
        }
    }
    let never = |(nemesis, reasons): (Nemesis, Vec<Option<&str>>)| Some((nemesis, reasons.into_iter().min().flatten()?.to_owned()));
    reasons.into_iter().filter_map(never).collect()
}

/// Times beyond three times their goals.
fn times_missed(rounds: &[Round]) -> Vec<String> {
    let mut missed = Vec::new();
    let mut look = |what: &str, round: &Round, seconds: f64, goal: Duration| {
        if seconds > (goal * GOAL_TIMES_MAX).as_secs_f64() {
            missed.push(format!("{what} of {seconds:.1} s in {}", round.title));
        }
    };
    for round in rounds {
        if round.away == Away::Spare {
            look("a time without a signature", round, round.longest_gap, SIGNING_GAP_GOAL);
            look("a write of the log", round, round.longest_write.unwrap_or_default(), WRITE_GOAL);
        }
        look("a recovery", round, round.recovery.unwrap_or_default(), RECOVERY_GOAL);
    }
    missed
}

/// The columns in which rounds are told; times in seconds.
const HEADS: [&str; 10] = ["fault", "times", "requests", "failed", "unknown", "gap", "write", "recovery", "datagrams", "on whom"];

impl Round {
    /// One for each of [`HEADS`].
    fn cells(&self) -> [String; HEADS.len()] {
        [
            self.title.clone(),
            (self.times + self.second_times.unwrap_or_default()).to_string(),
            self.signing.attempted.to_string(),
            (self.signing.failed - self.unknown).to_string(),
            self.unknown.to_string(),
            format!("{:.2}", self.longest_gap),
            optional_seconds(self.longest_write),
            optional_seconds(self.recovery),
            self.datagrams.faults().to_string(),
            self.notes.join("; "),
        ]
    }
}

fn write_row(f: &mut fmt::Formatter<'_>, cells: [impl fmt::Display; HEADS.len()]) -> fmt::Result {
    let [title, times, requests, failed, unknown, gap, write, recovery, datagrams, whom] = cells;
    writeln!(f, "  {title:<38} {times:>5} {requests:>8} {failed:>6} {unknown:>7} {gap:>7} {write:>7} {recovery:>8} {datagrams:>9}  {whom}")
}

impl Outcome for Report {
    fn passes(&self) -> bool {
        self.keeps_promises() && self.times_missed.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "torment: seed {}, {} of {} nodes and two coordinators, {} documents/s by schedule, {:.0} s",
            self.seed, self.threshold, self.nodes, self.rate, self.seconds
        )?;
        if !self.namespaces.is_empty() {
            writeln!(f, "  each site at an address of its own, in a network namespace of its own")?;
        }
        write_load_averages(f, &self.load_average)?;
        writeln!(f, "  without faults: {}; longest gap {:.2} s", self.quiet, self.quiet_gap)?;
        writeln!(f, "                  writes of the log: {}", self.quiet_writes)?;
        write_row(f, HEADS)?;
        for round in &self.rounds {
            write_row(f, round.cells())?;
            if round.signed_in_the_dark > 0 {
                writeln!(f, "    BROKEN: {} documents signed while fewer than t sites were there", round.signed_in_the_dark)?;
            }
        }
        writeln!(f, "  in all: {}", self.signing)?;
        writeln!(f, "          writes of the log: {}", self.writes)?;
        for checked in &self.checked {
            write!(f, "{checked}")?;
        }
        for failure in self.failures.iter().take(FAILURES_SHOWN) {
            writeln!(f, "  NOT SIGNED, at {:.2} s: {}", failure.at, failure.reason)?;
        }
        if let Some(stuck) = &self.stuck {
            writeln!(f, "  STUCK: {stuck}")?;
        }
        for missed in &self.times_missed {
            writeln!(f, "  LATE, beyond {GOAL_TIMES_MAX} times the goal: {missed}")?;
        }
        for (nemesis, reason) in &self.not_done {
            writeln!(f, "  {}: {reason}", nemesis.name())?;
        }
        if let Some(kept) = &self.kept {
            writeln!(f, "  disks and logs: {kept}")?;
        }
        if self.passes() {
            writeln!(f, "  PASS: every promise was kept, and every document signed while at most n - t sites were away")?;
        } else {
            writeln!(f, "  FAIL")?;
        }
        write!(f, "  the same plan again: {}", self.again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Latencies;

    fn phase() -> Phase {
        Phase { attempted: 10, failed: 2, retried: 0, call: Latencies::default().spread(), first_failure: None }
    }

    fn report() -> Report {
        let round = Round {
            title: "killed + disk-slow + untidy".to_owned(),
            nemesis: Nemesis::Killed,
            second: Some(Nemesis::DiskSlow),
            untidy: true,
            away: Away::Spare,
            times: 2,
            second_times: Some(1),
            from: 1.0,
            until: 9.0,
            signing: phase(),
            unknown: 1,
            longest_gap: 0.5,
            longest_write: None,
            recovery: Some(4.0),
            signed_in_the_dark: 0,
            datagrams: Injected::default(),
            notes: vec!["nodes 1, 2".to_owned()],
        };
        Report {
            seed: 7,
            again: Again { commit: "abc".to_owned(), command: "torment --seed 7".to_owned() },
            nodes: 5,
            threshold: 3,
            rate: 20,
            load_average: [None, None],
            quiet: phase(),
            quiet_gap: 0.1,
            quiet_writes: Latencies::default().spread(),
            rounds: vec![round],
            signing: phase(),
            writes: Latencies::default().spread(),
            failures: Vec::new(),
            stuck: None,
            not_done: BTreeMap::new(),
            times_missed: Vec::new(),
            checked: vec![Checked { invariant: "nonce_used_at_most_once", looked_at: 30, violations: Vec::new() }],
            seconds: 10.0,
            kept: None,
            namespaces: Vec::new(),
            over_time: Vec::new(),
        }
    }

    #[test]
    fn a_run_fails_for_each_reason_and_for_no_other() {
        assert!(report().passes());
        let spoilt: [fn(&mut Report); 9] = [
            |report| report.stuck = Some("no leader".to_owned()),
            |report| report.checked[0].violations.push("twice".to_owned()),
            |report| report.checked[0].looked_at = 0,
            |report| report.checked.clear(),
            |report| report.failures.push(Failure { at: 1.0, reason: "no".to_owned() }),
            |report| report.rounds[0].signed_in_the_dark = 1,
            |report| report.rounds[0].longest_gap = 3.1,
            |report| report.rounds[0].longest_write = Some(9.1),
            |report| report.rounds[0].recovery = Some(15.1),
        ];
        for (place, spoil) in spoilt.iter().enumerate() {
            let mut report = report();
            spoil(&mut report);
            let report = report.judged();
            assert!(!report.passes(), "{place}");
            assert_eq!(report.keeps_promises(), place >= 6, "{place}");
            assert!(report.to_string().contains("again: torment --seed 7 (commit abc)"));
        }
        let mut dark = report();
        dark.rounds[0].away = Away::TooMany;
        dark.rounds[0].longest_gap = 60.0;
        let dark = dark.judged();
        assert!(dark.passes(), "nothing can be signed then");
    }

    #[test]
    fn a_kind_of_fault_that_was_never_done_is_named_also_in_json_and_only_that_kind() {
        let with = |nemesis, notes: &[&str]| {
            let notes = notes.iter().map(|note| (*note).to_owned()).collect();
            Round { nemesis, second: Some(Nemesis::DiskFull), notes, ..report().rounds[0].clone() }
        };
        let mut report = report();
        report.rounds =
            vec![with(Nemesis::ClockSkew, &["no library: not done"]), with(Nemesis::Killed, &["node 1", "meanwhile no shim: not done"])];
        let report = report.judged();
        assert_eq!(
            report.not_done,
            BTreeMap::from([(Nemesis::ClockSkew, "no library: not done".to_owned())]),
            "the disk was full in one of two"
        );
        assert!(report.to_string().contains("clock-skew: no library: not done"));
        let json = serde_json::to_value(&report).expect("it is data");
        assert_eq!(json["not_done"]["clock-skew"], "no library: not done");
        let mut again = report;
        again.rounds.push(with(Nemesis::ClockSkew, &["node 1", "meanwhile no shim: not done"]));
        again.rounds.remove(0);
        let again = again.judged();
        assert_eq!(again.not_done, BTreeMap::from([(Nemesis::DiskFull, "no shim: not done".to_owned())]));
    }

    #[test]
    fn the_page_has_the_time_line_and_each_round() {
        let html = report().html();
        assert!(html.contains("<svg") && html.contains("killed + disk-slow + untidy</text>") && html.contains("nodes 1, 2"), "{html}");
    }
}
