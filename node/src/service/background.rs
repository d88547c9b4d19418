//! Repair of this node's shares and of others', in the background of signing.

use std::sync::Arc;
use std::time::Instant;

use frost_ed25519::keys::KeyPackage;
use rand_core::OsRng;
use warifu_core::ceremony::{CeremonyEffect, OpenShare};
use warifu_core::registry::Registry as _;
use warifu_protocol::transport::Role;
use warifu_protocol::wire::{CeremonyCall, CeremonyReply, CredentialState, RepairScalars};
use warifu_protocol::{Command, CredentialId, Epoch, NodeId, UnixMillis};

use super::ceremony::{CeremonyService, ROUND2_DEADLINE};
use crate::clock;
use crate::gate::Gate;
use crate::local::{LocalStore, LocalStoreError, ShareStanding, SweepCursor};
use crate::metrics::NodeMetrics;
use crate::pace::Pace;
use crate::state::StateView;
use crate::store::StoreError;

/// Rest between two searches for shares of ended epochs.
const SWEEP_REST_MILLIS: u64 = 10_000;

/// The search for shares of ended epochs.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    cursor: SweepCursor,
    rest_until: UnixMillis,
}

/// What background work goes by.
pub struct Background {
    /// Nothing is done before this node's state is proved fresh: what to repair, and for whom, follows from it.
    pub gate: Arc<Gate>,
    /// For progress.
    pub metrics: NodeMetrics,
    /// Says when signing leaves room.
    pub pace: Arc<Pace>,
    /// Credentials in one ceremony.
    pub batch: usize,
}

impl OpenShare for LocalStore {
    fn open_share(&self, credential: CredentialId, epoch: Epoch) -> Option<KeyPackage> {
        self.share(credential, epoch).unwrap_or_else(|error| {
            tracing::error!(%credential, error = &error as &dyn std::error::Error, "a share cannot be opened");
            None
        })
    }
}

