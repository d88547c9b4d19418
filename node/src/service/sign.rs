//! `warifu-sign/1`: commitments and signature shares for coordinators.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use rand_core::OsRng;
use warifu_core::signer::{self, CheckContext, CheckError, NoncePools, Prepared, RETRY_NONCE_MILLIS};
use warifu_protocol::limits::{COMMITMENTS_PER_REPLY_MAX, SIGN_BATCH_MAX};
use warifu_protocol::wire::{FreshCommitments, NotYet, SignAnswer, SignCall, SignItem, SignReply};
use warifu_protocol::{AuditEntry, Name, Refusal};

use crate::clock;
use crate::gate::Gate;
use crate::holds::{HoldMark, Holds};
use crate::local::{AuditWrite, LocalStore, LocalStoreError, SpendOutcome};
use crate::metrics::NodeMetrics;
use crate::pace::Pace;
use crate::rate::RateBound;
use crate::state::{StateDatabase, StateView};
use warifu_protocol::NodeId;

/// When a coordinator should ask an unconfirmed node again.
const RETRY_UNCONFIRMED_MILLIS: u32 = 1000;
/// Refusals written to the audit log in one second; more are only counted, so that a coordinator cannot fill the disk with them.
const REFUSALS_AUDITED_PER_SECOND: u32 = 200;

/// Gives signature shares.
pub struct SignService {
    node: NodeId,
    state: StateDatabase,
    local: Arc<LocalStore>,
    gate: Arc<Gate>,
    holds: Arc<Holds>,
    metrics: NodeMetrics,
    pools: Mutex<NoncePools>,
    /// Raised with each drop of all nonces, so that pairs made before it are not admitted after it.
    drops: AtomicU64,
    refusals: RateBound,
    pace: Arc<Pace>,
}

/// One item on its way to an answer.
enum Step {
    Answered(SignAnswer),
    Prepared(Prepared),
}

impl SignService {
    /// Starts with empty pools.
    #[must_use]
    pub fn new(
        node: NodeId,
        state: StateDatabase,
        local: Arc<LocalStore>,
        gate: Arc<Gate>,
        holds: Arc<Holds>,
        metrics: NodeMetrics,
        pace: Arc<Pace>,
    ) -> Self {
        Self {
            node,
            state,
            local,
            gate,
            holds,
            metrics,
            pools: Mutex::new(NoncePools::new(&mut OsRng)),
            drops: AtomicU64::new(0),
            refusals: RateBound::new(REFUSALS_AUDITED_PER_SECOND),
            pace,
        }
    }

    /// Answers one call of an authenticated coordinator.
    pub async fn handle(self: &Arc<Self>, coordinator: Name, call: SignCall) -> SignReply {
        let (items, refill) = match call {
            SignCall::Commitments { count } => (Vec::new(), count),
            SignCall::SignBatch { items, refill } => (items, refill),
        };
        let started = Instant::now();
        let answers = if items.len() > SIGN_BATCH_MAX {
            let refusal = Refusal::TooLarge { what: "items in a batch".to_owned(), limit: SIGN_BATCH_MAX as u64 };
            vec![SignAnswer::Refused(refusal); SIGN_BATCH_MAX]
        } else {
            self.answer(&coordinator, items).await
        };
        let service = Arc::clone(self);
        let commitments =
            tokio::task::spawn_blocking(move || service.commitments(&coordinator, usize::from(refill))).await.unwrap_or_default();
        if !answers.is_empty() {
            let took = started.elapsed();
            self.metrics.sign_seconds.observe(took.as_secs_f64());
            self.pace.signed(Instant::now(), took);
        }
        SignReply { answers, commitments }
    }

    /// Drops every nonce: after a clock jump, a restore, or before the node is confirmed again.
    pub fn drop_nonces(&self) {
        let mut pools = self.pools.lock();
        self.drops.fetch_add(1, Ordering::SeqCst);
        pools.drop_all();
        self.metrics.nonces_dropped.inc();
    }

    /// Drops nonces past their life and counts the rest.
    pub fn tick(&self) {
        let mut pools = self.pools.lock();
        pools.drop_expired(clock::boot_millis());
        self.metrics.nonces_unused.set(i64::try_from(pools.len()).unwrap_or(i64::MAX));
    }

