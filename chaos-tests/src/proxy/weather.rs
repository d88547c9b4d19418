//! The faults of all pairs at an instant, and how many were injected.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use serde::Serialize;
use tokio::time::Instant;
use warifu_protocol::NodeId;

use super::faults::Faults;

/// Who sends or receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// A node.
    Node(NodeId),
    /// A coordinator, by its place from 0.
    Coordinator(u8),
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "node {node}"),
            Self::Coordinator(place) => write!(f, "coordinator {}", place + 1),
        }
    }
}

/// The faults of every directed pair, changed while traffic goes on. All is clear at first.
#[derive(Debug, Default)]
pub struct Weather {
    pairs: RwLock<BTreeMap<(Party, Party), Front>>,
    pub(super) counts: Counts,
}

/// Faults and since when they are on.
#[derive(Debug, Clone, Copy)]
struct Front {
    faults: Faults,
    since: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) passed: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) cut: AtomicU64,
    pub(super) doubled: AtomicU64,
    pub(super) delayed: AtomicU64,
    pub(super) held: AtomicU64,
    pub(super) overflowed: AtomicU64,
}

/// What happened to datagrams so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Injected {
    /// Passed on.
    pub passed: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Lost because the pair was cut.
    pub cut: u64,
    /// Sent twice.
    pub doubled: u64,
    /// Sent later than they came.
    pub delayed: u64,
    /// Of those, held back longer than those after them.
    pub held: u64,
    /// Lost because too many waited.
    pub overflowed: u64,
}

impl Weather {
    /// Puts these faults on what `from` sends to `to`, in place of those before.
    pub fn set(&self, from: Party, to: Party, faults: Faults) {
        self.pairs.write().insert((from, to), Front { faults, since: Instant::now() });
    }

    /// The same in both directions.
    pub fn set_both(&self, one: Party, other: Party, faults: Faults) {
        self.set(one, other, faults);
        self.set(other, one, faults);
    }

    /// Ends all faults.
    pub fn clear(&self) {
        self.pairs.write().clear();
    }

    /// What is on for a pair, a flapping one judged for `now`.
    #[must_use]
    pub fn between(&self, from: Party, to: Party, now: Instant) -> Faults {
        let Some(front) = self.pairs.read().get(&(from, to)).copied() else { return Faults::CLEAR };
        Faults { cut: front.faults.is_cut_after(now.saturating_duration_since(front.since)), ..front.faults }
    }

    /// What happened so far.
    #[must_use]
    pub fn injected(&self) -> Injected {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counts = &self.counts;
        Injected {
            passed: read(&counts.passed),
            lost: read(&counts.lost),
            cut: read(&counts.cut),
            doubled: read(&counts.doubled),
            delayed: read(&counts.delayed),
            held: read(&counts.held),
            overflowed: read(&counts.overflowed),
        }
    }
}

impl Injected {
    /// What happened since an earlier look.
    #[must_use]
    pub const fn since(&self, before: &Self) -> Self {
        Self {
            passed: self.passed - before.passed,
            lost: self.lost - before.lost,
            cut: self.cut - before.cut,
            doubled: self.doubled - before.doubled,
            delayed: self.delayed - before.delayed,
            held: self.held - before.held,
            overflowed: self.overflowed - before.overflowed,
        }
    }

    /// Datagrams to which something happened.
    #[must_use]
    pub const fn faults(&self) -> u64 {
        self.lost + self.cut + self.doubled + self.delayed + self.overflowed
    }
}
