//! A coordinator: the production core of signing and stops, driven as the coordinator's shell drives it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use warifu_coordinator_core::{
    Commitments, Effect, Fleet, GroupKey, Job, MonotonicMillis, NodeNote, Rules, SignFailure, Signed, Signing, StopProgress, StopRules,
    StopState,
};
use warifu_core::pki::render_csr;
use warifu_core::registry::Registry as _;
use warifu_protocol::wire::{CredentialView, OrderCall, OrderReply, Read, SignCall, SignReply, View};
use warifu_protocol::{Command, CredentialId, Name, NodeId, ReceiptQuorum, SignedRequest, StopCommand, StopId};

use super::attack::{Hoard, hoard};
use super::cost::{self, Of};
use super::event::{Event, Party, Reply, Request, StopErrand, Then};
use super::fact::{Fact, Released, Unshown};
use super::people::coordinator_name;
use super::plan::Plan;
use super::seed::{Dice, SeedTree};
use super::world::World;

/// Deadlines and pauses of the coordinator's shell.
const SIGN_CALL_DEADLINE: u64 = 3_000;
const UPKEEP_CALL_DEADLINE: u64 = 1_000;
const UPKEEP_EVERY: u64 = 200;
const STATUS_EVERY: u64 = 1_000;
const READ_CALL_DEADLINE: u64 = 1_000;
const PROPOSE_CALL_DEADLINE: u64 = 4_000;
const PROPOSE_DEADLINE: u64 = 10_000;
const STOP_CALL_DEADLINE: u64 = 2_000;
const STOP_PURSUE_PAUSE: u64 = 2_000;
const STOP_PURSUED_FOR: u64 = 600_000;
/// A credential may change once while a document of it is signed.
const VIEWS_MAX: u32 = 2;

/// One coordinator.
pub(super) struct Coordinator {
    pub(super) name: Name,
    pub(super) generation: u64,
    pub(super) is_up: bool,
    /// It asks for what it should not, beside what clients ask it for.
    pub(super) lies: bool,
    pub(super) fleet: Fleet,
    pub(super) dice: Dice,
    /// A liar keeps commitments for itself.
    pub(super) hoard: BTreeMap<NodeId, Hoard>,
    jobs: BTreeMap<u64, Pursuit>,
    views: BTreeMap<CredentialId, CachedView>,
    reading: BTreeMap<CredentialId, Reading>,
    stops: BTreeMap<StopId, (StopProgress, StopErrand)>,
    errands: BTreeMap<u64, (Command, u64)>,
    status_at: u64,
    pursued_at: u64,
}

/// What a client asked to be signed.
#[derive(Clone, Debug)]
pub(super) enum Wish {
    /// A document.
    Document(CredentialId, SignedRequest),
    /// A CSR.
    Csr(CredentialId),
}

struct Pursuit {
    wish: Wish,
    signing: Option<(Signing, Vec<u8>)>,
    views_left: u32,
    due_at: Option<u64>,
}

#[derive(Clone)]
struct CachedView {
    view: CredentialView,
    key: Arc<GroupKey>,
}

#[derive(Default)]
struct Reading {
    waits: BTreeSet<NodeId>,
    answers: Vec<Option<CredentialView>>,
    jobs: Vec<u64>,
}

impl Wish {
    /// Whose key is to sign.
    #[must_use]
    pub(super) const fn credential(&self) -> CredentialId {
        match self {
            Self::Document(credential, _) | Self::Csr(credential) => *credential,
        }
    }
}

impl Coordinator {
    pub(super) fn new(number: usize, plan: &Plan, tree: &SeedTree) -> anyhow::Result<Self> {
        Ok(Self {
            name: coordinator_name(number)?,
            generation: 0,
            is_up: false,
            lies: plan.faults.attack_every > 0 && number + 1 == usize::from(plan.coordinators),
            fleet: Fleet::new([]),
            dice: tree.rng("coordinator", number as u64),
            hoard: BTreeMap::new(),
            jobs: BTreeMap::new(),
            views: BTreeMap::new(),
            reading: BTreeMap::new(),
            stops: BTreeMap::new(),
            errands: BTreeMap::new(),
            status_at: 0,
            pursued_at: 0,
        })
    }
}

