//! What answers and silence say about one node.

use crate::MonotonicMillis;
use crate::limits::{BACKOFF_MILLIS_MAX, BACKOFF_MILLIS_MIN, EXCLUSION_MILLIS, ITEM_MICROS, LATENCY_MICROS_MAX, SUSPECT_MILLIS};

/// One node's health. Every bar has an end: a node that is well again is used again.
#[derive(Debug, Default)]
pub(crate) struct Health {
    latency: Option<Latency>,
    /// Work was measured since the node last said how it is.
    measured: bool,
    in_flight: u64,
    failures: u32,
    failed_until: MonotonicMillis,
    unready_until: MonotonicMillis,
    suspected_until: MonotonicMillis,
    excluded_until: MonotonicMillis,
}

/// Smoothed latency and its mean deviation in microseconds, estimated as RFC 6298 section 2 does for round trips.
#[derive(Debug, Clone, Copy)]
struct Latency {
    smoothed: u64,
    deviation: u64,
}

impl Health {
    pub(crate) const fn call_started(&mut self, items: u64) {
        self.in_flight = self.in_flight.saturating_add(items);
    }

    /// The call of `items` ended with an answer after `micros`.
    pub(crate) fn call_answered(&mut self, items: u64, micros: u64) {
        self.call_over(items);
        let was_away = self.failures > 0;
        self.failures = 0;
        self.failed_until = MonotonicMillis::default();
        self.suspected_until = MonotonicMillis::default();
        if was_away {
            // Neither its former life nor this answer, with its connection made anew, tells how fast it is: it is tried next, and measured.
            self.latency = None;
            return;
        }
        self.measured = true;
        // The part of a batch's time that is due to its size is expected per item already.
        let items = items.max(1);
        let sample = micros.saturating_sub((items - 1) * ITEM_MICROS).max(micros / items).min(LATENCY_MICROS_MAX);
        self.latency = Some(match self.latency {
            None => Latency { smoothed: sample, deviation: sample / 2 },
            Some(Latency { smoothed, deviation }) => {
                Latency { smoothed: (7 * smoothed + sample) / 8, deviation: (3 * deviation + smoothed.abs_diff(sample)) / 4 }
            }
        });
    }

    /// It said how it is, which took `micros`. That is the least that an answer takes, and speaks for a node that is given no work since it was
    /// slow once: what is expected of it, and how far off that may be, halves towards it each time, until it is given work and measured again.
    pub(crate) fn status_answered(&mut self, micros: u64) {
        if std::mem::take(&mut self.measured) || self.in_flight > 0 {
            return;
        }
        if let Some(latency) = &mut self.latency {
            latency.smoothed = latency.smoothed.midpoint(micros.min(LATENCY_MICROS_MAX));
            latency.deviation /= 2;
        }
    }

    pub(crate) fn call_failed(&mut self, items: u64, now: MonotonicMillis) {
        self.call_over(items);
        let pause = BACKOFF_MILLIS_MIN.saturating_mul(1 << self.failures.min(10)).min(BACKOFF_MILLIS_MAX);
        self.failures = self.failures.saturating_add(1);
        self.failed_until = self.failed_until.max(now.plus(pause));
    }

    /// The call was given up without a verdict on the node.
    pub(crate) const fn call_over(&mut self, items: u64) {
        self.in_flight = self.in_flight.saturating_sub(items);
    }

    pub(crate) fn unready(&mut self, now: MonotonicMillis, millis: u64) {
        self.unready_until = self.unready_until.max(now.plus(millis));
    }

    pub(crate) const fn ready(&mut self) {
        self.unready_until = MonotonicMillis(0);
    }

    pub(crate) fn suspect(&mut self, now: MonotonicMillis) {
        self.suspected_until = now.plus(SUSPECT_MILLIS);
    }

    pub(crate) fn exclude(&mut self, now: MonotonicMillis) {
        self.excluded_until = now.plus(EXCLUSION_MILLIS);
    }

    pub(crate) fn is_excluded(&self, now: MonotonicMillis) -> bool {
        now < self.excluded_until
    }

