//! Repairs as the log sees them: who asks, who helps, whether the helpers' commitments fit their shares, and who lied.

use std::collections::BTreeSet;

use frost_ed25519::keys::{PublicKeyPackage, VerifyingShare};
use warifu_protocol::canonical::sha256;
use warifu_protocol::limits::{CEREMONY_CREDENTIALS_MAX, REPAIR_ATTEMPTS_MAX, REPAIRS_OPEN_MAX};
use warifu_protocol::mutants::{Mutant, is_on};
use warifu_protocol::wire::Applied;
use warifu_protocol::{
    Blob, CeremonyId, CredentialId, Epoch, NodeId, NodeSigned, Refusal, RepairAbort, RepairAccusation, RepairCommitments, RepairConfirm,
    RepairPartKind, RepairStart, Sha256, SharesFound, SharesLost,
};

use super::apply::{Context, Stop};
use super::credentials;
use super::nodes::{self, check_signature};
use super::reader::{Registry, encode, key, prefix_end, repair_message_key, table};
use super::records::{CredentialRecord, NodeRecord, RepairBasis, RepairRecord};
use super::store::{Overlay, StateStore, StateStoreError};
use crate::ceremony::repair::{PointBytes, commitments_fit, interpolate, scalar_fits};
use crate::signer::identifier;

pub(super) fn start<S: StateStore>(
    state: &mut Overlay<'_, S>,
    context: &Context<'_>,
    message: &NodeSigned<RepairStart>,
) -> Result<Applied, Stop> {
    check_signature(context, message)?;
    let (receiver, body) = (message.node, &message.body);
    // It has been seen to run on the store that it asks for.
    let started = Registry::node(state, receiver)?.is_some_and(|record| record.incarnation > 0);
    if !started {
        return Err(Refusal::NodeUnknown { node: receiver }.into());
    }
    let ascending = body.credentials.is_sorted_by(|left, right| left < right);
    if body.credentials.is_empty() || body.credentials.len() > CEREMONY_CREDENTIALS_MAX || !ascending {
        return Err(
            Refusal::TooLarge { what: "credentials (1 or more, ascending)".to_owned(), limit: CEREMONY_CREDENTIALS_MAX as u64 }.into()
        );
    }
    let open = state.open_repairs()?;
    if open.iter().any(|(id, _)| *id == body.ceremony) {
        return Err(Refusal::CeremonyDuplicate { node: receiver }.into());
    }
    if open.iter().filter(|(_, record)| record.receiver == receiver).count() >= REPAIRS_OPEN_MAX {
        return Err(Refusal::TooLarge { what: "open repairs of one node".to_owned(), limit: REPAIRS_OPEN_MAX as u64 }.into());
    }
    let stores = state.store_numbers()?;
    let holding = stores.holding(receiver).ok_or(Refusal::NodeUnknown { node: receiver })?;
    let mut records = Vec::with_capacity(body.credentials.len());
    for id in &body.credentials {
        let record = credentials::existing(state, *id)?;
        if !record.is_share_missing(receiver, &stores) {
            return Err(Refusal::ShareNotMissing { node: receiver, credential: *id }.into());
        }
        if state.ceremony_of(*id)?.is_some() {
            return Err(Refusal::CredentialInCeremony { credential: *id }.into());
        }
        records.push((*id, record));
    }
    let threshold = usize::from(context.cluster.threshold.0);
    let mut candidates = context.cluster.node_ids();
    candidates.retain(|node| records.iter().all(|(_, record)| stores.holds(&record.holders, *node)));
    if candidates.len() < threshold {
        return Err(Refusal::HoldersTooFew { needed: threshold as u64 }.into());
    }
    let basis = basis(&records, &candidates, receiver, threshold)?;
    state.put(key(table::REPAIR_MESSAGE, &[body.ceremony.as_ref()]), encode(&basis));
    for (id, _) in &records {
        state.put(key(table::CREDENTIAL_CEREMONY, &[id.as_ref()]), encode(&body.ceremony));
    }
    let mut record = RepairRecord {
        receiver,
        store_number: holding.store_number,
        credentials: records.iter().map(|(id, record)| (*id, record.epoch)).collect(),
        demerits: vec![0; candidates.len()],
        candidates,
        attempt: 0,
        helpers: Vec::new(),
        committed: Vec::new(),
        deadline: context.now,
    };
    next_attempt(state, context, body.ceremony, &mut record)?;
    Ok(Applied::CeremonyStarted(body.ceremony))
}

