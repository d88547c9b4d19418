//! Opening and closing sessions.

use warifu_protocol::limits::{SESSIONS_OPEN_MAX, STATEMENT_AGE_MILLIS_MAX};
use warifu_protocol::mutants::{Mutant, is_on};
use warifu_protocol::wire::{Applied, CredentialState};
use warifu_protocol::{CertificateHash, CredentialId, PublicKey, Refusal, SessionClosing, SessionId, SessionOpening, Statement};

use super::apply::{Context, Stop, must_read};
use super::bindings;
use super::cards::{self, Evidence};
use super::reader::{Registry, encode, key, prefix_end, table};
use super::records::SessionRecord;
use super::stops;
use super::store::{Overlay, StateStore, StateStoreError};

/// Ended sessions that one opening clears away: more than one, so that they cannot pile up.
const CLEARED_PER_OPENING: usize = 8;

pub(super) fn open<S: StateStore>(state: &mut Overlay<'_, S>, context: &Context<'_>, opening: &SessionOpening) -> Result<Applied, Stop> {
    let statement = &opening.statement;
    let session = statement.session();
    if opening.ocsp.is_some() {
        return Err(Refusal::OcspUnsupported.into());
    }
    check_terms(context, statement)?;
    if state.session(session)?.is_some() && !is_on(Mutant::ReuseStatement) {
        return Err(Refusal::StatementUsed.into());
    }
    let credential_id = statement.credential;
    let credential = state.credential(credential_id)?.ok_or(Refusal::CredentialUnknown { credential: credential_id })?;
    let card = CertificateHash::new(warifu_protocol::canonical::sha256(opening.card_certificate.as_slice()));
    let is_certified = matches!(credential.state, CredentialState::Certified | CredentialState::Active | CredentialState::Suspended);
    if is_certified && credential.certificate.as_ref().is_some_and(|certificate| !certificate.is_valid_at(context.now)) {
        return Err(Refusal::CertificateNotValid.into());
    }
    if credential.state != CredentialState::Active {
        // With its only card suspended or pending a credential is not active: the card is what its holder must hear of.
        if let Err(refusal @ (Refusal::CardSuspended | Refusal::CardPending { .. })) = bindings::usable(&credential, card)
            && credential.state == CredentialState::Certified
        {
            return Err(refusal.into());
        }
        return Err(Refusal::CredentialState { state: credential.state.to_string(), needs: CredentialState::Active.to_string() }.into());
    }
    check_terminal(state, opening)?;
    let bound = bindings::usable(&credential, card)?;
    let checked = cards::check(
        state,
        context,
        &Evidence {
            kind: bound.kind,
            certificate: opening.card_certificate.as_slice(),
            intermediates: &opening.intermediates,
            message: &statement.message(),
            signature: opening.card_signature.as_slice(),
        },
    )?;
    if checked.serial_digest != bound.serial_digest || checked.certificate.spki_hash() != bound.spki {
        return Err(Refusal::CardUnbound.into());
    }
    clear_ended(state, context)?;
    if running_sessions(state, context, credential_id)? >= SESSIONS_OPEN_MAX {
        return Err(Refusal::SessionsTooMany { limit: SESSIONS_OPEN_MAX as u64 }.into());
    }
    write(state, session, &SessionRecord { statement: statement.clone(), card, closed: false });
    state.put(open_key(credential_id, session), encode(&card));
    let end = statement.not_after.plus(STATEMENT_AGE_MILLIS_MAX);
    state.put(key(table::SESSION_EXPIRY, &[&end.0.to_be_bytes(), session.as_ref()]), Vec::new());
    Ok(Applied::SessionOpened(session))
}

pub(super) fn close_by_key<S: StateStore>(state: &mut Overlay<'_, S>, closing: &SessionClosing) -> Result<Applied, Stop> {
    let record: SessionRecord = must_read(state, &key(table::SESSION, &[closing.session.as_ref()]), Refusal::SessionUnknown)?;
    stops::check_closing_signature(&record, closing)?;
    close(state, closing.session)
}

/// Closes a session; closing it again changes nothing.
pub(super) fn close<S: StateStore>(state: &mut Overlay<'_, S>, session: SessionId) -> Result<Applied, Stop> {
    let record: SessionRecord = must_read(state, &key(table::SESSION, &[session.as_ref()]), Refusal::SessionUnknown)?;
    end(state, session, record);
    Ok(Applied::Done)
}

fn end<S: StateStore>(state: &mut Overlay<'_, S>, session: SessionId, mut record: SessionRecord) {
    record.closed = true;
    state.delete(open_key(record.statement.credential, session));
    write(state, session, &record);
}

/// Closes the sessions of a credential: all, or those that one card opened.
pub(super) fn close_all<S: StateStore>(
    state: &mut Overlay<'_, S>,
    credential: CredentialId,
    card: Option<CertificateHash>,
) -> Result<(), StateStoreError> {
    for (session, opened_by) in open_sessions(state, credential)? {
        if card.is_none_or(|card| card == opened_by)
            && let Some(record) = state.session(session)?
        {
            end(state, session, record);
        }
    }
    Ok(())
}