impl CeremonyService {
    /// One step of all background work, and whether some of it waits because no more than `begins` may be begun.
    pub(super) fn background_step(&self, view: &StateView, begins: usize) -> (Vec<CeremonyEffect>, bool) {
        let Background { gate, metrics, .. } = &self.background;
        if !gate.is_open() {
            return (Vec::new(), false);
        }
        let now = clock::now();
        let mut repairs = self.repairs.lock();
        repairs.allow_begins(begins);
        let mut effects = repairs.step(now, view, self.local.as_ref(), &mut OsRng).unwrap_or_else(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "a repair cannot go on here");
            Vec::new()
        });
        let waits = repairs.begins_wait();
        drop(repairs);
        effects.extend(self.ask(view, now, begins > 0 && !self.asking.is_under_way()));
        effects.extend(self.scrub(view, now));
        self.sweep_shares(view, now);
        let backlog = self.backlog.lock();
        if backlog.is_counting() {
            self.again.notify_one();
        }
        metrics.shares_missing.set(i64::try_from(backlog.missing()).unwrap_or(i64::MAX));
        (effects, waits)
    }

    /// Counts what this node lacks and what is due for a refresh. If it may, asks for the repair of the one and, as the leader, for the refresh of the other.
    fn ask(&self, view: &StateView, now: UnixMillis, may_ask: bool) -> Vec<CeremonyEffect> {
        let Background { metrics, batch, .. } = &self.background;
        let mut effects = Vec::new();
        let mut backlog = self.backlog.lock();
        if may_ask || backlog.counts() {
            match backlog.next(now, view, *batch) {
                Ok(credentials) if credentials.is_empty() => {}
                Ok(credentials) => effects.push(CeremonyEffect::Propose(self.repairs.lock().ask(credentials, &mut OsRng))),
                Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "missing shares cannot be looked for"),
            }
        }
        drop(backlog);
        let mut due = self.due.lock();
        if may_ask || due.counts() {
            match due.next(now, view, self.orders.leads().then_some(*batch), &mut OsRng) {
                Ok(command) => effects.extend(command.map(CeremonyEffect::Propose)),
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "keys that are due for a refresh cannot be looked for")
                }
            }
        }
        metrics.refreshes_due.set(i64::try_from(due.due()).unwrap_or(i64::MAX));
        effects
    }

    /// Deletes shares of epochs that are over: a share that was stolen before is worth nothing with those that are left. Shares of an epoch
    /// that is still to come are of a refresh under way. A share of a destroyed credential has no business here, however it came.
    fn sweep_shares(&self, view: &StateView, now: UnixMillis) {
        let mut sweep = self.sweep.lock();
        if now < sweep.rest_until && now.plus(SWEEP_REST_MILLIS) >= sweep.rest_until {
            return;
        }
        let standing = |credential, epoch| -> Result<ShareStanding, LocalStoreError> {
            let record = view.credential(credential).map_err(|error| StoreError::Corrupt { what: "a credential", detail: error.reason })?;
            Ok(match record {
                Some(record) if record.state == CredentialState::Destroyed => ShareStanding::Destroyed,
                Some(record) if !record.is_over(epoch) => ShareStanding::Lives,
                // Of a credential that is not there no key came: its key generation or import was given up.
                Some(_) | None => ShareStanding::Over,
            })
        };
        match self.local.sweep_shares(&mut sweep.cursor, now, standing) {
            Ok(swept) => {
                self.background.metrics.shares_superseded.inc_by(swept.superseded as u64);
                if swept.destroyed > 0 {
                    tracing::warn!(credentials = swept.destroyed, "shares of destroyed credentials were here and are deleted");
                }
                if swept.is_last {
                    sweep.rest_until = now.plus(SWEEP_REST_MILLIS);
                }
            }
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "shares that are over cannot be deleted"),
        }
    }

    /// Counts what was repaired, which is what was `stored` before it was said, and forgets what will not be.
    pub(super) fn note_verdict(&self, command: &Command, applied: bool, stored: u64) {
        match command {
            Command::RepairStarted(started) if !applied => self.repairs.lock().refused(started.body.ceremony),
            Command::RepairConfirmed(_) if applied => {
                self.backlog.lock().repaired(stored);
                self.background.metrics.shares_repaired.inc_by(stored);
            }
            Command::SharesFound(found) if applied => self.background.metrics.shares_found.inc_by(found.body.shares.len() as u64),
            Command::SharesLost(lost) if applied => self.background.metrics.shares_lost.inc_by(lost.body.shares.len() as u64),
            _ => {}
        }
    }

    pub(super) async fn send_repair(self: &Arc<Self>, to: NodeId, message: RepairScalars) {
        let part = message.part.body.clone();
        let call = CeremonyCall::Repair(Box::new(message));
        let Ok(request) = postcard::to_stdvec(&call).map(zeroize::Zeroizing::new) else { return };
        match self.peers.call(to, Role::Ceremony, &request, ROUND2_DEADLINE).await {
            Ok(reply) => match postcard::from_bytes::<CeremonyReply>(&reply) {
                Ok(CeremonyReply::Taken) => {
                    let service = Arc::clone(self);
                    self.bulk.run(move || service.repairs.lock().acknowledged(part.ceremony, part.attempt, part.kind, to)).await;
                }
                Ok(CeremonyReply::Refused(refusal)) => tracing::info!(%to, %refusal, "parts of a repair refused"),
                Ok(_) | Err(_) => tracing::debug!(%to, "parts of a repair not taken yet"),
            },
            Err(error) => tracing::info!(%to, error = &error as &dyn std::error::Error, "parts of a repair not delivered"),
        }
    }

    pub(super) fn take_repair(&self, from: NodeId, message: RepairScalars) -> CeremonyReply {
        if !self.background.gate.is_open() {
            return CeremonyReply::NotYet;
        }
        let Ok(view) = self.state.view() else { return CeremonyReply::NotYet };
        let started = Instant::now();
        let reply = self.repairs.lock().handle(from, message, &view).unwrap_or_else(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "parts of a repair cannot be taken");
            CeremonyReply::NotYet
        });
        self.background.pace.worked(clock::now(), started.elapsed());
        reply
    }
}
