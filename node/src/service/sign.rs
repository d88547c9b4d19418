//! `warifu-sign/1`: commitments and signature shares for coordinators.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use frost_ed25519::keys::KeyPackage;
use parking_lot::Mutex;
use rand_core::OsRng;
use warifu_core::signer::NoncePools;
use warifu_protocol::limits::{COMMITMENTS_PER_REPLY_MAX, SIGN_BATCH_MAX};
use warifu_protocol::wire::{FreshCommitments, NotYet, SignAnswer, SignCall, SignItem, SignReply};
use warifu_protocol::{AuditEntry, AuditEvent, CredentialId, Epoch, Name, NodeId, Refusal};

use super::share_batch::{ShareGiver, in_parallel, unconfirmed};
use crate::clock;
use crate::gate::Gate;
use crate::holds::Holds;
use crate::local::{AuditWrite, LocalStore, LocalStoreError};
use crate::metrics::NodeMetrics;
use crate::pace::Pace;
use crate::rate::RateBound;
use crate::state::StateDatabase;

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
            self.record_refused_batch(&coordinator, &refusal).await;
            vec![SignAnswer::Refused(refusal); SIGN_BATCH_MAX]
        } else {
            self.answer(&coordinator, items).await
        };
        let service = Arc::clone(self);
        let commitments = crate::blocking::run(move || service.commitments(&coordinator, usize::from(refill))).await.unwrap_or_default();
        if !answers.is_empty() {
            let took = started.elapsed();
            self.metrics.sign_seconds.observe(took.as_secs_f64());
            self.pace.signed(clock::now(), took);
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
        let prepared = crate::blocking::run(move || {
            let view = || service.state.view().map_err(|error| error.to_string());
            service.giver().prepare(view, &name, items, clock::now(), clock::boot_millis())
        });
        let Ok((batch, writes)) = prepared.await else {
            return Vec::new();
        };
        let waited = Instant::now();
        let outcomes = self.local.record(writes).await;
        self.metrics.audit_seconds.observe(waited.elapsed().as_secs_f64());
        let service = Arc::clone(self);
        let signed = crate::blocking::run(move || {
            let outcomes = outcomes
                .inspect_err(|error| {
                    tracing::error!(error = error as &dyn std::error::Error, "the audit log cannot be written; refusing to sign");
                })
                .ok();
            service.giver().answer(batch, outcomes, clock::boot_millis, |credential, epoch| service.open_share(credential, epoch))
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

    /// One entry for the whole batch: none of its items was looked at.
    async fn record_refused_batch(&self, coordinator: &Name, refusal: &Refusal) {
        let now = clock::now();
        if !self.refusals.admits(now.as_secs()) {
            return;
        }
        let event =
            AuditEvent::ShareRefused { request: None, credential: None, refusal: refusal.clone(), coordinator: coordinator.clone() };
        if let Err(error) = self.local.record(vec![AuditWrite::plain(AuditEntry::new(now, event))]).await {
            tracing::error!(error = &error as &dyn std::error::Error, "a refusal cannot be recorded");
        }
    }

    /// Opens this node's share, or says why there is none.
    fn open_share(&self, credential: CredentialId, epoch: Epoch) -> Result<KeyPackage, SignAnswer> {
        match self.local.share(credential, epoch) {
            Ok(Some(share)) => Ok(share),
            Ok(None) => Err(SignAnswer::Refused(Refusal::ShareMissing)),
            Err(LocalStoreError::Locked) => Err(unconfirmed()),
            Err(error @ LocalStoreError::Share { .. }) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a share is damaged");
                Err(SignAnswer::Refused(Refusal::ShareDamaged))
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a share cannot be opened");
                Err(SignAnswer::Refused(Refusal::ShareMissing))
            }
        }
    }

    fn giver(&self) -> ShareGiver<'_> {
        ShareGiver { node: self.node, gate: &self.gate, holds: &self.holds, pools: &self.pools, refusals: &self.refusals }
    }
}

const fn not_yet_label(reason: NotYet) -> &'static str {
    match reason {
        NotYet::NonceUnknown => "nonce-unknown",
        NotYet::StateBehind => "state-behind",
        NotYet::Unconfirmed => "unconfirmed",
        NotYet::Busy => "busy",
    }
}
