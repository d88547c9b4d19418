//! Writes on their way to the disk, and what goes on when they are there.

use warifu_core::signer::ShareRecord;
use warifu_node::local::HoldEnd;
use warifu_node::service::ShareBatch;
use warifu_protocol::wire::SignItem;
use warifu_protocol::{AuditEvent, BootId, Name, NodeId, Sha256, StopCommand, StopId};

use super::apply::AppliedBatch;
use crate::simulate::disk::{LocalOutcome, LocalWrite, StateWrite};
use crate::simulate::event::{Event, Place, ReplyTo, Store};
use crate::simulate::fact::{Checked, Fact, Unshown};
use crate::simulate::world::World;

/// Usual time of a durable write.
const WRITE_MILLIS: u64 = 4;
/// Longest time of a slow one.
const SLOW_MILLIS: u64 = 5_000;

/// A write in its store's queue.
pub(super) struct Queued<W, T> {
    pub(super) write: W,
    wait: T,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Done,
    FailsAndIsLost,
    FailsAndHappens,
}

impl<W, T> Queued<W, T> {
    pub(super) fn is_sound(&self) -> bool {
        self.fate == Fate::Done
    }
}

/// What goes on after a write to the local store.
pub(super) enum LocalWait {
    Nothing,
    /// Signature shares may be made.
    Shares(Box<SignWait>),
    /// Applied entries are recorded.
    Applied(Box<AppliedBatch>),
    /// A ceremony's shares are stored.
    Ceremony,
    /// A stop is recorded.
    Hold {
        stop: StopCommand,
        from: ReplyTo,
        ended: Option<HoldEnd>,
    },
    /// The confirmation is recorded.
    Confirmed {
        boot: BootId,
        index: u64,
        by: Vec<NodeId>,
    },
    /// Destroyed shares are deleted, or said to be gone.
    Destroyed,
    /// Shares of old epochs are deleted.
    Dropped,
}

/// A batch that waits for its audit entries.
pub(super) struct SignWait {
    pub(super) batch: ShareBatch,
    pub(super) items: Vec<SignItem>,
    /// What the state said of each when it was checked.
    pub(super) checked: Vec<Checked>,
    pub(super) coordinator: Name,
    pub(super) from: ReplyTo,
    pub(super) refill: u16,
}

/// What goes on after a write to the state store.
pub(super) struct StateWait(pub(super) Box<AppliedBatch>);

impl World {
    pub(super) fn write_local(&mut self, place: Place, write: LocalWrite, wait: LocalWait) {
        if let LocalWrite::Shares(shares) = &write {
            self.note_secrets(shares);
        }
        let Some(fate) = self.begin_write(place, Store::Local) else { return };
        if let Some(process) = self.sites.get_mut(&place).and_then(|site| site.process.as_mut()) {
            process.local.push_back(Queued { write, wait, fate });
        }
    }

    pub(super) fn write_state(&mut self, place: Place, write: StateWrite, wait: StateWait) {
        let Some(fate) = self.begin_write(place, Store::State) else { return };
        if let Some(process) = self.sites.get_mut(&place).and_then(|site| site.process.as_mut()) {
            process.state.push_back(Queued { write, wait, fate });
        }
    }

    /// Draws what becomes of a write, and when; it ends after those before it. Nothing if the site does not run.
    fn begin_write(&mut self, place: Place, store: Store) -> Option<Fate> {
        let (now, fails, slow) = (self.now, self.faults.write_fails, self.faults.write_slow);
        let site = self.sites.get_mut(&place)?;
        let generation = site.generation;
        let is_full = now < site.full_until;
        let (fate, millis) = draw(&mut site.dice, is_full, fails, slow);
        let process = site.process.as_mut()?;
        let (has_failed, done_at) = match store {
            Store::Local => (process.local_failed, &mut process.local_done_at),
            Store::State => (process.state_failed, &mut process.state_done_at),
        };
        let fate = if has_failed { Fate::FailsAndIsLost } else { fate };
        *done_at = (*done_at).max(now + millis);
        let after = *done_at - now;
        self.count_write(fate, millis);
        self.after(after, Event::Written { place, generation, store });
        Some(fate)
    }

    fn count_write(&mut self, fate: Fate, millis: u64) {
        match fate {
            Fate::Done if millis > WRITE_MILLIS => self.counters.injected("slow write", 1),
            Fate::Done => {}
            Fate::FailsAndIsLost => self.counters.injected("write failed and lost", 1),
            Fate::FailsAndHappens => self.counters.injected("write failed but happened", 1),
        }
    }

