//! Key-generation ceremonies as the log sees them: the broadcast channel of round 1, the hashes of round 2, and the confirmations of all.

use frost_ed25519::keys::PublicKeyPackage;
use warifu_protocol::canonical::sha256;
use warifu_protocol::limits::CEREMONY_ATTEMPTS_MAX;
use warifu_protocol::mutants::{Mutant, is_on};
use warifu_protocol::wire::{Applied, CredentialState};
use warifu_protocol::{
    Blob, CeremonyAbort, CeremonyConfirm, CeremonyId, CeremonyOverdue, CredentialId, NodeId, NodeSigned, NodeStatement, Refusal, Round1,
    Round2Hashes, Sha256,
};

use super::apply::{Context, Stop};
use super::nodes::check_signature;
use super::reader::{CeremonyMessage, Registry, ceremony_message_key, encode, key, table};
use super::records::{CeremonyKind, CeremonyRecord, CeremonyStep, CredentialKey, EpochMade};
use super::store::{Overlay, StateStore};
use super::{credentials, refreshes};

pub(super) fn start<S: StateStore>(
    state: &mut Overlay<'_, S>,
    context: &Context<'_>,
    id: CeremonyId,
    (kind, opened_by): (CeremonyKind, Option<NodeId>),
    credentials: Vec<CredentialId>,
    candidates: Vec<NodeId>,
) {
    let record = CeremonyRecord {
        kind,
        opened_by,
        attempt: 1,
        credentials,
        participants: candidates.clone(),
        candidates,
        deadline: context.now.plus(context.cluster.policy.ceremony_millis_max),
        step: CeremonyStep::Round1,
        round1: Vec::new(),
        round2: Vec::new(),
        confirmed: Vec::new(),
        outcomes: Vec::new(),
        receipts: Vec::new(),
    };
    write(state, id, &record);
    state.put(key(table::CEREMONY_OPEN, &[id.as_ref()]), Vec::new());
}

pub(super) fn round1<S: StateStore>(
    state: &mut Overlay<'_, S>,
    context: &Context<'_>,
    message: &NodeSigned<Round1>,
) -> Result<Applied, Stop> {
    let body = &message.body;
    let mut record = current(state, context, message, body.ceremony, body.attempt, CeremonyStep::Round1)?;
    check_count(&record, body.packages.len())?;
    note(&mut record.round1, message.node)?;
    state.put(ceremony_message_key(body.ceremony, body.attempt, CeremonyMessage::Round1, message.node), encode(message));
    if record.round1.len() == record.participants.len() {
        record.step = CeremonyStep::Round2;
    }
    write(state, body.ceremony, &record);
    Ok(Applied::Done)
}

pub(super) fn round2_hashes<S: StateStore>(
    state: &mut Overlay<'_, S>,
    context: &Context<'_>,
    message: &NodeSigned<Round2Hashes>,
) -> Result<Applied, Stop> {
    let body = &message.body;
    let mut record = current(state, context, message, body.ceremony, body.attempt, CeremonyStep::Round2)?;
    let recipients: Vec<NodeId> = record.participants.iter().copied().filter(|node| *node != message.node).collect();
    if !body.hashes.iter().map(|(node, _)| *node).eq(recipients) {
        return Err(Refusal::CeremonyPackages { expected: record.participants.len() as u64 - 1 }.into());
    }
    note(&mut record.round2, message.node)?;
    state.put(ceremony_message_key(body.ceremony, body.attempt, CeremonyMessage::Round2Hashes, message.node), encode(message));
    if record.round2.len() == record.participants.len() {
        record.step = CeremonyStep::Confirm;
    }
    write(state, body.ceremony, &record);
    Ok(Applied::Done)
}

pub(super) fn confirm<S: StateStore>(
    state: &mut Overlay<'_, S>,
    context: &Context<'_>,
    message: &NodeSigned<CeremonyConfirm>,
) -> Result<Applied, Stop> {
    let body = &message.body;
    let mut record = current(state, context, message, body.ceremony, body.attempt, CeremonyStep::Confirm)?;
    check_count(&record, body.public_key_packages.len())?;
    let outcome = Sha256::new(sha256(&encode(&(body.transcript, &body.public_key_packages))));
    note(&mut record.confirmed, message.node)?;
    let place = record.confirmed.partition_point(|node| *node < message.node);
    record.outcomes.insert(place, outcome);
    let is_enough = is_on(Mutant::AcceptTooFewConfirms) && record.confirmed.len() + 1 >= usize::from(context.cluster.threshold.0);
    if record.confirmed.len() < record.participants.len() && !is_enough {
        write(state, body.ceremony, &record);
        return Ok(Applied::Done);
    }
    // One that confirms something else must not decide for the others, so all are heard before they are compared.
    if record.outcomes.iter().any(|other| *other != outcome) {
        let leaving = minority(&record);
        restart(state, context, body.ceremony, record, &leaving)?;
        return Ok(Applied::Done);
    }
    if record.kind == CeremonyKind::Refresh {
        refreshes::switch(state, context, body.ceremony, record, &body.public_key_packages)?;
        return Ok(Applied::Done);
    }
    let stores = state.store_numbers()?;
    for (id, package) in record.credentials.iter().zip(&body.public_key_packages) {
        let mut credential = credentials::existing(state, *id)?;
        let group_key = group_key(&record, context, package)?;
        credential.key = Some(CredentialKey { group_key, public_key_package: package.clone() });
        state.put(key(table::GROUP_KEY, &[&group_key]), encode(id));
        credential.holders = record.participants.iter().filter_map(|node| stores.holding(*node)).collect();
        credential.epoch_made = EpochMade { index: context.index, at: context.now, given: record.participants.clone() };
        credential.state = CredentialState::Generated;
        credentials::write_changed(state, *id, credential);
    }
    record.step = CeremonyStep::Done;
    finish(state, body.ceremony, &record)?;
    Ok(Applied::Done)
}

