//! One document on its way to a signature.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand_core::RngCore;
use warifu_protocol::wire::{NotYet, SignAnswer, SignItem};
use warifu_protocol::{NodeId, Refusal, Threshold};

use crate::MonotonicMillis;
use crate::attempt::Attempt;
use crate::fleet::{Fleet, NodeNote};
use crate::job::Job;
use crate::limits::{ATTEMPTS_MAX, HEDGES_MAX, SIGNERS_RETRY_MILLIS, SIGNING_DEADLINE_MILLIS, UNREADY_MILLIS};
use crate::refusals::{Meaning, Refusals, meaning};

/// Numbers the signer sets of one [`Signing`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AttemptId(u32);

/// What of the cluster matters for one signature.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// n.
    pub nodes: usize,
    /// t.
    pub threshold: Threshold,
    /// f: how many nodes may lie.
    pub liars: u8,
}

/// What the shell has to do, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Ask a node; its answer goes to [`Signing::handle_answer`], its failure to [`Signing::handle_failure`].
    Send {
        /// Part of the answer's address.
        attempt: AttemptId,
        /// Whom.
        node: NodeId,
        /// For what.
        item: SignItem,
    },
    /// Tell the fleet by [`Fleet::note`].
    Note {
        /// About whom.
        node: NodeId,
        /// What.
        note: NodeNote,
    },
    /// It is over; nothing follows.
    Done(Result<Signed, SignFailure>),
}

/// A signature that verifies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signed {
    /// Ed25519 signature over the job's message, verified strictly.
    pub signature: [u8; 64],
    /// Who signed.
    pub signers: Vec<NodeId>,
    /// Signer sets that were started.
    pub attempts: u32,
    /// How many of these because another was slow.
    pub hedges: u32,
}

/// Why there is no signature.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SignFailure {
    /// Enough nodes refuse for the same reason that at least one honest one does, or that no set of others is left.
    #[error("{refusal}")]
    Refused {
        /// Why.
        refusal: Refusal,
        /// Who said so.
        nodes: Vec<NodeId>,
    },
    /// The nodes know another certificate, epoch or key of this credential than the coordinator does. Read it anew and start again.
    #[error("the nodes have another view of the credential than the coordinator")]
    ViewStale,
    /// Too few nodes could be asked, or answered, or agreed, within the deadline and the number of attempts.
    #[error("no {threshold} nodes gave signature shares within {attempts} attempts and {millis} ms{}", describe(.refusals))]
    Unavailable {
        /// t.
        threshold: u8,
        /// Sets that were started.
        attempts: u32,
        /// Time taken.
        millis: u64,
        /// What nodes said.
        refusals: Vec<String>,
    },
}

/// The gathering of one signature.
///
/// Call [`Signing::launch`] whenever [`Signing::wants_signers`] says so, then perform everything that [`Signing::poll_effect`] gives; then wait for
/// the first of an answer, a failure and [`Signing::poll_timeout`]. Answers may come in any order, twice, late or never.
#[derive(Debug)]
pub struct Signing {
    job: Job,
    rules: Rules,
    started: MonotonicMillis,
    next: u32,
    hedges: u32,
    attempts: BTreeMap<AttemptId, Attempt>,
    /// When the next set is to be started.
    launch_at: Option<MonotonicMillis>,
    /// A set came to nothing and has not been replaced.
    lacks_set: bool,
    /// Nodes that are of no use for this document until then.
    avoid: BTreeMap<NodeId, MonotonicMillis>,
    nonces_unknown: BTreeSet<NodeId>,
    refusals: Refusals,
    stale: Refusals,
    effects: VecDeque<Effect>,
    is_done: bool,
}

impl Signing {
    /// Starts the clock of one job; nothing is asked yet.
    #[must_use]
    pub fn new(job: Job, rules: Rules, now: MonotonicMillis) -> Self {
        Self {
            job,
            rules,
            started: now,
            next: 0,
            hedges: 0,
            attempts: BTreeMap::new(),
            launch_at: Some(now),
            lacks_set: false,
            avoid: BTreeMap::new(),
            nonces_unknown: BTreeSet::new(),
            refusals: Refusals::default(),
            stale: Refusals::default(),
            effects: VecDeque::new(),
            is_done: false,
        }
    }

    /// Whether a signer set is to be started now.
    #[must_use]
    pub fn wants_signers(&self, now: MonotonicMillis) -> bool {
        !self.is_done && self.launch_at.is_some_and(|at| at <= now)
    }

