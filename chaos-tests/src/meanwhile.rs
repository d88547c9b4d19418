//! What a table of faults says of each: how often it was done, and how those fared who wanted something meanwhile.

use std::fmt::Write as _;

use serde::Serialize;

use crate::measure::optional_seconds;
use crate::plot::escaped;

/// How requests fared while something was wrong.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Meanwhile {
    /// How often it was done.
    pub times: u64,
    /// Requests that were on their way at some time of it, or came in it.
    pub requests: u64,
    /// Of these: somebody said no.
    pub failed: u64,
    /// Of these: nobody answered, so it may have been done.
    pub unknown: u64,
    /// Longest time in which nothing succeeded, in seconds.
    pub longest_gap: f64,
    /// Longest time until all was well again, in seconds; absent if that was not waited for.
    pub recovery: Option<f64>,
}

/// The columns in which it is told, after the fault; times in seconds.
pub(crate) const HEADS: [&str; 7] = ["fault", "times", "requests", "failed", "unknown", "gap", "recovery"];

impl Meanwhile {
    /// Sums and maxima of both.
    pub(crate) fn and(&self, other: &Self) -> Self {
        Self {
            times: self.times + other.times,
            requests: self.requests + other.requests,
            failed: self.failed + other.failed,
            unknown: self.unknown + other.unknown,
            longest_gap: self.longest_gap.max(other.longest_gap),
            recovery: self.recovery.into_iter().chain(other.recovery).reduce(f64::max),
        }
    }

    /// One for each of [`HEADS`].
    pub(crate) fn cells(&self, fault: &str) -> [String; HEADS.len()] {
        [
            fault.to_owned(),
            self.times.to_string(),
            self.requests.to_string(),
            self.failed.to_string(),
            self.unknown.to_string(),
            format!("{:.2}", self.longest_gap),
            optional_seconds(self.recovery),
        ]
    }
}

/// Cells of [`HEADS`] as the beginning of a line of text.
pub(crate) fn line([fault, times, requests, failed, unknown, gap, recovery]: [impl std::fmt::Display; HEADS.len()]) -> String {
    format!("  {fault:<30} {times:>5} {requests:>8} {failed:>6} {unknown:>7} {gap:>7} {recovery:>8}")
}

/// A table of a page: each row with further cells after those of [`HEADS`], which have these headings.
pub(crate) fn table<'a>(more: &[&str], rows: impl IntoIterator<Item = (&'a str, &'a Meanwhile, Vec<String>)>) -> String {
    let heads: Vec<&str> = HEADS.iter().chain(more).copied().collect();
    let mut table = format!("<table><tr><th>{}</tr>", heads.join("<th>"));
    for (fault, meanwhile, further) in rows {
        let cells: Vec<String> = meanwhile.cells(fault).into_iter().chain(further).map(|cell| escaped(&cell)).collect();
        let _ = write!(table, "<tr><td>{}</tr>", cells.join("<td>"));
    }
    table.push_str("</table>\n");
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_times_of_one_fault_are_told_in_one_row() {
        let one = Meanwhile { times: 1, requests: 10, failed: 2, unknown: 1, longest_gap: 0.5, recovery: None };
        let other = Meanwhile { times: 2, requests: 5, failed: 0, unknown: 3, longest_gap: 1.25, recovery: Some(4.0) };
        let both = one.and(&other);
        assert_eq!(both, Meanwhile { times: 3, requests: 15, failed: 2, unknown: 4, longest_gap: 1.25, recovery: Some(4.0) });
        assert_eq!(both.cells("fire"), ["fire", "3", "15", "2", "4", "1.25", "4.00"]);
        assert_eq!(one.and(&one).cells("fire")[6], "-");
        let html = table(&["on whom"], [("a < b", &both, vec!["node 1".to_owned()])]);
        assert!(
            html.contains("<th>recovery<th>on whom</tr><tr><td>a &lt; b<td>3<td>15<td>2<td>4<td>1.25<td>4.00<td>node 1</tr>"),
            "{html}"
        );
    }
}
