//! Applying what the log has, in the daemon's order: registry and position in one write, then the audit log, then the end of holds.

use warifu_core::registry::Overlay;
use warifu_node::local::AuditWrite;
use warifu_node::replicated::OwnStart;
use warifu_protocol::{AuditEntry, AuditEvent, Command, LogEntry, NodeSigned, NodeStarted, Refusal, Sha256, canonical};

use super::storage::{Ended, LocalWait, Root, StateWait};
use crate::simulate::disk::{LocalWrite, StateWrite};
use crate::simulate::event::Place;
use crate::simulate::fact::Fact;
use crate::simulate::log::{Payload, apply_payload};
use crate::simulate::world::World;

/// Entries in one transaction.
const ENTRIES_MAX: u64 = 32;

/// Entries that are being applied.
pub(super) struct AppliedBatch {
    through: u64,
    commands: Vec<AppliedCommand>,
    ended: Ended,
}

struct AppliedCommand {
    index: u64,
    bytes: Vec<u8>,
    kind: &'static str,
    refusal: Option<Refusal>,
}

impl World {
    /// The log has come so far at this site.
    pub(in crate::simulate) fn hear_of_log(&mut self, place: Place, last: u64) {
        let Some(site) = self.sites.get_mut(&place) else { return };
        let Some(process) = site.process.as_mut() else { return };
        if last > process.known {
            process.known = last;
            site.disk.log_through = last;
            self.apply_next(place);
        }
    }

    /// Begins the next transaction, if there is anything to apply.
    pub(super) fn apply_next(&mut self, place: Place) {
        let Some(site) = self.sites.get_mut(&place) else { return };
        let Some(process) = site.process.as_mut() else { return };
        let from = site.disk.state.applied + 1;
        if process.is_applying || process.state_failed || process.is_admitting() || from > process.known {
            return;
        }
        process.is_applying = true;
        let through = process.known.min(from + ENTRIES_MAX - 1);
        let mut overlay = Overlay::new(&site.disk.state.registry);
        let (mut commands, mut roots): (Vec<AppliedCommand>, Vec<(u64, Root)>) = (Vec::new(), Vec::new());
        for index in from..=through {
            let Some(payload) = self.log.payload(index) else { continue };
            self.log.count_signatures(index);
            let (outcome, root) = apply_payload(&mut overlay, index, payload).expect("a map in memory does not fail");
            roots.push((index, root));
            if let (Some(outcome), Payload::Command(bytes)) = (outcome, payload) {
                let refusal = outcome.verdict.outcome.err();
                commands.push(AppliedCommand { index, bytes: bytes.to_vec(), kind: outcome.kind, refusal });
            }
        }
        let write = StateWrite { changes: overlay.into_changes(), applied: through, roots };
        let batch = AppliedBatch { through, commands, ended: Ended::new() };
        self.write_state(place, write, StateWait(Box::new(batch)));
    }

    /// The registry has the entries.
    pub(super) fn state_written(&mut self, place: Place, mut batch: AppliedBatch) {
        for AppliedCommand { index, bytes, refusal, .. } in &batch.commands {
            batch.ended.extend(self.notice(place, *index, bytes, refusal.as_ref()));
        }
        self.judge_self(place);
        let now = self.clock_of(place);
        let writes = batch
            .commands
            .iter()
            .map(|command| {
                let event = AuditEvent::EntryApplied {
                    index: command.index,
                    entry: Sha256::new(canonical::sha256(&command.bytes)),
                    kind: command.kind.to_owned(),
                    refusal: command.refusal.clone(),
                };
                AuditWrite::plain(AuditEntry::new(now, event))
            })
            .collect();
        self.write_local(place, LocalWrite::Audit(writes), LocalWait::Applied(Box::new(batch)));
    }

    /// The audit log has them too. If it cannot be written, consensus stops at this site until it is started again.
    pub(super) fn applied_recorded(&mut self, place: Place, batch: AppliedBatch, is_recorded: bool) {
        let (now, boot_now) = (self.clock_of(place), self.boot_clock());
        let Some(process) = self.sites.get_mut(&place).and_then(|site| site.process.as_mut()) else { return };
        if !is_recorded {
            process.state_failed = true;
            return;
        }
        if !batch.ended.is_empty() {
            process.holds.end(batch.ended.iter().map(|(stop, _)| *stop), boot_now);
            self.write_local(place, LocalWrite::EndHolds(batch.ended, now), LocalWait::Nothing);
        }
        let Some(process) = self.sites.get_mut(&place).and_then(|site| site.process.as_mut()) else { return };
        process.is_applying = false;
        debug_assert!(batch.through <= process.known);
        self.apply_next(place);
        self.ceremony_step(place);
        self.confirm_tick(place);
    }

    /// What an applied entry means for this site beyond the registry; returns the holds that it ends.
    fn notice(&mut self, place: Place, index: u64, bytes: &[u8], refusal: Option<&Refusal>) -> Ended {
        let Ok(LogEntry { at, command, .. }) = LogEntry::decode(bytes) else { return Ended::new() };
        let boot_now = self.boot_clock();
        let Some(process) = self.sites.get(&place).and_then(|site| site.process.as_ref()) else { return Ended::new() };
        match (command.as_stop(), command) {
            (Some(stop), _) if process.gate.is_open() => process.holds.ended_by(&stop, (index, at), refusal, boot_now),
            (_, Command::NodeStarted(signed)) => {
                self.notice_start(place, index, signed, refusal);
                Ended::new()
            }
            _ => Ended::new(),
        }
    }

    /// Notes this site's own start. One under a boot id that this store never drew means that a copy of the store is running.
    fn notice_start(&mut self, place: Place, index: u64, signed: NodeSigned<NodeStarted>, refusal: Option<&Refusal>) {
        let (node, NodeStarted { store, boot, .. }) = (signed.node, signed.body);
        let Some(site) = self.sites.get_mut(&place) else { return };
        let starts = &site.disk.local.starts;
        let Some(process) = site.process.as_mut() else { return };
        if node != place.node || store != starts.store {
            return;
        }
        if boot == process.gate.boot() {
            OwnStart::note(&mut process.own_start, boot, index, refusal);
        } else if refusal.is_none() && !starts.boots.contains(&boot) {
            let text = "this node was started elsewhere: a copy of its store is running".to_owned();
            process.gate.raise_alarm(text.clone());
            let boot = process.gate.boot();
            self.tell(Fact::Alarmed { site: place.node, boot, text });
        }
    }
}
