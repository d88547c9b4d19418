//! Refreshes as the log sees them: the same rounds as a key generation, then two epochs beside each other until all have the new one.

use warifu_protocol::limits::CEREMONY_CREDENTIALS_MAX;
use warifu_protocol::wire::Applied;
use warifu_protocol::{Blob, CeremonyId, CredentialId, EpochReceipt, EpochRetired, NodeId, NodeSigned, NodeStatement, OrderId, Refusal};

use super::apply::{Context, Stop};
use super::nodes::check_signature;
use super::reader::{Registry, encode, key, table};
use super::records::{CeremonyKind, CeremonyRecord, CeremonyStep, CredentialRecord, EpochMade, PreviousEpoch, StoreNumbers};
use super::store::{Overlay, StateStore, StateStoreError};
use super::{ceremonies, credentials};

/// For how many times the policy's deadline of a ceremony the old epoch waits for a participant that has not said that it has the new one.
const SWITCH_DEADLINES: u64 = 3;

/// Opens a refresh that an order names.
pub(super) fn start<S: StateStore>(
    state: &mut Overlay<'_, S>,
    context: &Context<'_>,
    order: OrderId,
    ids: &[CredentialId],
) -> Result<Applied, Stop> {
    let ceremony = CeremonyId::new(*order.as_bytes());
    if state.ceremony(ceremony)?.is_some() {
        return Err(Refusal::OrderReplayed.into());
    }
    open(state, context, (ceremony, None), ids, |_, record| {
        if record.needs_shares() {
            return Ok(());
        }
        Err(Refusal::CredentialState { state: record.state.to_string(), needs: "a key that is in use".to_owned() })
    })
}

/// Opens a refresh of credentials that are all held by the same nodes, at least t + 1, and that `check` lets through.
pub(super) fn open<S: StateStore>(
    state: &mut Overlay<'_, S>,
    context: &Context<'_>,
    (ceremony, opened_by): (CeremonyId, Option<NodeId>),
    ids: &[CredentialId],
    check: impl Fn(CredentialId, &CredentialRecord) -> Result<(), Refusal>,
) -> Result<Applied, Stop> {
    let ascending = ids.is_sorted_by(|left, right| left < right);
    if ids.is_empty() || ids.len() > CEREMONY_CREDENTIALS_MAX || !ascending {
        return Err(
            Refusal::TooLarge { what: "credentials (1 or more, ascending)".to_owned(), limit: CEREMONY_CREDENTIALS_MAX as u64 }.into()
        );
    }
    let stores = state.store_numbers()?;
    let mut holders = None;
    for id in ids {
        let record = credentials::existing(state, *id)?;
        check(*id, &record)?;
        if state.ceremony_of(*id)?.is_some() {
            return Err(Refusal::CredentialInCeremony { credential: *id }.into());
        }
        let held_by = stores.holders(&record.holders);
        let needed = u64::from(context.cluster.threshold.0) + 1;
        if (held_by.len() as u64) < needed || holders.get_or_insert_with(|| held_by.clone()) != &held_by {
            return Err(Refusal::HoldersTooFew { needed }.into());
        }
        state.put(key(table::CREDENTIAL_CEREMONY, &[id.as_ref()]), encode(&ceremony));
    }
    ceremonies::start(state, context, ceremony, (CeremonyKind::Refresh, opened_by), ids.to_vec(), holders.unwrap_or_default());
    Ok(Applied::CeremonyStarted(ceremony))
}

/// Leaves those candidates that hold their shares still: one whose store was replaced stays in the roster, but has nothing to refresh, and must
/// not be waited for while its repair waits for the end of this.
pub(super) fn keep_holders<S: StateStore>(state: &S, context: &Context<'_>, record: &mut CeremonyRecord) -> Result<(), Stop> {
    let stores = StoreNumbers::of(context.cluster);
    for credential in &record.credentials {
        // One that was stopped for good meanwhile needs no new shares.
        if let Some(credential) = state.credential(*credential)?.filter(CredentialRecord::needs_shares) {
            record.candidates.retain(|node| stores.holds(&credential.holders, *node));
        }
    }
    Ok(())
}

