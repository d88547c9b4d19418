//! Which keys are due for a refresh without an order of their own: found by reading through the credentials, a page at a time.

use rand_core::CryptoRngCore;
use warifu_protocol::limits::DUE_REFRESHES_OPEN_MAX;
use warifu_protocol::{CeremonyId, Command, RefreshStart, UnixMillis};

use super::walk::{Walk, Wanted};
use crate::identity::NodeIdentity;
use crate::registry::{RefreshRules, Registry, StateStore, StateStoreError, due_refreshes_open};

/// Where this node is in its search for keys that are due. Every node counts them; one, the leader, opens refreshes. Losing it loses no more
/// than the current pass: what is due stands in the state, so that whoever leads next goes on.
pub struct DueRefreshes {
    identity: NodeIdentity,
    walk: Walk,
}

impl DueRefreshes {
    /// Starts with a count.
    #[must_use]
    pub const fn new(identity: NodeIdentity) -> Self {
        Self { identity, walk: Walk::new() }
    }

    /// Keys that were due when they were last counted, less those whose refresh this node has opened since.
    #[must_use]
    pub const fn due(&self) -> u64 {
        self.walk.found()
    }

    /// Whether the next look only counts.
    #[must_use]
    pub const fn counts(&self) -> bool {
        self.walk.counts()
    }

    /// Looks at one page, and gives the command that opens a refresh of up to `limit` keys; without a limit keys are counted only.
    ///
    /// Nothing while as many refreshes without an order are open as may be, and at rest.
    ///
    /// # Errors
    /// When the store fails.
    pub fn next<S: StateStore>(
        &mut self,
        now: UnixMillis,
        state: &S,
        limit: Option<usize>,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Option<Command>, StateStoreError> {
        if self.walk.rests(now) {
            return Ok(None);
        }
        let rules = RefreshRules::read(state)?;
        if rules.is_idle() {
            self.walk.idle(now);
            return Ok(None);
        }
        if !self.walk.counts() && limit.is_some() && due_refreshes_open(state)? >= DUE_REFRESHES_OPEN_MAX {
            return Ok(None);
        }
        let holders_min = usize::from(state.cluster()?.threshold.0) + 1;
        let wanted = Wanted { is: |record: &_| rules.cause(record).is_some(), holders_min, limit };
        let credentials = self.walk.look(now, state, &wanted, &state.store_numbers()?)?;
        if credentials.is_empty() {
            return Ok(None);
        }
        self.walk.done(credentials.len() as u64);
        let mut id = [0; CeremonyId::LEN];
        rng.fill_bytes(&mut id);
        let start = RefreshStart { ceremony: CeremonyId::new(id), credentials };
        Ok(Some(Command::RefreshStarted(self.identity.sign(start))))
    }
}

impl std::fmt::Debug for DueRefreshes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DueRefreshes").field("node", &self.identity.node()).field("walk", &self.walk).finish()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng as _;
    use warifu_protocol::{CredentialId, Epoch};

    use super::*;
    use crate::ceremony::tests::{CREDENTIALS, Cluster, identity, node};
    use crate::ceremony::walk::{REST_BUSY_MILLIS, REST_IDLE_MILLIS};
    use crate::registry::{CeremonyStep, encode, key, table};

    /// As if an order had made every key due that has shares now.
    fn order_all(cluster: &mut Cluster) {
        let index = cluster.log.len() as u64 + 1;
        for site in cluster.sites.values_mut() {
            site.store.0.insert(key(table::REFRESH_ORDERED, &[]), encode(&index));
        }
    }

    fn named(command: Option<Command>) -> Vec<CredentialId> {
        match command {
            Some(Command::RefreshStarted(start)) => start.body.credentials,
            Some(other) => panic!("{other:?}"),
            None => Vec::new(),
        }
    }

    #[test]
    fn whoever_leads_opens_refreshes_of_what_is_due_until_nothing_is_and_the_others_count() {
        let mut cluster = Cluster::new(7);
        cluster.run_until(1, CeremonyStep::Done);
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let mut queues = [1, 2].map(|number| DueRefreshes::new(identity(number)));
        let mut now = cluster.now;
        let mut look = |queues: &mut [DueRefreshes; 2], cluster: &Cluster, leader: usize| {
            now = now.plus(REST_IDLE_MILLIS);
            let mut opened = Vec::new();
            for (place, queue) in queues.iter_mut().enumerate() {
                let store = &cluster.sites[&node(1)].store;
                let command = queue.next(now, store, (place == leader).then_some(1), &mut rng).unwrap();
                opened.extend(command);
            }
            opened
        };
        assert!(look(&mut queues, &cluster, 0).is_empty(), "nothing is due");
        order_all(&mut cluster);
        assert!(look(&mut queues, &cluster, 0).is_empty(), "it is counted first");
        assert_eq!([queues[0].due(), queues[1].due()], [2, 2]);
        let first = look(&mut queues, &cluster, 0).pop();
        assert_eq!(named(first.clone()), [CREDENTIALS[0]]);
        cluster.propose(first.unwrap());
        cluster.tick();
        // Another leads now, and goes on with what is left.
        let mut second = Vec::new();
        while second.is_empty() {
            second = look(&mut queues, &cluster, 1);
        }
        assert_eq!(named(second.first().cloned()), [CREDENTIALS[1]]);
        cluster.propose(second.remove(0));
        cluster.run_while(|cluster| CREDENTIALS.iter().any(|id| cluster.credential(1, *id).epoch != Epoch(2)));
        cluster.run_while(|cluster| CREDENTIALS.iter().any(|id| cluster.credential(1, *id).previous.is_some()));
        for _ in 0..3 {
            assert!(look(&mut queues, &cluster, 1).is_empty());
        }
        assert_eq!([queues[0].due(), queues[1].due()], [0, 0]);
        assert_eq!(cluster.sites[&node(1)].store.scan_table(table::CEREMONY), 1, "only the key generation's record is kept");
        cluster.assert_signs([1, 3, 5]);
    }

    #[test]
    fn at_rest_it_looks_at_nothing() {
        let mut cluster = Cluster::new(8);
        cluster.run_until(1, CeremonyStep::Done);
        let mut rng = ChaCha20Rng::seed_from_u64(8);
        let mut queue = DueRefreshes::new(identity(1));
        let store = &cluster.sites[&node(1)].store;
        assert!(queue.next(cluster.now, store, Some(2), &mut rng).unwrap().is_none());
        order_all(&mut cluster);
        let store = &cluster.sites[&node(1)].store;
        assert!(queue.next(cluster.now.plus(REST_BUSY_MILLIS), store, Some(2), &mut rng).unwrap().is_none());
        assert_eq!(queue.due(), 0);
        assert!(queue.next(cluster.now.plus(REST_IDLE_MILLIS), store, Some(2), &mut rng).unwrap().is_none());
        assert_eq!(queue.due(), 2, "counted after the rest");
    }
}
