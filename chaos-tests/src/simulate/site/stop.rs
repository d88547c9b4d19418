//! Stops, as the daemon obeys them: held in memory first, then on the disk, then receipted; brought into the log, whoever leads.

use warifu_core::registry::{Registry as _, StopStanding, check_stop, is_stop_logged, is_stop_object_known};
use warifu_node::local::{HoldEnd, HoldRecord};
use warifu_protocol::limits::HOLDS_UNKNOWN_MAX;
use warifu_protocol::wire::{OrderReply, StopAnswer};
use warifu_protocol::{NodeSigned, Receipt, Refusal, StopCommand, StopId, UnixMillis};

use super::storage::{Ended, LocalWait};
use crate::simulate::disk::{LocalOutcome, LocalWrite};
use crate::simulate::event::{Place, Proposal, Reply, ReplyTo};
use crate::simulate::fact::Fact;
use crate::simulate::mischief;
use crate::simulate::world::World;

enum Judged {
    /// Obeyed before.
    Known(NodeSigned<Receipt>),
    Standing(Result<StopStanding, Refusal>),
}

impl World {
    pub(super) fn obey(&mut self, place: Place, from: ReplyTo, stop: StopCommand) {
        let answer = |world: &mut Self, answer| world.reply(place, from, Reply::Order(OrderReply::Stop(answer)));
        let Some((object, _)) = stop.target() else { return answer(self, StopAnswer::Refused(Refusal::NotStopping)) };
        let (boot_now, now) = (self.boot_clock(), self.clock_of(place));
        let standing = match self.judge_stop(place, &stop, now) {
            None => return,
            Some(Judged::Known(receipt)) => return answer(self, StopAnswer::Obeyed(receipt)),
            Some(Judged::Standing(Err(refusal))) => return answer(self, StopAnswer::Refused(refusal)),
            Some(Judged::Standing(Ok(standing))) => standing,
        };
        let Some(site) = self.sites.get_mut(&place) else { return };
        let pretends = mischief::pretends_to_obey(site.mischief, &mut site.dice);
        let Some(process) = &site.process else { return };
        let (known, ended) = match standing {
            StopStanding::Hold { known } => {
                if !known && process.holds.counts().1 >= HOLDS_UNKNOWN_MAX {
                    return answer(self, StopAnswer::Refused(Refusal::HoldsTooMany { limit: HOLDS_UNKNOWN_MAX as u64 }));
                }
                if !pretends {
                    process.holds.hold(stop.clone(), known, boot_now);
                }
                (known, None)
            }
            StopStanding::Applied => {
                if !process.gate.is_open() {
                    return answer(self, StopAnswer::Unconfirmed);
                }
                process.holds.note(object, boot_now);
                (true, Some(HoldEnd::Logged(site.disk.state.applied)))
            }
        };
        let receipt = self.receipt(place, &stop, now);
        self.counters.injected("false receipt", u64::from(pretends && ended.is_none() && receipt.is_some()));
        let record = HoldRecord { stop: stop.clone(), held_since: now, known, receipt, ended };
        self.write_local(place, LocalWrite::Hold(Box::new(record)), LocalWait::Hold { stop, from, ended });
    }

    /// What the disk keeps of the stop, or that it could not be written: then nothing may be said.
    pub(super) fn hold_recorded(
        &mut self,
        place: Place,
        from: ReplyTo,
        stop: StopCommand,
        ended: Option<HoldEnd>,
        outcome: Option<LocalOutcome>,
    ) {
        let Some(kept) = outcome.and_then(|outcome| outcome.hold) else {
            let failed = StopAnswer::Failed { reason: "the disk failed".to_owned() };
            return self.reply(place, from, Reply::Order(OrderReply::Stop(failed)));
        };
        let not_after = match &stop {
            StopCommand::Order(order) => Some(order.body.not_after),
            StopCommand::SessionClosing(_) => None,
        };
        if ended.is_none() {
            // The log may have taken it between the look at the state and the hold.
            self.settle_holds(place, vec![(stop.id(), stop)]);
        }
        if self.dies_here(place) {
            return;
        }
        let answer = kept.receipt.map_or(StopAnswer::Unconfirmed, StopAnswer::Obeyed);
        if let StopAnswer::Obeyed(receipt) = &answer {
            let body = &receipt.body;
            let (site, store, boot) = (place.node, body.store, body.boot);
            self.tell(Fact::ReceiptGiven { site, store, boot, stop: body.stop, object: body.object, kind: body.kind, not_after });
        }
        self.reply(place, from, Reply::Order(OrderReply::Stop(answer)));
    }

