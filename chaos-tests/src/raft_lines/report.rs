//! What happened.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::command::{Again, Outcome};
use crate::meanwhile::{self, Meanwhile};
use crate::measure::{LoadAverage, Spread, optional_seconds, write_load_averages};
use crate::plot::{Plot, escaped, page};
use crate::proxy::Injected;
use crate::torment::Checked;

/// Time that one point of the time-line stands for.
pub(super) const SLICE: Duration = Duration::from_secs(1);

/// One round of faults.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    /// What was wrong.
    pub title: String,
    /// When it began and ended, in seconds from the first write.
    pub from: f64,
    /// When it was over.
    pub until: f64,
    /// How often it was done, and how the writes fared that were on their way at some time of it.
    pub meanwhile: Meanwhile,
    /// The longest of those that were acknowledged, in seconds.
    pub longest_write: Option<f64>,
    /// On whom, and what came of it.
    pub notes: Vec<String>,
}

/// The whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Where everything drawn comes from.
    pub seed: u64,
    /// The same faults again.
    pub again: Again,
    /// n
    pub nodes: u8,
    /// Clients that wrote.
    pub clients: u8,
    /// Load of the machine before and after.
    pub load_average: [Option<LoadAverage>; 2],
    /// The rounds, in order.
    pub rounds: Vec<Round>,
    /// Acknowledged writes.
    pub writes: Spread,
    /// How many they are.
    pub acknowledged: usize,
    /// Writes of which nobody ever said what became of them.
    pub unknown: usize,
    /// What the proxies did.
    pub datagrams: Injected,
    /// Seconds from the end of the faults until every write was acknowledged, and until all nodes had one state.
    pub healed: [f64; 2],
    /// What did not come to its end.
    pub stuck: Vec<String>,
    /// The promises.
    pub checked: Vec<Checked>,
    /// Whole time, in seconds.
    pub seconds: f64,
    /// Where the disks are, if they were kept.
    pub kept: Option<String>,
    /// Writes over time.
    #[serde(skip)]
    pub over_time: Vec<Spread>,
}

impl Report {
    /// One page with the time-line and the table.
    #[must_use]
    pub fn html(&self) -> String {
        let seconds = Duration::from_secs_f64;
        let marks: Vec<_> = self.rounds.iter().map(|round| (round.title.as_str(), seconds(round.from), seconds(round.until))).collect();
        let plot = Plot { slice: SLICE, slices: &self.over_time, marks: &marks, failures: &[] };
        let cells = |round: &Round| vec![optional_seconds(round.longest_write), round.notes.join("; ")];
        let rows = self.rounds.iter().map(|round| (round.title.as_str(), &round.meanwhile, cells(round)));
        let table = meanwhile::table(&["longest write", "on whom"], rows);
        let legend = "<p>Time of a write, from its first try to its acknowledgement, by the second in which it began: p50 blue, p99 red; writes \
                      a second green.</p>\n";
        page(&format!("raft-lines, seed {}", self.seed), &format!("{legend}{}{table}<pre>{}</pre>", plot.svg(), escaped(&self.to_string())))
    }
}

impl Outcome for Report {
    fn passes(&self) -> bool {
        let holds = |checked: &Checked| checked.looked_at > 0 && checked.violations.is_empty();
        self.stuck.is_empty() && self.acknowledged > 0 && !self.checked.is_empty() && self.checked.iter().all(holds)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "raft-lines: seed {}, {} nodes in one process, {} clients, {} rounds, {:.0} s",
            self.seed,
            self.nodes,
            self.clients,
            self.rounds.len(),
            self.seconds
        )?;
        write_load_averages(f, &self.load_average)?;
        writeln!(f, "{} {:>13}  on whom", meanwhile::line(meanwhile::HEADS), "longest write")?;
        for round in &self.rounds {
            let (line, longest) = (meanwhile::line(round.meanwhile.cells(&round.title)), optional_seconds(round.longest_write));
            writeln!(f, "{line} {longest:>13}  {}", round.notes.join("; "))?;
        }
        writeln!(f, "  {} writes acknowledged, {} unknown: {}", self.acknowledged, self.unknown, self.writes)?;
        let Injected { passed, lost, cut, doubled, delayed, held, overflowed } = self.datagrams;
        writeln!(
            f,
            "  datagrams: {passed} passed, {lost} lost, {cut} cut, {doubled} doubled, {delayed} delayed, {held} reordered, {overflowed} too many"
        )?;
        let [acknowledged, whole] = self.healed;
        writeln!(f, "  after the faults: every write acknowledged in {acknowledged:.2} s, one state everywhere in {whole:.2} s")?;
        for checked in &self.checked {
            write!(f, "{checked}")?;
        }
        for stuck in &self.stuck {
            writeln!(f, "  STUCK: {stuck}")?;
        }
        if let Some(kept) = &self.kept {
            writeln!(f, "  disks and logs: {kept}")?;
        }
        if self.passes() {
            writeln!(f, "  PASS: one log and one state everywhere, with everything that was acknowledged in it, once")?;
        } else {
            writeln!(f, "  FAIL")?;
        }
        write!(f, "  the same faults again: {}", self.again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Latencies;

    fn report() -> Report {
        let meanwhile = Meanwhile { times: 3, requests: 9, failed: 0, unknown: 1, longest_gap: 0.25, recovery: Some(0.75) };
        let title = "loss + slow-disk".to_owned();
        let round = Round { title, from: 0.0, until: 2.0, meanwhile, longest_write: Some(1.5), notes: vec!["node 1".to_owned()] };
        Report {
            seed: 7,
            again: Again { commit: "abc".to_owned(), command: "raft-lines --seed 7".to_owned() },
            nodes: 5,
            clients: 6,
            load_average: [None, None],
            rounds: vec![round],
            writes: Latencies::default().spread(),
            acknowledged: 9,
            unknown: 0,
            datagrams: Injected::default(),
            healed: [0.5, 0.7],
            stuck: Vec::new(),
            checked: vec![Checked { invariant: "logs_agree", looked_at: 30, violations: Vec::new() }],
            seconds: 3.0,
            kept: None,
            over_time: Vec::new(),
        }
    }

    #[test]
    fn a_run_fails_for_each_reason_and_a_check_that_looked_at_nothing_is_one() {
        assert!(report().passes());
        assert!(report().html().contains("<td>loss + slow-disk<td>3<td>9<td>0<td>1<td>0.25<td>0.75<td>1.50<td>node 1</tr>"));
        assert!(report().html().contains("<svg") && report().html().contains("loss + slow-disk</text>"));
        let spoilt: [fn(&mut Report); 5] = [
            |report| report.stuck.push("no leader".to_owned()),
            |report| report.checked[0].violations.push("two leaders".to_owned()),
            |report| report.checked[0].looked_at = 0,
            |report| report.checked.clear(),
            |report| report.acknowledged = 0,
        ];
        for (place, spoil) in spoilt.iter().enumerate() {
            let mut report = report();
            spoil(&mut report);
            assert!(!report.passes(), "{place}");
            assert!(report.to_string().contains("again: raft-lines --seed 7 (commit abc)"));
        }
    }
}