impl World {
    const fn coordinator_clock(&self) -> MonotonicMillis {
        MonotonicMillis(self.now + 1_000)
    }

    pub(super) fn start_coordinator(&mut self, number: usize) {
        let nodes = self.truth().cluster().map(|cluster| cluster.node_ids()).unwrap_or_default();
        let Some(coordinator) = self.coordinators.get_mut(number) else { return };
        if coordinator.is_up {
            return;
        }
        coordinator.generation += 1;
        coordinator.is_up = true;
        coordinator.fleet = Fleet::new(nodes);
        let generation = coordinator.generation;
        self.after(1, Event::CoordinatorTick { coordinator: number, generation });
    }

    /// Its process dies: whoever waits for it hears nothing.
    pub(super) fn crash_coordinator(&mut self, number: usize) {
        let Some(coordinator) = self.coordinators.get_mut(number) else { return };
        if !coordinator.is_up {
            return;
        }
        coordinator.is_up = false;
        let jobs = std::mem::take(&mut coordinator.jobs);
        let errands = std::mem::take(&mut coordinator.errands);
        coordinator.views.clear();
        coordinator.reading.clear();
        coordinator.stops.clear();
        self.counters.injected("coordinator killed", 1);
        for job in jobs.into_keys() {
            self.wish_over(job, None);
        }
        for errand in errands.into_keys() {
            self.errand_over(errand, None);
        }
        self.after(1_000, Event::StartCoordinator(number));
    }

    pub(super) fn coordinator_tick(&mut self, number: usize, generation: u64) {
        let Some(coordinator) = self.coordinators.get(number).filter(|one| one.is_up && one.generation == generation) else { return };
        let asks_status = self.now >= coordinator.status_at + STATUS_EVERY;
        let pursues = self.now >= coordinator.pursued_at + STOP_PURSUE_PAUSE;
        self.after(UPKEEP_EVERY, Event::CoordinatorTick { coordinator: number, generation });
        let nodes = self.truth().cluster().map(|cluster| cluster.node_ids()).unwrap_or_default();
        let (clock, now) = (self.coordinator_clock(), self.now);
        if let Some(coordinator) = self.coordinators.get_mut(number) {
            coordinator.fleet.set_nodes(nodes.iter().copied());
            if asks_status {
                coordinator.status_at = now;
            }
            if pursues {
                coordinator.pursued_at = now;
            }
        }
        for node in nodes {
            let Some(coordinator) = self.coordinators.get_mut(number) else { return };
            let wanted = coordinator.fleet.commitments_wanted(node, clock);
            if wanted > 0 {
                coordinator.fleet.call_started(node, 1);
                let request = Request::Sign(coordinator.name.clone(), SignCall::Commitments { count: wanted as u16 });
                let then = Then::Commitments { node, wanted, asked: now };
                self.call(Party::Coordinator(number), node, request, UPKEEP_CALL_DEADLINE, then);
            }
            if asks_status {
                self.call(Party::Coordinator(number), node, Request::Order(OrderCall::Status), UPKEEP_CALL_DEADLINE, Then::Status(node));
            }
        }
        if pursues {
            self.pursue_stops(number);
        }
        self.look_at_stops(number);
    }

    /// A client asks for a signature; [`World::wish_over`] hears of the end.
    pub(super) fn wish(&mut self, number: usize, job: u64, wish: Wish) {
        let Some(coordinator) = self.coordinators.get_mut(number).filter(|one| one.is_up) else {
            return self.wish_over(job, None);
        };
        coordinator.jobs.insert(job, Pursuit { wish, signing: None, views_left: VIEWS_MAX, due_at: None });
        self.begin_job(number, job);
    }

