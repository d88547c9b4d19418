//! Which cards open sessions for a credential: bound, pending, suspended, unbound.

use warifu_protocol::canonical::sha256;
use warifu_protocol::limits::AUTHENTICATORS_MAX;
use warifu_protocol::mutants::{Mutant, is_on};
use warifu_protocol::wire::{Applied, CredentialState};
use warifu_protocol::{AuthenticatorKind, Binding, Blob, BoundCardApproval, CertificateHash, CredentialId, OrderId, Refusal, UnixMillis};

use super::apply::{Context, Stop};
use super::cards::{self, Evidence};
use super::credentials::{existing, write_changed, wrong_state};
use super::due::{self, Due};
use super::reader::{Registry, encode, key, table};
use super::records::{AuthenticatorRecord, CredentialRecord, PendingBinding, SerialOwner};
use super::sessions;
use super::store::{Overlay, StateStore, StateStoreError};

/// All that a binding rests on.
pub(super) struct BindingEvidence<'a> {
    pub(super) binding: &'a Binding,
    pub(super) certificate: &'a Blob,
    pub(super) intermediates: &'a [Blob],
    pub(super) card_signature: &'a Blob,
}

/// Binds a first card, or a further one with a bound card's word.
pub(super) fn bind<S: StateStore>(
    state: &mut Overlay<'_, S>,
    context: &Context<'_>,
    evidence: &BindingEvidence<'_>,
    bound_card: Option<&BoundCardApproval>,
) -> Result<Applied, Stop> {
    let (mut credential, authenticator) = check(state, context, evidence)?;
    match bound_card {
        Some(approval) => check_bound_card(state, context, &credential, evidence, approval)?,
        // Also when none is bound any more: else two operators could unbind a holder's cards and bind one of their own at once.
        None if credential.ever_bound && !is_on(Mutant::BindWithoutBoundCard) => return Err(Refusal::BoundCardNeeded.into()),
        None => {}
    }
    own_serial(state, evidence.binding.credential, &authenticator);
    take_effect(&mut credential, authenticator);
    write_changed(state, evidence.binding.credential, credential);
    Ok(Applied::Done)
}

/// Announces a card that is bound when the policy's delay is over.
pub(super) fn bind_with_notice<S: StateStore>(
    state: &mut Overlay<'_, S>,
    context: &Context<'_>,
    order: OrderId,
    evidence: &BindingEvidence<'_>,
) -> Result<Applied, Stop> {
    let id = evidence.binding.credential;
    let (mut credential, authenticator) = check(state, context, evidence)?;
    own_serial(state, id, &authenticator);
    let effective_at = context.now.plus(context.cluster.policy.binding_delay_millis);
    due::add(state, effective_at, &Due::Binding { credential: id, card: authenticator.card });
    credential.pending.push(PendingBinding { authenticator, effective_at, order });
    write_changed(state, id, credential);
    Ok(Applied::Done)
}

/// Makes a pending binding effective, its time having come.
pub(super) fn come_due<S: StateStore>(
    state: &mut Overlay<'_, S>,
    id: CredentialId,
    card: CertificateHash,
    now: UnixMillis,
) -> Result<(), StateStoreError> {
    let Some(mut credential) = state.credential(id)? else { return Ok(()) };
    let ripe = |pending: &PendingBinding| pending.authenticator.card == card && pending.effective_at <= now;
    if let Some(place) = credential.pending.iter().position(ripe) {
        let pending = credential.pending.remove(place);
        take_effect(&mut credential, pending.authenticator);
        write_changed(state, id, credential);
    }
    Ok(())
}

pub(super) fn unbind<S: StateStore>(state: &mut Overlay<'_, S>, id: CredentialId, card: CertificateHash) -> Result<Applied, Stop> {
    let mut credential = existing(state, id)?;
    if !end_pending(state, id, &mut credential, |pending| pending.authenticator.card == card) {
        let place = place_of(&credential, card)?;
        let bound = credential.authenticators.remove(place);
        state.delete(key(table::SERIAL, &[bound.serial_digest.as_ref()]));
        credential.settle();
    }
    write_changed(state, id, credential);
    sessions::close_all(state, id, Some(card))?;
    Ok(Applied::Done)
}

/// Suspends a binding. One that is still pending is ended: whoever asks for it again gives notice again.
pub(super) fn suspend<S: StateStore>(state: &mut Overlay<'_, S>, id: CredentialId, card: CertificateHash) -> Result<Applied, Stop> {
    let mut credential = existing(state, id)?;
    if !end_pending(state, id, &mut credential, |pending| pending.authenticator.card == card) {
        if !set_suspended(&mut credential, card, true)? {
            return Ok(Applied::Done);
        }
        credential.settle();
    }
    write_changed(state, id, credential);
    sessions::close_all(state, id, Some(card))?;
    Ok(Applied::Done)
}

pub(super) fn resume<S: StateStore>(state: &mut Overlay<'_, S>, id: CredentialId, card: CertificateHash) -> Result<Applied, Stop> {
    let mut credential = existing(state, id)?;
    if set_suspended(&mut credential, card, false)? {
        credential.settle();
        write_changed(state, id, credential);
    }
    Ok(Applied::Done)
}