    /// Starts a signer set if one is wanted and there are signers.
    pub fn launch(&mut self, fleet: &mut Fleet, now: MonotonicMillis, rng: &mut impl RngCore) {
        if !self.wants_signers(now) {
            return;
        }
        self.launch_at = None;
        if self.next >= ATTEMPTS_MAX {
            if !self.is_hopeful() {
                self.fail(now);
            }
            return;
        }
        let mut avoid: BTreeSet<NodeId> = self.avoid.iter().filter(|(_, until)| now < **until).map(|(node, _)| *node).collect();
        // A hedge is to do without the ones that are waited for.
        avoid.extend(self.attempts.values().filter(|attempt| !attempt.is_void).flat_map(Attempt::unanswered));
        match fleet.choose(self.rules.threshold, self.job.key.holders(), &avoid, now, rng) {
            Ok(chosen) => {
                let id = AttemptId(self.next);
                self.next += 1;
                let attempt = Attempt::new(&self.job, chosen.signers, now.plus(chosen.overdue_millis));
                let item = attempt.item(&self.job);
                self.effects.extend(attempt.nodes().map(|node| Effect::Send { attempt: id, node, item: item.clone() }));
                self.attempts.insert(id, attempt);
                self.lacks_set = false;
            }
            // Nobody is left to ask by this view, which may be why: waiting would bring nobody either.
            Err(_) if !self.is_hopeful() && self.is_contradicted(fleet) => self.finish(Err(SignFailure::ViewStale)),
            Err(_) => self.launch_at = Some(now.plus(SIGNERS_RETRY_MILLIS)),
        }
    }

    /// Takes a node's answer.
    pub fn handle_answer(&mut self, attempt: AttemptId, node: NodeId, answer: SignAnswer, now: MonotonicMillis) {
        if !self.is_awaited(attempt, node) {
            return;
        }
        match answer {
            SignAnswer::Share(share) => self.handle_share(attempt, node, share, now),
            SignAnswer::NotYet { reason, retry_after_millis } => {
                self.handle_not_yet(node, reason, u64::from(retry_after_millis), now);
                self.void(attempt);
            }
            SignAnswer::Refused(refusal) => {
                self.handle_refusal(node, refusal);
                self.void(attempt);
            }
        }
        self.settle(now);
    }

    /// Takes notice that a node could not be asked or did not answer.
    pub fn handle_failure(&mut self, attempt: AttemptId, node: NodeId, now: MonotonicMillis) {
        if !self.is_awaited(attempt, node) {
            return;
        }
        self.avoid.insert(node, now.plus(UNREADY_MILLIS));
        self.void(attempt);
        self.settle(now);
    }

