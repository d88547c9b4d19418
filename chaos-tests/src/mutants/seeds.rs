//! Seeds of the simulator, until an invariant breaks.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::catalogue::BySeeds;
use crate::simulate::run_focused;

thread_local! {
    static PANICKED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A seed in which something broke.
#[derive(Clone, Debug)]
pub(super) struct Broken {
    /// Which.
    pub(super) seed: u64,
    /// The invariant, or that the program stopped itself.
    pub(super) what: String,
}

/// Which seeds, how long each, and how many at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    pub(super) first: u64,
    pub(super) count: u64,
    pub(super) safety_millis: u64,
    pub(super) by: BySeeds,
    pub(super) threads: usize,
}

/// Runs seeds until one breaks; gives the first of those that did.
pub(super) fn search(search: Search) -> anyhow::Result<Option<Broken>> {
    let (next, is_found) = (AtomicU64::new(0), AtomicBool::new(false));
    let found = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let work = || -> anyhow::Result<()> {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= search.count || is_found.load(Ordering::Relaxed) {
                    return Ok(());
                }
                if let Some(broken) = try_seed(search.first + number, search.safety_millis, search.by)? {
                    is_found.store(true, Ordering::Relaxed);
                    found.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(number, broken);
                }
            }
        };
        let workers: Vec<_> = (0..search.threads.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| anyhow::anyhow!("a worker panicked"))?)
    })?;
    let found = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok(found.into_values().next())
}

/// Runs one seed. Where one invariant is meant, nothing else that breaks counts.
pub(super) fn try_seed(seed: u64, safety_millis: u64, by: BySeeds) -> anyhow::Result<Option<Broken>> {
    match catch_unwind(AssertUnwindSafe(|| run_focused(seed, safety_millis, Some(by.focus), None))) {
        Ok(outcome) => Ok(noticed(seed, by, outcome?.violations.iter().map(|violation| violation.invariant))),
        Err(_) => {
            let reason = PANICKED.with_borrow_mut(Option::take).unwrap_or_default();
            // A weakened program may run into an assertion of its own.
            Ok(by.invariant.is_none().then(|| Broken { seed, what: format!("an assertion: {reason}") }))
        }
    }
}

/// The first of these that broke and is meant.
fn noticed<'a>(seed: u64, by: BySeeds, mut broken: impl Iterator<Item = &'a str>) -> Option<Broken> {
    let meant = broken.find(|broken| by.invariant.is_none_or(|meant| meant == *broken));
    meant.map(|invariant| Broken { seed, what: invariant.to_owned() })
}

/// Has panics remembered for [`try_seed`] and not printed, for as long as the process lives.
pub(super) fn remember_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|place| format!("{}:{}", place.file(), place.line())).unwrap_or_default();
        let said = panic.payload_as_str().unwrap_or("no words");
        PANICKED.with_borrow_mut(|panicked| *panicked = Some(format!("{said} ({place})")));
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::Focus;

    #[test]
    fn only_the_invariant_that_is_meant_counts_where_one_is() {
        let broken = ["no_share_in_raft_log", "nonce_used_at_most_once"];
        let by = |invariant| noticed(3, BySeeds { focus: Focus::Stops, invariant }, broken.into_iter()).map(|broken| broken.what);
        assert_eq!(by(None).as_deref(), Some("no_share_in_raft_log"));
        assert_eq!(by(Some("nonce_used_at_most_once")).as_deref(), Some("nonce_used_at_most_once"));
        assert_eq!(by(Some("t_minus_one_learn_nothing")), None);
    }
}