pub(super) fn commitments<S: StateStore>(
    state: &mut Overlay<'_, S>,
    context: &Context<'_>,
    message: &NodeSigned<RepairCommitments>,
) -> Result<Applied, Stop> {
    check_signature(context, message)?;
    let (helper, body) = (message.node, &message.body);
    let mut record = at_attempt(state, body.ceremony, body.attempt)?;
    let place = record.candidates.iter().position(|node| *node == helper).filter(|_| record.helpers.contains(&helper));
    let place = place.ok_or(Refusal::CeremonyParticipant { node: helper })?;
    if record.committed.contains(&helper) {
        return Err(Refusal::CeremonyDuplicate { node: helper }.into());
    }
    let count = record.credentials.len();
    if body.commitments.len() != count || body.commitments.iter().any(|points| points.len() != record.helpers.len()) {
        return Err(Refusal::CeremonyPackages { expected: count as u64 }.into());
    }
    let basis = state.repair_basis(body.ceremony)?;
    let shares = basis.verifying_shares.iter().filter_map(|shares| shares.get(place));
    let fits =
        shares.zip(&body.commitments).filter(|(share, points)| commitments_fit(&record.helpers, helper, record.receiver, share, points));
    if fits.count() != count && !is_on(Mutant::SkipRepairContribution) {
        expel(state, context, body.ceremony, record, helper)?;
        return Ok(Applied::Done);
    }
    record.committed.push(helper);
    record.committed.sort_unstable();
    state.put(repair_message_key(body.ceremony, helper), encode(message));
    write(state, body.ceremony, &record);
    Ok(Applied::Done)
}

/// A helper signed a scalar that its commitments, or those of all, contradict.
pub(super) fn accuse<S: StateStore>(
    state: &mut Overlay<'_, S>,
    context: &Context<'_>,
    message: &NodeSigned<RepairAccusation>,
) -> Result<Applied, Stop> {
    check_signature(context, message)?;
    let RepairAccusation { part, place, scalar } = &message.body;
    check_signature(context, part)?;
    let accused = part.node;
    let record = at_attempt(state, part.body.ceremony, part.body.attempt)?;
    if part.body.to != message.node || !record.helpers.contains(&accused) {
        return Err(Refusal::CeremonyParticipant { node: accused }.into());
    }
    let place = *place as usize;
    let shown = part.body.hashes.get(place).is_some_and(|hash| *hash == Sha256::new(sha256(scalar)));
    let due = due_commitments(state, part.body.ceremony, &record, part.body.kind, accused, message.node)?;
    // Without all commitments it cannot be told; no helper is asked to send before they are there.
    let Some(due) = due.and_then(|due| due.into_iter().nth(place)).filter(|_| shown) else { return Err(Refusal::CeremonyStep.into()) };
    if scalar_fits(scalar, &due) {
        return Err(Refusal::AccusationUnfounded { node: accused }.into());
    }
    expel(state, context, part.body.ceremony, record, accused)?;
    Ok(Applied::Done)
}

/// The receiver holds its shares from now on.
pub(super) fn confirm<S: StateStore>(
    state: &mut Overlay<'_, S>,
    context: &Context<'_>,
    message: &NodeSigned<RepairConfirm>,
) -> Result<Applied, Stop> {
    check_signature(context, message)?;
    let body = &message.body;
    let record = at_attempt(state, body.ceremony, body.attempt)?;
    if message.node != record.receiver {
        return Err(Refusal::CeremonyParticipant { node: message.node }.into());
    }
    if record.committed != record.helpers {
        return Err(Refusal::CeremonyStep.into());
    }
    let stores = state.store_numbers()?;
    let holding = stores.holding(record.receiver).filter(|holding| holding.store_number == record.store_number);
    let Some(holding) = holding else {
        // It went on to another store meanwhile: what it confirms is lost.
        end(state, body.ceremony, &record)?;
        return Ok(Applied::Done);
    };
    let basis = state.repair_basis(body.ceremony)?;
    for ((id, epoch), verifying_share) in record.credentials.iter().zip(&basis.receiver) {
        // A credential that was stopped for good meanwhile has no use for it.
        let Some(mut credential) = state.credential(*id)?.filter(|credential| credential.needs_shares() && credential.epoch == *epoch)
        else {
            continue;
        };
        credential.holders.retain(|held| held.node != record.receiver);
        credential.holders.push(holding);
        credential.holders.sort_unstable();
        credential.epoch_made.give(record.receiver);
        if let Some(key) = &mut credential.key {
            key.public_key_package = with_share(&key.public_key_package, record.receiver, verifying_share)?;
        }
        credentials::write_unversioned(state, *id, &credential);
    }
    end(state, body.ceremony, &record)?;
    Ok(Applied::Done)
}