    /// The first write in the queue has ended.
    pub(in crate::simulate) fn written(&mut self, place: Place, generation: u64, store: Store) {
        let Some(site) = self.sites.get_mut(&place).filter(|site| site.generation == generation) else { return };
        let Some(process) = site.process.as_mut() else { return };
        match store {
            Store::Local => {
                let Some(Queued { write, wait, fate }) = process.local.pop_front() else { return };
                // What failed once fails until the next start.
                let fate = if process.local_failed { Fate::FailsAndIsLost } else { fate };
                process.local_failed |= fate != Fate::Done;
                let outcome = match fate {
                    Fate::Done => {
                        let deleted = deleted_by(&write);
                        let outcome = site.disk.local.write(write);
                        self.tell_stored(place, &outcome);
                        self.tell_deleted(place, deleted);
                        Some(outcome)
                    }
                    Fate::FailsAndHappens => {
                        site.disk.failed_but_happened(Some(write), None);
                        None
                    }
                    Fate::FailsAndIsLost => None,
                };
                if !self.violations.is_empty() || self.dies_here(place) {
                    return;
                }
                self.local_written(place, wait, outcome);
            }
            Store::State => {
                let Some(Queued { write, wait, fate }) = process.state.pop_front() else { return };
                let fate = if process.state_failed { Fate::FailsAndIsLost } else { fate };
                process.state_failed |= fate != Fate::Done;
                match fate {
                    Fate::Done => {
                        site.disk.state.write(&write);
                        for (index, root) in write.roots {
                            self.tell(Fact::Applied { site: place.node, index, root });
                        }
                        if !self.violations.is_empty() || self.dies_here(place) {
                            return;
                        }
                        self.state_written(place, *wait.0);
                    }
                    // Consensus stops at this site until it is started again.
                    Fate::FailsAndHappens => site.disk.failed_but_happened(None, Some(write)),
                    Fate::FailsAndIsLost => {}
                }
            }
        }
    }

    fn local_written(&mut self, place: Place, wait: LocalWait, outcome: Option<LocalOutcome>) {
        match wait {
            LocalWait::Nothing | LocalWait::Dropped => {}
            LocalWait::Shares(wait) => self.sign_recorded(place, *wait, outcome),
            LocalWait::Applied(batch) => self.applied_recorded(place, *batch, outcome.is_some()),
            LocalWait::Ceremony => self.shares_stored(place, outcome.is_some()),
            LocalWait::Hold { stop, from, ended } => self.hold_recorded(place, from, stop, ended, outcome),
            LocalWait::Confirmed { boot, index, by } => self.confirmation_recorded(place, boot, index, by, outcome.is_some()),
            LocalWait::Destroyed => {
                if let Some(process) = self.sites.get_mut(&place).and_then(|site| site.process.as_mut()) {
                    process.is_destroying = false;
                }
            }
        }
    }

    /// Tells what is on the disk now that matters to anybody else.
    pub(super) fn tell_stored(&mut self, place: Place, outcome: &LocalOutcome) {
        let Some(site) = self.sites.get(&place) else { return };
        let store = site.disk.local.starts.store;
        let durable: Vec<_> = site
            .disk
            .local
            .audit
            .get(outcome.appended.clone())
            .unwrap_or_default()
            .iter()
            .filter_map(|entry| match &entry.event {
                AuditEvent::DocumentShare { nonce, rendered, .. } | AuditEvent::CsrShare { nonce, rendered, .. } => {
                    Some((*nonce, *rendered))
                }
                _ => None,
            })
            .collect();
        let scalars = outcome.stored.iter().filter_map(|key| scalar(site.disk.local.shares.get(key)?)).collect();
        for (nonce, rendered) in durable {
            self.tell(Fact::AuditDurable { site: place.node, nonce, rendered });
        }
        if !outcome.stored.is_empty() {
            self.tell(Fact::SharesStored { site: place.node, store, shares: outcome.stored.clone(), scalars: Unshown(scalars) });
        }
    }

    fn tell_deleted(&mut self, place: Place, deleted: Vec<(warifu_protocol::CredentialId, Option<warifu_protocol::Epoch>)>) {
        let Some(store) = self.sites.get(&place).map(|site| site.disk.local.starts.store) else { return };
        for (credential, epoch) in deleted {
            self.tell(Fact::SharesDeleted { site: place.node, store, credential, epoch });
        }
    }

    fn note_secrets(&mut self, shares: &[ShareRecord]) {
        self.secrets.extend(shares.iter().filter_map(scalar));
    }
}

fn scalar(share: &ShareRecord) -> Option<[u8; 32]> {
    share.key_package().ok()?.signing_share().serialize().try_into().ok()
}

fn deleted_by(write: &LocalWrite) -> Vec<(warifu_protocol::CredentialId, Option<warifu_protocol::Epoch>)> {
    match write {
        LocalWrite::Destroy(credentials, ..) => credentials.iter().map(|credential| (*credential, None)).collect(),
        LocalWrite::Drop(over) => over.iter().map(|(credential, epoch)| (*credential, Some(*epoch))).collect(),
        LocalWrite::Audit(_)
        | LocalWrite::Confirmed(_)
        | LocalWrite::Shares(_)
        | LocalWrite::Hold(_)
        | LocalWrite::EndHolds(..)
        | LocalWrite::Gone(_) => Vec::new(),
    }
}

fn draw(dice: &mut crate::simulate::seed::Dice, is_full: bool, fails: u32, slow: u32) -> (Fate, u64) {
    let fate = if is_full {
        Fate::FailsAndIsLost
    } else if dice.permille(fails) {
        if dice.permille(500) { Fate::FailsAndHappens } else { Fate::FailsAndIsLost }
    } else {
        Fate::Done
    };
    let millis = if dice.permille(slow) { dice.between(WRITE_MILLIS + 1, SLOW_MILLIS) } else { dice.between(1, WRITE_MILLIS) };
    (fate, millis)
}

/// A digest of a site's own, for facts.
pub(super) type Root = Sha256;
/// Stops that end, and how.
pub(super) type Ended = Vec<(StopId, HoldEnd)>;