/// All participants confirmed the same: the new epoch comes into use, and the old one stays beside it.
pub(super) fn switch<S: StateStore>(
    state: &mut Overlay<'_, S>,
    context: &Context<'_>,
    id: CeremonyId,
    mut record: CeremonyRecord,
    packages: &[Blob],
) -> Result<(), Stop> {
    let stores = state.store_numbers()?;
    for (credential_id, package) in record.credentials.iter().zip(packages) {
        // One that was stopped for good meanwhile needs no new shares.
        let Some(mut credential) = state.credential(*credential_id)?.filter(|credential| credential.needs_shares()) else { continue };
        let group_key = ceremonies::group_key(&record, context, package)?;
        let key = credential.key.as_mut().filter(|key| key.group_key == group_key);
        let key =
            key.ok_or_else(|| Refusal::Malformed { what: "a public key package".to_owned(), reason: "it is of another key".to_owned() })?;
        key.public_key_package = package.clone();
        credential.previous = Some(PreviousEpoch { epoch: credential.epoch, holders: std::mem::take(&mut credential.holders) });
        credential.epoch.0 += 1;
        credential.epoch_made = EpochMade { index: context.index, at: context.now, given: record.participants.clone() };
        credential.holders = record.participants.iter().filter_map(|node| stores.holding(*node)).collect();
        credentials::write_unversioned(state, *credential_id, &credential);
    }
    record.step = CeremonyStep::Switch;
    record.deadline = context.now.plus(SWITCH_DEADLINES * context.cluster.policy.ceremony_millis_max);
    ceremonies::drop_messages(state, id)?;
    ceremonies::write(state, id, &record);
    Ok(())
}

/// A participant signs in the new epoch.
pub(super) fn receipt<S: StateStore>(
    state: &mut Overlay<'_, S>,
    context: &Context<'_>,
    message: &NodeSigned<EpochReceipt>,
) -> Result<Applied, Stop> {
    let mut record = switching(state, context, message, message.body.ceremony, message.body.attempt)?;
    ceremonies::note(&mut record.receipts, message.node)?;
    ceremonies::write(state, message.body.ceremony, &record);
    Ok(Applied::Done)
}

/// The old epoch ends: when all participants have the new one, or without those that have not said so by the deadline. They count as without
/// shares and are repaired.
pub(super) fn retire<S: StateStore>(
    state: &mut Overlay<'_, S>,
    context: &Context<'_>,
    message: &NodeSigned<EpochRetired>,
) -> Result<Applied, Stop> {
    let id = message.body.ceremony;
    let mut record = switching(state, context, message, id, message.body.attempt)?;
    let complete = record.receipts.len() == record.participants.len();
    let late = record.receipts.len() >= usize::from(context.cluster.threshold.0) && context.now >= record.deadline;
    if !complete && !late {
        return Err(Refusal::CeremonyNotOverdue { deadline: record.deadline }.into());
    }
    if let Some(refusal) = keeps_old_epoch(state, &record)? {
        return Err(refusal.into());
    }
    for credential_id in &record.credentials {
        if let Some(mut credential) = state.credential(*credential_id)? {
            credential.previous = None;
            credential.holders.retain(|holding| record.receipts.contains(&holding.node));
            credentials::write_unversioned(state, *credential_id, &credential);
        }
    }
    record.step = CeremonyStep::Done;
    ceremonies::finish(state, id, &record)?;
    Ok(Applied::Done)
}

/// Why an old epoch cannot end, whatever the deadline: a key would be left with fewer than t shares, since stores were replaced whose nodes had said
/// that they have the new one, and others that have it have not said so yet.
///
/// # Errors
/// When the store fails.
pub(crate) fn keeps_old_epoch<S: StateStore>(state: &S, record: &CeremonyRecord) -> Result<Option<Refusal>, StateStoreError> {
    let (stores, needed) = (state.store_numbers()?, state.cluster()?.threshold.0);
    for id in &record.credentials {
        let Some(credential) = state.credential(*id)?.filter(CredentialRecord::needs_shares) else { continue };
        if let Err(refusal) = stores.check_left(*id, &credential.holders, needed, |node| record.receipts.contains(&node)) {
            return Ok(Some(refusal));
        }
    }
    Ok(None)
}

fn switching<S: StateStore, T: NodeStatement>(
    state: &S,
    context: &Context<'_>,
    message: &NodeSigned<T>,
    ceremony: CeremonyId,
    attempt: u32,
) -> Result<CeremonyRecord, Stop> {
    check_signature(context, message)?;
    let record = state.ceremony(ceremony)?.filter(|record| record.attempt == attempt).ok_or(Refusal::CeremonyUnknown { ceremony })?;
    ceremonies::check_participant(&record, message.node)?;
    if record.step == CeremonyStep::Switch { Ok(record) } else { Err(Refusal::CeremonyStep.into()) }
}
