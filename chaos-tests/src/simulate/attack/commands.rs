//! What the adversary brings into the log.

use warifu_protocol::wire::OrderCall;
use warifu_protocol::{Command, CredentialId, LogEntry, NodeId, OrderCommand, OrderId, SessionOpening};

use super::shares::DEADLINE;
use crate::simulate::event::{Party, Request, Then};
use crate::simulate::forgery::forge;
use crate::simulate::log::Payload;
use crate::simulate::world::World;

/// An order that is kept back lives no longer than this.
const KEPT_BACK_MILLIS: (u64, u64) = (200, 1_500);

impl World {
    pub(super) fn attack_log(&mut self, liar: usize) {
        match self.adversary.dice.below(10) {
            0..2 => self.replay_command(liar),
            2..6 => self.forge_command(liar),
            6..8 => self.log_in_wrongly(liar),
            _ => self.keep_an_order_back(liar),
        }
    }

    /// A command from the log, once more.
    fn replay_command(&mut self, liar: usize) {
        if let Some(command) = self.command_from_log() {
            self.counters.injected("command brought in again", 1);
            self.bring_in(liar, command);
        }
    }

    /// A command from the log, or one that would do something now, changed so that it is nobody's word.
    fn forge_command(&mut self, liar: usize) {
        let is_fresh = self.adversary.dice.permille(600);
        let Some(command) = (if is_fresh { self.fresh_order() } else { self.command_from_log() }) else { return };
        // What is changed twice may be true again.
        if !self.adversary.has_forged(&command)
            && let Some(forged) = forge(&command, &self.people, &mut self.adversary.dice)
        {
            self.counters.injected("command forged by a coordinator", 1);
            self.adversary.note_forged(&forged);
            self.bring_in(liar, forged);
        }
    }

    /// A login with a card that was revoked or is past its end, or at a terminal that is gone, or somebody's login of before.
    fn log_in_wrongly(&mut self, liar: usize) {
        let opening: Option<SessionOpening> = self.dead_login();
        if let Some(opening) = opening {
            self.counters.injected("login that must not be", 1);
            self.bring_in(liar, Command::SessionOpened(opening));
        }
    }

    /// A true order that arrives when it is past its end.
    fn keep_an_order_back(&mut self, liar: usize) {
        let dice = &mut self.adversary.dice;
        let (least, most) = KEPT_BACK_MILLIS;
        let by = dice.between(least, most);
        let id = OrderId::new(dice.bytes());
        let Ok(facility) = format!("kept-back-{}", dice.below(1_000_000)).parse() else { return };
        let ended = self.unix().minus(self.faults.skew_max + by);
        let order = self.people.order_until(self.log.truth(), ended, id, OrderCommand::EnrolFacility { facility });
        if let Ok(order) = order {
            self.counters.injected("order kept back past its end", 1);
            self.bring_in(liar, Command::Order(order));
        }
    }

    /// An order that would be taken if officers gave it.
    fn fresh_order(&mut self) -> Option<Command> {
        let credentials: Vec<CredentialId> = self.workload.holders.iter().map(|holder| holder.credential).collect();
        let dice = &mut self.adversary.dice;
        let credential = *dice.pick(&credentials)?;
        let id = OrderId::new(dice.bytes());
        let order = match dice.below(6) {
            0 => OrderCommand::EnrolFacility { facility: format!("forged-{}", dice.below(1_000_000)).parse().ok()? },
            1 => OrderCommand::Revoke { credential },
            2 => OrderCommand::Destroy { credential },
            3 => OrderCommand::Suspend { credential },
            4 => OrderCommand::Resume { credential },
            _ => OrderCommand::RefreshAll { held_by: None },
        };
        self.people.order(self.log.truth(), self.unix(), id, order).ok().map(Command::Order)
    }

    fn command_from_log(&mut self) -> Option<Command> {
        let last = self.log.last();
        // Rather one of the last, whose objects are as they were.
        let from = if self.adversary.dice.permille(500) { last.saturating_sub(30) } else { 0 };
        let index = from + 1 + self.adversary.dice.below((last - from).max(1));
        let Some(Payload::Command(bytes)) = self.log.payload(index) else { return None };
        Some(LogEntry::decode(bytes).ok()?.command)
    }

    fn bring_in(&mut self, liar: usize, command: Command) {
        let sites: Vec<NodeId> = self.reached.keys().copied().collect();
        let Some(site) = self.adversary.dice.pick(&sites).copied() else { return };
        self.call(Party::Coordinator(liar), site, Request::Order(OrderCall::Propose(Box::new(command))), DEADLINE, Then::Nothing);
    }
}
