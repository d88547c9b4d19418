//! Orders and stops on their way from a client to the sites.

use std::sync::Arc;

use warifu_coordinator_core::{StopProgress, StopRules, StopState};
use warifu_protocol::wire::OrderCall;
use warifu_protocol::{Command, ReceiptQuorum, StopCommand};

use crate::simulate::event::{Party, Request, StopErrand, Then};
use crate::simulate::fact::Fact;
use crate::simulate::workload::Acknowledged;
use crate::simulate::world::World;

/// Deadlines of the coordinator's shell.
const PROPOSE_CALL_DEADLINE: u64 = 4_000;
const PROPOSE_DEADLINE: u64 = 10_000;
const STOP_CALL_DEADLINE: u64 = 2_000;
const STOP_PURSUED_FOR: u64 = 600_000;

impl World {
    /// A client brings a command into the log; [`World::errand_over`] hears of the end.
    pub(in crate::simulate) fn errand(&mut self, number: usize, errand: u64, command: Command) {
        let until = self.now + PROPOSE_DEADLINE;
        let Some(coordinator) = self.coordinators.get_mut(number).filter(|one| one.is_up) else {
            return self.errand_over(errand, None);
        };
        coordinator.errands.insert(errand, (command, until));
        self.propose_errand(number, errand, 0);
    }

    pub(super) fn propose_errand(&mut self, number: usize, errand: u64, tried: u32) {
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
    pub(in crate::simulate) fn stop(&mut self, number: usize, errand: u64, stop: StopCommand) {
        let cluster = Arc::clone(self.log.cluster());
        let until = self.now + STOP_PURSUED_FOR;
        let Some(coordinator) = self.coordinators.get_mut(number).filter(|one| one.is_up) else {
            return self.errand_over(errand, None);
        };
        let quorum = ReceiptQuorum { nodes: cluster.nodes.len(), threshold: cluster.threshold, liars: cluster.liars };
        let rules = StopRules {
            cluster: cluster.cluster,
            nodes: cluster.nodes.clone(),
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
    pub(super) fn pursue_stops(&mut self, number: usize) {
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
    pub(super) fn look_at_stops(&mut self, number: usize) {
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
            // More liars than f can talk a coordinator into a stop that no honest site heard of.
            if let Fact::StopAcknowledged { stop, object, kind, .. } = &fact
                && self.suspects.len() <= usize::from(self.plan.liars)
            {
                self.workload.acknowledged.push(Acknowledged::Stop(*stop, *object, *kind));
            }
            self.tell(fact);
        }
    }
}
