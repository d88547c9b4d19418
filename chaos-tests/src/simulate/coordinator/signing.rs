//! One signature: a view of the credential that enough sites agree on, signer sets until one has signed, and the answer to the client.

use std::collections::BTreeSet;
use std::sync::Arc;

use warifu_coordinator_core::{Effect, GroupKey, Job, NodeNote, Rules, SignFailure, Signed, Signing, is_view_due};
use warifu_core::pki::render_csr;
use warifu_protocol::wire::{OrderCall, OrderReply, Read, SignCall, View};
use warifu_protocol::{CredentialId, NodeId, Refusal};

use super::{CachedView, Pursuit, Reading, Wish};
use crate::simulate::cost::{self, Of};
use crate::simulate::event::{Event, Party, Reply, Request, Then};
use crate::simulate::fact::{Fact, Released, Unshown};
use crate::simulate::world::World;

/// Deadlines of the coordinator's shell.
const SIGN_CALL_DEADLINE: u64 = 3_000;
const READ_CALL_DEADLINE: u64 = 1_000;
/// A credential may change once while a document of it is signed.
const VIEWS_MAX: u32 = 2;

/// Why a client gets no signature.
struct NoSignature {
    reason: String,
    is_number_used: bool,
}

impl NoSignature {
    fn words(reason: &str) -> Self {
        Self { reason: reason.to_owned(), is_number_used: false }
    }
}

impl World {
    /// A client asks for a signature; [`World::wish_over`] hears of the end.
    pub(in crate::simulate) fn wish(&mut self, number: usize, job: u64, wish: Wish) {
        let Some(coordinator) = self.coordinators.get_mut(number).filter(|one| one.is_up) else {
            return self.wish_over(job, None);
        };
        coordinator.jobs.insert(job, Pursuit { wish, signing: None, views_left: VIEWS_MAX, due_at: None });
        self.begin_job(number, job);
    }

    fn begin_job(&mut self, number: usize, job: u64) {
        let (clock, now, cluster) = (self.coordinator_clock(), self.now, Arc::clone(self.log.cluster()));
        let Some(coordinator) = self.coordinators.get_mut(number) else { return };
        let Some(pursuit) = coordinator.jobs.get_mut(&job) else { return };
        let is_due = |cached: &CachedView| is_view_due(now.saturating_sub(cached.asked_at), cached.key.holders(), &cluster.node_ids());
        let Some(view) = coordinator.views.get(&pursuit.wish.credential()).filter(|cached| !is_due(cached)).cloned() else {
            return self.read_view(number, job);
        };
        pursuit.views_left -= 1;
        let made = match (&pursuit.wish, &view.view.certificate) {
            (Wish::Document(_, request), Some(certificate)) => {
                Job::document(request.clone(), certificate.as_slice(), view.view.epoch, Arc::clone(&view.key))
                    .map(|made| (made.job, made.rendered.signed_info))
                    .map_err(|error| error.to_string())
            }
            (Wish::Document(..), None) => Err("the credential has no certificate".to_owned()),
            (Wish::Csr(credential), _) => {
                let info = render_csr(&view.view.subject, &view.key.to_bytes()).info;
                Ok((Job::csr(*credential, info.clone(), view.view.epoch, Arc::clone(&view.key)), info))
            }
        };
        let Ok((made, message)) = made else {
            return self.job_over(number, job, Err(NoSignature::words("there is nothing to gather")));
        };
        let rules = Rules { nodes: cluster.nodes.len(), threshold: cluster.threshold, liars: cluster.liars };
        pursuit.signing = Some((Signing::new(made, rules, clock), message));
        self.drive(number, job);
    }

    /// Does all that one signature asks for now.
    pub(super) fn drive(&mut self, number: usize, job: u64) {
        let (clock, now) = (self.coordinator_clock(), self.now);
        loop {
            let Some(coordinator) = self.coordinators.get_mut(number) else { return };
            let generation = coordinator.generation;
            let Some(pursuit) = coordinator.jobs.get_mut(&job) else { return };
            let views_left = pursuit.views_left;
            let Some((signing, _)) = &mut pursuit.signing else { return };
            if signing.wants_signers(clock) {
                cost::of(Of::Frost, || signing.launch(&mut coordinator.fleet, clock, &mut coordinator.dice.0));
            }
            let Some(effect) = signing.poll_effect() else {
                if signing.wants_signers(clock) {
                    continue;
                }
                let timeout = signing.poll_timeout().map(|at| at.since(clock).max(1));
                if let Some(after) = timeout
                    && pursuit.due_at.is_none_or(|at| at <= now || now + after < at)
                {
                    pursuit.due_at = Some(now + after);
                    self.after(after, Event::Job { coordinator: number, generation, job });
                }
                return;
            };
            match effect {
                Effect::Send { attempt, node, item } => {
                    let wanted = coordinator.fleet.commitments_wanted(node, clock);
                    let call = SignCall::SignBatch { items: vec![item], refill: wanted as u16 };
                    let request = Request::Sign(coordinator.name.clone(), call);
                    let then = Then::Item { job, views_left, attempt, node, wanted, asked: now };
                    self.call(Party::Coordinator(number), node, request, SIGN_CALL_DEADLINE, then);
                }
                Effect::Note { node, note } => {
                    coordinator.fleet.note(node, clock, note);
                    if note == NodeNote::Culprit {
                        let coordinator = coordinator.name.clone();
                        self.tell(Fact::Blamed { coordinator, site: node });
                    }
                }
                Effect::Done(outcome) => return self.gathered(number, job, outcome),
            }
        }
    }