    /// Takes notice of the time; to be called when [`Signing::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: MonotonicMillis) {
        if self.is_done {
            return;
        }
        if now.since(self.started) >= SIGNING_DEADLINE_MILLIS {
            return self.fail(now);
        }
        for attempt in self.attempts.values_mut() {
            if attempt.overdue_at.is_none_or(|at| now < at) {
                continue;
            }
            attempt.overdue_at = None;
            self.effects.extend(attempt.unanswered().map(|node| Effect::Note { node, note: NodeNote::Slow }));
            if attempt.is_void {
                continue;
            }
            if self.hedges < HEDGES_MAX {
                self.hedges += 1;
                self.launch_at = Some(now);
            }
        }
        self.settle(now);
    }

    /// When [`Signing::handle_timeout`] or [`Signing::launch`] is to be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<MonotonicMillis> {
        if self.is_done {
            return None;
        }
        let overdue = self.attempts.values().filter_map(|attempt| attempt.overdue_at);
        overdue.chain(self.launch_at).chain([self.started.plus(SIGNING_DEADLINE_MILLIS)]).min()
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    fn is_awaited(&mut self, attempt: AttemptId, node: NodeId) -> bool {
        !self.is_done && self.attempts.get_mut(&attempt).is_some_and(|attempt| attempt.take_answer(node))
    }

    fn handle_share(&mut self, id: AttemptId, node: NodeId, share: [u8; 32], now: MonotonicMillis) {
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        attempt.add_share(node, share);
        if attempt.is_void || !attempt.is_complete() {
            return;
        }
        match attempt.aggregate(&self.job.key, &self.job.message) {
            Ok(signature) => {
                let signers = attempt.nodes().collect();
                self.finish(Ok(Signed { signature, signers, attempts: self.next, hedges: self.hedges }));
            }
            // That every signer lies at once is less likely than that this coordinator has the wrong public shares.
            Err(invalid) if invalid.culprits.len() == usize::from(self.rules.threshold.0) => self.finish(Err(SignFailure::ViewStale)),
            Err(invalid) => {
                for culprit in invalid.culprits {
                    self.avoid.insert(culprit, now.plus(SIGNING_DEADLINE_MILLIS));
                    self.effects.push_back(Effect::Note { node: culprit, note: NodeNote::Culprit });
                }
                self.void(id);
            }
        }
    }

    fn handle_not_yet(&mut self, node: NodeId, reason: NotYet, retry_after_millis: u64, now: MonotonicMillis) {
        match reason {
            NotYet::NonceUnknown => {
                self.effects.push_back(Effect::Note { node, note: NodeNote::CommitmentsGone });
                // A restart explains it once; a node that keeps saying so must not use up the attempts.
                if !self.nonces_unknown.insert(node) {
                    self.avoid.insert(node, now.plus(UNREADY_MILLIS));
                }
            }
            // Of this document's session, while others of this node go on.
            NotYet::StateBehind => {
                self.avoid.insert(node, now.plus(retry_after_millis.clamp(SIGNERS_RETRY_MILLIS, UNREADY_MILLIS)));
            }
            NotYet::Unconfirmed => self.effects.push_back(Effect::Note { node, note: NodeNote::Unready { millis: UNREADY_MILLIS } }),
            NotYet::Busy => {
                let millis = retry_after_millis.clamp(SIGNERS_RETRY_MILLIS, UNREADY_MILLIS);
                self.effects.push_back(Effect::Note { node, note: NodeNote::Unready { millis } });
            }
        }
    }

    fn handle_refusal(&mut self, node: NodeId, refusal: Refusal) {
        self.avoid.insert(node, self.started.plus(SIGNING_DEADLINE_MILLIS));
        match meaning(&refusal) {
            Meaning::Verdict => self.refusals.add(node, refusal),
            Meaning::View => self.stale.add(node, refusal),
            Meaning::Node(note) => self.effects.push_back(Effect::Note { node, note }),
        }
        // Fewer could be nodes that the log has not reached, while t others would sign; n-t+1 leave too few for a set whoever they are.
        let quorum = self.rules.nodes + 1 - usize::from(self.rules.threshold.0);
        if let Some((refusal, nodes)) = self.refusals.agreed(quorum) {
            self.finish(Err(SignFailure::Refused { refusal, nodes }));
        } else if self.stale.agreed(quorum).is_some() || self.holders_left() < usize::from(self.rules.threshold.0) {
            self.finish(Err(SignFailure::ViewStale));
        }
    }

    /// Whether an honest node contradicts the view, or too few of its holders are left in the cluster that do not.
    fn is_contradicted(&self, fleet: &Fleet) -> bool {
        let holders = self.job.key.holders().iter();
        let left = holders.filter(|holder| fleet.has(**holder) && !self.stale.contains(**holder)).count();
        self.stale.len() > usize::from(self.rules.liars) || left < usize::from(self.rules.threshold.0)
    }

    /// Holders by this view that have not contradicted it. Without t of them no set is left to ask, whatever the others would say.
    fn holders_left(&self) -> usize {
        self.job.key.holders().iter().filter(|holder| !self.stale.contains(**holder)).count()
    }

    fn void(&mut self, attempt: AttemptId) {
        if let Some(attempt) = self.attempts.get_mut(&attempt) {
            attempt.is_void = true;
            self.lacks_set = true;
        }
    }

    /// Forgets sets of which nothing more can come, and wants another one if none can bring the signature.
    fn settle(&mut self, now: MonotonicMillis) {
        if self.is_done {
            return;
        }
        let awaits_verdict = !(self.refusals.is_empty() && self.stale.is_empty());
        self.attempts.retain(|_, attempt| !attempt.is_void || (awaits_verdict && !attempt.is_answered() && attempt.overdue_at.is_some()));
        // After a refusal the set's other answers most likely bring the quorum for it, or against the view; another set would only burn nonces. A
        // set that is overdue is not waited for.
        let waits = self.attempts.values().any(|attempt| attempt.overdue_at.is_some());
        if (self.attempts.is_empty() || (self.lacks_set && !waits)) && self.launch_at.is_none() {
            self.launch_at = Some(now);
        }
    }

    /// Whether a set is left that can bring the signature.
    fn is_hopeful(&self) -> bool {
        self.attempts.values().any(|attempt| !attempt.is_void)
    }

    fn fail(&mut self, now: MonotonicMillis) {
        let refusals = self.refusals.describe().into_iter().chain(self.stale.describe()).collect();
        let threshold = self.rules.threshold.0;
        self.finish(Err(SignFailure::Unavailable { threshold, attempts: self.next, millis: now.since(self.started), refusals }));
    }

    fn finish(&mut self, outcome: Result<Signed, SignFailure>) {
        self.is_done = true;
        self.attempts.clear();
        self.effects.push_back(Effect::Done(outcome));
    }
}

fn describe(refusals: &[String]) -> String {
    if refusals.is_empty() { String::new() } else { format!("; {}", refusals.join("; ")) }
}
