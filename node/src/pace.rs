//! How much of the time bulk work may take: what leaves signing about as quick as it is without.
//!
//! Ceremonies take steps here and cause entries that every node applies. Both take processors and disks from signing. How much is too much
//! depends on the machine, so it is found by watching: signature shares are timed while bulk work rests, which gives a limit, and while it does not;
//! each share over the limit cuts bulk work down, each below it lets it grow a little.

use std::time::Duration;

use parking_lot::Mutex;
use warifu_protocol::UnixMillis;

/// Signing counts as idle when nothing was signed for this long: then bulk work takes all it can.
const IDLE_AFTER_MILLIS: u64 = 1_000;
/// Every node rests at the beginning of each such period, by its wall clock: together, so that what is timed then is signing alone.
const PERIOD_MILLIS: u64 = 30_000;
/// How long it rests: some dozens of signatures at the rate at which they matter, and shorter than any deadline of a ceremony.
const REST_MILLIS: u64 = 2_000;
/// A signature that began earlier after bulk work than this still waited behind it.
const SETTLE_MILLIS: u64 = 300;
/// Times without bulk work that are kept: of the last few rests.
const CALM_KEPT: usize = 256;
/// Fewer say nothing of the slowest of a hundred; the configured latency is the limit until then.
const CALM_NEEDED: usize = 32;
/// The limit over the slowest hundredth without bulk work, as a fraction: below 2, since a document waits for several nodes, each of which may be slow.
const LIMIT_FACTOR: (u32, u32) = (3, 2);
/// No limit is lower: below it a scheduler's slice counts as slow.
const LIMIT_MIN: Duration = Duration::from_millis(3);
/// What one share over the limit leaves of the part of the time, and what one below it makes of it. They balance when one in a hundred is
/// over: ln 0.5 / 100 = -ln 1.007.
const SLOW: f64 = 0.5;
const QUICK: f64 = 1.007;
/// The part with which bulk work begins while signing goes on.
const PART_BEGINNING: f64 = 1.0 / 8.0;
/// The least part; what is below it would stop rather than slow.
const PART_MIN: f64 = 1.0 / 256.0;
/// Longest rest after one step, so that bulk work always gets on: shorter than any deadline of a ceremony.
const HELD_MAX: Duration = Duration::from_secs(2);

/// Watches signing and says when bulk work may take a step. Instants are of the wall clock; one that was set back counts as time passed.
#[derive(Debug)]
pub struct Pace {
    latency_max: Duration,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    /// The part of the time that bulk work may take.
    part: f64,
    signed_at: Option<UnixMillis>,
    /// Times of signing without bulk work, the newest over the oldest.
    calm: Vec<Duration>,
    calm_next: usize,
    stepping: bool,
    /// End of the last step, and how long it took.
    stepped: Option<(UnixMillis, Duration)>,
    /// When bulk work was last under way, here or as far as the log says elsewhere.
    busy_at: Option<UnixMillis>,
}

impl Pace {
    /// Until it is known how long signature shares take without bulk work, they may take `latency_max` beside it.
    #[must_use]
    pub fn new(latency_max: Duration) -> Self {
        let seen = Seen {
            part: PART_BEGINNING,
            signed_at: None,
            calm: Vec::with_capacity(CALM_KEPT),
            calm_next: 0,
            stepping: false,
            stepped: None,
            busy_at: None,
        };
        Self { latency_max, seen: Mutex::new(seen) }
    }

    /// Notes how long a batch of signature shares took, up to `now`.
    pub fn signed(&self, now: UnixMillis, took: Duration) {
        let mut seen = self.seen.lock();
        seen.signed_at = Some(now);
        let began = now.minus(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        let is_busy = seen.busy_at.is_some_and(|at| began < at || began.distance(at) < SETTLE_MILLIS);
        if !is_busy {
            // Whether a step that runs now is one of bulk work is known when it ends.
            if !seen.stepping {
                seen.keep_calm(took);
            }
        } else if took > seen.limit().unwrap_or(self.latency_max) {
            seen.part = (seen.part * SLOW).max(PART_MIN);
        } else {
            seen.part = (seen.part * QUICK).min(1.0);
        }
    }

    /// How long bulk work must wait for its next step; zero if it may take it now.
    #[must_use]
    pub fn held(&self, now: UnixMillis) -> Duration {
        let seen = self.seen.lock();
        if seen.signed_at.is_none_or(|at| now.distance(at) > IDLE_AFTER_MILLIS) {
            return Duration::ZERO;
        }
        let rest = Duration::from_millis(REST_MILLIS.saturating_sub(now.0 % PERIOD_MILLIS));
        let Some((ended, took)) = seen.stepped else { return rest };
        let due = took.mul_f64(1.0 / seen.part - 1.0).min(HELD_MAX);
        rest.max(due.saturating_sub(Duration::from_millis(now.distance(ended))))
    }

    /// Notes that a step begins.
    pub fn step_begins(&self) {
        self.seen.lock().stepping = true;
    }

    /// Notes that a step has ended that took so long with all that it asked for; `is_busy` when ceremonies are under way.
    pub fn step_ended(&self, now: UnixMillis, took: Duration, is_busy: bool) {
        let mut seen = self.seen.lock();
        seen.stepping = false;
        seen.stepped = Some((now, took));
        if is_busy {
            seen.busy_at = Some(now);
        }
    }

    /// The part of the time that bulk work may take beside signing, in percent.
    #[must_use]
    pub fn percent(&self) -> i64 {
        // Between 0 and 100.
        (self.seen.lock().part * 100.0).round() as i64
    }
}

impl Seen {
    fn keep_calm(&mut self, took: Duration) {
        match self.calm.get_mut(self.calm_next) {
            Some(oldest) => *oldest = took,
            None => self.calm.push(took),
        }
        self.calm_next = (self.calm_next + 1) % CALM_KEPT;
    }

