//! How much of the time bulk work may take: what leaves signing about as quick as it is without.
//!
//! Ceremonies take steps here and cause entries that every node applies. Both take processors and disks from signing. How much is too much
//! depends on the machine, so it is found by watching: signature shares are timed while bulk work rests, which gives a limit, and while it does not;
//! as more or fewer of them are over the limit, bulk work is cut down or may grow.
//!
//! Only beginnings are held. A ceremony needs all of its participants, so one that has begun goes on at every node, and the node that holds
//! longest sets the pace of all. Were each step held, rests of different nodes would add up.

use std::time::Duration;

use parking_lot::Mutex;
use warifu_protocol::UnixMillis;

/// Signing counts as idle when nothing was signed for this long: then bulk work takes all it can.
const IDLE_AFTER_MILLIS: u64 = 1_000;
/// Every node rests at the beginning of each such period, by its wall clock: together, so that what is timed then is signing alone.
const PERIOD_MILLIS: u64 = 30_000;
/// How long nothing is begun: what is under way ends in the first half of it, and some dozens of signatures come in the rest.
const REST_MILLIS: u64 = 2_000;
/// A signature that began earlier after bulk work than this still waited behind it.
const SETTLE_MILLIS: u64 = 300;
/// Times without bulk work that are kept: of the last few rests.
const CALM_KEPT: usize = 256;
/// Fewer say nothing of the slowest of a hundred; the configured latency is the limit until then.
const CALM_NEEDED: usize = 32;
/// The limit over the slowest hundredth without bulk work, as a fraction: below 2, since a document waits for several nodes, each of which may be slow.
const LIMIT_FACTOR: (u32, u32) = (4, 3);
/// No limit is lower: below it a scheduler's slice counts as slow.
const LIMIT_MIN: Duration = Duration::from_millis(3);
/// Shares that are watched before bulk work may grow: some seconds at the rate at which they matter, so that one slow write, which many wait for,
/// does not count as many reasons.
const WATCHED: u32 = 100;
/// With so many of them over the limit bulk work may grow, ...
const SLOW_FEW: u32 = 1;
/// ... and as soon as so many are it is cut down, and watching begins anew.
const SLOW_MANY: u32 = 3;
/// What a cut leaves of the part of the time, and what growing makes of it.
const CUT: f64 = 0.5;
const GROWTH: f64 = 1.25;
/// The part with which bulk work begins while signing goes on.
const PART_BEGINNING: f64 = 1.0 / 8.0;
/// The least part; what is below it would stop rather than slow.
const PART_MIN: f64 = 1.0 / 256.0;
/// Longest rest after bulk work, so that it always gets on: shorter than half of a ceremony's time, in which all participants must begin.
const HELD_MAX: Duration = Duration::from_secs(5);

