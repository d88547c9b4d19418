//! The life of a credential: enrolled, certified, suspended, resumed, revoked.

use std::collections::BTreeSet;

use warifu_protocol::limits::CEREMONY_CREDENTIALS_MAX;
use warifu_protocol::mutants::{Mutant, is_on};
use warifu_protocol::wire::{Applied, CredentialState};
use warifu_protocol::{AnchorKind, Blob, CeremonyId, CredentialId, Enrolment, Epoch, ObjectVersion, OrderId, Origin, Refusal, UnixMillis};

use super::apply::{Context, Stop};
use super::bindings;
use super::cards;
use super::due::{self, Due};
use super::reader::{Registry, encode, key, table};
use super::records::{CeremonyKind, CertificateRecord, CredentialRecord, EpochMade, SerialOwner};
use super::store::{Overlay, StateStore, StateStoreError};
use super::{ceremonies, sessions};
use crate::pki::{Certificate, check_signing_certificate};

pub(super) fn enrol<S: StateStore>(
    state: &mut Overlay<'_, S>,
    context: &Context<'_>,
    order: OrderId,
    enrolments: &[Enrolment],
) -> Result<Applied, Stop> {
    if enrolments.is_empty() || enrolments.len() > CEREMONY_CREDENTIALS_MAX {
        return Err(Refusal::TooLarge { what: "enrolments (1 or more)".to_owned(), limit: CEREMONY_CREDENTIALS_MAX as u64 }.into());
    }
    let ceremony = new_ceremony(state, order)?;
    let mut seen = BTreeSet::new();
    for enrolment in enrolments {
        if !seen.insert(enrolment.credential) {
            return Err(Refusal::CredentialExists { credential: enrolment.credential }.into());
        }
        admit(state, order, enrolment, Origin::Generated)?;
    }
    let kind = (CeremonyKind::Generate, None);
    ceremonies::start(state, context, ceremony, kind, seen_in_order(enrolments), context.cluster.node_ids());
    Ok(Applied::CeremonyStarted(ceremony))
}

/// The ceremony of an order that begins one. The record of an order is cleared away after its end, that of its ceremony stays.
pub(super) fn new_ceremony<S: StateStore>(state: &S, order: OrderId) -> Result<CeremonyId, Stop> {
    let ceremony = CeremonyId::new(*order.as_bytes());
    if state.ceremony(ceremony)?.is_some() || state.import(ceremony)?.is_some() {
        return Err(Refusal::OrderReplayed.into());
    }
    Ok(ceremony)
}

/// Creates a credential without a key, for a holder who has none.
pub(super) fn admit<S: StateStore>(state: &mut Overlay<'_, S>, order: OrderId, enrolment: &Enrolment, origin: Origin) -> Result<(), Stop> {
    let Enrolment { credential, holder, subject } = enrolment;
    if state.credential(*credential)?.is_some() {
        return Err(Refusal::CredentialExists { credential: *credential }.into());
    }
    if state.credential_of(holder)?.is_some() && !is_on(Mutant::SecondCredential) {
        return Err(Refusal::HolderHasCredential { holder: holder.clone() }.into());
    }
    let record = CredentialRecord {
        holder: holder.clone(),
        subject: subject.clone(),
        state: CredentialState::Generating,
        suspended_by_order: false,
        certificate_listed: false,
        certificate_ended: false,
        version: ObjectVersion(1),
        epoch: Epoch(1),
        epoch_made: EpochMade::default(),
        enrolled_by: order,
        ceremony: CeremonyId::new(*order.as_bytes()),
        holders: Vec::new(),
        previous: None,
        key: None,
        certificate: None,
        authenticators: Vec::new(),
        ever_bound: false,
        pending: Vec::new(),
        origin,
        destroy_at: None,
    };
    write(state, *credential, &record);
    state.put(key(table::HOLDER, &[holder.as_str().as_bytes()]), encode(credential));
    Ok(())
}

/// Undoes [`admit`]: no key came of it.
pub(super) fn forget<S: StateStore>(state: &mut Overlay<'_, S>, id: CredentialId) -> Result<(), Stop> {
    let credential = existing(state, id)?;
    state.delete(key(table::CREDENTIAL, &[id.as_ref()]));
    state.delete(key(table::HOLDER, &[credential.holder.as_str().as_bytes()]));
    Ok(())
}

fn seen_in_order(enrolments: &[Enrolment]) -> Vec<CredentialId> {
    enrolments.iter().map(|enrolment| enrolment.credential).collect()
}

