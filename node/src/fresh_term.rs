//! A leader that can send nothing but entries that are too old, or of the future, is replaced.
//!
//! Followers append no entry of the present term that is older than clocks may differ, so that no leader can hold the log's time back. One that
//! was without a majority for longer has such entries, and would lead for ever without being followed. In a new term, which the same node may
//! well win, they are what an earlier one left behind, and are taken. A leader whose clock is fast has entries of the future; the next one has most
//! probably another clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::replicated::NodeRaft;

/// How long the same entry must come again and again. Where others form a majority without this node it is committed long before, and taken as
/// such.
const PERSISTS: Duration = Duration::from_secs(3);
/// Rest after a new term was begun: several elections.
const REST: Duration = Duration::from_secs(5);

/// Entries that this node did not append because their time is too far from its clock.
#[derive(Debug, Default)]
pub struct StaleEntries {
    first: Mutex<Option<(u64, Instant)>>,
    persists: Notify,
}

impl StaleEntries {
    /// Notes that the entry with this index was refused for its time.
    pub fn refused(&self, index: u64, now: Instant) {
        let mut first = self.first.lock();
        match *first {
            Some((known, since)) if known == index => {
                if now.duration_since(since) >= PERSISTS {
                    *first = None;
                    self.persists.notify_one();
                }
            }
            Some(_) | None => *first = Some((index, now)),
        }
    }

    /// Notes that entries were followed.
    pub fn followed(&self) {
        *self.first.lock() = None;
    }
}

/// Works until `stop` says so.
pub(crate) async fn run(raft: NodeRaft, stale: Arc<StaleEntries>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = stale.persists.notified() => {}
        }
        tracing::warn!("the leader sends nothing but entries whose time is too far from this node's clock: a new term begins");
        raft.replace_leader().await;
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(REST) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_same_entry_again_and_again_counts() {
        let stale = StaleEntries::default();
        let start = Instant::now();
        let persists = async || tokio::time::timeout(Duration::from_millis(10), stale.persists.notified()).await.is_ok();
        for (seconds, index) in [(0, 7), (2, 8), (4, 9)] {
            stale.refused(index, start + Duration::from_secs(seconds));
        }
        assert!(!persists().await, "the log goes on");
        stale.refused(9, start + Duration::from_secs(6));
        stale.followed();
        stale.refused(9, start + Duration::from_secs(8));
        assert!(!persists().await, "it was followed in between");
        stale.refused(9, start + Duration::from_secs(11));
        assert!(persists().await);
        assert!(!persists().await, "once");
    }
}
