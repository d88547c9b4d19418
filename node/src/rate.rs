//! A bound on how often something happens in a second.

use parking_lot::Mutex;

/// Admits so many events in each second of the wall clock.
#[derive(Debug)]
pub struct RateBound {
    per_second: u32,
    counted: Mutex<(u64, u32)>,
}

impl RateBound {
    /// Admits `per_second` events.
    #[must_use]
    pub const fn new(per_second: u32) -> Self {
        Self { per_second, counted: Mutex::new((0, 0)) }
    }

    /// Counts an event; says whether it is within the bound.
    pub fn admits(&self, second: u64) -> bool {
        let mut counted = self.counted.lock();
        if counted.0 != second {
            *counted = (second, 0);
        }
        counted.1 = counted.1.saturating_add(1);
        counted.1 <= self.per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_bound_is_admitted_in_one_second() {
        let bound = RateBound::new(2);
        let admitted: Vec<bool> = [1, 1, 1, 2, 2, 2].into_iter().map(|second| bound.admits(second)).collect();
        assert_eq!(admitted, [true, true, false, true, true, false]);
    }
}
