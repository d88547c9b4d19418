//! Imports as the log sees them: who must confirm, what they must agree on, and what is left of one that came to nothing.

use warifu_protocol::limits::IMPORTS_OPEN_MAX;
use warifu_protocol::wire::{Applied, CredentialState};
use warifu_protocol::{CeremonyId, ImportAbort, ImportConfirm, ImportFailure, KeyImport, NodeId, NodeSigned, Order, Origin, Refusal};

use super::apply::{Context, Stop};
use super::nodes::check_signature;
use super::reader::{Registry, encode, key, table};
use super::records::{CredentialKey, EpochMade, ImportRecord, ImportStep, ImportTerms, StoreNumbers};
use super::store::{Overlay, StateStore};
use super::{ceremonies, credentials};
use crate::import::check_import;

/// For how many times the policy's deadline of a ceremony an import waits for all nodes: their packets come from a person's machine, and
/// whoever missed it must take the seed out again.
const IMPORT_DEADLINES: u64 = 10;

/// Opens an import: the credential is there without a key, and its public key is taken, until every node has confirmed.
pub(super) fn start<S: StateStore>(
    state: &mut Overlay<'_, S>,
    context: &Context<'_>,
    order: &Order,
    import: &KeyImport,
) -> Result<Applied, Stop> {
    let id = credentials::new_ceremony(state, order.body.id)?;
    if state.open_imports(IMPORTS_OPEN_MAX)?.len() >= IMPORTS_OPEN_MAX {
        return Err(Refusal::TooLarge { what: "open imports".to_owned(), limit: IMPORTS_OPEN_MAX as u64 }.into());
    }
    let unusable = || Refusal::ImportRefused { reason: "it has no public key".to_owned() };
    let package = check_import(import, context.cluster.threshold, &context.cluster.node_ids())?;
    let group_key = import.group_key().ok_or_else(unusable)?;
    if let Some(credential) = state.credential_with_key(group_key.as_bytes())? {
        return Err(Refusal::KeyUsed { credential }.into());
    }
    let officers = order.approvals.iter().map(|approval| approval.officer.clone()).collect();
    let credential = import.enrolment.credential;
    credentials::admit(state, order.body.id, &import.enrolment, Origin::Imported { order: order.body.id, officers })?;
    state.put(key(table::GROUP_KEY, &[group_key.as_ref()]), encode(&credential));
    let stores = state.store_numbers()?;
    let public_key_package = package.serialize().map_err(|_| unusable())?.into();
    let record = ImportRecord {
        credential,
        participants: context.cluster.node_ids().into_iter().filter_map(|node| stores.holding(node)).collect(),
        deadline: context.now.plus(IMPORT_DEADLINES * context.cluster.policy.ceremony_millis_max),
        step: ImportStep::Open,
        confirmed: Vec::new(),
        terms: Some(ImportTerms { import: import.clone(), public_key_package }),
    };
    write(state, id, &record);
    state.put(key(table::IMPORT_OPEN, &[id.as_ref()]), Vec::new());
    Ok(Applied::CeremonyStarted(id))
}