/// A participant gives an attempt up, which costs its own place and nobody else's.
pub(super) fn abort<S: StateStore>(
    state: &mut Overlay<'_, S>,
    context: &Context<'_>,
    message: &NodeSigned<CeremonyAbort>,
) -> Result<Applied, Stop> {
    let body = &message.body;
    check_signature(context, message)?;
    let record = at_attempt(state, body.ceremony, body.attempt)?;
    check_participant(&record, message.node)?;
    restart(state, context, body.ceremony, record, &[message.node])?;
    Ok(Applied::Done)
}

/// The deadline has passed by the log's time, whatever the clock of whoever says so: the attempt goes on without those it waits for.
pub(super) fn overdue<S: StateStore>(
    state: &mut Overlay<'_, S>,
    context: &Context<'_>,
    message: &NodeSigned<CeremonyOverdue>,
) -> Result<Applied, Stop> {
    let body = &message.body;
    check_signature(context, message)?;
    let record = at_attempt(state, body.ceremony, body.attempt)?;
    check_participant(&record, message.node)?;
    if context.now < record.deadline {
        return Err(Refusal::CeremonyNotOverdue { deadline: record.deadline }.into());
    }
    let spoken = match record.step {
        CeremonyStep::Round1 => &record.round1,
        CeremonyStep::Round2 => &record.round2,
        CeremonyStep::Confirm | CeremonyStep::Done | CeremonyStep::Failed | CeremonyStep::Switch => &record.confirmed,
    };
    let leaving: Vec<NodeId> = record.participants.iter().copied().filter(|node| !spoken.contains(node)).collect();
    restart(state, context, body.ceremony, record, &leaving)?;
    Ok(Applied::Done)
}

/// The participants that confirmed something else than most did.
fn minority(record: &CeremonyRecord) -> Vec<NodeId> {
    let votes = |outcome: &Sha256| record.outcomes.iter().filter(|other| *other == outcome).count();
    let most = record.outcomes.iter().max_by_key(|outcome| (votes(outcome), **outcome));
    let said = record.confirmed.iter().zip(&record.outcomes);
    said.filter(|(_, outcome)| Some(*outcome) != most).map(|(node, _)| *node).collect()
}

/// Begins the next attempt without `leaving`, or ends the ceremony after the last, or when too few are left for any.
pub(super) fn restart<S: StateStore>(
    state: &mut Overlay<'_, S>,
    context: &Context<'_>,
    id: CeremonyId,
    mut record: CeremonyRecord,
    leaving: &[NodeId],
) -> Result<(), Stop> {
    drop_messages(state, id)?;
    let enough = usize::from(context.cluster.threshold.0) + 1;
    record.participants.retain(|node| !leaving.contains(node));
    if record.participants.len() < enough {
        // Begin again with all, for those who were away may be back: a new key is for whoever is there now, another for those who hold it.
        match record.kind {
            CeremonyKind::Generate => record.candidates = context.cluster.node_ids(),
            CeremonyKind::Refresh => refreshes::keep_holders(state, context, &mut record)?,
        }
        record.participants.clone_from(&record.candidates);
    }
    record.attempt += 1;
    record.deadline = context.now.plus(context.cluster.policy.ceremony_millis_max);
    record.step = CeremonyStep::Round1;
    record.round1.clear();
    record.round2.clear();
    record.confirmed.clear();
    record.outcomes.clear();
    if record.attempt > CEREMONY_ATTEMPTS_MAX || record.participants.len() < enough {
        record.step = CeremonyStep::Failed;
        if record.kind == CeremonyKind::Generate {
            forget_credentials(state, &record)?;
        }
        finish(state, id, &record)
    } else {
        write(state, id, &record);
        Ok(())
    }
}

