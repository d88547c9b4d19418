//! When bulk work may take a step: while signing is quick, or when it has waited long enough.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Signing counts as idle when nothing was signed for this long: then its last latency says nothing.
const IDLE_AFTER: Duration = Duration::from_secs(1);
/// Longest time that bulk work is held back at once, so that it always gets on: shorter than any deadline of a ceremony.
const HELD_MAX: Duration = Duration::from_secs(2);
/// Weight of the newest batch in the moving average, as one part of so many.
const WEIGHT: u32 = 8;

/// Compares how long signature shares take with how long they may.
#[derive(Debug)]
pub struct Pace {
    latency_max: Duration,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    average: Duration,
    signed_at: Option<Instant>,
    stepped_at: Option<Instant>,
}

impl Pace {
    /// Bulk work waits while the moving average of a batch's time to its reply is above this.
    #[must_use]
    pub fn new(latency_max: Duration) -> Self {
        Self { latency_max, seen: Mutex::default() }
    }

    /// Notes how long a batch of signature shares took.
    pub fn signed(&self, now: Instant, took: Duration) {
        let mut seen = self.seen.lock();
        seen.average = (seen.average * (WEIGHT - 1) + took) / WEIGHT;
        seen.signed_at = Some(now);
    }

    /// Whether bulk work may take a step now; if so it is taken.
    #[must_use]
    pub fn may_step(&self, now: Instant) -> bool {
        let mut seen = self.seen.lock();
        let idle = seen.signed_at.is_none_or(|at| now.duration_since(at) > IDLE_AFTER);
        let held_long = seen.stepped_at.is_none_or(|at| now.duration_since(at) >= HELD_MAX);
        let may = idle || held_long || seen.average <= self.latency_max;
        if may {
            seen.stepped_at = Some(now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bulk_work_waits_while_signing_is_slow_but_not_for_ever() {
        let pace = Pace::new(Duration::from_millis(10));
        let start = Instant::now();
        assert!(pace.may_step(start));
        pace.signed(start, Duration::from_millis(400));
        assert!(!pace.may_step(start));
        let later = start + HELD_MAX;
        pace.signed(later, Duration::from_millis(400));
        assert!(pace.may_step(later), "it has waited long enough");
        assert!(!pace.may_step(later), "it has just had its step");
        assert!(pace.may_step(later + IDLE_AFTER * 3 / 2), "nothing is signed");
        for _ in 0..64 {
            pace.signed(later, Duration::from_millis(2));
        }
        assert!(pace.may_step(later), "signing is quick again");
    }
}
