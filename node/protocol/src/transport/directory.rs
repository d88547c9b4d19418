//! Who is who: the roster as the transport needs it.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use super::role::PeerId;
use crate::{ClusterId, SpkiHash};

/// Looks up peers by key and keys by peer. Asked at every handshake and at every request, so a change takes effect on open connections too.
pub trait PeerDirectory: Send + Sync + 'static {
    /// Whose peers these are: named in every handshake, and nothing is said to a member of another cluster, whatever its key.
    fn cluster(&self) -> ClusterId;

    /// The peer whose TLS identity has this SPKI hash.
    fn by_spki(&self, spki: &SpkiHash) -> Option<PeerId>;

    /// Key and address of a peer.
    fn entry(&self, peer: &PeerId) -> Option<PeerEntry>;
}

/// What is known of one peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerEntry {
    /// SHA-256 of the SubjectPublicKeyInfo of its TLS identity: the only thing that identifies it.
    pub spki: SpkiHash,
    /// `host:port` at which it is reached; empty for a peer that is never called. Carries no trust.
    pub address: String,
}

/// A [`PeerDirectory`] in memory that can be replaced as a whole while connections are open.
#[derive(Debug)]
pub struct PeerRoster {
    cluster: ClusterId,
    current: RwLock<Arc<Tables>>,
}

#[derive(Debug, Default)]
struct Tables {
    by_spki: BTreeMap<SpkiHash, PeerId>,
    entries: BTreeMap<PeerId, PeerEntry>,
}

impl PeerRoster {
    /// A directory of these peers of a cluster. If two of them have one key, the later in order of [`PeerId`] is the one found by it.
    #[must_use]
    pub fn new(cluster: ClusterId, entries: BTreeMap<PeerId, PeerEntry>) -> Self {
        let roster = Self { cluster, current: RwLock::default() };
        roster.replace(entries);
        roster
    }

    /// Puts other peers in the place of all. A removed peer's open connections end at its next request.
    pub fn replace(&self, entries: BTreeMap<PeerId, PeerEntry>) {
        let by_spki = entries.iter().map(|(peer, entry)| (entry.spki, peer.clone())).collect();
        *self.current.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(Tables { by_spki, entries });
    }

    fn current(&self) -> Arc<Tables> {
        Arc::clone(&self.current.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

impl PeerDirectory for PeerRoster {
    fn cluster(&self) -> ClusterId {
        self.cluster
    }

    fn by_spki(&self, spki: &SpkiHash) -> Option<PeerId> {
        self.current().by_spki.get(spki).cloned()
    }

    fn entry(&self, peer: &PeerId) -> Option<PeerEntry> {
        self.current().entries.get(peer).cloned()
    }
}