/// Watches signing and says when bulk work may be begun. Instants are of the wall clock; one that was set back counts as time passed.
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
    /// Times of signing beside bulk work since the part was last changed, and how many of them were over the limit.
    watched: u32,
    slow: u32,
    stepping: bool,
    /// Rest that is owed for the work that was done, as of an instant.
    owed: (UnixMillis, Duration),
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
            watched: 0,
            slow: 0,
            stepping: false,
            owed: (UnixMillis(0), Duration::ZERO),
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
        if is_busy {
            let is_slow = took > seen.limit().unwrap_or(self.latency_max);
            seen.watch(is_slow);
        } else if !seen.stepping {
            // Whether a step that runs now is one of bulk work is known when it ends.
            seen.keep_calm(took);
        }
    }

    /// How long nothing may be begun; zero if something may be now.
    #[must_use]
    pub fn held(&self, now: UnixMillis) -> Duration {
        let seen = self.seen.lock();
        if seen.signed_at.is_none_or(|at| now.distance(at) > IDLE_AFTER_MILLIS) {
            return Duration::ZERO;
        }
        let rest = Duration::from_millis(REST_MILLIS.saturating_sub(now.0 % PERIOD_MILLIS));
        rest.max(seen.owed(now))
    }

    /// Notes that a step begins.
    pub fn step_begins(&self) {
        self.seen.lock().stepping = true;
    }

    /// Notes that a step has ended; `is_busy` when ceremonies are under way.
    pub fn step_ended(&self, now: UnixMillis, is_busy: bool) {
        let mut seen = self.seen.lock();
        seen.stepping = false;
        if is_busy {
            seen.busy_at = Some(now);
        }
    }

    /// Notes bulk work that was done here and took so long: rest is owed for it.
    pub fn worked(&self, now: UnixMillis, took: Duration) {
        let mut seen = self.seen.lock();
        let rest = took.mul_f64(1.0 / seen.part - 1.0);
        seen.owed = (now, (seen.owed(now) + rest).min(HELD_MAX));
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

    fn watch(&mut self, is_slow: bool) {
        self.watched += 1;
        self.slow += u32::from(is_slow);
        if self.slow >= SLOW_MANY {
            self.part = (self.part * CUT).max(PART_MIN);
        } else if self.watched < WATCHED {
            return;
        } else if self.slow <= SLOW_FEW {
            self.part = (self.part * GROWTH).min(1.0);
        }
        (self.watched, self.slow) = (0, 0);
    }

    fn owed(&self, now: UnixMillis) -> Duration {
        let (at, owed) = self.owed;
        owed.saturating_sub(Duration::from_millis(now.distance(at)))
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
        pace.step_ended(START, true);
        pace
    }

    /// So many shares of a hundred are over the limit of 13.3 ms, spread among them.
    fn sign_hundred(pace: &Pace, slow: u32) {
        for number in 0..WATCHED {
            let is_slow = number * slow / WATCHED < (number + 1) * slow / WATCHED;
            pace.signed(START, millis(if is_slow { 14 } else { 13 }));
        }
    }

    #[test]
    fn work_is_followed_by_a_rest_that_grows_with_it_and_with_slow_signatures_but_not_for_ever() {
        let pace = at_work();
        assert_eq!(pace.held(START), Duration::ZERO, "nothing was done yet");
        pace.worked(START, millis(20));
        pace.signed(START, millis(10));
        assert_eq!(pace.held(START), millis(140), "seven times as long as the work");
        pace.worked(START.plus(40), millis(10));
        assert_eq!(pace.held(START.plus(40)), millis(170), "what is left of it and as much again for further work");
        assert_eq!(pace.held(START.plus(210)), Duration::ZERO, "it is over");
        sign_hundred(&pace, 2 * SLOW_MANY);
        pace.worked(START.plus(210), millis(20));
        assert!(pace.held(START.plus(210)) > millis(140), "signing was slow");
        pace.worked(START.plus(210), millis(60_000));
        assert_eq!(pace.held(START.plus(210)), HELD_MAX);
        assert_eq!(pace.held(START.plus(IDLE_AFTER_MILLIS + 1)), Duration::ZERO, "nothing is signed");
    }

    #[test]
    fn quick_signatures_give_bulk_work_all_the_time_in_the_end_and_some_slow_in_a_hundred_leave_it_as_it_is() {
        let pace = at_work();
        (0..10).for_each(|_| sign_hundred(&pace, 1));
        assert_eq!(pace.percent(), 100);
        pace.worked(START, millis(500));
        assert_eq!(pace.held(START), Duration::ZERO);
        (0..20).for_each(|_| sign_hundred(&pace, 2));
        assert_eq!(pace.percent(), 100);
        sign_hundred(&pace, SLOW_MANY);
        assert_eq!(pace.percent(), 50);
        (0..20).for_each(|_| sign_hundred(&pace, 2));
        assert_eq!(pace.percent(), 50, "neither few nor many");
        (0..20).for_each(|_| sign_hundred(&pace, 10));
        assert_eq!(pace.seen.lock().part, PART_MIN, "never nothing");
    }

    #[test]
    fn shares_that_waited_together_count_as_one_reason_to_slow_down() {
        let pace = at_work();
        (0..10).for_each(|_| sign_hundred(&pace, 0));
        (0..SLOW_MANY).for_each(|_| pace.signed(START, millis(200)));
        assert_eq!(pace.percent(), 50);
    }

    #[test]
    fn the_limit_follows_what_signing_takes_without_bulk_work_and_is_configured_until_that_is_known() {
        let pace = Pace::new(millis(50));
        pace.step_begins();
        pace.signed(START, millis(1));
        assert_eq!(pace.seen.lock().calm.len(), 0, "a step runs, of what is not known yet");
        pace.step_ended(START, true);
        pace.signed(START, millis(49));
        assert_eq!(pace.seen.lock().slow, 0);
        pace.signed(START, millis(51));
        assert_eq!(pace.seen.lock().slow, 1);
        // Began while bulk work was under way: no measure of signing alone.
        pace.signed(START.plus(SETTLE_MILLIS + 20), millis(30));
        assert_eq!(pace.seen.lock().calm.len(), 0);
        for number in 0..CALM_KEPT as u64 {
            pace.signed(START.plus(1_000 + number), millis(40));
        }
        assert_eq!(pace.seen.lock().limit(), Some(millis(40) * 4 / 3));
        for number in 0..CALM_KEPT as u64 {
            pace.signed(START.plus(2_000 + number), millis(1));
        }
        assert_eq!(pace.seen.lock().limit(), Some(LIMIT_MIN), "the old ones are forgotten, and no limit is lower");
    }

    #[test]
    fn nothing_is_begun_at_the_beginning_of_a_period_unless_nothing_is_signed() {
        let pace = Pace::new(millis(50));
        let beginning = UnixMillis(10 * PERIOD_MILLIS);
        assert_eq!(pace.held(beginning), Duration::ZERO, "nothing was ever signed");
        pace.signed(beginning.plus(500), millis(1));
        assert_eq!(pace.held(beginning.plus(500)), millis(1_500));
        pace.signed(beginning.plus(1_900), millis(1));
        assert_eq!(pace.held(beginning.plus(2_000)), Duration::ZERO);
    }

    /// Ceremonies that five nodes end in two minutes, one after the other, each with work at every node. Every node gives a share each 20 ms;
    /// beside bulk work `slow_shares` of a hundred are slow at the third.
    fn ceremonies_of_five(slow_shares: u64) -> usize {
        const WORK: Duration = millis(100);
        let paces: Vec<Pace> = (0..5).map(|_| at_work()).collect();
        let mut begun = [false; 5];
        let (mut done, mut shares) = (0, 0);
        for tick in 1..=6_000 {
            let now = START.plus(20 * tick);
            shares += 1;
            for (place, pace) in paces.iter().enumerate() {
                let is_busy = begun.contains(&true);
                let is_slow = place == 2 && is_busy && shares % 100 < slow_shares;
                pace.step_ended(now, is_busy);
                pace.signed(now, millis(if is_slow { 20 } else { 10 }));
                if !begun[place] && pace.held(now).is_zero() {
                    begun[place] = true;
                    pace.worked(now, WORK);
                }
            }
            if begun == [true; 5] {
                begun = [false; 5];
                done += 1;
            }
        }
        done
    }

    #[test]
    fn one_node_whose_signing_is_slow_slows_all_down_but_never_to_nothing() {
        let (free, slowed, worst) = (ceremonies_of_five(0), ceremonies_of_five(3), ceremonies_of_five(50));
        assert!(free > 1_000, "{free}");
        assert!(slowed * 3 < free, "{slowed} of {free}");
        assert!(worst < slowed && worst >= 20, "{worst}: one in each longest rest, of two minutes");
    }
}
