//! A coordinator: the production core of signing and stops, driven as the coordinator's shell drives it.

mod orders;
mod signing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use warifu_coordinator_core::{Commitments, Fleet, GroupKey, MonotonicMillis, NodeNote, Signing, StopProgress};
use warifu_protocol::wire::{CredentialView, OrderCall, OrderReply, SignCall, SignReply};
use warifu_protocol::{Command, CredentialId, Name, NodeId, SignedRequest, StopId};

use super::attack::{Hoard, hoard};
use super::cost::{self, Of};
use super::event::{Event, Party, Reply, Request, StopErrand, Then};
use super::fact::{AskedFor, Fact, asked_for};
use super::people::coordinator_name;
use super::plan::Plan;
use super::seed::{Dice, SeedTree};
use super::world::World;

/// Deadlines and pauses of the coordinator's shell.
const UPKEEP_CALL_DEADLINE: u64 = 1_000;
const UPKEEP_EVERY: u64 = 200;
const STATUS_EVERY: u64 = 1_000;
const STOP_PURSUE_PAUSE: u64 = 2_000;

/// One coordinator.
pub(in crate::simulate) struct Coordinator {
    pub(in crate::simulate) name: Name,
    pub(in crate::simulate) generation: u64,
    pub(in crate::simulate) is_up: bool,
    /// It asks for what it should not, beside what clients ask it for.
    pub(in crate::simulate) lies: bool,
    pub(in crate::simulate) fleet: Fleet,
    pub(in crate::simulate) dice: Dice,
    /// A liar keeps commitments for itself.
    pub(in crate::simulate) hoard: BTreeMap<NodeId, Hoard>,
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
pub(in crate::simulate) enum Wish {
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
    asked_at: u64,
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
    pub(in crate::simulate) const fn credential(&self) -> CredentialId {
        match self {
            Self::Document(credential, _) | Self::Csr(credential) => *credential,
        }
    }

    /// The document that is wanted, if it is one.
    #[must_use]
    pub(in crate::simulate) fn asked_for(&self) -> Option<AskedFor> {
        match self {
            Self::Document(_, signed) => Some(asked_for(&signed.request)),
            Self::Csr(_) => None,
        }
    }
}

impl Coordinator {
    pub(in crate::simulate) fn new(number: usize, plan: &Plan, tree: &SeedTree) -> anyhow::Result<Self> {
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
    pub(in crate::simulate) const fn coordinator_clock(&self) -> MonotonicMillis {
        MonotonicMillis(self.now + 1_000)
    }

    pub(in crate::simulate) fn start_coordinator(&mut self, number: usize) {
        let nodes = self.log.cluster().node_ids();
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
    pub(in crate::simulate) fn crash_coordinator(&mut self, number: usize) {
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

    pub(in crate::simulate) fn coordinator_tick(&mut self, number: usize, generation: u64) {
        let Some(coordinator) = self.coordinators.get(number).filter(|one| one.is_up && one.generation == generation) else { return };
        let asks_status = self.now >= coordinator.status_at + STATUS_EVERY;
        let pursues = self.now >= coordinator.pursued_at + STOP_PURSUE_PAUSE;
        self.after(UPKEEP_EVERY, Event::CoordinatorTick { coordinator: number, generation });
        let nodes = self.log.cluster().node_ids();
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
                self.call(
                    Party::Coordinator(number),
                    node,
                    Request::Order(OrderCall::Status),
                    UPKEEP_CALL_DEADLINE,
                    Then::Status { node, asked: now },
                );
            }
        }
        if pursues {
            self.pursue_stops(number);
        }
        self.look_at_stops(number);
    }

    pub(in crate::simulate) fn coordinator_answered(&mut self, number: usize, then: Then, reply: Option<Reply>) {
        let (clock, now) = (self.coordinator_clock(), self.unix());
        let Some(coordinator) = self.coordinators.get_mut(number) else { return };
        match then {
            Then::Commitments { node, wanted, asked } => self.sign_replied(number, node, (wanted, asked), reply),
            Then::Item { job, views_left, attempt, node, wanted, asked } => {
                let answer = match &reply {
                    Some(Reply::Sign(SignReply { answers, .. })) if answers.len() == 1 => answers.first().cloned(),
                    Some(_) | None => None,
                };
                // What was asked by another view is nothing that is waited for any more.
                let pursuit = coordinator.jobs.get_mut(&job).filter(|pursuit| pursuit.views_left == views_left);
                let signing = pursuit.and_then(|pursuit| pursuit.signing.as_mut());
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
            Then::Status { node, asked } => {
                if let Some(Reply::Order(OrderReply::Status(status))) = reply {
                    coordinator.fleet.status_answered(node, (self.now - asked) * 1_000);
                    if status.confirmed {
                        coordinator.fleet.ready(node);
                    } else {
                        coordinator.fleet.note(node, clock, NodeNote::Unready { millis: 2 * STATUS_EVERY });
                    }
                }
            }
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
