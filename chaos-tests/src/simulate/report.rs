//! What many runs came to: a table, a page, or JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::time::Duration;

use clap::ValueEnum as _;
use serde::Serialize;
use warifu_protocol::canonical::sha256;

use super::cost::Cost;
use super::counters::Counters;
use super::invariants::Invariants;
use super::plan::Focus;
use super::run::Outcome;
use super::timeline::Timeline;
use crate::command::commit;
use crate::plot::escaped;

/// The report.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Seed of the first run.
    pub first_seed: u64,
    /// Runs.
    pub seeds: u64,
    /// Virtual milliseconds with faults, of each.
    pub safety_millis: u64,
    /// What every run was asked to be about.
    pub focus: Option<Focus>,
    /// Real time.
    pub seconds: f64,
    /// The commit that the working directory stands at, if git says so.
    pub commit: String,
    /// Sums.
    pub counters: Counters,
    /// What went on in the seeds that had each fault.
    pub faults: BTreeMap<&'static str, UnderFault>,
    /// What arithmetic cost, and the whole, in seconds of all processors.
    pub cost: Cost,
    /// Hash over the hashes of all runs, in the order of their seeds: equal for equal seeds and programs.
    pub hash: String,
    /// Names of the invariants.
    pub invariants: Vec<&'static str>,
    /// Runs in which one broke.
    pub failures: Vec<Outcome>,
    /// For a seed that was run twice: whether both runs were the same.
    pub same_twice: Option<bool>,
    /// Longest run, in seconds of real time, and its seed.
    pub longest: (f64, u64),
    #[serde(skip)]
    hashes: BTreeMap<u64, String>,
    /// Signatures of each run in which faults were on, for the page: seed and number.
    signatures: Vec<(u64, u64)>,
    /// The run that the page draws over virtual time: the first that failed, or the first.
    #[serde(skip)]
    drawn: Option<Drawn>,
}

/// A run over virtual time.
#[derive(Clone, Debug)]
struct Drawn {
    seed: u64,
    has_failed: bool,
    timeline: Timeline,
}

impl Drawn {
    /// Those that failed come before all others, and otherwise smaller seeds: seeds come in any order.
    const fn rank(&self) -> (bool, u64) {
        (!self.has_failed, self.seed)
    }
}

/// Sums over the seeds that had a fault. Most had others too.
#[derive(Clone, Debug, Default, Serialize)]
pub struct UnderFault {
    /// How often it came.
    pub times: u64,
    /// Seeds that had it.
    pub seeds: u64,
    /// Signatures that were asked for in them.
    pub requests: u64,
    /// Of these, refused or given up with an answer.
    pub failed: u64,
    /// Of these, without an answer.
    pub unknown: u64,
    /// How often invariants looked at what happened.
    pub checks: u64,
    /// Longest time without a signature while faults were on, in virtual milliseconds.
    pub longest_gap_millis: u64,
    /// Longest from the end of faults until all was well, in virtual milliseconds.
    pub healed_after_millis: u64,
}

impl UnderFault {
    /// Headings of its columns.
    const COLUMNS: [&'static str; 8] =
        ["times", "seeds", "requests", "failed", "unknown", "longest gap ms", "longest recovery ms", "invariants checked"];

    fn add(&mut self, times: u64, run: &Counters) {
        self.times += times;
        self.seeds += 1;
        self.requests += run.requests;
        self.failed += run.failed;
        self.unknown += run.unknown;
        self.checks += run.checks;
        self.longest_gap_millis = self.longest_gap_millis.max(run.longest_gap_millis);
        self.healed_after_millis = self.healed_after_millis.max(run.healed_after_millis);
    }

    const fn values(&self) -> [u64; 8] {
        let Self { times, seeds, requests, failed, unknown, checks, longest_gap_millis, healed_after_millis } = *self;
        [times, seeds, requests, failed, unknown, longest_gap_millis, healed_after_millis, checks]
    }
}

impl Report {
    pub(super) fn new(safety_millis: u64, focus: Option<Focus>, elapsed: Duration) -> Self {
        Self {
            first_seed: 0,
            seeds: 0,
            safety_millis,
            focus,
            seconds: elapsed.as_secs_f64(),
            commit: commit(),
            counters: Counters::default(),
            faults: BTreeMap::new(),
            cost: Cost::default(),
            hash: String::new(),
            hashes: BTreeMap::new(),
            invariants: Invariants::names(),
            failures: Vec::new(),
            same_twice: None,
            longest: (0.0, 0),
            signatures: Vec::new(),
            drawn: None,
        }
    }

