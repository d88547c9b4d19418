//! What this node lacks: found by reading through the credentials, again and again, a page at a time.

use warifu_protocol::limits::REPAIRS_OPEN_MAX;
use warifu_protocol::{CredentialId, NodeId, UnixMillis};

use crate::registry::{CredentialRecord, Registry, StateStore, StateStoreError, StoreNumbers};

/// Credentials that one look reads: some milliseconds of work.
pub const PAGE: usize = 512;
/// Rest after a pass that found something: what was asked for is under way.
const REST_BUSY_MILLIS: u64 = 1_000;
/// Rest after a pass that found nothing: a key generation that this node missed, or a replaced store, shows no later than that.
const REST_IDLE_MILLIS: u64 = 10_000;

/// Where this node is in its search for credentials of which it lacks its share. Losing it loses no more than the current pass.
#[derive(Debug)]
pub struct Backlog {
    node: NodeId,
    after: Option<CredentialId>,
    /// Counted first, so that progress can be shown, then asked for.
    counts: bool,
    seen: u64,
    missing: u64,
    rest_until: UnixMillis,
}

impl Backlog {
    /// Starts with a count.
    #[must_use]
    pub const fn new(node: NodeId) -> Self {
        Self { node, after: None, counts: true, seen: 0, missing: 0, rest_until: UnixMillis(0) }
    }

    /// Shares that were missing when they were last counted, less those that were repaired since.
    #[must_use]
    pub const fn missing(&self) -> u64 {
        self.missing
    }

    /// Notes that shares were repaired.
    pub const fn repaired(&mut self, count: u64) {
        self.missing = self.missing.saturating_sub(count);
    }

    /// Looks at one page. Gives up to `limit` credentials to ask the repair of: ascending, held by the same nodes, in no ceremony.
    ///
    /// Nothing while as many repairs of this node are open as may be, and at rest.
    ///
    /// # Errors
    /// When the store fails.
    pub fn next<S: StateStore>(&mut self, now: UnixMillis, state: &S, limit: usize) -> Result<Vec<CredentialId>, StateStoreError> {
        // A clock that was set back must not make the rest longer than it is.
        if now < self.rest_until && now.plus(REST_IDLE_MILLIS) >= self.rest_until {
            return Ok(Vec::new());
        }
        let open = state.open_repairs()?;
        if !self.counts && open.iter().filter(|(_, record)| record.receiver == self.node).count() >= REPAIRS_OPEN_MAX {
            return Ok(Vec::new());
        }
        let (stores, threshold) = (state.store_numbers()?, usize::from(state.cluster()?.threshold.0));
        let page = state.credentials(self.after, PAGE)?;
        let is_last = page.len() < PAGE;
        let mut batch = Vec::new();
        let mut holders = Vec::new();
        for (id, record) in page {
            self.after = Some(id);
            if !lacks(&record, &stores, self.node) {
                continue;
            }
            self.seen += 1;
            let held_by = stores.holders(&record.holders);
            let fits = batch.is_empty() || held_by == holders;
            if self.counts || !fits || held_by.len() < threshold || state.ceremony_of(id)?.is_some() {
                continue;
            }
            holders = held_by;
            batch.push(id);
            if batch.len() >= limit {
                return Ok(batch);
            }
        }
        if is_last {
            self.end_pass(now);
        }
        Ok(batch)
    }

    const fn end_pass(&mut self, now: UnixMillis) {
        self.after = None;
        let found = self.seen > 0;
        if self.counts {
            self.missing = self.seen;
        }
        // What was counted is asked for at once.
        let rest = match (found, self.counts) {
            (true, true) => 0,
            (true, false) => REST_BUSY_MILLIS,
            (false, _) => REST_IDLE_MILLIS,
        };
        self.counts = !(self.counts && found);
        self.seen = 0;
        self.rest_until = now.plus(rest);
    }
}

fn lacks(record: &CredentialRecord, stores: &StoreNumbers, node: NodeId) -> bool {
    record.needs_shares() && !stores.holds(&record.holders, node)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::ceremony::tests::{CREDENTIALS, Cluster, START, node};
    use crate::registry::CeremonyStep;

    #[test]
    fn what_is_missing_is_counted_then_given_in_batches_until_it_is_under_way() {
        let mut cluster = Cluster::new(1);
        cluster.run_until(1, CeremonyStep::Done);
        let mut backlog = Backlog::new(node(2));
        let mut now = START;
        let mut look = |cluster: &Cluster, limit| {
            now = now.plus(REST_BUSY_MILLIS);
            let found = backlog.next(now, &cluster.sites[&node(2)].store, limit).unwrap();
            (found, backlog.missing())
        };
        assert_eq!(look(&cluster, 8), (vec![], 0));
        cluster.replace_store(2);
        assert_eq!(look(&cluster, 8), (vec![], 0), "it rests");
        for _ in 0..REST_IDLE_MILLIS / REST_BUSY_MILLIS - 2 {
            look(&cluster, 8);
        }
        assert_eq!(look(&cluster, 8), (vec![], 2), "it counts");
        assert_eq!(look(&cluster, 1), (vec![CREDENTIALS[0]], 2));
        assert_eq!(look(&cluster, 1), (vec![CREDENTIALS[1]], 2));
        assert_eq!(look(&cluster, 1), (vec![], 2));
        let site = cluster.site(2);
        let command = site.repairs.ask(vec![CREDENTIALS[0]], &mut site.rng);
        cluster.propose(command);
        cluster.catch_up(2);
        look(&cluster, 8);
        assert_eq!(look(&cluster, 8), (vec![CREDENTIALS[1]], 2), "the other is under way");
    }
}
