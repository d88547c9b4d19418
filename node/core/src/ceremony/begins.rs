//! How many ceremonies a node may begin, so that bulk work leaves room for signing.

use warifu_protocol::UnixMillis;

/// What may be begun in a step. What is under way is not held up by it: others wait for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Begins {
    left: usize,
    waiting: bool,
}

impl Begins {
    /// As many as there are.
    pub(super) const fn free() -> Self {
        Self { left: usize::MAX, waiting: false }
    }

    /// So many until this is called again.
    pub(super) const fn allow(&mut self, count: usize) {
        *self = Self { left: count, waiting: false };
    }

    /// Whether something was not begun since [`Self::allow`].
    pub(super) const fn waiting(self) -> bool {
        self.waiting
    }

    /// Whether one may be begun now. One that has half of its time behind it always may: a node that came too late would be left out of it.
    pub(super) const fn take(&mut self, now: UnixMillis, deadline: UnixMillis, ceremony_millis_max: u64) -> bool {
        if self.left == 0 && now.0.saturating_add(ceremony_millis_max / 2) < deadline.0 {
            self.waiting = true;
            return false;
        }
        self.left = self.left.saturating_sub(1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_000_000);

    #[test]
    fn so_many_are_begun_as_are_allowed_and_the_others_wait_for_half_of_their_time() {
        let mut begins = Begins::free();
        begins.allow(1);
        let deadline = NOW.plus(20_000);
        assert!(begins.take(NOW, deadline, 20_000) && !begins.waiting());
        assert!(!begins.take(NOW.plus(9_999), deadline, 20_000) && begins.waiting());
        assert!(begins.take(NOW.plus(10_000), deadline, 20_000));
        begins.allow(0);
        assert!(!begins.waiting());
        assert!(!begins.take(NOW, deadline, 20_000));
        begins = Begins::free();
        assert!((0..1_000).all(|_| begins.take(NOW, deadline, 20_000)));
    }
}