/// A participant has its share. With the last one the key comes into use.
pub(super) fn confirm<S: StateStore>(
    state: &mut Overlay<'_, S>,
    context: &Context<'_>,
    message: &NodeSigned<ImportConfirm>,
) -> Result<Applied, Stop> {
    check_signature(context, message)?;
    let (node, id) = (message.node, message.body.ceremony);
    let (mut record, terms) = open(state, id)?;
    check_participant(&record, node)?;
    if message.body.transcript != terms.import.transcript(context.cluster.cluster, id) {
        let reason = "it is of another import than was ordered".to_owned();
        return Err(Refusal::Malformed { what: "the confirmation".to_owned(), reason }.into());
    }
    ceremonies::note(&mut record.confirmed, node)?;
    if record.confirmed != record.nodes() {
        write(state, id, &record);
        return Ok(Applied::Done);
    }
    // A site that has left or lost its disk since has no share, whatever it confirmed: only what all have is a key with n shares.
    if !are_there(&record, &state.store_numbers()?) {
        fail(state, id, record)?;
        return Ok(Applied::Done);
    }
    let mut credential = credentials::existing(state, record.credential)?;
    let group_key = terms.import.group_key().ok_or(Refusal::CeremonyStep)?;
    credential.key = Some(CredentialKey { group_key: *group_key.as_bytes(), public_key_package: terms.public_key_package });
    credential.holders.clone_from(&record.participants);
    credential.epoch_made = EpochMade { index: context.index, at: context.now, given: record.nodes() };
    credential.state = CredentialState::Generated;
    credentials::write_changed(state, record.credential, credential);
    end(state, id, record, ImportStep::Done);
    Ok(Applied::Done)
}

/// A participant cannot go on, or the deadline has passed by the log's time.
pub(super) fn abort<S: StateStore>(
    state: &mut Overlay<'_, S>,
    context: &Context<'_>,
    message: &NodeSigned<ImportAbort>,
) -> Result<Applied, Stop> {
    check_signature(context, message)?;
    let (node, id) = (message.node, message.body.ceremony);
    let (record, _) = open(state, id)?;
    check_participant(&record, node)?;
    match message.body.cause {
        ImportFailure::Overdue if context.now < record.deadline => {
            return Err(Refusal::CeremonyNotOverdue { deadline: record.deadline }.into());
        }
        // It has said that it can.
        ImportFailure::PacketUnusable if record.confirmed.contains(&node) => return Err(Refusal::CeremonyDuplicate { node }.into()),
        ImportFailure::Overdue | ImportFailure::PacketUnusable => {}
    }
    fail(state, id, record)?;
    Ok(Applied::Done)
}

fn open<S: StateStore>(state: &S, ceremony: CeremonyId) -> Result<(ImportRecord, ImportTerms), Stop> {
    let record = state.import(ceremony)?.ok_or(Refusal::CeremonyUnknown { ceremony })?;
    match (record.step, record.terms.clone()) {
        (ImportStep::Open, Some(terms)) => Ok((record, terms)),
        (ImportStep::Open | ImportStep::Done | ImportStep::Failed, _) => Err(Refusal::CeremonyStep.into()),
    }
}

fn check_participant(record: &ImportRecord, node: NodeId) -> Result<(), Refusal> {
    let takes_part = record.participants.iter().any(|holding| holding.node == node);
    if takes_part { Ok(()) } else { Err(Refusal::CeremonyParticipant { node }) }
}

fn are_there(record: &ImportRecord, stores: &StoreNumbers) -> bool {
    record.participants.iter().all(|holding| stores.holding(holding.node) == Some(*holding))
}

/// The credential is forgotten and its holder and key are free again; nodes delete what they stored.
fn fail<S: StateStore>(state: &mut Overlay<'_, S>, id: CeremonyId, record: ImportRecord) -> Result<(), Stop> {
    if let Some(group_key) = record.terms.as_ref().and_then(|terms| terms.import.group_key()) {
        state.delete(key(table::GROUP_KEY, &[group_key.as_ref()]));
    }
    credentials::forget(state, record.credential)?;
    end(state, id, record, ImportStep::Failed);
    Ok(())
}

fn end<S: StateStore>(state: &mut Overlay<'_, S>, id: CeremonyId, mut record: ImportRecord, step: ImportStep) {
    record.step = step;
    record.terms = None;
    state.delete(key(table::IMPORT_OPEN, &[id.as_ref()]));
    write(state, id, &record);
}

fn write<S: StateStore>(state: &mut Overlay<'_, S>, id: CeremonyId, record: &ImportRecord) {
    state.put(key(table::IMPORT, &[id.as_ref()]), encode(record));
}
