//! Latencies and their quantiles.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Longest time that is told apart from longer ones: above every deadline of a request.
const TIME_MAX: Duration = Duration::from_secs(120);
/// Decimal digits that are kept of a time.
const DIGITS: u8 = 3;

/// A collection of times, each to three digits.
#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u64>);

/// Quantiles of a collection, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Times collected.
    pub count: u64,
    /// Half were at most this.
    pub p50_us: f64,
    /// 99 of 100 were at most this.
    pub p99_us: f64,
    /// The longest.
    pub max_us: f64,
}

/// A time for a table, if there is one.
pub(crate) fn optional_seconds(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.2}"))
}

impl Default for Latencies {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, nanos(TIME_MAX), DIGITS).expect("the bounds and digits are within the histogram's"))
    }
}

impl Latencies {
    /// Adds a time; one above two minutes counts as two minutes.
    pub fn record(&mut self, time: Duration) {
        self.0.saturating_record(nanos(time).max(1));
    }

    /// Adds all times of another collection.
    ///
    /// # Panics
    /// Never: all collections have the same bounds.
    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all collections have the same bounds");
    }

    /// The quantiles; all zero when nothing was collected.
    #[must_use]
    pub fn spread(&self) -> Spread {
        let micros = |nanos: u64| nanos as f64 / 1e3;
        Spread {
            count: self.0.len(),
            p50_us: micros(self.0.value_at_quantile(0.5)),
            p99_us: micros(self.0.value_at_quantile(0.99)),
            max_us: micros(self.0.max()),
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |micros: f64| micros / 1e3;
        write!(f, "p50 {:>9.3} ms  p99 {:>9.3} ms  max {:>9.3} ms", millis(self.p50_us), millis(self.p99_us), millis(self.max_us))
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_times_recorded() {
        let mut latencies = Latencies::default();
        let mut more = Latencies::default();
        for millis in 1..=99 {
            latencies.record(Duration::from_millis(millis));
        }
        more.record(Duration::from_secs(1));
        latencies.add(&more);
        let spread = latencies.spread();
        let near = |value: f64, wanted: f64| (value - wanted).abs() <= wanted / 500.0;
        assert_eq!(spread.count, 100);
        assert!(near(spread.p50_us, 50_000.0), "{spread:?}");
        assert!(near(spread.p99_us, 99_000.0), "{spread:?}");
        assert!(near(spread.max_us, 1_000_000.0), "{spread:?}");
    }
}
