//! What happens by itself when its time has come: entry time is the only clock that all nodes share.

use warifu_protocol::{CertificateHash, CredentialId, UnixMillis};

use super::reader::{key, table};
use super::store::{Overlay, StateStore, StateStoreError};
use super::{bindings, credentials};

/// Due things that one entry settles; the rest waits for the next entries, so that no entry takes long to apply.
const SETTLED_PER_ENTRY: usize = 64;

/// Credentials that one entry may destroy: those whose time has come, and its own.
pub const DESTROYED_PER_ENTRY_MAX: usize = SETTLED_PER_ENTRY + 1;

/// Something that comes due.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Due {
    /// A pending binding takes effect.
    Binding {
        /// Whose.
        credential: CredentialId,
        /// The card's certificate.
        card: CertificateHash,
    },
    /// A revoked credential is destroyed.
    Destruction {
        /// Which.
        credential: CredentialId,
    },
    /// A certificate is past its end.
    CertificateEnd {
        /// Whose.
        credential: CredentialId,
    },
}

impl Due {
    const BINDING: u8 = 1;
    const DESTRUCTION: u8 = 2;

    fn key(&self, at: UnixMillis) -> Vec<u8> {
        match self {
            Self::Binding { credential, card } => {
                key(table::DUE, &[&at.0.to_be_bytes(), &[Self::BINDING], credential.as_ref(), card.as_ref()])
            }
            Self::Destruction { credential } => key(table::DUE, &[&at.0.to_be_bytes(), &[Self::DESTRUCTION], credential.as_ref()]),
            Self::CertificateEnd { credential } => key(table::CERTIFICATE_END, &[&at.0.to_be_bytes(), credential.as_ref()]),
        }
    }

    /// What a key of either table says.
    pub(super) fn read(key: &[u8]) -> Option<Self> {
        let (&table, rest) = key.split_first()?;
        let rest = rest.get(size_of::<u64>()..)?;
        if table == table::CERTIFICATE_END {
            return Some(Self::CertificateEnd { credential: CredentialId::new(rest.try_into().ok()?) });
        }
        let (&kind, rest) = rest.split_first()?;
        let (credential, rest) = rest.split_first_chunk::<{ CredentialId::LEN }>()?;
        let credential = CredentialId::new(*credential);
        match kind {
            Self::BINDING => Some(Self::Binding { credential, card: CertificateHash::new(rest.try_into().ok()?) }),
            Self::DESTRUCTION => rest.is_empty().then_some(Self::Destruction { credential }),
            _ => None,
        }
    }
}

pub(super) fn add<S: StateStore>(state: &mut Overlay<'_, S>, at: UnixMillis, due: &Due) {
    state.put(due.key(at), Vec::new());
}

pub(super) fn remove<S: StateStore>(state: &mut Overlay<'_, S>, at: UnixMillis, due: &Due) {
    state.delete(due.key(at));
}

/// Does what has come due at `now`, the time of the entry at `index` that is applied next.
pub(super) fn settle<S: StateStore>(state: &mut Overlay<'_, S>, index: u64, now: UnixMillis) -> Result<(), StateStoreError> {
    let mut left = SETTLED_PER_ENTRY;
    // Certificates may end by the thousand at once; logins and signatures do not wait for that, so that what they do not stop goes first.
    for table in [table::DUE, table::CERTIFICATE_END] {
        let to = key(table, &[&now.0.saturating_add(1).to_be_bytes()]);
        let ripe = state.scan(&[table], &to, left)?;
        left -= ripe.len();
        for (due, _) in ripe {
            match Due::read(&due) {
                Some(Due::Binding { credential, card }) => bindings::come_due(state, credential, card, now)?,
                Some(Due::Destruction { credential }) => credentials::come_due(state, index, credential, now)?,
                Some(Due::CertificateEnd { credential }) => credentials::certificate_ended(state, credential, now)?,
                None => return Err(StateStoreError { reason: "a key of what comes due is damaged".to_owned() }),
            }
            state.delete(due);
        }
    }
    Ok(())
}
