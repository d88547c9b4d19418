//! A walk through all credentials, again and again, a page at a time, in search of those that something is to be done about.

use warifu_protocol::{CredentialId, UnixMillis};

use crate::registry::{CredentialRecord, Registry, StateStore, StateStoreError, StoreNumbers};

/// Credentials that one look reads: some milliseconds of work.
pub const PAGE: usize = 512;
/// Rest after a pass that found something: what was asked for is under way.
pub(super) const REST_BUSY_MILLIS: u64 = 1_000;
/// Rest after a pass that found nothing: what comes to be to do, shows no later than that.
pub(super) const REST_IDLE_MILLIS: u64 = 10_000;

/// Where a walk is. Losing it loses no more than the current pass.
#[derive(Debug)]
pub(super) struct Walk {
    after: Option<CredentialId>,
    /// Counted first, so that progress can be shown, then asked for.
    counts: bool,
    seen: u64,
    found: u64,
    rest_until: UnixMillis,
}

/// What a look gives credentials for.
pub(super) struct Wanted<F> {
    /// What is looked for.
    pub(super) is: F,
    /// Nodes that must hold a share of it.
    pub(super) holders_min: usize,
    /// Credentials to give at most; `None` only counts them.
    pub(super) limit: Option<usize>,
}

impl Walk {
    pub(super) const fn new() -> Self {
        Self { after: None, counts: true, seen: 0, found: 0, rest_until: UnixMillis(0) }
    }

    /// How many there were when they were last counted, less those that were done since.
    pub(super) const fn found(&self) -> u64 {
        self.found
    }

    pub(super) const fn done(&mut self, count: u64) {
        self.found = self.found.saturating_sub(count);
    }

    /// Whether the present pass only counts.
    pub(super) const fn counts(&self) -> bool {
        self.counts
    }

    /// Whether it is in the middle of a pass that only counts.
    pub(super) const fn is_counting(&self) -> bool {
        self.counts && self.after.is_some()
    }

    /// A clock that was set back must not make the rest longer than it is.
    pub(super) fn rests(&self, now: UnixMillis) -> bool {
        now < self.rest_until && now.plus(REST_IDLE_MILLIS) >= self.rest_until
    }

    /// There is nothing to be found.
    pub(super) const fn idle(&mut self, now: UnixMillis) {
        *self = Self { rest_until: now.plus(REST_IDLE_MILLIS), ..Self::new() };
    }

    /// Looks at one page. Gives what is wanted: ascending, held by the same nodes, in no ceremony.
    pub(super) fn look<S: StateStore>(
        &mut self,
        now: UnixMillis,
        state: &S,
        wanted: &Wanted<impl Fn(&CredentialRecord) -> bool>,
        stores: &StoreNumbers,
    ) -> Result<Vec<CredentialId>, StateStoreError> {
        if wanted.limit.is_none() && !self.counts {
            // It asked before, and what it has counted since is a part.
            *self = Self { found: self.found, ..Self::new() };
        }
        let page = state.credentials(self.after, PAGE)?;
        let is_last = page.len() < PAGE;
        let mut batch = Vec::new();
        let mut holders = Vec::new();
        for (id, record) in page {
            self.after = Some(id);
            if !(wanted.is)(&record) {
                continue;
            }
            self.seen += 1;
            let Some(limit) = wanted.limit.filter(|_| !self.counts) else { continue };
            let held_by = stores.holders(&record.holders);
            let fits = batch.is_empty() || held_by == holders;
            if !fits || held_by.len() < wanted.holders_min || state.ceremony_of(id)?.is_some() {
                continue;
            }
            holders = held_by;
            batch.push(id);
            if batch.len() >= limit {
                return Ok(batch);
            }
        }
        if is_last {
            self.end_pass(now, wanted.limit.is_some());
        }
        Ok(batch)
    }

    const fn end_pass(&mut self, now: UnixMillis, asks: bool) {
        self.after = None;
        let any = self.seen > 0;
        if self.counts {
            self.found = self.seen;
        }
        // What was counted is asked for at once.
        let rest = match (any && asks, self.counts) {
            (true, true) => 0,
            (true, false) => REST_BUSY_MILLIS,
            (false, _) => REST_IDLE_MILLIS,
        };
        self.counts = !(self.counts && any && asks);
        self.seen = 0;
        self.rest_until = now.plus(rest);
    }
}