/// A node leaves the roster, or its store is lost: whatever it has confirmed in an attempt is worth nothing to the others from now on, and must
/// not be counted as held. `context` has the cluster without it.
pub(super) fn leave<S: StateStore>(state: &mut Overlay<'_, S>, context: &Context<'_>, gone: NodeId) -> Result<(), Stop> {
    for (id, record) in state.open_ceremonies(usize::MAX)? {
        if record.participants.contains(&gone) && record.step != CeremonyStep::Switch {
            restart(state, context, id, record, &[gone])?;
        }
    }
    Ok(())
}

fn current<S: StateStore, T: NodeStatement>(
    state: &S,
    context: &Context<'_>,
    message: &NodeSigned<T>,
    id: CeremonyId,
    attempt: u32,
    step: CeremonyStep,
) -> Result<CeremonyRecord, Stop> {
    check_signature(context, message)?;
    let record = at_attempt(state, id, attempt)?;
    check_participant(&record, message.node)?;
    if record.step != step {
        return Err(Refusal::CeremonyStep.into());
    }
    Ok(record)
}

pub(super) fn at_attempt<S: StateStore>(state: &S, ceremony: CeremonyId, attempt: u32) -> Result<CeremonyRecord, Stop> {
    let record = state.ceremony(ceremony)?.filter(|record| record.attempt == attempt).ok_or(Refusal::CeremonyUnknown { ceremony })?;
    match record.step {
        CeremonyStep::Done | CeremonyStep::Failed | CeremonyStep::Switch => Err(Refusal::CeremonyStep.into()),
        CeremonyStep::Round1 | CeremonyStep::Round2 | CeremonyStep::Confirm => Ok(record),
    }
}

pub(super) fn check_participant(record: &CeremonyRecord, node: NodeId) -> Result<(), Refusal> {
    if record.participants.contains(&node) { Ok(()) } else { Err(Refusal::CeremonyParticipant { node }) }
}

fn check_count(record: &CeremonyRecord, count: usize) -> Result<(), Refusal> {
    let expected = record.credentials.len();
    if count == expected { Ok(()) } else { Err(Refusal::CeremonyPackages { expected: expected as u64 }) }
}

pub(super) fn note(spoken: &mut Vec<NodeId>, node: NodeId) -> Result<(), Refusal> {
    if spoken.contains(&node) {
        return Err(Refusal::CeremonyDuplicate { node });
    }
    spoken.push(node);
    spoken.sort_unstable();
    Ok(())
}

pub(super) fn group_key(record: &CeremonyRecord, context: &Context<'_>, package: &Blob) -> Result<[u8; 32], Refusal> {
    let malformed = |reason: &str| Refusal::Malformed { what: "a public key package".to_owned(), reason: reason.to_owned() };
    let package = PublicKeyPackage::deserialize(package.as_slice()).map_err(|_| malformed("it cannot be decoded"))?;
    if package.verifying_shares().len() != record.participants.len()
        || package.min_signers() != Some(u16::from(context.cluster.threshold.0))
    {
        return Err(malformed("it is for other participants or another threshold"));
    }
    let bytes = package.verifying_key().serialize().map_err(|_| malformed("it has no group key"))?;
    bytes.try_into().map_err(|_| malformed("its group key is not 32 bytes"))
}

fn forget_credentials<S: StateStore>(state: &mut Overlay<'_, S>, record: &CeremonyRecord) -> Result<(), Stop> {
    record.credentials.iter().try_for_each(|id| credentials::forget(state, *id))
}

pub(super) fn finish<S: StateStore>(state: &mut Overlay<'_, S>, id: CeremonyId, record: &CeremonyRecord) -> Result<(), Stop> {
    drop_messages(state, id)?;
    if record.kind == CeremonyKind::Refresh {
        record.credentials.iter().for_each(|credential| state.delete(key(table::CREDENTIAL_CEREMONY, &[credential.as_ref()])));
    }
    state.delete(key(table::CEREMONY_OPEN, &[id.as_ref()]));
    match record.opened_by {
        // Nothing can be replayed: what was due once is not due again.
        Some(_) => state.delete(key(table::CEREMONY, &[id.as_ref()])),
        None => write(state, id, record),
    }
    Ok(())
}

pub(super) fn drop_messages<S: StateStore>(state: &mut Overlay<'_, S>, id: CeremonyId) -> Result<(), Stop> {
    let prefix = key(table::CEREMONY_MESSAGE, &[id.as_ref()]);
    for (message, _) in state.scan(&prefix, &super::reader::prefix_end(&prefix), usize::MAX)? {
        state.delete(message);
    }
    Ok(())
}

pub(super) fn write<S: StateStore>(state: &mut Overlay<'_, S>, id: CeremonyId, record: &CeremonyRecord) {
    state.put(key(table::CEREMONY, &[id.as_ref()]), encode(record));
}
