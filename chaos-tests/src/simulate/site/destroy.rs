//! Destroyed credentials, as the daemon puts them out of reach.

use warifu_core::registry::Registry as _;
use warifu_protocol::Gone;

use super::storage::LocalWait;
use crate::simulate::disk::LocalWrite;
use crate::simulate::event::Place;
use crate::simulate::world::World;

/// From the first deletion to the shredding.
const SHRED_AFTER: u64 = 5_000;
/// Credentials that one step deals with.
const STEP: usize = 256;

impl World {
    pub(super) fn destroy_tick(&mut self, place: Place) {
        let (now, clock) = (self.now, self.clock_of(place));
        let Some(site) = self.sites.get_mut(&place) else { return };
        let (local, state) = (&site.disk.local, &site.disk.state.registry);
        let Some(process) = site.process.as_mut() else { return };
        if !process.gate.is_open() || process.is_destroying {
            return;
        }
        let destroyed = state.destroyed_after(local.destroyed_through, STEP).unwrap_or_default();
        let write = if let Some((through, _)) = destroyed.last() {
            LocalWrite::Destroy(destroyed.iter().map(|(_, credential)| *credential).collect(), *through, clock)
        } else if local.unshredded.is_empty() {
            process.shred_at = None;
            return;
        } else if now < *process.shred_at.get_or_insert(now + SHRED_AFTER) {
            return;
        } else {
            process.shred_at = None;
            let store = local.starts.store;
            let say = |credential: &warifu_protocol::CredentialId| {
                site.identity.sign(Gone { credential: *credential, store, destroyed: vec![1], proves_destruction: false, at: clock })
            };
            LocalWrite::Gone(local.unshredded.iter().map(say).collect())
        };
        process.is_destroying = true;
        self.write_local(place, write, LocalWait::Destroyed);
    }
}