    fn commitments(&self, coordinator: &Name, count: usize) -> Vec<FreshCommitments> {
        let count = count.min(COMMITMENTS_PER_REPLY_MAX);
        if count == 0 || !self.gate.is_open() {
            return Vec::new();
        }
        let (maker, drops) = (self.pools.lock().maker(), self.drops.load(Ordering::SeqCst));
        // The curve arithmetic is outside the lock: only admitting and taking a nonce are serial.
        let pairs = in_parallel((0..count).collect(), |_: usize| maker.make(1, &mut OsRng)).into_iter().flatten().collect();
        let mut pools = self.pools.lock();
        if self.drops.load(Ordering::SeqCst) != drops || !self.gate.is_open() {
            return Vec::new();
        }
        pools.admit(clock::boot_millis(), coordinator, pairs)
    }

    async fn answer(self: &Arc<Self>, coordinator: &Name, items: Vec<SignItem>) -> Vec<SignAnswer> {
        if items.is_empty() {
            return Vec::new();
        }
        let (service, name) = (Arc::clone(self), coordinator.clone());
        let Ok(checked) = tokio::task::spawn_blocking(move || service.check_all(&name, items)).await else {
            return Vec::new();
        };
        let (steps, writes, since) = checked;
        let waited = Instant::now();
        let outcomes = self.local.record(writes).await;
        self.metrics.audit_seconds.observe(waited.elapsed().as_secs_f64());
        let service = Arc::clone(self);
        let signed = tokio::task::spawn_blocking(move || match outcomes {
            Ok(outcomes) => service.sign_all(steps, outcomes, since),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the audit log cannot be written; refusing to sign");
                steps.iter().map(|_| SignAnswer::Refused(Refusal::AuditUnavailable)).collect()
            }
        });
        let answers: Vec<SignAnswer> = signed.await.unwrap_or_default();
        for answer in &answers {
            match answer {
                SignAnswer::Share(_) => self.metrics.shares_given.inc(),
                SignAnswer::NotYet { reason, .. } => self.metrics.items_not_yet.with_label_values(&[not_yet_label(*reason)]).inc(),
                SignAnswer::Refused(refusal) => self.metrics.items_refused.with_label_values(&[refusal.code().as_str()]).inc(),
            }
        }
        answers
    }

    /// Checks and renders in parallel, takes nonces one after the other, and says what must be on disk before any share may leave.
    fn check_all(&self, coordinator: &Name, items: Vec<SignItem>) -> (Vec<(Step, usize)>, Vec<AuditWrite>, HoldMark) {
        // Before the view is opened: a stop that comes after it is noticed when the share is made.
        let since = self.holds.mark();
        let now = clock::now();
        let view = self.state.view().map_err(|error| error.to_string());
        let context = view
            .as_ref()
            .map_err(Clone::clone)
            .and_then(|view| CheckContext::read(view, self.node, now).map_err(|error| error.to_string()));
        let open = self.gate.is_open();
        let checked = in_parallel(items, |item: SignItem| {
            let outcome = match (&view, &context) {
                _ if !open => Err(SignAnswer::NotYet { reason: NotYet::Unconfirmed, retry_after_millis: RETRY_UNCONFIRMED_MILLIS }),
                (Ok(view), Ok(context)) => check(view, context, &item).and_then(|work| self.unheld(work, since)),
                _ => Err(SignAnswer::NotYet { reason: NotYet::Busy, retry_after_millis: RETRY_UNCONFIRMED_MILLIS }),
            };
            (item, outcome)
        });
        let mut steps = Vec::with_capacity(checked.len());
        let mut writes = Vec::new();
        let boot_now = clock::boot_millis();
        for (item, outcome) in checked {
            let step = match outcome {
                Ok(work) => {
                    let nonces = self.pools.lock().take(boot_now, coordinator, work.own_nonce());
                    match nonces {
                        None => Step::Answered(SignAnswer::NotYet { reason: NotYet::NonceUnknown, retry_after_millis: RETRY_NONCE_MILLIS }),
                        Some(nonces) => {
                            work.take(nonces).map_or_else(|refusal| Step::Answered(SignAnswer::Refused(refusal)), Step::Prepared)
                        }
                    }
                }
                Err(answer) => Step::Answered(answer),
            };
            let write = match &step {
                Step::Prepared(prepared) => Some(AuditWrite {
                    entry: AuditEntry::new(now, prepared.audit_event(coordinator)),
                    spend: prepared.spend_key(),
                    otherwise: Some(AuditEntry::new(now, signer::refused_event(&item, Refusal::SeqUsed, coordinator))),
                }),
                Step::Answered(SignAnswer::Refused(refusal)) if self.refusals.admits(now.as_secs()) => {
                    Some(AuditWrite::plain(AuditEntry::new(now, signer::refused_event(&item, refusal.clone(), coordinator))))
                }
                Step::Answered(_) => None,
            };
            let place = writes.len();
            writes.extend(write);
            steps.push((step, place));
        }
        (steps, writes, since)
    }

    fn sign_all(&self, steps: Vec<(Step, usize)>, outcomes: Vec<SpendOutcome>, since: HoldMark) -> Vec<SignAnswer> {
        in_parallel(steps, |(step, place)| match step {
            Step::Answered(answer) => answer,
            Step::Prepared(_) if outcomes.get(place) != Some(&SpendOutcome::Recorded) => SignAnswer::Refused(Refusal::SeqUsed),
            Step::Prepared(_) if !self.gate.is_open() => {
                SignAnswer::NotYet { reason: NotYet::Unconfirmed, retry_after_millis: RETRY_UNCONFIRMED_MILLIS }
            }
            Step::Prepared(prepared) => self.sign(prepared, since),
        })
    }

    /// Refuses what is held.
    fn unheld(&self, work: signer::CheckedWork, since: HoldMark) -> Result<signer::CheckedWork, SignAnswer> {
        match self.holds.signing().refuses(&work.objects(), since) {
            Some(refusal) => Err(SignAnswer::Refused(refusal)),
            None => Ok(work),
        }
    }

    fn sign(&self, prepared: Prepared, since: HoldMark) -> SignAnswer {
        let work = prepared.work();
        // Until the share is made, no stop is receipted.
        let signing = self.holds.signing();
        if let Some(refusal) = signing.refuses(&work.objects(), since) {
            return SignAnswer::Refused(refusal);
        }
        match self.local.share(work.credential(), work.epoch()) {
            Ok(Some(share)) => prepared.sign(clock::boot_millis(), &share).unwrap_or_else(SignAnswer::from),
            Ok(None) => SignAnswer::Refused(Refusal::ShareMissing),
            Err(LocalStoreError::Locked) => {
                SignAnswer::NotYet { reason: NotYet::Unconfirmed, retry_after_millis: RETRY_UNCONFIRMED_MILLIS }
            }
            Err(error @ LocalStoreError::Share { .. }) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a share is damaged");
                SignAnswer::Refused(Refusal::ShareDamaged)
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a share cannot be opened");
                SignAnswer::Refused(Refusal::ShareMissing)
            }
        }
    }
}