/// A node has these shares no more: they count as missing from now on, so that coordinators ask others and the node may ask for repair. It costs
/// nobody but the node that says it anything but the work of giving them again.
pub(super) fn lose<S: StateStore>(
    state: &mut Overlay<'_, S>,
    context: &Context<'_>,
    message: &NodeSigned<SharesLost>,
) -> Result<Applied, Stop> {
    check_signature(context, message)?;
    let (node, shares) = (message.node, &message.body.shares);
    check_named(shares)?;
    let record = next_word(state, node, message.body.number)?;
    let mut found = false;
    for (id, epoch) in shares {
        let Some(mut credential) = state.credential(*id)? else { continue };
        let holders = if credential.epoch == *epoch {
            &mut credential.holders
        } else {
            match &mut credential.previous {
                Some(previous) if previous.epoch == *epoch => &mut previous.holders,
                Some(_) | None => continue,
            }
        };
        let count = holders.len();
        holders.retain(|holding| holding.node != node);
        if holders.len() < count {
            found = true;
            credentials::write_unversioned(state, *id, &credential);
        }
    }
    if !found {
        return Err(Refusal::ShareNotHeld { node }.into());
    }
    nodes::write(state, node, &record);
    Ok(Applied::Done)
}

/// A node has these shares, which the log does not count: they count from now on. Like a repair it needs the node's word alone, and a false word gives
/// false signature shares, which are found out by the public key package. What a ceremony is changing is left to the ceremony.
pub(super) fn find<S: StateStore>(
    state: &mut Overlay<'_, S>,
    context: &Context<'_>,
    message: &NodeSigned<SharesFound>,
) -> Result<Applied, Stop> {
    check_signature(context, message)?;
    let (node, shares) = (message.node, &message.body.shares);
    check_named(shares)?;
    let record = next_word(state, node, message.body.number)?;
    let stores = state.store_numbers()?;
    let holding = stores.holding(node).ok_or(Refusal::NodeUnknown { node })?;
    let mut found = false;
    for (id, epoch) in shares {
        let Some(mut credential) = state.credential(*id)?.filter(|credential| credential.epoch == *epoch) else { continue };
        if credential.verifying_share(node).is_none() || !state.may_find_share(*id, &credential, node, &stores)? {
            continue;
        }
        credential.holders.retain(|held| held.node != node);
        credential.holders.push(holding);
        credential.holders.sort_unstable();
        credential.epoch_made.give(node);
        credentials::write_unversioned(state, *id, &credential);
        found = true;
    }
    if !found {
        return Err(Refusal::SharesNotWanted { node }.into());
    }
    nodes::write(state, node, &record);
    Ok(Applied::Done)
}

/// What is to be remembered of a node once this word of it about its shares takes effect. Whoever brings an old one into the log again moves nothing.
fn next_word<S: StateStore>(state: &Overlay<'_, S>, node: NodeId, number: u64) -> Result<NodeRecord, Stop> {
    let record = Registry::node(state, node)?.ok_or(Refusal::NodeUnknown { node })?;
    let expected = record.next_shares_word();
    if number != expected && !is_on(Mutant::OldSharesWord) {
        return Err(Refusal::SharesWordNumber { node, found: number, expected }.into());
    }
    Ok(NodeRecord { shares_word: expected, ..record })
}

fn check_named(shares: &[(CredentialId, Epoch)]) -> Result<(), Refusal> {
    if shares.is_empty() || shares.len() > CEREMONY_CREDENTIALS_MAX || !shares.is_sorted_by(|left, right| left < right) {
        return Err(Refusal::TooLarge { what: "shares (1 or more, ascending)".to_owned(), limit: CEREMONY_CREDENTIALS_MAX as u64 });
    }
    Ok(())
}