    pub(in crate::simulate) fn job_due(&mut self, number: usize, generation: u64, job: u64) {
        let clock = self.coordinator_clock();
        let Some(coordinator) = self.coordinators.get_mut(number).filter(|one| one.is_up && one.generation == generation) else { return };
        if let Some((signing, _)) = coordinator.jobs.get_mut(&job).and_then(|pursuit| pursuit.signing.as_mut()) {
            signing.handle_timeout(clock);
            self.drive(number, job);
        }
    }

    fn gathered(&mut self, number: usize, job: u64, outcome: Result<Signed, SignFailure>) {
        let Some(coordinator) = self.coordinators.get_mut(number) else { return };
        let Some(pursuit) = coordinator.jobs.get_mut(&job) else { return };
        match outcome {
            Err(SignFailure::ViewStale) if pursuit.views_left > 0 => {
                coordinator.views.remove(&pursuit.wish.credential());
                pursuit.signing = None;
                self.read_view(number, job);
            }
            Err(failure) => {
                let is_number_used = matches!(failure, SignFailure::Refused { refusal: Refusal::SeqUsed, .. });
                self.job_over(number, job, Err(NoSignature { reason: failure.to_string(), is_number_used }));
            }
            Ok(signed) => {
                let message = pursuit.signing.take().map(|(_, message)| message).unwrap_or_default();
                self.job_over(number, job, Ok((message, signed)));
            }
        }
    }

    fn job_over(&mut self, number: usize, job: u64, outcome: Result<(Vec<u8>, Signed), NoSignature>) {
        let Some(coordinator) = self.coordinators.get_mut(number) else { return };
        let Some(Pursuit { wish, .. }) = coordinator.jobs.remove(&job) else { return };
        let name = coordinator.name.clone();
        let request = wish.asked_for();
        match outcome {
            Ok((message, signed)) => {
                let released = Released {
                    coordinator: name,
                    credential: wish.credential(),
                    request,
                    message: Unshown(message.clone()),
                    signature: signed.signature,
                    signers: signed.signers,
                };
                self.tell(Fact::Signed(Box::new(released)));
                self.wish_over(job, Some(Ok((message, signed.signature))));
            }
            Err(NoSignature { reason, is_number_used }) => {
                self.tell(Fact::NotSigned { request, reason: reason.clone(), is_number_used });
                self.wish_over(job, Some(Err(reason)));
            }
        }
    }

    /// Asks every site for its view of a credential.
    fn read_view(&mut self, number: usize, job: u64) {
        let nodes: BTreeSet<NodeId> = self.log.cluster().node_ids().into_iter().collect();
        let Some(coordinator) = self.coordinators.get_mut(number) else { return };
        let Some(credential) = coordinator.jobs.get(&job).map(|pursuit| pursuit.wish.credential()) else { return };
        let reading = coordinator.reading.entry(credential).or_default();
        reading.jobs.push(job);
        if reading.jobs.len() > 1 {
            return;
        }
        reading.waits.clone_from(&nodes);
        for node in nodes {
            let request = Request::Order(OrderCall::Read(Read::Credential(credential)));
            self.call(Party::Coordinator(number), node, request, READ_CALL_DEADLINE, Then::View { node, credential });
        }
    }

    /// A reading counts when f+1 sites agree on it; of several, the newest.
    pub(super) fn view_answered(&mut self, number: usize, node: NodeId, credential: CredentialId, reply: Option<Reply>) {
        let (now, cluster) = (self.now, self.log.cluster());
        let (needed, threshold) = (usize::from(cluster.liars) + 1, cluster.threshold);
        let Some(coordinator) = self.coordinators.get_mut(number) else { return };
        let Some(reading) = coordinator.reading.get_mut(&credential) else { return };
        if !reading.waits.remove(&node) {
            return;
        }
        if let Some(Reply::Order(OrderReply::View(view))) = reply {
            reading.answers.push(match view {
                Some(View::Credential(view)) => Some(*view),
                Some(_) | None => None,
            });
        }
        if !reading.waits.is_empty() {
            return;
        }
        let Some(Reading { answers, jobs, .. }) = coordinator.reading.remove(&credential) else { return };
        let agreed = answers
            .iter()
            .flatten()
            .filter(|view| answers.iter().flatten().filter(|other| other == view).count() >= needed)
            .max_by_key(|view| view.version.0);
        let key = agreed.and_then(|view| {
            let package = view.public_key_package.as_ref()?;
            cost::of(Of::Frost, || GroupKey::parse(package.as_slice(), threshold)).ok()?.held_by(&view.holders).ok()
        });
        let found = agreed.cloned().zip(key).map(|(view, key)| CachedView { view, key: Arc::new(key), asked_at: now });
        // What can still be asked by the one that is there may well be enough to sign, until the next try.
        let kept = || coordinator.views.get(&credential).map(|kept| CachedView { asked_at: now, ..kept.clone() });
        match found.or_else(kept) {
            Some(view) => {
                coordinator.views.insert(credential, view);
                for job in jobs {
                    self.begin_job(number, job);
                }
                self.forget_unfinished(number, credential);
            }
            None => {
                for job in jobs {
                    self.job_over(number, job, Err(NoSignature::words("too few sites agree on the credential")));
                }
            }
        }
    }

    /// A certificate is about to come where there is none; no site would say that the view is old.
    fn forget_unfinished(&mut self, number: usize, credential: CredentialId) {
        if let Some(coordinator) = self.coordinators.get_mut(number)
            && coordinator.views.get(&credential).is_some_and(|cached| cached.view.certificate.is_none())
        {
            coordinator.views.remove(&credential);
        }
    }
}