    /// What a signature share may take beside bulk work, once that is known.
    fn limit(&self) -> Option<Duration> {
        if self.calm.len() < CALM_NEEDED {
            return None;
        }
        let mut sorted = self.calm.clone();
        let place = (sorted.len() * 99).div_ceil(100).saturating_sub(1);
        let (_, slowest, _) = sorted.select_nth_unstable(place);
        let (over, under) = LIMIT_FACTOR;
        Some((*slowest * over / under).max(LIMIT_MIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// In the middle of a period, when nobody rests.
    const START: UnixMillis = UnixMillis(10 * PERIOD_MILLIS + PERIOD_MILLIS / 2);

    /// A pace that knows signing to take 10 ms without bulk work, and at `START` is at work.
    fn at_work() -> Pace {
        let pace = Pace::new(millis(1_000));
        for back in 1..=CALM_NEEDED as u64 {
            pace.signed(START.minus(1_000 * back), millis(10));
        }
        pace.step_ended(START, millis(1), true);
        pace
    }

    #[test]
    fn a_step_is_followed_by_a_rest_that_grows_with_it_and_with_slow_signatures_but_not_for_ever() {
        let pace = at_work();
        pace.signed(START, millis(10));
        pace.step_ended(START, millis(20), true);
        let first = pace.held(START);
        assert!(first > millis(100) && first < millis(180), "seven times as long as the step: {first:?}");
        assert!(pace.held(START.plus(60)) < first, "it goes by");
        assert_eq!(pace.held(START.plus(200)), Duration::ZERO, "and is over");
        pace.signed(START, millis(16));
        assert!(pace.held(START) > 2 * first, "one over the limit of 15 ms");
        for _ in 0..20 {
            pace.signed(START, millis(16));
        }
        pace.step_ended(START, millis(500), true);
        assert_eq!(pace.held(START), HELD_MAX);
        assert_eq!(pace.held(START.plus(IDLE_AFTER_MILLIS + 1)), Duration::ZERO, "nothing is signed");
    }

    #[test]
    fn quick_signatures_give_bulk_work_all_the_time_in_the_end_and_one_slow_in_a_hundred_leaves_it_as_it_is() {
        let pace = at_work();
        for _ in 0..400 {
            pace.signed(START, millis(14));
        }
        assert_eq!(pace.percent(), 100);
        pace.step_ended(START, millis(500), true);
        assert_eq!(pace.held(START), Duration::ZERO);
        let before = pace.seen.lock().part;
        for _ in 0..5 {
            pace.signed(START, millis(16));
            (0..99).for_each(|_| pace.signed(START, millis(14)));
        }
        let after = pace.seen.lock().part;
        assert!((after / before - 1.0).abs() < 0.05, "{before} {after}");
        for _ in 0..20 {
            pace.signed(START, millis(16));
        }
        assert_eq!(pace.seen.lock().part, PART_MIN, "never nothing");
    }

    #[test]
    fn the_limit_follows_what_signing_takes_without_bulk_work_and_is_configured_until_that_is_known() {
        let pace = Pace::new(millis(50));
        pace.step_begins();
        pace.signed(START, millis(1));
        assert_eq!((pace.percent(), pace.seen.lock().calm.len()), (13, 0), "a step runs, of what is not known yet");
        pace.step_ended(START, millis(1), true);
        pace.signed(START, millis(49));
        assert!(pace.seen.lock().part > PART_BEGINNING);
        pace.signed(START, millis(51));
        assert!(pace.seen.lock().part < PART_BEGINNING);
        // Began while bulk work was under way: no measure of signing alone.
        pace.signed(START.plus(SETTLE_MILLIS + 20), millis(30));
        assert_eq!(pace.seen.lock().calm.len(), 0);
        for number in 0..CALM_KEPT as u64 {
            pace.signed(START.plus(1_000 + number), millis(40));
        }
        assert_eq!(pace.seen.lock().limit(), Some(millis(60)));
        for number in 0..CALM_KEPT as u64 {
            pace.signed(START.plus(2_000 + number), millis(1));
        }
        assert_eq!(pace.seen.lock().limit(), Some(LIMIT_MIN), "the old ones are forgotten, and no limit is lower");
    }

    #[test]
    fn every_node_rests_at_the_beginning_of_a_period_unless_nothing_is_signed() {
        let pace = Pace::new(millis(50));
        let beginning = UnixMillis(10 * PERIOD_MILLIS);
        assert_eq!(pace.held(beginning), Duration::ZERO, "nothing was ever signed");
        pace.signed(beginning.plus(500), millis(1));
        assert_eq!(pace.held(beginning.plus(500)), millis(1_500));
        pace.signed(beginning.plus(1_900), millis(1));
        assert_eq!(pace.held(beginning.plus(2_000)), Duration::ZERO);
    }
}