    /// Takes a run; says how many have failed so far.
    pub(super) fn add(&mut self, mut outcome: Outcome) -> usize {
        if self.seeds == 0 {
            self.first_seed = outcome.seed;
        }
        self.seeds += 1;
        self.counters.add(&outcome.counters);
        for (fault, times) in &outcome.counters.faults {
            self.faults.entry(fault).or_default().add(*times, &outcome.counters);
        }
        self.cost.add(&outcome.cost);
        self.hashes.insert(outcome.seed, outcome.hash.clone());
        self.signatures.push((outcome.seed, outcome.counters.signed));
        self.draw(&mut outcome);
        if outcome.seconds > self.longest.0 {
            self.longest = (outcome.seconds, outcome.seed);
        }
        if !outcome.violations.is_empty() {
            outcome.again = Some(self.command(outcome.seed));
            self.failures.push(outcome);
        }
        self.failures.len()
    }

    /// Keeps the run that the page draws.
    fn draw(&mut self, outcome: &mut Outcome) {
        let timeline = std::mem::take(&mut outcome.timeline);
        let run = Drawn { seed: outcome.seed, has_failed: !outcome.violations.is_empty(), timeline };
        if self.drawn.as_ref().is_none_or(|drawn| run.rank() < drawn.rank()) {
            self.drawn = Some(run);
        }
    }

    /// All runs are in.
    pub(super) fn close(&mut self) {
        let all: String = self.hashes.values().map(String::as_str).collect();
        self.hash = hex::encode(sha256(all.as_bytes()));
    }

    /// Whether nothing broke.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.failures.is_empty() && self.same_twice != Some(false)
    }

    /// The command that shows a failure again.
    fn command(&self, seed: u64) -> String {
        let seconds = self.safety_millis / 1_000;
        let focus = self.focus.and_then(|focus| focus.to_possible_value());
        let focus = focus.map_or_else(String::new, |focus| format!(" --focus {}", focus.get_name()));
        format!(
            "cargo run --release --locked -p warifu-chaos --bin simulate -- --reproduce {seed} --seconds {seconds}{focus} --log facts.jsonl"
        )
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        let counters = &self.counters;
        let virtual_seconds = (counters.virtual_millis / 1_000).max(1);
        vec![
            ("commit", self.commit.clone()),
            ("seeds", format!("{} from {}", self.seeds, self.first_seed)),
            ("real time", format!("{:.1} s; longest seed {} with {:.1} s", self.seconds, self.longest.1, self.longest.0)),
            ("virtual time", format!("{virtual_seconds} s, {} s of each with faults", self.safety_millis / 1_000)),
            (
                "arithmetic",
                format!(
                    "{:.1} s in FROST, about {:.1} s in signatures; outside of both {:.0} % of {:.1} s",
                    self.cost.frost,
                    self.cost.signatures,
                    100.0 * self.cost.outside(),
                    self.cost.total
                ),
            ),
            ("hash", self.hash.clone()),
            ("events, messages, log entries", format!("{}, {}, {}", counters.events, counters.messages, counters.entries)),
            ("invariants checked", format!("{} times, {} of them", counters.checks, self.invariants.len())),
            (
                "signatures asked for",
                format!("{}: {} signed, {} failed, {} unknown", counters.requests, counters.signed, counters.failed, counters.unknown),
            ),
            ("signatures a virtual second", format!("{:.2}", counters.signed as f64 / virtual_seconds as f64)),
            ("signature shares", counters.shares.to_string()),
            ("orders and sessions acknowledged", format!("{}, {} tries without an answer", counters.acknowledged, counters.orders_unknown)),
            ("stops acknowledged", counters.stops.to_string()),
            (
                "ceremonies that ended well",
                format!("{}, {:.1} a seed", counters.ceremonies, counters.ceremonies as f64 / self.seeds.max(1) as f64),
            ),
            ("longest time without a signature", format!("{} virtual ms", counters.longest_gap_millis)),
            ("longest until all was well again", format!("{} virtual ms after the last fault", counters.healed_after_millis)),
        ]
    }

