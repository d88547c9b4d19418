//! What a run did, in numbers.

use std::collections::BTreeMap;

use serde::Serialize;

/// Sums over one run, or over many.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counters {
    /// Events of the queue.
    pub events: u64,
    /// Facts times invariants.
    pub checks: u64,
    /// Messages.
    pub messages: u64,
    /// Log entries.
    pub entries: u64,
    /// Documents and CSRs that were asked for.
    pub requests: u64,
    /// Of these, signed.
    pub signed: u64,
    /// Of these, refused or given up with an answer.
    pub failed: u64,
    /// Of these, without an answer: the coordinator died.
    pub unknown: u64,
    /// Signature shares that sites gave.
    pub shares: u64,
    /// Orders and sessions that were told to be in the log.
    pub acknowledged: u64,
    /// Of orders and sessions, without an answer.
    pub orders_unknown: u64,
    /// Stops that were told to be obeyed.
    pub stops: u64,
    /// Key generations, refreshes and repairs that ended well.
    pub ceremonies: u64,
    /// Attempts at these that ended badly.
    pub attempts_failed: u64,
    /// Faults by name.
    pub faults: BTreeMap<&'static str, u64>,
    /// Longest time without a signature while faults were on, in virtual milliseconds: from their beginning where holders could sign by then, otherwise
    /// from the first signature or, when there was none, all of it; to their end.
    pub longest_gap_millis: u64,
    /// From the end of faults until all was well.
    pub healed_after_millis: u64,
    /// Virtual time.
    pub virtual_millis: u64,
}

impl Counters {
    /// Counts a fault.
    pub fn injected(&mut self, fault: &'static str, times: u64) {
        if times > 0 {
            *self.faults.entry(fault).or_default() += times;
        }
    }

    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.checks += other.checks;
        self.messages += other.messages;
        self.entries += other.entries;
        self.requests += other.requests;
        self.signed += other.signed;
        self.failed += other.failed;
        self.unknown += other.unknown;
        self.shares += other.shares;
        self.acknowledged += other.acknowledged;
        self.orders_unknown += other.orders_unknown;
        self.stops += other.stops;
        self.ceremonies += other.ceremonies;
        self.attempts_failed += other.attempts_failed;
        for (fault, times) in &other.faults {
            *self.faults.entry(fault).or_default() += times;
        }
        self.longest_gap_millis = self.longest_gap_millis.max(other.longest_gap_millis);
        self.healed_after_millis = self.healed_after_millis.max(other.healed_after_millis);
        self.virtual_millis += other.virtual_millis;
    }
}