    pub(crate) fn is_suspected(&self, now: MonotonicMillis) -> bool {
        now < self.suspected_until
    }

    /// Whether the last that was heard of it is an answer, or nothing was heard yet.
    pub(crate) const fn is_answering(&self) -> bool {
        self.failures == 0
    }

    pub(crate) fn may_sign(&self, now: MonotonicMillis) -> bool {
        now >= self.failed_until && now >= self.unready_until && !self.is_excluded(now)
    }

    /// Microseconds after which an answer to one more item is expected.
    pub(crate) fn expected_micros(&self) -> u64 {
        self.latency.map_or(0, |latency| latency.smoothed).saturating_add(self.in_flight.saturating_mul(ITEM_MICROS))
    }

    /// Microseconds after which an answer is overdue.
    pub(crate) fn overdue_micros(&self) -> u64 {
        self.expected_micros().saturating_add(self.latency.map_or(0, |latency| 4 * latency.deviation))
    }

    pub(crate) fn latency_micros(&self) -> Option<u64> {
        self.latency.map(|latency| latency.smoothed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: MonotonicMillis = MonotonicMillis(1_000);

    #[test]
    fn the_pause_after_failures_doubles_up_to_its_bound_and_ends_with_an_answer() {
        let mut health = Health::default();
        health.call_failed(1, NOW);
        assert!(!health.may_sign(NOW.plus(BACKOFF_MILLIS_MIN - 1)));
        assert!(health.may_sign(NOW.plus(BACKOFF_MILLIS_MIN)));
        for _ in 0..40 {
            health.call_failed(1, NOW);
        }
        assert!(!health.may_sign(NOW.plus(BACKOFF_MILLIS_MAX - 1)));
        assert!(health.may_sign(NOW.plus(BACKOFF_MILLIS_MAX)));
        health.call_answered(1, 500);
        assert!(health.may_sign(NOW));
    }

    #[test]
    fn a_busy_node_is_expected_to_be_slower_than_an_idle_one() {
        let (mut busy, mut idle) = (Health::default(), Health::default());
        busy.call_answered(1, 1_000);
        idle.call_answered(1, 2_000);
        assert!(busy.expected_micros() < idle.expected_micros());
        busy.call_started(10);
        assert!(busy.expected_micros() > idle.expected_micros());
        busy.call_over(10);
        assert!(busy.expected_micros() < idle.expected_micros());
    }

    #[test]
    fn a_node_that_was_away_is_measured_anew_and_not_left_out_for_its_slow_return() {
        let mut health = Health::default();
        health.call_answered(1, 1_000);
        health.call_failed(1, NOW);
        health.call_answered(1, 400_000);
        assert_eq!(health.latency_micros(), None);
        health.call_answered(1, 2_000);
        assert_eq!(health.latency_micros(), Some(2_000));
    }

    #[test]
    fn a_node_that_was_slow_once_is_soon_expected_to_be_as_fast_as_it_says_how_it_is() {
        let mut health = Health::default();
        health.call_answered(1, 1_000_000);
        health.status_answered(10_000);
        assert_eq!(health.latency_micros(), Some(1_000_000), "work speaks louder");
        (0..7).for_each(|_| health.status_answered(10_000));
        assert!(health.expected_micros() < 20_000 && health.overdue_micros() < 40_000, "{health:?}");
    }

    #[test]
    fn a_node_that_has_not_finished_its_work_is_not_faster_for_saying_how_it_is() {
        let mut health = Health::default();
        health.call_answered(1, 1_000_000);
        health.call_started(1);
        (0..7).for_each(|_| health.status_answered(10_000));
        assert_eq!(health.latency_micros(), Some(1_000_000));
    }

    #[test]
    fn an_answer_does_not_lift_an_exclusion() {
        let mut health = Health::default();
        health.exclude(NOW);
        health.call_answered(1, 500);
        assert!(!health.may_sign(NOW.plus(EXCLUSION_MILLIS - 1)));
        assert!(health.may_sign(NOW.plus(EXCLUSION_MILLIS)));
    }
}
