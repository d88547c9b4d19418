//! The time of this machine.

use std::time::{SystemTime, UNIX_EPOCH};

use warifu_protocol::UnixMillis;

/// Now, by this machine's clock. A clock before 1970 reads as 1970, and everything is refused by the cluster.
#[must_use]
pub fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