    /// A page that needs nothing else to be shown.
    #[must_use]
    pub fn html(&self) -> String {
        let mut page = String::from(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>simulate</title><style>body{font:15px sans-serif;max-width:60em;margin:2em auto;padding:0 1em}\
             table{border-collapse:collapse}td,th{border:1px solid #999;padding:.3em .6em;text-align:left}pre{background:#eee;padding:1em;overflow:auto}\
             .bad{color:#b00}text{font:12px sans-serif}</style>",
        );
        let verdict = if self.passes() { "<p>No invariant broke.</p>" } else { "<p class=\"bad\">An invariant broke.</p>" };
        let _ = write!(page, "<h1>simulate</h1>{verdict}<table>");
        for (what, value) in self.lines() {
            let _ = write!(page, "<tr><th>{what}</th><td>{}</td></tr>", escaped(&value));
        }
        page.push_str("</table><h2>Faults</h2><table><tr><th>fault</th>");
        for column in UnderFault::COLUMNS {
            let _ = write!(page, "<th>{column}</th>");
        }
        page.push_str("</tr>");
        for (fault, under) in &self.faults {
            let _ = write!(page, "<tr><td>{fault}</td>");
            for value in under.values() {
                let _ = write!(page, "<td>{value}</td>");
            }
            page.push_str("</tr>");
        }
        page.push_str("</table>");
        if let Some(Drawn { seed, timeline, .. }) = &self.drawn {
            let _ = write!(page, "<h2>Seed {seed} over virtual time</h2>{}", timeline.svg());
        }
        page.push_str("<h2>Signatures by seed</h2>");
        page.push_str(&self.plot());
        page.push_str("<h2>Invariants</h2><ul>");
        for invariant in &self.invariants {
            let _ = write!(page, "<li>{invariant}</li>");
        }
        page.push_str("</ul>");
        for failure in &self.failures {
            let _ = write!(page, "<h2 class=\"bad\">Seed {}</h2><pre>{}</pre>", failure.seed, escaped(&self.describe(failure)));
        }
        page.push_str("</html>\n");
        page
    }

    /// Bars, one for each seed, of the signatures in it.
    fn plot(&self) -> String {
        const HEIGHT: u64 = 120;
        let most = self.signatures.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1);
        let width = self.signatures.len().max(1) * 4;
        let mut plot = format!("<svg width=\"{width}\" height=\"{HEIGHT}\" role=\"img\" aria-label=\"signatures by seed\">");
        for (place, (seed, count)) in self.signatures.iter().enumerate() {
            let height = count * HEIGHT / most;
            let (x, y) = (place * 4, HEIGHT - height);
            let fill = if self.failures.iter().any(|failure| failure.seed == *seed) { "#b00" } else { "#369" };
            let _ = write!(
                plot,
                "<rect x=\"{x}\" y=\"{y}\" width=\"3\" height=\"{height}\" fill=\"{fill}\"><title>seed {seed}: {count}</title></rect>"
            );
        }
        plot.push_str("</svg>");
        plot
    }

    fn describe(&self, failure: &Outcome) -> String {
        let mut text = String::new();
        for violation in &failure.violations {
            let _ = writeln!(text, "BROKEN {}: {}", violation.invariant, violation.what);
        }
        let plan = &failure.plan;
        let _ = writeln!(
            text,
            "n = {}, t = {}, f = {}, {} coordinators, {} holders, corrupt {:?}",
            plan.nodes, plan.threshold, plan.liars, plan.coordinators, plan.holders, plan.corrupt
        );
        let _ = writeln!(text, "{:?}", plan.faults);
        let _ = writeln!(text, "what happened last:");
        for line in &failure.last {
            let _ = writeln!(text, "  {line}");
        }
        let _ = writeln!(text, "again: {}", self.command(failure.seed));
        text
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, value) in self.lines() {
            writeln!(f, "{what:<34} {value}")?;
        }
        write!(f, "{:<34}", "faults")?;
        UnderFault::COLUMNS.iter().try_for_each(|column| write!(f, " {column:>8}"))?;
        writeln!(f)?;
        for (fault, under) in &self.faults {
            write!(f, "  {fault:<32}")?;
            let columns = under.values().into_iter().zip(UnderFault::COLUMNS);
            columns.into_iter().try_for_each(|(value, column)| write!(f, " {value:>width$}", width = column.len().max(8)))?;
            writeln!(f)?;
        }
        if let Some(same) = self.same_twice {
            writeln!(f, "run twice: {}", if same { "the same facts" } else { "DIFFERENT FACTS: the run is not determined by its seed" })?;
        }
        for failure in &self.failures {
            writeln!(f, "\nSEED {} FAILED (commit {})", failure.seed, self.commit)?;
            write!(f, "{}", self.describe(failure))?;
        }
        if self.passes() { write!(f, "no invariant broke") } else { write!(f, "{} seeds failed", self.failures.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::invariants::Violation;
    use super::super::run::run_with;
    use super::super::world::COMES_TO_REST;
    use super::*;

    #[test]
    fn the_page_draws_the_first_seed_that_failed_or_else_the_first_over_virtual_time_and_names_the_commit() {
        let add = |report: &mut Report, seed, has_failed: bool| {
            let mut outcome = run_with(seed, 1, None, None, |_| {}).expect("a run can be set up");
            outcome.timeline.mark(if has_failed { "broken" } else { "whole" }, seed * 1_000);
            if has_failed {
                outcome.violations.push(Violation { invariant: "one", what: String::new() });
            }
            report.add(outcome);
        };
        let mut report = Report::new(1, None, Duration::ZERO);
        add(&mut report, 5, false);
        add(&mut report, 3, false);
        let page = report.html();
        assert!(page.contains("Seed 3 over virtual time") && page.contains(">whole</text>"), "{page}");
        assert!(page.contains(&format!("<tr><th>commit</th><td>{}</td></tr>", report.commit)), "{page}");
        add(&mut report, 9, true);
        add(&mut report, 7, true);
        add(&mut report, 1, false);
        let page = report.html();
        assert!(page.contains("Seed 7 over virtual time") && page.contains(">broken</text>"), "{page}");
        assert!(!page.contains("http"), "it needs nothing from elsewhere");
    }

    #[test]
    fn a_seed_that_only_fails_to_come_to_rest_fails_the_whole() {
        let mut report = Report::new(1, None, Duration::ZERO);
        let mut outcome = run_with(1, 1, None, None, |_| {}).expect("a run can be set up");
        report.add(outcome.clone());
        assert!(report.passes());
        outcome.seed = 2;
        outcome.violations = vec![Violation { invariant: COMES_TO_REST, what: String::new() }];
        report.add(outcome);
        assert!(!report.passes());
    }

    #[test]
    fn a_fault_is_shown_with_what_went_on_in_the_seeds_that_had_it_and_in_no_others() {
        let outcome = |seed, faults: &[(&'static str, u64)], (requests, failed, unknown, gap, healed)| {
            let mut outcome = run_with(seed, 1, None, None, |_| {}).expect("a run can be set up");
            let faults = faults.iter().copied().collect();
            let (longest_gap_millis, healed_after_millis) = (gap, healed);
            outcome.counters =
                Counters { requests, failed, unknown, checks: 3, longest_gap_millis, healed_after_millis, faults, ..Counters::default() };
            outcome
        };
        let mut report = Report::new(1, None, Duration::ZERO);
        report.add(outcome(1, &[("fire", 2), ("flood", 1)], (10, 3, 2, 500, 9)));
        report.add(outcome(2, &[("fire", 5)], (20, 1, 1, 40, 700)));
        report.add(outcome(3, &[], (7_000, 70, 7, 7_777, 7_777)));
        let text = report.to_string();
        let row = |fault: &str| {
            let line = text.lines().find(|line| line.trim_start().starts_with(fault)).expect("a row");
            line.split_whitespace().skip(1).map(|value| value.parse().expect("a number")).collect::<Vec<u64>>()
        };
        assert_eq!(row("fire"), [7, 2, 30, 4, 3, 500, 700, 6]);
        assert_eq!(row("flood"), [1, 1, 10, 3, 2, 500, 9, 3]);
        assert!(
            report
                .html()
                .contains("<tr><td>fire</td><td>7</td><td>2</td><td>30</td><td>4</td><td>3</td><td>500</td><td>700</td><td>6</td></tr>")
        );
    }
}
