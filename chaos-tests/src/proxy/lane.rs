//! One direction of one flow: which datagrams are sent on, and when.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::weather::{Party, Weather};
use crate::simulate::Dice;

/// Datagrams that wait in one direction of one flow; a further one is lost, as in a router. At 75 ms of delay this is some 27,000 a second.
const WAITING_MAX: usize = 2_048;

/// The datagrams on their way.
#[derive(Debug)]
pub struct Lane {
    from: Party,
    to: Party,
    weather: Arc<Weather>,
    dice: Dice,
    waiting: BinaryHeap<Reverse<Waiting>>,
    number: u64,
}

/// Ordered by when it is due; then as they came.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    due: Instant,
    number: u64,
    datagram: Vec<u8>,
}

/// What is to be done with a datagram that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It is to be sent now.
    Now,
    /// It, and its copy, are kept until they are due; or it is lost.
    Kept,
}

impl Lane {
    /// The direction from one party to another, with random draws of its own.
    #[must_use]
    pub const fn new(from: Party, to: Party, weather: Arc<Weather>, dice: Dice) -> Self {
        Self { from, to, weather, dice, waiting: BinaryHeap::new(), number: 0 }
    }

    /// Takes a datagram that came at `now`.
    pub fn take(&mut self, datagram: &[u8], now: Instant) -> Sent {
        let faults = self.weather.between(self.from, self.to, now);
        if faults.cut {
            count(&self.weather.counts.cut);
            return Sent::Kept;
        }
        if self.dice.permille(faults.loss_permille) {
            count(&self.weather.counts.lost);
            return Sent::Kept;
        }
        let mut delay = faults.delay + self.part_of(faults.jitter);
        if self.dice.permille(faults.reorder_permille) {
            count(&self.weather.counts.held);
            delay += faults.hold;
        }
        if self.dice.permille(faults.duplicate_permille) {
            count(&self.weather.counts.doubled);
            let later = delay + self.part_of(faults.jitter.max(faults.hold));
            self.keep(datagram, now + later);
        }
        if delay.is_zero() {
            count(&self.weather.counts.passed);
            return Sent::Now;
        }
        count(&self.weather.counts.delayed);
        self.keep(datagram, now + delay);
        Sent::Kept
    }

    /// When the next datagram is due, if one waits.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.waiting.peek().map(|Reverse(waiting)| waiting.due)
    }

    /// The next datagram that is due at `now`.
    pub fn due(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.next_due()? > now {
            return None;
        }
        let Reverse(waiting) = self.waiting.pop()?;
        // What was on its way when the line was cut does not arrive.
        if self.weather.between(self.from, self.to, now).cut {
            count(&self.weather.counts.cut);
            return self.due(now);
        }
        count(&self.weather.counts.passed);
        Some(waiting.datagram)
    }

    fn keep(&mut self, datagram: &[u8], due: Instant) {
        if self.waiting.len() >= WAITING_MAX {
            count(&self.weather.counts.overflowed);
            return;
        }
        self.number += 1;
        self.waiting.push(Reverse(Waiting { due, number: self.number, datagram: datagram.to_vec() }));
    }

    fn part_of(&mut self, whole: Duration) -> Duration {
        if whole.is_zero() { Duration::ZERO } else { Duration::from_micros(self.dice.below(whole.as_micros() as u64 + 1)) }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use warifu_protocol::NodeId;

    use super::*;
    use crate::proxy::Faults;
    use crate::simulate::SeedTree;

    fn must_node(id: u8) -> Party {
        Party::Node(NodeId::new(id).expect("a node id"))
    }

    fn lane(faults: Faults) -> (Lane, Arc<Weather>, Instant) {
        let weather = Arc::new(Weather::default());
        weather.set(must_node(1), must_node(2), faults);
        (Lane::new(must_node(1), must_node(2), Arc::clone(&weather), SeedTree::new(7).rng("lane", 0)), weather, Instant::now())
    }

    #[test]
    fn on_a_clear_day_everything_is_sent_at_once() {
        let (mut lane, weather, now) = lane(Faults::CLEAR);
        for number in 0..100_u8 {
            assert_eq!(lane.take(&[number], now), Sent::Now);
        }
        assert_eq!((weather.injected().passed, weather.injected().faults()), (100, 0));
    }

    #[test]
    fn as_many_are_lost_as_it_says_and_the_same_ones_for_the_same_seed() {
        let faults = Faults { loss_permille: 200, ..Faults::CLEAR };
        let fates = || {
            let (mut lane, weather, now) = lane(faults);
            let fates: Vec<Sent> = (0..1_000).map(|_| lane.take(b"x", now)).collect();
            (fates, weather.injected().lost)
        };
        let (first, lost) = fates();
        assert!((150..=250).contains(&lost), "{lost}");
        assert_eq!(fates(), (first, lost));
    }

    #[test]
    fn a_delayed_datagram_is_due_at_its_time_and_those_of_one_delay_keep_their_order() {
        let (mut lane, _, now) = lane(Faults { delay: Duration::from_millis(75), ..Faults::CLEAR });
        assert_eq!([lane.take(b"a", now), lane.take(b"b", now)], [Sent::Kept; 2]);
        assert_eq!(lane.due(now + Duration::from_millis(74)), None);
        let later = now + Duration::from_millis(75);
        assert_eq!((lane.due(later), lane.due(later), lane.due(later)), (Some(b"a".to_vec()), Some(b"b".to_vec()), None));
    }

    #[test]
    fn one_that_is_held_back_is_overtaken() {
        let (mut lane, weather, now) = lane(Faults { reorder_permille: 1_000, hold: Duration::from_millis(20), ..Faults::CLEAR });
        assert_eq!(lane.take(b"first", now), Sent::Kept);
        weather.set(must_node(1), must_node(2), Faults::CLEAR);
        assert_eq!(lane.take(b"second", now), Sent::Now);
        assert_eq!(lane.due(now + Duration::from_millis(20)), Some(b"first".to_vec()));
        assert_eq!(weather.injected().held, 1);
    }

    #[test]
    fn a_doubled_datagram_comes_now_and_again() {
        let (mut lane, _, now) = lane(Faults { duplicate_permille: 1_000, ..Faults::CLEAR });
        assert_eq!(lane.take(b"twice", now), Sent::Now);
        assert_eq!((lane.due(now), lane.due(now)), (Some(b"twice".to_vec()), None));
    }

    #[test]
    fn a_cut_is_of_one_direction_only_and_takes_what_was_on_its_way() {
        let (mut lane, weather, now) = lane(Faults { delay: Duration::from_millis(10), ..Faults::CLEAR });
        assert_eq!(lane.take(b"on its way", now), Sent::Kept);
        weather.set(must_node(1), must_node(2), Faults::CUT);
        assert_eq!(lane.due(now + Duration::from_millis(10)), None);
        assert_eq!(lane.take(b"later", now), Sent::Kept);
        assert_eq!(weather.injected().cut, 2);
        assert!(!weather.between(must_node(2), must_node(1), now).cut);
    }

    #[test]
    fn no_more_wait_than_the_bound() {
        let (mut lane, weather, now) = lane(Faults { delay: Duration::from_secs(1), ..Faults::CLEAR });
        for _ in 0..WAITING_MAX + 5 {
            lane.take(b"x", now);
        }
        assert_eq!((lane.waiting.len(), weather.injected().overflowed), (WAITING_MAX, 5));
    }
}
