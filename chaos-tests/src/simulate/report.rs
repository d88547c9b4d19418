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
    /// Sums.
    pub counters: Counters,
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
}

impl Report {
    pub(super) fn new(safety_millis: u64, focus: Option<Focus>, elapsed: Duration) -> Self {
        Self {
            first_seed: 0,
            seeds: 0,
            safety_millis,
            focus,
            seconds: elapsed.as_secs_f64(),
            counters: Counters::default(),
            cost: Cost::default(),
            hash: String::new(),
            hashes: BTreeMap::new(),
            invariants: Invariants::names(),
            failures: Vec::new(),
            same_twice: None,
            longest: (0.0, 0),
            signatures: Vec::new(),
        }
    }

    /// Takes a run; says how many have failed so far.
    pub(super) fn add(&mut self, outcome: Outcome) -> usize {
        if self.seeds == 0 {
            self.first_seed = outcome.seed;
        }
        self.seeds += 1;
        self.counters.add(&outcome.counters);
        self.cost.add(&outcome.cost);
        self.hashes.insert(outcome.seed, outcome.hash.clone());
        self.signatures.push((outcome.seed, outcome.counters.signed));
        if outcome.seconds > self.longest.0 {
            self.longest = (outcome.seconds, outcome.seed);
        }
        if !outcome.violations.is_empty() {
            self.failures.push(outcome);
        }
        self.failures.len()
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
            ("longest gap between signatures", format!("{} virtual ms", counters.longest_gap_millis)),
            ("longest until all was well again", format!("{} virtual ms after the last fault", counters.healed_after_millis)),
        ]
    }

    /// A page that needs nothing else to be shown.
    #[must_use]
    pub fn html(&self) -> String {
        let mut page = String::from(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>simulate</title><style>body{font:15px sans-serif;max-width:60em;margin:2em auto;padding:0 1em}\
             table{border-collapse:collapse}td,th{border:1px solid #999;padding:.3em .6em;text-align:left}pre{background:#eee;padding:1em;overflow:auto}\
             .bad{color:#b00}</style>",
        );
        let verdict = if self.passes() { "<p>No invariant broke.</p>" } else { "<p class=\"bad\">An invariant broke.</p>" };
        let _ = write!(page, "<h1>simulate</h1>{verdict}<table>");
        for (what, value) in self.lines() {
            let _ = write!(page, "<tr><th>{what}</th><td>{}</td></tr>", escape(&value));
        }
        page.push_str("</table><h2>Faults</h2><table><tr><th>fault</th><th>times</th></tr>");
        for (fault, times) in &self.counters.faults {
            let _ = write!(page, "<tr><td>{fault}</td><td>{times}</td></tr>");
        }
        page.push_str("</table><h2>Signatures by seed</h2>");
        page.push_str(&self.plot());
        page.push_str("<h2>Invariants</h2><ul>");
        for invariant in &self.invariants {
            let _ = write!(page, "<li>{invariant}</li>");
        }
        page.push_str("</ul>");
        for failure in &self.failures {
            let _ = write!(page, "<h2 class=\"bad\">Seed {}</h2><pre>{}</pre>", failure.seed, escape(&self.describe(failure)));
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
        writeln!(f, "faults")?;
        for (fault, times) in &self.counters.faults {
            writeln!(f, "  {fault:<32} {times}")?;
        }
        if let Some(same) = self.same_twice {
            writeln!(f, "run twice: {}", if same { "the same facts" } else { "DIFFERENT FACTS: the run is not determined by its seed" })?;
        }
        for failure in &self.failures {
            writeln!(f, "\nSEED {} FAILED (commit {})", failure.seed, commit())?;
            write!(f, "{}", self.describe(failure))?;
        }
        if self.passes() { write!(f, "no invariant broke") } else { write!(f, "{} seeds failed", self.failures.len()) }
    }
}

/// The commit that the working directory stands at, if git says so.
fn commit() -> String {
    let output = std::process::Command::new("git").args(["rev-parse", "HEAD"]).output();
    output
        .ok()
        .filter(|output| output.status.success())
        .map_or_else(|| "unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
