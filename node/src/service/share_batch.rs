//! One call's items on their way to answers: what is checked, what must be on disk before a share may leave, and what leaves then.
//!
//! Everything but the waiting for the disk is here, without a clock of its own, so that the simulator runs the same steps in the same order.

use frost_ed25519::keys::KeyPackage;
use parking_lot::Mutex;
use warifu_core::registry::StateStore;
use warifu_core::signer::{self, CheckContext, CheckError, CheckedWork, MonotonicMillis, NoncePools, Prepared, RETRY_NONCE_MILLIS};
use warifu_protocol::limits::SIGNATURE_BYTES_MAX;
use warifu_protocol::mutants::{Mutant, is_on};
use warifu_protocol::wire::{NotYet, SignAnswer, SignItem, SignWork};
use warifu_protocol::{AuditEntry, AuditEvent, CredentialId, Epoch, Name, NodeId, Refusal, UnixMillis};

use crate::gate::Gate;
use crate::holds::{HoldMark, Holds};
use crate::local::{AuditWrite, SpendOutcome};
use crate::rate::RateBound;

/// When a coordinator should ask an unconfirmed node again.
const RETRY_UNCONFIRMED_MILLIS: u32 = 1000;

/// What of the node every item is judged by.
#[derive(Clone, Copy)]
pub struct ShareGiver<'a> {
    /// This node.
    pub node: NodeId,
    /// Whether it may sign at all.
    pub gate: &'a Gate,
    /// What it obeys before the log says so.
    pub holds: &'a Holds,
    /// Its unused nonces.
    pub pools: &'a Mutex<NoncePools>,
    /// How many refusals are recorded.
    pub refusals: &'a RateBound,
}

/// Items that were checked and have their nonces, while what they need is on its way to the disk.
pub struct ShareBatch {
    /// Each with the place of its write, if it has one.
    steps: Vec<(Step, usize)>,
    since: HoldMark,
}

/// One item on its way to an answer.
enum Step {
    Answered(SignAnswer),
    Prepared(Prepared),
}

impl ShareGiver<'_> {
    /// Checks and renders in parallel, takes nonces one after the other, and says what must be on disk before [`Self::answer`] is called.
    ///
    /// `open` gives the view of applied state; it is called after the mark of the holds was taken, so that a stop that comes in between is
    /// noticed when the share is made.
    pub fn prepare<S: StateStore + Sync>(
        &self,
        open: impl FnOnce() -> Result<S, String>,
        coordinator: &Name,
        items: Vec<SignItem>,
        now: UnixMillis,
        boot_now: MonotonicMillis,
    ) -> (ShareBatch, Vec<AuditWrite>) {
        let since = self.holds.mark();
        let view = open();
        let context = view
            .as_ref()
            .map_err(Clone::clone)
            .and_then(|view| CheckContext::read(view, self.node, now).map_err(|error| error.to_string()));
        let is_open = self.gate.is_open();
        let checked = in_parallel(items, |item: SignItem| {
            let outcome = match (&view, &context) {
                _ if !is_open => Err(unconfirmed()),
                (Ok(view), Ok(context)) => check(view, context, &item).and_then(|work| self.unheld(work, since)),
                _ => Err(SignAnswer::NotYet { reason: NotYet::Busy, retry_after_millis: RETRY_UNCONFIRMED_MILLIS }),
            };
            (item, outcome)
        });
        let mut steps = Vec::with_capacity(checked.len());
        let mut writes = Vec::new();
        for (item, outcome) in checked {
            let step = match outcome {
                Ok(work) => self.take_nonce(work, coordinator, boot_now),
                Err(answer) => Step::Answered(answer),
            };
            let write = match &step {
                Step::Prepared(_) if is_on(Mutant::ShareWithoutAudit) => None,
                Step::Prepared(prepared) => Some(AuditWrite {
                    entry: AuditEntry::new(now, prepared.audit_event(coordinator)),
                    spend: prepared.spend_key(),
                    otherwise: Some(AuditEntry::new(now, signer::refused_event(&item, Refusal::SeqUsed, coordinator))),
                }),
                Step::Answered(answer) => self
                    .answered_event(&item, answer, coordinator)
                    .filter(|_| self.refusals.admits(now.as_secs()))
                    .map(|event| AuditWrite::plain(AuditEntry::new(now, event))),
            };
            let place = writes.len();
            writes.extend(write);
            steps.push((step, place));
        }
        (ShareBatch { steps, since }, writes)
    }

    /// Makes the shares. `outcomes` is what became of the writes: `None` when they are not durable, and then there is no share.
    ///
    /// `share` opens this node's share of a credential, or says what to answer instead.
    pub fn answer(
        &self,
        batch: ShareBatch,
        outcomes: Option<Vec<SpendOutcome>>,
        boot_now: impl Fn() -> MonotonicMillis + Sync,
        share: impl Fn(CredentialId, Epoch) -> Result<KeyPackage, SignAnswer> + Sync,
    ) -> Vec<SignAnswer> {
        let ShareBatch { steps, since } = batch;
        let ignored = || is_on(Mutant::IgnoreAuditFailure).then(|| vec![SpendOutcome::Recorded; steps.len()]);
        let Some(outcomes) = outcomes.or_else(ignored) else {
            return steps.iter().map(|_| SignAnswer::Refused(Refusal::AuditUnavailable)).collect();
        };
        in_parallel(steps, |(step, place)| match step {
            Step::Answered(answer) => answer,
            Step::Prepared(_) if !is_free(outcomes.get(place)) => SignAnswer::Refused(Refusal::SeqUsed),
            Step::Prepared(_) if !self.gate.is_open() => unconfirmed(),
            Step::Prepared(prepared) => self.sign(prepared, since, &boot_now, &share),
        })
    }

    fn take_nonce(&self, work: CheckedWork, coordinator: &Name, boot_now: MonotonicMillis) -> Step {
        let nonces = self.pools.lock().take(boot_now, coordinator, work.own_nonce());
        match nonces {
            None => Step::Answered(SignAnswer::NotYet { reason: NotYet::NonceUnknown, retry_after_millis: RETRY_NONCE_MILLIS }),
            Some(nonces) => work.take(nonces).map_or_else(|refusal| Step::Answered(SignAnswer::Refused(refusal)), Step::Prepared),
        }
    }

    /// What the audit log says of an item that gets no share. A nonce that is asked for twice, or a session that nobody opened, may be a lie;
    /// a node that is not confirmed or busy says nothing of the item.
    fn answered_event(&self, item: &SignItem, answer: &SignAnswer, coordinator: &Name) -> Option<AuditEvent> {
        match answer {
            SignAnswer::Refused(refusal) => Some(signer::refused_event(item, refusal.clone(), coordinator)),
            SignAnswer::NotYet { reason: reason @ (NotYet::NonceUnknown | NotYet::StateBehind), .. } => {
                let (request, credential) = match &item.work {
                    // As in a refusal, bytes of the coordinator's choice stay out.
                    SignWork::Document { request, .. } => ((request.signature.len() <= SIGNATURE_BYTES_MAX).then(|| request.clone()), None),
                    SignWork::Csr { credential } => (None, Some(*credential)),
                };
                let nonce = item.signers.iter().find(|signer| signer.node == self.node).map(|signer| signer.nonce);
                Some(AuditEvent::ShareNotYet { request, credential, nonce, reason: *reason, coordinator: coordinator.clone() })
            }
            SignAnswer::NotYet { reason: NotYet::Unconfirmed | NotYet::Busy, .. } | SignAnswer::Share(_) => None,
        }
    }

    /// Refuses what is held.
    fn unheld(&self, work: CheckedWork, since: HoldMark) -> Result<CheckedWork, SignAnswer> {
        match self.holds.signing().refuses(&work.objects(), since) {
            Some(refusal) => Err(SignAnswer::Refused(refusal)),
            None => Ok(work),
        }
    }

    fn sign(
        &self,
        prepared: Prepared,
        since: HoldMark,
        boot_now: &impl Fn() -> MonotonicMillis,
        share: &impl Fn(CredentialId, Epoch) -> Result<KeyPackage, SignAnswer>,
    ) -> SignAnswer {
        let work = prepared.work();
        // Until the share is made, no stop is receipted.
        let signing = self.holds.signing();
        if let Some(refusal) = signing.refuses(&work.objects(), since) {
            return SignAnswer::Refused(refusal);
        }
        match share(work.credential(), work.epoch()) {
            Ok(share) => prepared.sign(boot_now(), &share).unwrap_or_else(SignAnswer::from),
            Err(answer) => answer,
        }
    }
}

