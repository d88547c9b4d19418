//! What handlers share.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use governor::clock::Clock as _;
use governor::{DefaultKeyedRateLimiter, Quota};
use tokio::sync::Semaphore;
use warifu_api::Problem;
use warifu_protocol::{Fault, Name};

use super::clients::Clients;
use crate::config::Limits;
use crate::limits::BODIES_MAX;
use crate::nodes::{Nodes, Stops};
use crate::signing::Views;

pub(crate) struct App {
    pub(crate) nodes: Arc<Nodes>,
    pub(crate) views: Arc<Views>,
    pub(crate) stops: Stops,
    pub(crate) clients: Arc<Clients>,
    /// One permit for each document that is being signed.
    pub(crate) documents: Arc<Semaphore>,
    /// One permit for each body in memory.
    pub(crate) bodies: Arc<Semaphore>,
    rates: DefaultKeyedRateLimiter<Name>,
    is_stopping: AtomicBool,
}

impl App {
    pub(crate) fn new(nodes: Arc<Nodes>, stops: Stops, clients: Arc<Clients>, limits: &Limits) -> Self {
        let at_least_one = |number: u32| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(at_least_one(limits.requests_per_second)).allow_burst(at_least_one(limits.requests_burst));
        Self {
            views: Arc::new(Views::new(Arc::clone(&nodes))),
            nodes,
            stops,
            clients,
            documents: Arc::new(Semaphore::new(usize::try_from(limits.documents_in_flight).unwrap_or(Semaphore::MAX_PERMITS))),
            bodies: Arc::new(Semaphore::new(BODIES_MAX)),
            rates: DefaultKeyedRateLimiter::keyed(quota),
            is_stopping: AtomicBool::new(false),
        }
    }

    /// Counts a call of a client.
    pub(crate) fn check_rate(&self, client: &Name) -> Result<(), Problem> {
        self.rates.check_key(client).map_err(|not_until| {
            let wait = not_until.wait_time_from(governor::clock::DefaultClock::default().now());
            let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
            Problem::new(429, "rate-limited", Fault::Request, "too many calls of this client").retry_after(seconds)
        })
    }

    pub(crate) fn begin_stopping(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    /// Why documents cannot be signed through this coordinator now; empty if they can.
    pub(crate) fn reasons_not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.is_stopping.load(Ordering::Relaxed) {
            reasons.push("this coordinator is stopping".to_owned());
        }
        let ready = self.signers_ready();
        let threshold = usize::from(self.nodes.facts.threshold.0);
        if ready < threshold {
            reasons.push(format!("{ready} nodes answer, are confirmed and have given commitments; a signature needs {threshold}"));
        }
        reasons
    }

    pub(crate) fn signers_ready(&self) -> usize {
        self.nodes.fleet.lock().signers_ready(self.nodes.clock.now())
    }
}
