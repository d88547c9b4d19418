//! What is said again until it is heard.

use std::collections::BTreeMap;

use warifu_protocol::{NodeId, UnixMillis};

/// After how many milliseconds a command that is not in the log is proposed again: a leader that was lost is replaced by then.
pub const PROPOSE_RETRY_MILLIS: u64 = 2_000;
/// After how many milliseconds a message that nobody acknowledged is sent again. It ends with the attempt.
pub const SEND_RETRY_MILLIS: u64 = 1_000;

/// Messages by recipient that have not been acknowledged.
pub(super) struct Outbox<M>(BTreeMap<NodeId, (M, Option<UnixMillis>)>);

impl<M: Clone> Outbox<M> {
    pub(super) const fn empty() -> Self {
        Self(BTreeMap::new())
    }

    pub(super) fn put(&mut self, to: NodeId, message: M) {
        self.0.insert(to, (message, None));
    }

    pub(super) fn acknowledged(&mut self, to: NodeId) {
        self.0.remove(&to);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn retain(&mut self, keep: impl Fn(NodeId) -> bool) {
        self.0.retain(|to, _| keep(*to));
    }

    /// Those to send now, each at most once in [`SEND_RETRY_MILLIS`].
    pub(super) fn due(&mut self, now: UnixMillis) -> Vec<(NodeId, M)> {
        let mut due = Vec::new();
        for (to, (message, sent_at)) in &mut self.0 {
            if is_due(*sent_at, now, SEND_RETRY_MILLIS) {
                *sent_at = Some(now);
                due.push((*to, message.clone()));
            }
        }
        due
    }
}

/// A clock that was set back counts as time that has passed: a message too many does no harm.
pub(super) fn is_due(last: Option<UnixMillis>, now: UnixMillis, interval: u64) -> bool {
    last.is_none_or(|last| now.distance(last) >= interval)
}