    fn begin_job(&mut self, number: usize, job: u64) {
        let (clock, cluster) = (self.coordinator_clock(), self.truth().cluster());
        let Some(coordinator) = self.coordinators.get_mut(number) else { return };
        let Some(pursuit) = coordinator.jobs.get_mut(&job) else { return };
        let Some(view) = coordinator.views.get(&pursuit.wish.credential()).cloned() else {
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
        let (Ok((made, message)), Ok(cluster)) = (made, cluster) else {
            return self.job_over(number, job, Err("there is nothing to gather".to_owned()));
        };
        let rules = Rules { nodes: cluster.nodes.len(), threshold: cluster.threshold, liars: cluster.liars };
        pursuit.signing = Some((Signing::new(made, rules, clock), message));
        self.drive(number, job);
    }

    /// Does all that one signature asks for now.
    fn drive(&mut self, number: usize, job: u64) {
        let (clock, now) = (self.coordinator_clock(), self.now);
        loop {
            let Some(coordinator) = self.coordinators.get_mut(number) else { return };
            let generation = coordinator.generation;
            let Some(pursuit) = coordinator.jobs.get_mut(&job) else { return };
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
                    let then = Then::Item { job, attempt, node, wanted, asked: now };
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

    pub(super) fn job_due(&mut self, number: usize, generation: u64, job: u64) {
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
            Err(failure) => self.job_over(number, job, Err(failure.to_string())),
            Ok(signed) => {
                let message = pursuit.signing.take().map(|(_, message)| message).unwrap_or_default();
                self.job_over(number, job, Ok((message, signed)));
            }
        }
    }

    fn job_over(&mut self, number: usize, job: u64, outcome: Result<(Vec<u8>, Signed), String>) {
        let Some(coordinator) = self.coordinators.get_mut(number) else { return };
        let Some(Pursuit { wish, .. }) = coordinator.jobs.remove(&job) else { return };
        let name = coordinator.name.clone();
        let request = match &wish {
            Wish::Document(_, signed) => Some((signed.request.session, signed.request.seq, signed.request.hash())),
            Wish::Csr(_) => None,
        };
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
            Err(reason) => {
                self.tell(Fact::NotSigned { request, reason: reason.clone() });
                self.wish_over(job, Some(Err(reason)));
            }
        }
    }

    /// Asks every site for its view of a credential.
    fn read_view(&mut self, number: usize, job: u64) {
        let nodes: BTreeSet<NodeId> = self.truth().cluster().map(|cluster| cluster.node_ids()).unwrap_or_default().into_iter().collect();
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
    fn view_answered(&mut self, number: usize, node: NodeId, credential: CredentialId, reply: Option<Reply>) {
        let (needed, threshold) = self
            .truth()
            .cluster()
            .map(|cluster| (usize::from(cluster.liars) + 1, cluster.threshold))
            .unwrap_or((1, warifu_protocol::Threshold(1)));
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
        let found = agreed.cloned().zip(key).map(|(view, key)| CachedView { view, key: Arc::new(key) });
        match found {
            Some(view) => {
                coordinator.views.insert(credential, view);
                for job in jobs {
                    self.begin_job(number, job);
                }
                self.forget_unfinished(number, credential);
            }
            None => {
                for job in jobs {
                    self.job_over(number, job, Err("too few sites agree on the credential".to_owned()));
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

    /// A client brings a command into the log; [`World::errand_over`] hears of the end.
    pub(super) fn errand(&mut self, number: usize, errand: u64, command: Command) {
        let until = self.now + PROPOSE_DEADLINE;
        let Some(coordinator) = self.coordinators.get_mut(number).filter(|one| one.is_up) else {
            return self.errand_over(errand, None);
        };
        coordinator.errands.insert(errand, (command, until));
        self.propose_errand(number, errand, 0);
    }

    fn propose_errand(&mut self, number: usize, errand: u64, tried: u32) {
        let now = self.now;
        let clock = self.coordinator_clock();
        let Some(coordinator) = self.coordinators.get_mut(number) else { return };
        let Some((command, until)) = coordinator.errands.get(&errand).cloned() else { return };
        let order = coordinator.fleet.by_health(clock);
        let node = order.get(tried as usize % order.len().max(1)).copied();
        let (Some(node), true) = (node, now < until) else {
            coordinator.errands.remove(&errand);
            return self.errand_over(errand, None);
        };
        let deadline = PROPOSE_CALL_DEADLINE.min(until - now);
        let request = Request::Order(OrderCall::Propose(Box::new(command)));
        self.call(Party::Coordinator(number), node, request, deadline, Then::Order { errand, tried: tried + 1 });
    }

    /// A client stops something: at every site directly and through the log at the same time.
    pub(super) fn stop(&mut self, number: usize, errand: u64, stop: StopCommand) {
        let Ok(cluster) = self.truth().cluster() else { return };
        let until = self.now + STOP_PURSUED_FOR;
        let Some(coordinator) = self.coordinators.get_mut(number).filter(|one| one.is_up) else {
            return self.errand_over(errand, None);
        };
        let quorum = ReceiptQuorum { nodes: cluster.nodes.len(), threshold: cluster.threshold, liars: cluster.liars };
        let rules = StopRules {
            cluster: cluster.cluster,
            nodes: cluster.nodes,
            quorum,
            clock_skew_millis_max: cluster.policy.clock_skew_millis_max,
        };
        let Some(progress) = StopProgress::new(rules, stop.clone()) else { return };
        let pursued = StopErrand { stop: stop.clone(), is_acknowledged: false, until };
        coordinator.stops.insert(stop.id(), (progress, pursued));
        self.errand(number, errand, stop.into_command());
        self.pursue_stops(number);
    }

    /// Sends stops to the sites that do not obey yet.
    fn pursue_stops(&mut self, number: usize) {
        let now = self.now;
        let Some(coordinator) = self.coordinators.get_mut(number) else { return };
        coordinator.stops.retain(|_, (_, errand)| now < errand.until);
        let sends: Vec<_> = coordinator
            .stops
            .iter()
            .flat_map(|(id, (progress, errand))| progress.missing().into_iter().map(|(node, _)| (node, *id, errand.stop.clone())))
            .collect();
        for (node, id, stop) in sends {
            let request = Request::Order(OrderCall::Stop(Box::new(stop)));
            self.call(Party::Coordinator(number), node, request, STOP_CALL_DEADLINE, Then::Stop { node, stop: id });
        }
    }

    /// Tells clients of stops that are obeyed.
    fn look_at_stops(&mut self, number: usize) {
        let now = self.unix();
        let Some(coordinator) = self.coordinators.get_mut(number) else { return };
        let mut told = Vec::new();
        for (stop, (progress, errand)) in &mut coordinator.stops {
            let until = match progress.state(now) {
                StopState::Incomplete => continue,
                StopState::Draining { until } => until,
                StopState::Done { since } => since,
            };
            if !std::mem::replace(&mut errand.is_acknowledged, true) {
                let (object, kind) = progress.target();
                told.push(Fact::StopAcknowledged { stop: *stop, object, kind, until });
            }
            if progress.missing().is_empty() {
                errand.until = 0;
            }
        }
        for fact in told {
            self.counters.stops += 1;
            self.tell(fact);
        }
    }

    pub(super) fn coordinator_answered(&mut self, number: usize, then: Then, reply: Option<Reply>) {
        let (clock, now) = (self.coordinator_clock(), self.unix());
        let Some(coordinator) = self.coordinators.get_mut(number) else { return };
        match then {
            Then::Commitments { node, wanted, asked } => self.sign_replied(number, node, (wanted, asked), reply),
            Then::Item { job, attempt, node, wanted, asked } => {
                let answer = match &reply {
                    Some(Reply::Sign(SignReply { answers, .. })) if answers.len() == 1 => answers.first().cloned(),
                    Some(_) | None => None,
                };
                let signing = coordinator.jobs.get_mut(&job).and_then(|pursuit| pursuit.signing.as_mut());
                if let Some((signing, _)) = signing {
                    match answer {
                        Some(answer) => cost::of(Of::Frost, || signing.handle_answer(attempt, node, answer, clock)),
                        None => signing.handle_failure(attempt, node, clock),
                    }
                }
                self.sign_replied(number, node, (wanted, asked), reply);
                self.drive(number, job);
            }
            Then::Hoard(node) => {
                let now = self.now;
                if let Some(Reply::Sign(SignReply { commitments, .. })) = reply {
                    hoard(coordinator.hoard.entry(node).or_default(), now, commitments);
                }
            }
            Then::Status(node) => match reply {
                Some(Reply::Order(OrderReply::Status(status))) if status.confirmed => coordinator.fleet.ready(node),
                Some(Reply::Order(OrderReply::Status(_))) => {
                    coordinator.fleet.note(node, clock, NodeNote::Unready { millis: 2 * STATUS_EVERY });
                }
                Some(_) | None => {}
            },
            Then::View { node, credential } => self.view_answered(number, node, credential, reply),
            Then::Stop { node, stop } => {
                let Some((progress, _)) = coordinator.stops.get_mut(&stop) else { return };
                match reply {
                    Some(Reply::Order(OrderReply::Stop(answer))) => {
                        cost::count(1, 0);
                        progress.answered(now, node, answer);
                    }
                    Some(_) | None => progress.failed(node, "no answer".to_owned()),
                }
                self.look_at_stops(number);
            }
            Then::Order { errand, tried } => match reply {
                Some(Reply::Order(OrderReply::Verdict(verdict))) => {
                    coordinator.errands.remove(&errand);
                    self.errand_over(errand, Some((verdict, tried > 1)));
                }
                Some(_) | None => self.propose_errand(number, errand, tried),
            },
            Then::Round2 { .. }
            | Then::Repair { .. }
            | Then::Root(_)
            | Then::Mark(_)
            | Then::Remembered(_)
            | Then::Proposed(_)
            | Then::Nothing => {}
        }
    }

    /// What every answer on the signing path says of a site, beside the answer.
    fn sign_replied(&mut self, number: usize, node: NodeId, (wanted, asked): (usize, u64), reply: Option<Reply>) {
        let (clock, now) = (self.coordinator_clock(), self.now);
        let Some(coordinator) = self.coordinators.get_mut(number) else { return };
        let asked_at = MonotonicMillis(asked + 1_000);
        match reply {
            Some(Reply::Sign(SignReply { commitments, .. })) => {
                coordinator.fleet.call_answered(node, 1, (now - asked) * 1_000);
                let mut commitments = commitments;
                if coordinator.lies
                    && let Some(one) = commitments.pop()
                {
                    hoard(coordinator.hoard.entry(node).or_default(), now, [one]);
                }
                let sent = commitments.len().min(wanted);
                let fresh = commitments.into_iter().take(wanted);
                let parsed: Vec<_> = cost::of(Of::Frost, || fresh.filter_map(|one| Commitments::parse(one).ok()).collect());
                let all_good = parsed.len() == sent;
                coordinator.fleet.add_commitments(node, asked_at, wanted, parsed);
                if !all_good {
                    coordinator.fleet.note(node, clock, NodeNote::Culprit);
                    let coordinator = coordinator.name.clone();
                    self.tell(Fact::Blamed { coordinator, site: node });
                }
            }
            Some(_) | None => {
                coordinator.fleet.call_failed(node, 1, clock);
                coordinator.fleet.add_commitments(node, asked_at, wanted, Vec::new());
            }
        }
    }
}
