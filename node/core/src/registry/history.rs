//! The life of each credential, written down as it happens: what a CA is asked about years later.
//!
//! It is told from the records before and after an entry, so that no change can go by unnoticed.

use std::collections::BTreeSet;

use warifu_protocol::wire::CredentialState;
use warifu_protocol::{
    CertificateHash, Command, CredentialChange, CredentialEvent, CredentialId, Name, NodeId, OrderId, Origin, UnixMillis,
};

use super::reader::{Registry, decode, encode, key, table};
use super::records::{CredentialRecord, Holding};
use super::store::{Overlay, StateStore, StateStoreError};

/// Events kept of one credential. Beyond it the oldest after [`HISTORY_BEGINNING`] go: a life has tens, and refreshes go on for ever.
pub const HISTORY_MAX: usize = 64;
/// Events at the beginning that are always kept: how the key came to be.
pub const HISTORY_BEGINNING: usize = 8;

/// Writes down what `trial`, on top of `before`, does to credentials in the entry of this index and time; without a command, what came due.
pub(super) fn note<S: StateStore>(
    before: &S,
    trial: &mut Overlay<'_, S>,
    (index, at): (u64, UnixMillis),
    command: Option<&Command>,
) -> Result<(), StateStoreError> {
    let ids: Vec<CredentialId> = trial.changes().keys().filter_map(|changed| credential_of(changed)).collect();
    let (order, officers) = behind(command);
    for id in ids {
        let (old, new) = (before.credential(id)?, trial.credential(id)?);
        let history_key = key(table::HISTORY, &[id.as_ref()]);
        let Some(new) = new else {
            // Enrolled in vain: no key came of it.
            trial.delete(history_key);
            continue;
        };
        let changes = compare(old.as_ref(), &new);
        if changes.is_empty() {
            continue;
        }
        let mut history: Vec<CredentialEvent> = trial.history(id)?;
        for change in changes {
            // A share that is lost and given again, time after time, must not crowd out what matters in a life.
            let is_holders = |change: &CredentialChange| matches!(change, CredentialChange::Holders { .. });
            if is_holders(&change) && history.last().is_some_and(|last| is_holders(&last.change)) {
                history.pop();
            }
            history.push(CredentialEvent { index, at, change, order, officers: officers.clone() });
        }
        while history.len() > HISTORY_MAX {
            history.remove(HISTORY_BEGINNING);
        }
        trial.put(history_key, encode(&history));
    }
    Ok(())
}

fn credential_of(changed: &[u8]) -> Option<CredentialId> {
    let (first, id) = changed.split_first()?;
    (*first == table::CREDENTIAL).then(|| <[u8; CredentialId::LEN]>::try_from(id).ok().map(CredentialId::new))?
}

fn behind(command: Option<&Command>) -> (Option<OrderId>, Vec<Name>) {
    match command {
        Some(Command::Order(order)) => (Some(order.body.id), order.approvals.iter().map(|approval| approval.officer.clone()).collect()),
        _ => (None, Vec::new()),
    }
}

fn compare(old: Option<&CredentialRecord>, new: &CredentialRecord) -> Vec<CredentialChange> {
    let Some(old) = old else { return vec![CredentialChange::Enrolled] };
    let mut changes = Vec::new();
    if old.key.is_none() && new.key.is_some() {
        changes.push(match &new.origin {
            Origin::Generated => CredentialChange::KeyMade { ceremony: new.ceremony, holders: nodes(&new.holders) },
            Origin::Imported { order, officers } => {
                CredentialChange::KeyImported { order: *order, officers: officers.clone(), holders: nodes(&new.holders) }
            }
        });
    } else if old.epoch != new.epoch {
        changes.push(CredentialChange::Refreshed { epoch: new.epoch, holders: nodes(&new.holders) });
    } else if old.holders != new.holders {
        changes.push(CredentialChange::Holders { holders: nodes(&new.holders) });
    }
    let certificate = |record: &CredentialRecord| record.certificate.as_ref().map(|certificate| certificate.hash);
    if let Some(certificate) = certificate(new).filter(|hash| certificate(old) != Some(*hash)) {
        changes.push(CredentialChange::Certified { certificate });
    }
    let cards = |record: &CredentialRecord| record.authenticators.iter().map(|bound| bound.card).collect::<BTreeSet<CertificateHash>>();
    let (had, has) = (cards(old), cards(new));
    changes.extend(had.difference(&has).map(|card| CredentialChange::Unbound { card: *card }));
    let bound = new.authenticators.iter().filter(|bound| !had.contains(&bound.card));
    changes.extend(bound.map(|bound| CredentialChange::Bound { card: bound.card, kind: bound.kind }));
    if old.state != new.state && !follows(new.state, &changes) {
        changes.push(CredentialChange::State { state: new.state });
    }
    changes
}

fn nodes(holders: &[Holding]) -> Vec<NodeId> {
    holders.iter().map(|holding| holding.node).collect()
}

/// Whether the state is what the changes bring about anyway.
fn follows(state: CredentialState, changes: &[CredentialChange]) -> bool {
    changes.iter().any(|change| match change {
        CredentialChange::KeyMade { .. } | CredentialChange::KeyImported { .. } => state == CredentialState::Generated,
        CredentialChange::Certified { .. } | CredentialChange::Unbound { .. } => state == CredentialState::Certified,
        CredentialChange::Bound { .. } => state == CredentialState::Active,
        CredentialChange::Enrolled
        | CredentialChange::State { .. }
        | CredentialChange::Refreshed { .. }
        | CredentialChange::Holders { .. } => false,
    })
}

/// Decodes a history.
pub(super) fn read_history<S: StateStore + ?Sized>(state: &S, id: CredentialId) -> Result<Vec<CredentialEvent>, StateStoreError> {
    state.get(&key(table::HISTORY, &[id.as_ref()]))?.map_or_else(|| Ok(Vec::new()), |bytes| decode(&bytes))
}
