//! What may happen to datagrams of one directed pair.

use std::time::Duration;

/// Faults of one directed pair. The default is a clear day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// Of a thousand datagrams, so many are lost.
    pub loss_permille: u32,
    /// Of a thousand, so many arrive twice.
    pub duplicate_permille: u32,
    /// Of a thousand, so many are held back by [`Self::hold`], so that later ones overtake them.
    pub reorder_permille: u32,
    /// How long those are held back beyond the delay.
    pub hold: Duration,
    /// Every datagram takes so long.
    pub delay: Duration,
    /// And up to so much longer.
    pub jitter: Duration,
    /// Nothing arrives.
    pub cut: bool,
    /// Nothing arrives at times.
    pub flapping: Option<Flapping>,
}

/// A link that comes and goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flapping {
    /// It works for so long,
    pub up: Duration,
    /// and then does not for so long.
    pub down: Duration,
}

impl Faults {
    /// Nothing arrives.
    pub const CUT: Self = Self { cut: true, ..Self::CLEAR };
    /// Everything arrives at once.
    pub const CLEAR: Self = Self {
        loss_permille: 0,
        duplicate_permille: 0,
        reorder_permille: 0,
        hold: Duration::ZERO,
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        cut: false,
        flapping: None,
    };
    /// A bad line between continents: 75 ms each way, so 150 ms for a round trip, and 5 of 100 datagrams lost.
    pub const WIDE_AREA: Self =
        Self { loss_permille: 50, delay: Duration::from_millis(75), jitter: Duration::from_millis(10), ..Self::CLEAR };
    /// A line that loses, doubles and reorders, as none should.
    pub const UNTIDY: Self = Self {
        loss_permille: 20,
        duplicate_permille: 50,
        reorder_permille: 100,
        hold: Duration::from_millis(20),
        jitter: Duration::from_millis(5),
        ..Self::CLEAR
    };

    /// Whether nothing arrives when these faults have been on for so long.
    #[must_use]
    pub fn is_cut_after(&self, on_for: Duration) -> bool {
        let is_down = |flapping: Flapping| {
            let period = (flapping.up + flapping.down).as_nanos().max(1);
            on_for.as_nanos() % period >= flapping.up.as_nanos()
        };
        self.cut || self.flapping.is_some_and(is_down)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flapping_line_is_up_first_and_then_down_again_and_again() {
        let millis = Duration::from_millis;
        let faults = Faults { flapping: Some(Flapping { up: millis(300), down: millis(100) }), ..Faults::CLEAR };
        for (at, is_cut) in [(0, false), (299, false), (300, true), (399, true), (400, false), (1_101, true)] {
            assert_eq!(faults.is_cut_after(millis(at)), is_cut, "after {at} ms");
        }
        assert!(Faults::CUT.is_cut_after(Duration::ZERO));
        assert!(!Faults::CLEAR.is_cut_after(millis(1)));
    }
}
