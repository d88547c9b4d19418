//! The only place that looks at a clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use warifu_coordinator_core::MonotonicMillis;
use warifu_protocol::UnixMillis;

/// The time of day, which receipts are dated by.
pub(crate) fn wall_now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Monotonic time since the start of the process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    pub(crate) fn now(self) -> MonotonicMillis {
        MonotonicMillis(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn instant(self, at: MonotonicMillis) -> Instant {
        self.start + Duration::from_millis(at.0)
    }
}

/// Microseconds from `started` until now, for a measure.
pub(crate) fn micros_since(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX)
}