    fn judge_stop(&self, place: Place, stop: &StopCommand, now: UnixMillis) -> Option<Judged> {
        let site = self.sites.get(&place)?;
        let kept = site.disk.local.holds.get(&stop.id());
        let (given, ended) = kept.map_or((None, None), |record| (record.receipt.as_ref(), record.ended));
        if let (Some(receipt), None) = (given, ended) {
            return Some(Judged::Known(receipt.clone()));
        }
        let standing = check_stop(&site.disk.state.registry, now, stop).ok()?;
        Some(match (given, ended, standing) {
            (Some(receipt), Some(HoldEnd::Logged(_)), Ok(StopStanding::Applied)) => Judged::Known(receipt.clone()),
            (_, _, standing) => Judged::Standing(standing),
        })
    }

    /// A receipt, if the site is confirmed.
    fn receipt(&self, place: Place, stop: &StopCommand, held_since: UnixMillis) -> Option<NodeSigned<Receipt>> {
        let (object, kind) = stop.target()?;
        let site = self.sites.get(&place)?;
        let process = site.process.as_ref()?;
        if !process.gate.is_open() {
            return None;
        }
        let (store, boot) = (site.disk.local.starts.store, process.gate.boot());
        Some(site.identity.sign(Receipt { stop: stop.id(), object, kind, held_since, store, boot }))
    }

    pub(super) fn holds_tick(&mut self, place: Place) {
        let boot_now = self.boot_clock();
        let Some(process) = self.sites.get(&place).and_then(|site| site.process.as_ref()) else { return };
        process.holds.tidy(boot_now);
        let open = process.holds.open();
        if open.is_empty() {
            return;
        }
        self.settle_holds(place, open.into_iter().map(|(id, hold)| (id, hold.stop)).collect());
        let Some(process) = self.sites.get(&place).and_then(|site| site.process.as_ref()) else { return };
        let steps = process.holds.steps(boot_now);
        let mut replaces_leader = false;
        for (stop, step) in steps {
            replaces_leader |= step.replace_leader;
            if step.propose {
                self.propose(place, stop.into_command(), Proposal::Own);
            }
        }
        let Some(site) = self.sites.get(&place) else { return };
        let is_behind = site.process.as_ref().is_some_and(|process| site.disk.state.applied != process.known);
        if replaces_leader && !is_behind && self.log.leader.is_some_and(|leader| leader != place.node) {
            self.counters.injected("leader replaced for a stop", 1);
            self.depose();
        }
    }

    /// Ends the holds that the state says by itself, as far as the state is confirmed.
    fn settle_holds(&mut self, place: Place, stops: Vec<(StopId, StopCommand)>) {
        let (now, boot_now) = (self.clock_of(place), self.boot_clock());
        let Some(site) = self.sites.get(&place) else { return };
        let Some(process) = site.process.as_ref().filter(|process| process.gate.is_open()) else { return };
        let (state, applied) = (&site.disk.state.registry, site.disk.state.applied);
        let time = state.time().unwrap_or_default();
        let mut ended = Ended::new();
        for (id, stop) in &stops {
            if is_stop_logged(state, stop).unwrap_or_default() {
                ended.push((*id, HoldEnd::Logged(applied)));
                continue;
            }
            let StopCommand::Order(order) = stop else { continue };
            let known = order.body.order.stops().and_then(|(object, _)| is_stop_object_known(state, object).ok());
            if known == Some(false) && order.body.not_after < time {
                ended.push((*id, HoldEnd::Expired));
            }
        }
        if ended.is_empty() {
            return;
        }
        process.holds.end(ended.iter().map(|(stop, _)| *stop), boot_now);
        self.write_local(place, LocalWrite::EndHolds(ended, now), LocalWait::Nothing);
    }
}
