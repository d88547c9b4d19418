//! What people bring into the log by a coordinator, what they were told of it, and that they try again when they were told nothing.

use warifu_core::registry::Registry as _;
use warifu_protocol::wire::{Applied, Verdict};
use warifu_protocol::{Blob, Command, OrderCommand, OrderId, StopCommand};

use super::fact::Fact;
use super::workload::{Acknowledged, Errand, PATIENCE_MILLIS};
use super::world::World;

impl World {
    pub(super) fn stop_something(&mut self, number: usize, order: OrderCommand) {
        let id = OrderId::new(self.workload.dice.bytes());
        let Ok(order) = self.people.order(self.log.truth(), self.unix(), id, order) else { return };
        self.begin_stop(number, StopCommand::Order(order));
    }

    pub(super) fn begin_stop(&mut self, number: usize, stop: StopCommand) {
        let errand = self.workload.next();
        let until = self.now + PATIENCE_MILLIS;
        if let Some(holder) = self.workload.holders.get_mut(number) {
            holder.busy_until = until;
        }
        self.workload.errands.insert(errand, Errand { holder: Some(number), command: stop.clone().into_command(), tries: 0 });
        let coordinator = self.pick_coordinator();
        self.notice_stop(coordinator, &stop);
        self.stop(coordinator, errand, stop);
    }

    /// Brings an order into the log.
    pub(super) fn order(&mut self, holder: Option<usize>, order: OrderCommand) {
        let id = OrderId::new(self.workload.dice.bytes());
        let Ok(order) = self.people.order(self.log.truth(), self.unix(), id, order) else { return };
        self.begin_errand(holder, Command::Order(order));
    }

    pub(super) fn begin_errand(&mut self, holder: Option<usize>, command: Command) {
        let errand = self.workload.next();
        let until = self.now + PATIENCE_MILLIS;
        if let Some(holder) = holder.and_then(|number| self.workload.holders.get_mut(number)) {
            holder.busy_until = until;
        }
        self.workload.errands.insert(errand, Errand { holder, command: command.clone(), tries: 0 });
        let coordinator = self.pick_coordinator();
        self.errand(coordinator, errand, command);
    }

    /// A command's verdict came, or none. `after_unknown` says that an earlier try may be the one that was applied.
    pub(super) fn errand_over(&mut self, number: u64, outcome: Option<(Verdict, bool)>) {
        let Some(errand) = self.workload.errands.remove(&number) else { return };
        let now = self.now;
        let holder = errand.holder.and_then(|holder| self.workload.holders.get_mut(holder));
        let Some((verdict, _)) = outcome else {
            self.counters.orders_unknown += 1;
            // The same again: that is what an unknown outcome asks for.
            if errand.tries < 3 {
                let coordinator = self.pick_coordinator();
                let Errand { holder, command, tries } = errand;
                self.workload.errands.insert(number, Errand { holder, command: command.clone(), tries: tries + 1 });
                self.retry_errand(coordinator, number, command);
            }
            return;
        };
        if let Some(holder) = holder {
            holder.busy_until = now;
        }
        match (errand.command, verdict.outcome) {
            (Command::Order(order), Ok(applied)) => {
                self.acknowledge(Acknowledged::Order(order.body.id));
                self.tell(Fact::OrderAcknowledged { order: order.body.id, index: verdict.index });
                if let (Applied::CrlExpected { order: id, .. }, OrderCommand::UpdateCrl { .. }) = (&applied, &order.body.order) {
                    self.send_list(*id);
                }
            }
            (Command::SessionOpened(opening), outcome) => {
                let session = opening.statement.session();
                let is_open = outcome.is_ok() || self.truth().session(session).is_ok_and(|record| record.is_some());
                if is_open {
                    self.acknowledge(Acknowledged::Session(session));
                }
                if let Some(held) =
                    self.workload.holders.iter_mut().filter_map(|holder| holder.session.as_mut()).find(|held| held.id == session)
                {
                    held.is_open = is_open;
                }
            }
            (Command::SessionClosed(closing), Ok(_)) => self.acknowledge(Acknowledged::SessionEnd(closing.session)),
            (Command::CrlChunk { .. }, Ok(Applied::CrlActive)) if !self.workload.lists_wanted.is_empty() => {
                self.workload.lists_wanted.remove(0);
            }
            _ => {}
        }
    }

    fn retry_errand(&mut self, coordinator: usize, errand: u64, command: Command) {
        // Through the queue, so that a coordinator that is down is not asked in a circle.
        if self.coordinators.get(coordinator).is_some_and(|one| one.is_up) {
            self.errand(coordinator, errand, command);
        } else {
            self.workload.errands.remove(&errand);
        }
    }

    /// The one piece of a trial list.
    fn send_list(&mut self, order: OrderId) {
        let Some(wanted) = self.workload.lists_wanted.first().cloned() else { return };
        if let Some(bytes) = self.make_list(&wanted) {
            self.begin_errand(None, Command::CrlChunk { order, index: 0, bytes: Blob(bytes) });
        }
    }

    fn acknowledge(&mut self, what: Acknowledged) {
        self.counters.acknowledged += 1;
        self.workload.acknowledged.push(what);
    }

    pub(super) fn pick_coordinator(&mut self) -> usize {
        let up: Vec<usize> = self.coordinators.iter().enumerate().filter(|(_, one)| one.is_up).map(|(number, _)| number).collect();
        self.workload.dice.pick(&up).copied().unwrap_or_default()
    }

    /// Whether officers wait for an order that changes who is in the roster.
    pub(super) fn is_roster_awaited(&self) -> bool {
        let changes = |order: &OrderCommand| matches!(order, OrderCommand::ReplaceStore { .. } | OrderCommand::UpdateRoster { .. });
        self.workload.errands.values().any(|errand| matches!(&errand.command, Command::Order(order) if changes(&order.body.order)))
    }
}
