//! What a destroyed credential leaves at this node: nothing. Its shares are deleted, then shredded, and the node says so.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use warifu_core::identity::NodeIdentity;
use warifu_core::registry::{DESTROYED_PER_ENTRY_MAX, Registry as _, StateStoreError};
use warifu_protocol::{CredentialId, Gone};

use crate::clock;
use crate::gate::Gate;
use crate::local::{LocalStore, LocalStoreError};
use crate::state::StateDatabase;
use crate::store::StoreError;

/// How often is looked for destroyed credentials.
const TICK: Duration = Duration::from_millis(500);
/// Credentials that one step deals with; the rest waits for the next.
const STEP: usize = 256;
const _: () = assert!(STEP > DESTROYED_PER_ENTRY_MAX);
/// From the first deletion to the shredding, which takes in all that come in between: it seals everything that lives anew.
const SHRED_AFTER: Duration = Duration::from_secs(5);
/// Pause before a shredding that failed is tried again.
const SHRED_RETRY: Duration = Duration::from_secs(60);

/// Deletes and shreds.
pub struct DestroyService {
    identity: NodeIdentity,
    state: StateDatabase,
    local: Arc<LocalStore>,
    gate: Arc<Gate>,
}

impl DestroyService {
    /// Puts the parts together.
    #[must_use]
    pub const fn new(identity: NodeIdentity, state: StateDatabase, local: Arc<LocalStore>, gate: Arc<Gate>) -> Self {
        Self { identity, state, local, gate }
    }

    /// Works until `stop` says so. Nothing is deleted on the word of a state that is not confirmed: it may be somebody's invention.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut shred_at = None;
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(TICK) => {}
            }
            if !self.gate.is_open() {
                continue;
            }
            match self.step(&mut shred_at).await {
                Ok(()) => {}
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "destroyed credentials cannot be put out of reach yet");
                    shred_at = Some(Instant::now() + SHRED_RETRY);
                }
            }
        }
    }

    async fn step(self: &Arc<Self>, shred_at: &mut Option<Instant>) -> Result<(), LocalStoreError> {
        let service = Arc::clone(self);
        let found = crate::blocking::run(move || service.found()).await;
        let Ok(found) = found else { return Ok(()) };
        let Found { destroyed, waiting } = found?;
        if let Some((through, _)) = destroyed.last() {
            let through = *through;
            let credentials = destroyed.into_iter().map(|(_, credential)| credential).collect();
            return self.local.destroy_shares(credentials, through, clock::now()).await;
        }
        if waiting.is_empty() {
            *shred_at = None;
            return Ok(());
        }
        let due = *shred_at.get_or_insert(Instant::now() + SHRED_AFTER);
        if Instant::now() < due {
            return Ok(());
        }
        // Only what was deleted before this call began is out of reach after it.
        let shredded = self.local.shred().await?;
        let destroyed: Vec<u32> = shredded.destroyed.iter().map(|generation| generation.0).collect();
        let (store, at, proves_destruction) = (self.local.meta().store, clock::now(), shredded.proves_destruction);
        let say = |credential| self.identity.sign(Gone { credential, store, destroyed: destroyed.clone(), proves_destruction, at });
        self.local.record_gone(waiting.into_iter().map(say).collect()).await?;
        *shred_at = None;
        Ok(())
    }

    fn found(&self) -> Result<Found, LocalStoreError> {
        let through = self.local.destroyed_through()?;
        let failed = |error: StateStoreError| StoreError::Corrupt { what: "the registry", detail: error.reason };
        let destroyed = self.state.view()?.destroyed_after(through, STEP).map_err(failed)?;
        Ok(Found { destroyed, waiting: self.local.unshredded(STEP)? })
    }
}

/// What there is to do.
struct Found {
    /// Destroyed credentials whose shares are not deleted, with the log index that destroyed them.
    destroyed: Vec<(u64, CredentialId)>,
    /// Those whose shares are deleted but not shredded.
    waiting: Vec<CredentialId>,
}