pub(super) fn install_certificate<S: StateStore>(
    state: &mut Overlay<'_, S>,
    context: &Context<'_>,
    id: CredentialId,
    der: &Blob,
    intermediates: &[Blob],
) -> Result<Applied, Stop> {
    let mut credential = existing(state, id)?;
    let Some(group_key) = credential.key.as_ref().map(|key| key.group_key) else {
        return Err(wrong_state(&credential, "a generated key").into());
    };
    if matches!(credential.state, CredentialState::Revoked | CredentialState::Destroyed) {
        return Err(wrong_state(&credential, "a credential that is not revoked").into());
    }
    let refused = |error: &dyn std::error::Error| Refusal::CertificateRefused { reason: cards::chain(error) };
    let certificate = Certificate::parse(der.as_slice()).map_err(|error| refused(&error))?;
    let intermediates = cards::parse_all(intermediates, |error| refused(error))?;
    let anchors = cards::anchors(context, AnchorKind::HpkiSigning)?;
    let checked = check_signing_certificate(&certificate, &group_key, &credential.subject, &intermediates, &anchors, context.now)
        .map_err(|error| refused(&error))?;
    if cards::intermediate_revoked(state, context, &checked.path)? {
        return Err(Refusal::CertificateRefused { reason: "its CA's certificate is revoked".to_owned() }.into());
    }
    let issuer = checked.path.issuer();
    let serial_digest = cards::serial_digest(issuer.spki_hash(), certificate.serial());
    if cards::is_revoked(state, context, &certificate, issuer, serial_digest)? {
        return Err(Refusal::CertificateRevoked.into());
    }
    state.put(key(table::SERIAL, &[serial_digest.as_ref()]), encode(&SerialOwner::Certificate(id)));
    let installed = CertificateRecord {
        der: der.clone(),
        hash: certificate.hash(),
        not_before: certificate.not_before(),
        not_after: certificate.not_after(),
        roles: checked.roles,
        issuer: issuer.spki_hash(),
    };
    await_no_end(state, id, &credential);
    due::add(state, installed.ends_at(), &Due::CertificateEnd { credential: id });
    credential.certificate = Some(installed);
    credential.certificate_listed = false;
    credential.certificate_ended = false;
    credential.settle();
    write_changed(state, id, credential);
    Ok(Applied::Done)
}

/// Nothing happens any more when the certificate that the credential has ends.
fn await_no_end<S: StateStore>(state: &mut Overlay<'_, S>, id: CredentialId, credential: &CredentialRecord) {
    if let Some(certificate) = &credential.certificate {
        due::remove(state, certificate.ends_at(), &Due::CertificateEnd { credential: id });
    }
}

/// Suspends a credential whose certificate is past its end, as one whose certificate is on a list, until another is installed.
pub(super) fn certificate_ended<S: StateStore>(
    state: &mut Overlay<'_, S>,
    id: CredentialId,
    now: UnixMillis,
) -> Result<(), StateStoreError> {
    if let Some(mut credential) = state.credential(id)?
        && matches!(credential.state, CredentialState::Certified | CredentialState::Active | CredentialState::Suspended)
        && credential.certificate.as_ref().is_some_and(|certificate| certificate.ends_at() <= now)
    {
        credential.certificate_ended = true;
        credential.settle();
        write_changed(state, id, credential);
        sessions::close_all(state, id, None)?;
    }
    Ok(())
}

pub(super) fn suspend<S: StateStore>(state: &mut Overlay<'_, S>, id: CredentialId) -> Result<Applied, Stop> {
    let mut credential = existing(state, id)?;
    match credential.state {
        CredentialState::Certified | CredentialState::Active | CredentialState::Suspended => {}
        CredentialState::Generating | CredentialState::Generated | CredentialState::Revoked | CredentialState::Destroyed => {
            return Err(wrong_state(&credential, "a certified or active credential").into());
        }
    }
    if credential.suspended_by_order {
        return Ok(Applied::Done);
    }
    credential.suspended_by_order = true;
    bindings::end_pending(state, id, &mut credential, |_| true);
    credential.settle();
    write_changed(state, id, credential);
    sessions::close_all(state, id, None)?;
    Ok(Applied::Done)
}

pub(super) fn resume<S: StateStore>(state: &mut Overlay<'_, S>, id: CredentialId) -> Result<Applied, Stop> {
    let mut credential = existing(state, id)?;
    if credential.state != CredentialState::Suspended {
        return Err(wrong_state(&credential, "a suspended credential").into());
    }
    if !credential.suspended_by_order {
        let refusal = if credential.certificate_listed { Refusal::CertificateRevoked } else { Refusal::CertificateNotValid };
        return Err(refusal.into());
    }
    credential.suspended_by_order = false;
    credential.settle();
    write_changed(state, id, credential);
    Ok(Applied::Done)
}