/// Ends an attempt. The receiver may at any time; a helper that must before the deadline steps behind the others; after the deadline those
/// do that were waited for, and with them whoever says that it waited.
pub(super) fn abort<S: StateStore>(
    state: &mut Overlay<'_, S>,
    context: &Context<'_>,
    message: &NodeSigned<RepairAbort>,
) -> Result<Applied, Stop> {
    check_signature(context, message)?;
    let body = &message.body;
    let mut record = at_attempt(state, body.ceremony, body.attempt)?;
    if message.node != record.receiver && !record.helpers.contains(&message.node) {
        return Err(Refusal::CeremonyParticipant { node: message.node }.into());
    }
    let late = context.now >= record.deadline;
    let mut behind: BTreeSet<NodeId> = BTreeSet::new();
    if late && record.committed != record.helpers {
        behind.extend(record.helpers.iter().filter(|helper| !record.committed.contains(helper)));
    } else {
        behind.insert(message.node);
        behind.extend(body.silent.iter().filter(|node| late && record.helpers.contains(node)));
    }
    for (node, demerits) in record.candidates.iter().zip(&mut record.demerits) {
        *demerits = demerits.saturating_add(u32::from(behind.contains(node)));
    }
    next_attempt(state, context, body.ceremony, &mut record)?;
    Ok(Applied::Done)
}

/// The commitments that each scalar of a message must fit, by credential: a delta its own, a sigma those of all helpers to its sender. `None` before
/// they are in the log.
///
/// # Errors
/// When the store fails.
pub fn due_commitments<S: StateStore>(
    state: &S,
    ceremony: CeremonyId,
    record: &RepairRecord,
    kind: RepairPartKind,
    from: NodeId,
    to: NodeId,
) -> Result<Option<Vec<Vec<PointBytes>>>, StateStoreError> {
    let (senders, column) = match kind {
        RepairPartKind::Delta => (vec![from], to),
        RepairPartKind::Sigma => (record.helpers.clone(), from),
    };
    let Some(column) = record.helpers.iter().position(|node| *node == column) else { return Ok(None) };
    let mut due = vec![Vec::with_capacity(senders.len()); record.credentials.len()];
    for sender in senders {
        let Some(message) = state.repair_commitments(ceremony, sender)? else { return Ok(None) };
        for (place, points) in due.iter_mut().enumerate() {
            let Some(point) = message.body.commitments.get(place).and_then(|points| points.get(column)) else { return Ok(None) };
            points.push(*point);
        }
    }
    Ok(Some(due))
}

/// The public points that the helpers' commitments and the receiver's shares are checked against: read once, for parsing costs a curve
/// check for each node and credential.
fn basis(
    records: &[(CredentialId, CredentialRecord)],
    candidates: &[NodeId],
    receiver: NodeId,
    threshold: usize,
) -> Result<RepairBasis, Refusal> {
    let mut basis = RepairBasis { verifying_shares: Vec::with_capacity(records.len()), receiver: Vec::with_capacity(records.len()) };
    for (id, record) in records {
        let unusable = || Refusal::Malformed { what: format!("the public key package of {id}"), reason: "a share is missing".to_owned() };
        let package = record.key.as_ref().map(|key| PublicKeyPackage::deserialize(key.public_key_package.as_slice()));
        let package = package.and_then(Result::ok).ok_or_else(unusable)?;
        let share = |node: NodeId| package.verifying_shares().get(&identifier(node)).and_then(share_bytes);
        let shares = candidates.iter().map(|node| share(*node)).collect::<Option<Vec<_>>>().ok_or_else(unusable)?;
        let known: Vec<(NodeId, PointBytes)> = candidates.iter().copied().zip(shares.iter().copied()).take(threshold).collect();
        let own = share(receiver).or_else(|| interpolate(&known, receiver)).ok_or_else(unusable)?;
        basis.verifying_shares.push(shares);
        basis.receiver.push(own);
    }
    Ok(basis)
}

fn share_bytes(share: &VerifyingShare) -> Option<PointBytes> {
    share.serialize().ok()?.try_into().ok()
}

