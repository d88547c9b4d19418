//! The clients of the configuration, found by the key of their TLS certificate.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use tokio::sync::Semaphore;
use warifu_protocol::transport::{KnownKeys, spki_hash};
use warifu_protocol::{Name, SpkiHash};

use crate::config::{ClientEntry, ClientRole};
use crate::limits::BODIES_PER_CLIENT_MAX;

/// A client that has proved its key.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) name: Name,
    pub(crate) role: ClientRole,
    pub(crate) bodies: Arc<Semaphore>,
    facilities: BTreeSet<Name>,
}

impl Client {
    pub(crate) fn has_facility(&self, facility: &Name) -> bool {
        self.facilities.contains(facility)
    }
}

/// All clients.
#[derive(Debug)]
pub(crate) struct Clients {
    by_spki: BTreeMap<SpkiHash, Arc<Client>>,
}

impl Clients {
    pub(crate) fn new(entries: &[ClientEntry]) -> Self {
        let client = |entry: &ClientEntry| Client {
            name: entry.name.clone(),
            role: entry.role,
            bodies: Arc::new(Semaphore::new(BODIES_PER_CLIENT_MAX)),
            facilities: entry.facilities.clone(),
        };
        Self { by_spki: entries.iter().map(|entry| (entry.spki, Arc::new(client(entry)))).collect() }
    }

    /// The client whose certificate (DER) this is; only its key counts.
    pub(crate) fn by_certificate(&self, certificate: &CertificateDer<'_>) -> Option<Arc<Client>> {
        self.by_spki.get(&spki_hash(certificate).ok()?).cloned()
    }
}

impl KnownKeys for Clients {
    fn knows(&self, spki: &SpkiHash) -> bool {
        self.by_spki.contains_key(spki)
    }
}