pub(super) fn revoke<S: StateStore>(state: &mut Overlay<'_, S>, context: &Context<'_>, id: CredentialId) -> Result<Applied, Stop> {
    let mut credential = existing(state, id)?;
    if matches!(credential.state, CredentialState::Generating | CredentialState::Destroyed) {
        return Err(wrong_state(&credential, "a generated key").into());
    }
    if credential.state == CredentialState::Revoked {
        return Ok(Applied::Done);
    }
    let delay = context.cluster.policy.destroy_after_revocation_millis;
    if delay == Some(0) {
        sessions::close_all(state, id, None)?;
        end_for_good(state, context.index, id, credential);
        return Ok(Applied::Done);
    }
    credential.state = CredentialState::Revoked;
    credential.destroy_at = delay.map(|delay| context.now.plus(delay));
    if let Some(at) = credential.destroy_at {
        due::add(state, at, &Due::Destruction { credential: id });
    }
    bindings::end_pending(state, id, &mut credential, |_| true);
    write_changed(state, id, credential);
    sessions::close_all(state, id, None)?;
    Ok(Applied::Done)
}

/// Destroys a revoked credential, its time having come.
pub(super) fn come_due<S: StateStore>(
    state: &mut Overlay<'_, S>,
    index: u64,
    id: CredentialId,
    now: UnixMillis,
) -> Result<(), StateStoreError> {
    if let Some(credential) = state.credential(id)?
        && credential.destroy_at.is_some_and(|at| at <= now)
    {
        end_for_good(state, index, id, credential);
    }
    Ok(())
}

pub(super) fn destroy<S: StateStore>(state: &mut Overlay<'_, S>, context: &Context<'_>, id: CredentialId) -> Result<Applied, Stop> {
    let credential = existing(state, id)?;
    match credential.state {
        CredentialState::Destroyed => return Ok(Applied::Done),
        CredentialState::Generating => return Err(wrong_state(&credential, "a generated key").into()),
        CredentialState::Generated
        | CredentialState::Certified
        | CredentialState::Active
        | CredentialState::Suspended
        | CredentialState::Revoked => {}
    }
    sessions::close_all(state, id, None)?;
    end_for_good(state, context.index, id, credential);
    Ok(Applied::Done)
}

/// Ends a credential whose sessions are closed for good, by the entry at `index`. What stays is its record without cards and holders of
/// shares; its holder and its cards are free.
fn end_for_good<S: StateStore>(state: &mut Overlay<'_, S>, index: u64, id: CredentialId, mut credential: CredentialRecord) {
    if let Some(at) = credential.destroy_at.take() {
        due::remove(state, at, &Due::Destruction { credential: id });
    }
    await_no_end(state, id, &credential);
    bindings::end_pending(state, id, &mut credential, |_| true);
    for bound in credential.authenticators.drain(..) {
        state.delete(key(table::SERIAL, &[bound.serial_digest.as_ref()]));
    }
    state.delete(key(table::HOLDER, &[credential.holder.as_str().as_bytes()]));
    credential.holders.clear();
    credential.previous = None;
    credential.state = CredentialState::Destroyed;
    write_changed(state, id, credential);
    state.put(key(table::DESTROYED, &[&index.to_be_bytes(), id.as_ref()]), Vec::new());
}

pub(super) fn existing<S: StateStore>(state: &S, credential: CredentialId) -> Result<CredentialRecord, Stop> {
    state.credential(credential)?.ok_or(Stop::Refused(Refusal::CredentialUnknown { credential }))
}

/// Writes a record with its version raised.
pub(super) fn write_changed<S: StateStore>(state: &mut Overlay<'_, S>, id: CredentialId, mut record: CredentialRecord) {
    record.version.0 += 1;
    write(state, id, &record);
}

/// Writes a record whose change is none that an officer's order could be about: who holds shares, and of which epoch.
pub(super) fn write_unversioned<S: StateStore>(state: &mut Overlay<'_, S>, id: CredentialId, record: &CredentialRecord) {
    write(state, id, record);
}

fn write<S: StateStore>(state: &mut Overlay<'_, S>, id: CredentialId, record: &CredentialRecord) {
    state.put(key(table::CREDENTIAL, &[id.as_ref()]), encode(record));
}

pub(super) fn wrong_state(credential: &CredentialRecord, needs: &str) -> Refusal {
    Refusal::CredentialState { state: credential.state.to_string(), needs: needs.to_owned() }
}
