//! What this node lacks: found by reading through the credentials, again and again, a page at a time.

use warifu_protocol::limits::REPAIRS_OPEN_MAX;
use warifu_protocol::{CredentialId, NodeId, UnixMillis};

use super::walk::{Walk, Wanted};
use crate::registry::{CredentialRecord, Registry, StateStore, StateStoreError};

/// Where this node is in its search for credentials of which it lacks its share. Losing it loses no more than the current pass.
#[derive(Debug)]
pub struct Backlog {
    node: NodeId,
    walk: Walk,
}

impl Backlog {
    /// Starts with a count.
    #[must_use]
    pub const fn new(node: NodeId) -> Self {
        Self { node, walk: Walk::new() }
    }

    /// Shares that were missing when they were last counted, less those that were repaired since.
    #[must_use]
    pub const fn missing(&self) -> u64 {
        self.walk.found()
    }

    /// Whether the next look only counts.
    #[must_use]
    pub const fn counts(&self) -> bool {
        self.walk.counts()
    }

    /// Whether it is in the middle of counting, so that the next look may follow at once.
    #[must_use]
    pub const fn is_counting(&self) -> bool {
        self.walk.is_counting()
    }

    /// Notes that shares were repaired.
    pub const fn repaired(&mut self, count: u64) {
        self.walk.done(count);
    }

    /// Looks at one page. Gives up to `limit` credentials to ask the repair of: ascending, held by the same nodes, in no ceremony.
    ///
    /// Nothing while as many repairs of this node are open as may be, and at rest.
    ///
    /// # Errors
    /// When the store fails.
    pub fn next<S: StateStore>(&mut self, now: UnixMillis, state: &S, limit: usize) -> Result<Vec<CredentialId>, StateStoreError> {
        if self.walk.rests(now) {
            return Ok(Vec::new());
        }
        let open = state.open_repairs()?;
        if !self.walk.counts() && open.iter().filter(|(_, record)| record.receiver == self.node).count() >= REPAIRS_OPEN_MAX {
            return Ok(Vec::new());
        }
        let stores = state.store_numbers()?;
        let wanted = Wanted {
            is: |record: &CredentialRecord| record.is_share_missing(self.node, &stores),
            holders_min: usize::from(state.cluster()?.threshold.0),
            limit: Some(limit),
        };
        self.walk.look(now, state, &wanted, &stores)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::ceremony::tests::{CREDENTIALS, Cluster, START, node};
    use crate::ceremony::walk::{REST_BUSY_MILLIS, REST_IDLE_MILLIS};
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