/// The package with a node's verifying share, which it lacks when the node was absent from the key generation.
fn with_share(package: &Blob, node: NodeId, share: &PointBytes) -> Result<Blob, Refusal> {
    let malformed = |_| Refusal::Malformed { what: "a public key package".to_owned(), reason: "it cannot be decoded".to_owned() };
    let read = PublicKeyPackage::deserialize(package.as_slice()).map_err(malformed)?;
    if read.verifying_shares().contains_key(&identifier(node)) {
        return Ok(package.clone());
    }
    let mut shares = read.verifying_shares().clone();
    shares.insert(identifier(node), VerifyingShare::deserialize(share).map_err(malformed)?);
    PublicKeyPackage::new(shares, *read.verifying_key(), read.min_signers()).serialize().map(Blob).map_err(malformed)
}

/// A node leaves the roster, or its store is lost: what it was to be given is of no use to anybody, and what it was to give is not there any more.
/// Neither is waited for, since nobody else may be given these shares meanwhile.
pub(super) fn leave<S: StateStore>(state: &mut Overlay<'_, S>, context: &Context<'_>, gone: NodeId) -> Result<(), Stop> {
    for (id, mut record) in state.open_repairs()? {
        if record.receiver == gone {
            end(state, id, &record)?;
        } else if record.set_demerits(gone, RepairRecord::GONE) {
            if record.helpers.contains(&gone) {
                next_attempt(state, context, id, &mut record)?;
            } else {
                write(state, id, &record);
            }
        }
    }
    Ok(())
}

/// Goes on without a helper that lied.
fn expel<S: StateStore>(
    state: &mut Overlay<'_, S>,
    context: &Context<'_>,
    id: CeremonyId,
    mut record: RepairRecord,
    liar: NodeId,
) -> Result<(), Stop> {
    record.set_demerits(liar, RepairRecord::EXPELLED);
    next_attempt(state, context, id, &mut record)
}

/// Begins the next attempt with the t candidates that were waited for least, in an order that differs with each attempt so that the work is
/// spread; ends the repair when there are none or it was tried often enough.
fn next_attempt<S: StateStore>(
    state: &mut Overlay<'_, S>,
    context: &Context<'_>,
    id: CeremonyId,
    record: &mut RepairRecord,
) -> Result<(), Stop> {
    for helper in &record.helpers {
        state.delete(repair_message_key(id, *helper));
    }
    record.attempt += 1;
    record.committed.clear();
    record.deadline = context.now.plus(context.cluster.policy.ceremony_millis_max);
    let stores = state.store_numbers()?;
    let lot = |node: NodeId| sha256(&[id.as_ref(), &record.attempt.to_be_bytes(), &[node.get()]].concat());
    let mut ranked: Vec<(u32, [u8; 32], NodeId)> = record
        .candidates
        .iter()
        .zip(&record.demerits)
        .filter(|(node, demerits)| **demerits < RepairRecord::GONE && stores.holding(**node).is_some())
        .map(|(node, demerits)| (*demerits, lot(*node), *node))
        .collect();
    ranked.sort_unstable();
    let threshold = usize::from(context.cluster.threshold.0);
    if record.attempt > REPAIR_ATTEMPTS_MAX || ranked.len() < threshold {
        return end(state, id, record);
    }
    record.helpers = ranked.into_iter().take(threshold).map(|(_, _, node)| node).collect();
    record.helpers.sort_unstable();
    write(state, id, record);
    Ok(())
}

fn end<S: StateStore>(state: &mut Overlay<'_, S>, id: CeremonyId, record: &RepairRecord) -> Result<(), Stop> {
    let prefix = key(table::REPAIR_MESSAGE, &[id.as_ref()]);
    for (message, _) in state.scan(&prefix, &prefix_end(&prefix), usize::MAX)? {
        state.delete(message);
    }
    for (credential, _) in &record.credentials {
        state.delete(key(table::CREDENTIAL_CEREMONY, &[credential.as_ref()]));
    }
    state.delete(key(table::REPAIR, &[id.as_ref()]));
    Ok(())
}

fn at_attempt<S: StateStore>(state: &S, ceremony: CeremonyId, attempt: u32) -> Result<RepairRecord, Stop> {
    let record = state.repair(ceremony)?.filter(|record| record.attempt == attempt);
    Ok(record.ok_or(Refusal::CeremonyUnknown { ceremony })?)
}

fn write<S: StateStore>(state: &mut Overlay<'_, S>, id: CeremonyId, record: &RepairRecord) {
    state.put(key(table::REPAIR, &[id.as_ref()]), encode(record));
}
