//! How busy the machine was.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Runnable threads, averaged over the last 1, 5 and 15 minutes. Figures taken while other work runs are not figures of an idle machine.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LoadAverage(pub [f64; 3]);

impl fmt::Display for LoadAverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [one, five, fifteen] = self.0;
        write!(f, "{one:.2} {five:.2} {fifteen:.2}")
    }
}

/// The machine's load, where the system tells it.
#[must_use]
pub fn load_average() -> Option<LoadAverage> {
    parse(&std::fs::read_to_string("/proc/loadavg").ok()?)
}

/// Processors that this process may use.
#[must_use]
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Prints the machine's load before and after a run, a line each.
pub(crate) fn write_load_averages(f: &mut fmt::Formatter<'_>, averages: &[Option<LoadAverage>; 2]) -> fmt::Result {
    for (when, average) in ["before", "after"].iter().zip(averages) {
        if let Some(average) = average {
            writeln!(f, "  load average {when:<7} {average}")?;
        }
    }
    Ok(())
}

fn parse(text: &str) -> Option<LoadAverage> {
    let mut numbers = text.split_whitespace().map(|number| number.parse().ok());
    Some(LoadAverage([numbers.next()??, numbers.next()??, numbers.next()??]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_three_numbers_are_the_load() {
        assert_eq!(parse("0.82 3.78 5.15 1/234 5678\n"), Some(LoadAverage([0.82, 3.78, 5.15])));
        assert_eq!(parse("0.82 x 5.15"), None);
        assert_eq!(parse(""), None);
    }
}
