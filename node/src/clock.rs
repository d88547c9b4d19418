//! The clocks of this machine, and the watch that notices when they disagree.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use warifu_core::signer::MonotonicMillis;
use warifu_protocol::UnixMillis;

/// The wall clock.
#[must_use]
pub fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The clock that nonces are aged by: counts on through a suspended machine.
#[must_use]
pub fn boot_millis() -> MonotonicMillis {
    MonotonicMillis(millis(ClockId::Boottime))
}

/// How far two clocks may drift apart between two looks before it counts as a jump: more than any slewing does in a second, less than a
/// machine that was paused, restored or cloned would show.
pub const JUMP: Duration = Duration::from_secs(2);

/// Compares how far the wall, boot and monotonic clocks went between two looks.
#[derive(Debug, Clone, Copy)]
pub struct ClockWatch {
    wall: u64,
    boot: u64,
    monotonic: u64,
}

impl ClockWatch {
    /// Takes a first look.
    #[must_use]
    pub fn start() -> Self {
        Self { wall: now().0, boot: millis(ClockId::Boottime), monotonic: millis(ClockId::Monotonic) }
    }

    /// Takes another look; says whether the clocks disagree on how long it has been since the last.
    pub fn jumped(&mut self) -> bool {
        let next = Self::start();
        let jumped = self.disagrees(next);
        *self = next;
        jumped
    }

    fn disagrees(self, next: Self) -> bool {
        let passed = |before: u64, after: u64| i128::from(after) - i128::from(before);
        let spans = [passed(self.wall, next.wall), passed(self.boot, next.boot), passed(self.monotonic, next.monotonic)];
        let (least, most) = (spans.iter().min().copied().unwrap_or(0), spans.iter().max().copied().unwrap_or(0));
        most - least > JUMP.as_millis() as i128
    }
}

fn millis(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_alone_is_noticed_and_a_common_pause_is_not() {
        let look = ClockWatch { wall: 1_000_000, boot: 5_000, monotonic: 5_000 };
        let later = |wall, boot, monotonic| ClockWatch { wall, boot, monotonic };
        assert!(!look.disagrees(later(1_060_000, 65_000, 65_000)), "a minute passed on all");
        assert!(look.disagrees(later(1_060_000, 6_000, 6_000)), "restored an hour later");
        assert!(look.disagrees(later(1_001_000, 65_000, 6_000)), "suspended");
        assert!(look.disagrees(later(940_000, 6_000, 6_000)), "set back");
    }
}