/// Whether what a share uses up was free, and is recorded as used.
fn is_free(outcome: Option<&SpendOutcome>) -> bool {
    outcome == Some(&SpendOutcome::Recorded) || is_on(Mutant::SignUsedNumber) || is_on(Mutant::ShareWithoutAudit)
}

/// What a node says that is not confirmed, or cannot open its shares.
pub(super) const fn unconfirmed() -> SignAnswer {
    SignAnswer::NotYet { reason: NotYet::Unconfirmed, retry_after_millis: RETRY_UNCONFIRMED_MILLIS }
}

fn check<S: StateStore>(view: &S, context: &CheckContext, item: &SignItem) -> Result<CheckedWork, SignAnswer> {
    signer::check(view, context, item).map_err(|error| match error {
        CheckError::NotYet { reason, retry_after_millis } => SignAnswer::NotYet { reason, retry_after_millis },
        CheckError::Refused(refusal) => SignAnswer::Refused(refusal),
        CheckError::Store(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "the state cannot be read");
            SignAnswer::NotYet { reason: NotYet::Busy, retry_after_millis: RETRY_UNCONFIRMED_MILLIS }
        }
    })
}

/// Below this many items a second thread costs more than it saves.
const ITEMS_PER_THREAD_MIN: usize = 2;

/// Maps over items on all cores, keeping their order.
pub(super) fn in_parallel<T: Send, U: Send>(items: Vec<T>, map: impl Fn(T) -> U + Sync) -> Vec<U> {
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
    fn a_share_is_given_only_for_what_was_free_and_is_recorded() {
        assert!(is_free(Some(&SpendOutcome::Recorded)));
        assert!(!is_free(Some(&SpendOutcome::UsedForAnother)), "the number signs another document already");
        assert!(!is_free(None), "nothing was written");
    }

    #[test]
    fn parallel_mapping_keeps_the_order_of_any_number_of_items() {
        for count in 0..40_usize {
            assert_eq!(in_parallel((0..count).collect(), |n: usize| n * 2), (0..count).map(|n| n * 2).collect::<Vec<_>>());
        }
    }
}