fn check_terms(context: &Context<'_>, statement: &Statement) -> Result<(), Refusal> {
    let policy = &context.cluster.policy;
    let (not_before, not_after, now) = (statement.not_before, statement.not_after, context.now);
    let times = |reason: &str| Refusal::StatementTimes { reason: reason.to_owned() };
    if statement.cluster != context.cluster.cluster {
        return Err(Refusal::WrongCluster { found: statement.cluster });
    }
    if not_after <= not_before {
        return Err(times("not-after must follow not-before"));
    }
    if not_after.0 - not_before.0 > policy.session_millis_max {
        return Err(times("the session is longer than policy allows"));
    }
    if not_before > now.plus(policy.clock_skew_millis_max) {
        return Err(times("not-before lies in the future; check the terminal's clock"));
    }
    if not_before < now.minus(STATEMENT_AGE_MILLIS_MAX) {
        return Err(times("the statement is too old; log in again"));
    }
    if not_after <= now {
        return Err(times("the session has ended"));
    }
    if statement.max_signatures == 0 || statement.max_signatures > policy.session_signatures_max {
        return Err(Refusal::SessionSignatures { limit: policy.session_signatures_max });
    }
    check_key(&statement.session_key, "a session key")
}

/// Terminals and sessions use what browsers and TPMs have.
pub(super) fn check_key(key: &PublicKey, what: &str) -> Result<(), Refusal> {
    match key {
        PublicKey::Ed25519(_) | PublicKey::EcdsaP256(_) => Ok(()),
        PublicKey::EcdsaP384(_) => Err(Refusal::KeyAlgorithm { what: what.to_owned() }),
    }
}

fn check_terminal<S: StateStore>(state: &S, opening: &SessionOpening) -> Result<(), Stop> {
    let statement = &opening.statement;
    if state.facility(&statement.facility)?.is_none() {
        return Err(Refusal::FacilityUnknown { facility: statement.facility.clone() }.into());
    }
    let unknown = || Refusal::TerminalUnknown { terminal: statement.terminal };
    let terminal = state.terminal(statement.terminal)?.ok_or_else(unknown)?;
    if terminal.retired || terminal.facility != statement.facility {
        return Err(unknown().into());
    }
    let invalid = |signer: &str| Err(Refusal::SignatureInvalid { signer: signer.to_owned() }.into());
    let (terminal_key, session_key) = (&terminal.key, &statement.session_key);
    if terminal_key.verify(&statement.terminal_message(), opening.terminal_signature.as_slice()).is_err()
        && !is_on(Mutant::SkipTerminalSignature)
    {
        return invalid("the terminal");
    }
    if session_key.verify(&statement.possession_message(), opening.possession.as_slice()).is_err() && !is_on(Mutant::SkipPossession) {
        return invalid("the session key");
    }
    Ok(())
}

fn clear_ended<S: StateStore>(state: &mut Overlay<'_, S>, context: &Context<'_>) -> Result<(), Stop> {
    let to = key(table::SESSION_EXPIRY, &[&context.now.0.to_be_bytes()]);
    for (expiry, _) in state.scan(&[table::SESSION_EXPIRY], &to, CLEARED_PER_OPENING)? {
        let id = expiry.get(1 + size_of::<u64>()..).and_then(|id| <[u8; SessionId::LEN]>::try_from(id).ok());
        if let Some(session) = id.map(SessionId::new)
            && let Some(record) = state.session(session)?
        {
            state.delete(open_key(record.statement.credential, session));
            state.delete(key(table::SESSION, &[session.as_ref()]));
        }
        state.delete(expiry);
    }
    Ok(())
}

/// Counts the open sessions of a credential. Those that have ended no longer count as open; their records stay until they are cleared.
fn running_sessions<S: StateStore>(state: &mut Overlay<'_, S>, context: &Context<'_>, credential: CredentialId) -> Result<usize, Stop> {
    let mut running = 0;
    for (session, _) in open_sessions(state, credential)? {
        if state.session(session)?.is_some_and(|record| record.statement.not_after > context.now) {
            running += 1;
        } else {
            state.delete(open_key(credential, session));
        }
    }
    Ok(running)
}

fn open_sessions<S: StateStore>(state: &S, credential: CredentialId) -> Result<Vec<(SessionId, CertificateHash)>, StateStoreError> {
    let prefix = key(table::OPEN_SESSION, &[credential.as_ref()]);
    let mut found = Vec::new();
    for (key, value) in state.scan(&prefix, &prefix_end(&prefix), SESSIONS_OPEN_MAX)? {
        if let Some(id) = key.get(prefix.len()..).and_then(|id| <[u8; SessionId::LEN]>::try_from(id).ok()) {
            found.push((SessionId::new(id), super::reader::decode(&value)?));
        }
    }
    Ok(found)
}

fn open_key(credential: CredentialId, session: SessionId) -> Vec<u8> {
    key(table::OPEN_SESSION, &[credential.as_ref(), session.as_ref()])
}

fn write<S: StateStore>(state: &mut Overlay<'_, S>, session: SessionId, record: &SessionRecord) {
    state.put(key(table::SESSION, &[session.as_ref()]), encode(record));
}
