//! What happens by itself when its time has come: entry time is the only clock that all nodes share.

use warifu_protocol::{CertificateHash, CredentialId, UnixMillis};

use super::bindings;
use super::reader::{key, table};
use super::store::{Overlay, StateStore, StateStoreError};

/// Due things that one entry settles; the rest waits for the next entries, so that no entry takes long to apply.
const SETTLED_PER_ENTRY: usize = 64;

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
}

impl Due {
    const BINDING: u8 = 1;

    fn key(&self, at: UnixMillis) -> Vec<u8> {
        match self {
            Self::Binding { credential, card } => {
                key(table::DUE, &[&at.0.to_be_bytes(), &[Self::BINDING], credential.as_ref(), card.as_ref()])
            }
        }
    }

    fn read(key: &[u8]) -> Option<Self> {
        let (&kind, rest) = key.get(1 + size_of::<u64>()..)?.split_first()?;
        let (credential, card) = rest.split_first_chunk::<{ CredentialId::LEN }>()?;
        match kind {
            Self::BINDING => {
                Some(Self::Binding { credential: CredentialId::new(*credential), card: CertificateHash::new(card.try_into().ok()?) })
            }
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

/// Does what has come due at `now`, the time of the entry that is applied next.
pub(super) fn settle<S: StateStore>(state: &mut Overlay<'_, S>, now: UnixMillis) -> Result<(), StateStoreError> {
    let to = key(table::DUE, &[&now.0.saturating_add(1).to_be_bytes()]);
    for (due, _) in state.scan(&[table::DUE], &to, SETTLED_PER_ENTRY)? {
        match Due::read(&due) {
            Some(Due::Binding { credential, card }) => bindings::come_due(state, credential, card, now)?,
            None => return Err(StateStoreError { reason: "a key of what comes due is damaged".to_owned() }),
        }
        state.delete(due);
    }
    Ok(())
}
