//! The look through this node's own shares: one that the log says is here and that is damaged or gone is said to be lost, and one that the log says
//! is not here and that a backup brought back is said to be found.

use std::collections::BTreeSet;

use warifu_core::ceremony::{CeremonyEffect, PROPOSE_RETRY_MILLIS};
use warifu_core::registry::{Registry as _, StateStoreError};
use warifu_protocol::limits::CEREMONY_CREDENTIALS_MAX;
use warifu_protocol::{Command, CredentialId, Epoch, NodeId, SharesFound, SharesLost, UnixMillis};

use super::ceremony::CeremonyService;
use crate::local::{LocalStore, LocalStoreError};
use crate::state::StateView;

/// Shares that one look opens: some milliseconds of work.
const PAGE: usize = 128;
/// Rest between two passes: opening every share finds what the disk has changed, and a disk does not change daily.
const REST_MILLIS: u64 = 60 * 60 * 1000;

/// Where the look is, and what it has found. Losing it loses no more than the current pass.
#[derive(Debug, Default)]
pub(super) struct Scrub {
    after: Option<CredentialId>,
    rest_until: UnixMillis,
    lost: BTreeSet<(CredentialId, Epoch)>,
    found: BTreeSet<(CredentialId, Epoch)>,
    said_at: Option<UnixMillis>,
}

impl CeremonyService {
    /// Looks at one page, and says what is lost or found. Shares that did not open when they were to be used count as lost too.
    pub(super) fn scrub(&self, view: &StateView, now: UnixMillis) -> Option<CeremonyEffect> {
        let mut scrub = self.scrub.lock();
        if let Err(error) = scrub.look(view, &self.local, self.identity.node(), now) {
            tracing::error!(error = &error as &dyn std::error::Error, "this node's shares cannot be looked through");
        }
        let number = match view.node(self.identity.node()) {
            Ok(Some(record)) => record.next_shares_word(),
            Ok(None) => return None,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "what the cluster remembers of this node cannot be read");
                return None;
            }
        };
        let is_said = scrub.said_at.is_some_and(|at| now.distance(at) < PROPOSE_RETRY_MILLIS);
        if is_said || (scrub.lost.is_empty() && scrub.found.is_empty()) {
            return None;
        }
        scrub.said_at = Some(now);
        let named = |shares: &BTreeSet<_>| shares.iter().copied().take(CEREMONY_CREDENTIALS_MAX).collect::<Vec<_>>();
        if scrub.lost.is_empty() {
            let shares = named(&scrub.found);
            tracing::info!(count = shares.len(), "shares of this node were brought back by a backup: they are said to be here again");
            return Some(CeremonyEffect::Propose(Command::SharesFound(self.identity.sign(SharesFound { number, shares }))));
        }
        let shares = named(&scrub.lost);
        tracing::warn!(count = shares.len(), "shares of this node are damaged or gone: they are said to be lost and will be repaired");
        Some(CeremonyEffect::Propose(Command::SharesLost(self.identity.sign(SharesLost { number, shares }))))
    }
}

/// Why the look cannot go on.
#[derive(Debug, thiserror::Error)]
enum ScrubError {
    #[error(transparent)]
    State(#[from] StateStoreError),
    #[error(transparent)]
    Local(#[from] LocalStoreError),
}

impl Scrub {
    fn look(&mut self, view: &StateView, local: &LocalStore, own: NodeId, now: UnixMillis) -> Result<(), ScrubError> {
        let stores = view.store_numbers()?;
        self.lost.extend(local.damaged_shares()?);
        let mut held = BTreeSet::new();
        for (credential, epoch) in std::mem::take(&mut self.lost) {
            if view.credential(credential)?.is_some_and(|record| record.is_share_held(epoch, own, &stores)) {
                held.insert((credential, epoch));
            }
        }
        self.lost = held;
        let mut missing = BTreeSet::new();
        for (credential, epoch) in std::mem::take(&mut self.found) {
            if let Some(record) = view.credential(credential)?
                && record.epoch == epoch
                && view.may_find_share(credential, &record, own, &stores)?
            {
                missing.insert((credential, epoch));
            }
        }
        self.found = missing;
        // A clock that was set back must not make the rest longer than it is.
        if now < self.rest_until && now.plus(REST_MILLIS) >= self.rest_until {
            return Ok(());
        }
        let page = view.credentials(self.after, PAGE)?;
        let is_last = page.len() < PAGE;
        for (credential, record) in page {
            let epochs = [Some(record.epoch), record.previous.as_ref().map(|previous| previous.epoch)];
            for epoch in epochs.into_iter().flatten().filter(|epoch| record.is_share_held(*epoch, own, &stores)) {
                match local.share(credential, epoch) {
                    Ok(Some(_)) => {}
                    Ok(None) | Err(LocalStoreError::Share { .. }) => drop(self.lost.insert((credential, epoch))),
                    Err(other) => return Err(other.into()),
                }
            }
            if view.may_find_share(credential, &record, own, &stores)?
                && let Ok(Some(share)) = local.share(credential, record.epoch)
                && record.is_share_of(own, share.verifying_share())
            {
                self.found.insert((credential, record.epoch));
            }
            self.after = Some(credential);
        }
        if is_last {
            self.after = None;
            self.rest_until = now.plus(REST_MILLIS);
        }
        Ok(())
    }
}