/// Ends the pending bindings that `which` names and frees their cards; says whether there were any. The caller writes the record.
pub(super) fn end_pending<S: StateStore>(
    state: &mut Overlay<'_, S>,
    id: CredentialId,
    credential: &mut CredentialRecord,
    which: impl Fn(&PendingBinding) -> bool,
) -> bool {
    let (ended, kept): (Vec<_>, Vec<_>) = credential.pending.drain(..).partition(|pending| which(pending));
    credential.pending = kept;
    for pending in &ended {
        let card = pending.authenticator.card;
        due::remove(state, pending.effective_at, &Due::Binding { credential: id, card });
        state.delete(key(table::SERIAL, &[pending.authenticator.serial_digest.as_ref()]));
    }
    !ended.is_empty()
}

/// Everything about the new card but who agrees to it.
fn check<S: StateStore>(
    state: &S,
    context: &Context<'_>,
    evidence: &BindingEvidence<'_>,
) -> Result<(CredentialRecord, AuthenticatorRecord), Stop> {
    let binding = evidence.binding;
    if binding.cluster != context.cluster.cluster {
        return Err(Refusal::WrongCluster { found: binding.cluster }.into());
    }
    let credential = existing(state, binding.credential)?;
    if !matches!(credential.state, CredentialState::Certified | CredentialState::Active) {
        return Err(wrong_state(&credential, "a certified or active credential").into());
    }
    if credential.authenticators.len() + credential.pending.len() >= AUTHENTICATORS_MAX {
        return Err(Refusal::TooLarge { what: "bound and pending cards".to_owned(), limit: AUTHENTICATORS_MAX as u64 }.into());
    }
    let checked = cards::check(
        state,
        context,
        &Evidence {
            kind: binding.kind,
            certificate: evidence.certificate.as_slice(),
            intermediates: evidence.intermediates,
            message: &binding.message(),
            signature: evidence.card_signature.as_slice(),
        },
    )?;
    let card = checked.certificate.hash();
    if card != binding.card {
        return Err(Refusal::CardRefused { reason: "the binding names another certificate".to_owned() }.into());
    }
    if binding.kind == AuthenticatorKind::HpkiCard {
        let subject = checked.certificate.subject().to_subject_fields().map_err(|_| Refusal::CardSubjectMismatch)?;
        if subject != credential.subject {
            return Err(Refusal::CardSubjectMismatch.into());
        }
    }
    if state.serial_owner(checked.serial_digest)?.is_some() {
        return Err(Refusal::CardBoundAlready.into());
    }
    let authenticator = AuthenticatorRecord {
        card,
        kind: binding.kind,
        serial_digest: checked.serial_digest,
        spki: checked.certificate.spki_hash(),
        issuer: checked.issuer,
        suspended: false,
    };
    Ok((credential, authenticator))
}

/// The card that agrees is checked as if it opened a session: one that was lost or has ended brings no further card. The order's
/// intermediates serve both cards.
fn check_bound_card<S: StateStore>(
    state: &S,
    context: &Context<'_>,
    credential: &CredentialRecord,
    evidence: &BindingEvidence<'_>,
    approval: &BoundCardApproval,
) -> Result<(), Stop> {
    let bound = usable(credential, CertificateHash::new(sha256(approval.certificate.as_slice())))?;
    cards::check(
        state,
        context,
        &Evidence {
            kind: bound.kind,
            certificate: approval.certificate.as_slice(),
            intermediates: evidence.intermediates,
            message: &evidence.binding.message(),
            signature: approval.signature.as_slice(),
        },
    )?;
    Ok(())
}

/// The binding of a card that may be used now.
pub(super) fn usable(credential: &CredentialRecord, card: CertificateHash) -> Result<&AuthenticatorRecord, Refusal> {
    if let Some(pending) = credential.pending.iter().find(|pending| pending.authenticator.card == card) {
        return Err(Refusal::CardPending { at: pending.effective_at });
    }
    let bound = credential.authenticators.iter().find(|bound| bound.card == card).ok_or(Refusal::CardUnbound)?;
    if bound.suspended { Err(Refusal::CardSuspended) } else { Ok(bound) }
}

fn place_of(credential: &CredentialRecord, card: CertificateHash) -> Result<usize, Refusal> {
    credential.authenticators.iter().position(|bound| bound.card == card).ok_or(Refusal::CardUnbound)
}

/// Says whether that changed anything.
fn set_suspended(credential: &mut CredentialRecord, card: CertificateHash, suspended: bool) -> Result<bool, Refusal> {
    let bound = credential.authenticators.iter_mut().find(|bound| bound.card == card).ok_or(Refusal::CardUnbound)?;
    Ok(std::mem::replace(&mut bound.suspended, suspended) != suspended)
}

/// From the announcement on the card is nobody else's.
fn own_serial<S: StateStore>(state: &mut Overlay<'_, S>, credential: CredentialId, authenticator: &AuthenticatorRecord) {
    state.put(key(table::SERIAL, &[authenticator.serial_digest.as_ref()]), encode(&SerialOwner::Card(credential)));
}

fn take_effect(credential: &mut CredentialRecord, authenticator: AuthenticatorRecord) {
    credential.authenticators.push(authenticator);
    credential.ever_bound = true;
    credential.settle();
}
