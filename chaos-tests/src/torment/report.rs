//! What happened.

use std::fmt::{self, Write as _};
use std::time::Duration;

use serde::Serialize;

use super::checker::Checked;
use super::nemesis::{Away, Nemesis};
use crate::command::Outcome;
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

    /// Whether every promise was kept and every document signed that had to be.
    #[must_use]
    pub fn keeps_promises(&self) -> bool {
        self.stuck.is_none() && self.violations().next().is_none() && self.failures.is_empty() && self.is_dark_dark()
    }

    /// Times beyond three times their goals.
    #[must_use]
    pub fn times_missed(&self) -> Vec<String> {
        let mut missed = Vec::new();
        let mut look = |what: &str, round: &Round, seconds: f64, goal: Duration| {
            if seconds > (goal * GOAL_TIMES_MAX).as_secs_f64() {
                missed.push(format!("{what} of {seconds:.1} s in {}", round.title));
            }
        };
        for round in &self.rounds {
            if round.away == Away::Spare {
                look("a time without a signature", round, round.longest_gap, SIGNING_GAP_GOAL);
                look("a write of the log", round, round.longest_write.unwrap_or_default(), WRITE_GOAL);
            }
            look("a recovery", round, round.recovery.unwrap_or_default(), RECOVERY_GOAL);
        }
        missed
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

/// The columns in which rounds are told; times in seconds.
const HEADS: [&str; 10] = ["fault", "times", "requests", "failed", "unknown", "gap", "write", "recovery", "datagrams", "on whom"];

impl Round {
    /// One for each of [`HEADS`].
    fn cells(&self) -> [String; HEADS.len()] {
        [
            self.title.clone(),
            self.times.to_string(),
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
        self.keeps_promises() && self.times_missed().is_empty()
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
        for missed in self.times_missed() {
            writeln!(f, "  LATE, beyond {GOAL_TIMES_MAX} times the goal: {missed}")?;
        }
        if let Some(kept) = &self.kept {
            writeln!(f, "  disks and logs: {kept}")?;
        }
        if self.passes() {
            write!(f, "  PASS: every promise was kept, and every document signed while at most n - t sites were away")
        } else {
            write!(f, "  FAIL; the same plan again: torment --seed {} --rate {}", self.seed, self.rate)
        }
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
        let spoilt: [fn(&mut Report); 7] = [
            |report| report.stuck = Some("no leader".to_owned()),
            |report| report.checked[0].violations.push("twice".to_owned()),
            |report| report.failures.push(Failure { at: 1.0, reason: "no".to_owned() }),
            |report| report.rounds[0].signed_in_the_dark = 1,
            |report| report.rounds[0].longest_gap = 3.1,
            |report| report.rounds[0].longest_write = Some(9.1),
            |report| report.rounds[0].recovery = Some(15.1),
        ];
        for (place, spoil) in spoilt.iter().enumerate() {
            let mut report = report();
            spoil(&mut report);
            assert!(!report.passes(), "{place}");
            assert_eq!(report.keeps_promises(), place >= 4, "{place}");
            assert!(report.to_string().contains("--seed 7"));
        }
        let mut dark = report();
        dark.rounds[0].away = Away::TooMany;
        dark.rounds[0].longest_gap = 60.0;
        assert!(dark.passes(), "nothing can be signed then");
    }

    #[test]
    fn the_page_has_the_time_line_and_each_round() {
        let html = report().html();
        assert!(html.contains("<svg") && html.contains("killed + disk-slow + untidy</text>") && html.contains("nodes 1, 2"), "{html}");
    }
}