fn check(view: &StateView, context: &CheckContext, item: &SignItem) -> Result<signer::CheckedWork, SignAnswer> {
    signer::check(view, context, item).map_err(|error| match error {
        CheckError::NotYet { reason, retry_after_millis } => SignAnswer::NotYet { reason, retry_after_millis },
        CheckError::Refused(refusal) => SignAnswer::Refused(refusal),
        CheckError::Store(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "the state cannot be read");
            SignAnswer::NotYet { reason: NotYet::Busy, retry_after_millis: RETRY_UNCONFIRMED_MILLIS }
        }
    })
}

const fn not_yet_label(reason: NotYet) -> &'static str {
    match reason {
        NotYet::NonceUnknown => "nonce-unknown",
        NotYet::StateBehind => "state-behind",
        NotYet::Unconfirmed => "unconfirmed",
        NotYet::Busy => "busy",
    }
}

/// Below this many items a second thread costs more than it saves.
const ITEMS_PER_THREAD_MIN: usize = 2;

/// Maps over items on all cores, keeping their order.
fn in_parallel<T: Send, U: Send>(items: Vec<T>, map: impl Fn(T) -> U + Sync) -> Vec<U> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(items.len() / ITEMS_PER_THREAD_MIN);
    if threads <= 1 {
        return items.into_iter().map(map).collect();
    }
    let per_thread = items.len().div_ceil(threads);
    let mut chunks = Vec::with_capacity(threads);
    let mut rest = items.into_iter();
    loop {
        let chunk: Vec<T> = rest.by_ref().take(per_thread).collect();
        if chunk.is_empty() {
            break;
        }
        chunks.push(chunk);
    }
    std::thread::scope(|scope| {
        let map = &map;
        let workers: Vec<_> = chunks.into_iter().map(|chunk| scope.spawn(move || chunk.into_iter().map(map).collect::<Vec<U>>())).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("item workers do not panic")).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parallel_mapping_keeps_the_order_of_any_number_of_items() {
        for count in 0..40_usize {
            assert_eq!(in_parallel((0..count).collect(), |n: usize| n * 2), (0..count).map(|n| n * 2).collect::<Vec<_>>());
        }
    }
}
