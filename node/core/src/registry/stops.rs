//! Whether a stop is valid, judged by a node for itself before the log has it.

use warifu_protocol::mutants::{Mutant, is_on};
use warifu_protocol::wire::CredentialState;
use warifu_protocol::{Order, Refusal, SessionClosing, SessionId, StopCommand, StopKind, StopObject, UnixMillis, closing_message};

use super::apply::{Context, Stop, must_read};
use super::orders;
use super::reader::{Registry, key, table};
use super::records::{CredentialRecord, SessionRecord};
use super::store::{StateStore, StateStoreError};

/// How a valid stop stands against applied state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StopStanding {
    /// The state does not say so yet: the object must be held until the log does.
    Hold {
        /// Whether the state knows the object.
        known: bool,
    },
    /// The state refuses the object by itself, until an order that comes after this stop says otherwise.
    Applied,
}

/// Judges a stop as the log will: cluster, officers and their signatures or the session key's, and time. What the state says of the object
/// does not matter, since this node may be behind.
///
/// # Errors
/// The inner one is the refusal; the outer one means that the store failed.
pub fn check_stop<S: StateStore>(state: &S, now: UnixMillis, stop: &StopCommand) -> Result<Result<StopStanding, Refusal>, StateStoreError> {
    let outcome = match stop {
        StopCommand::Order(order) => check_order(state, now, order),
        StopCommand::SessionClosing(closing) => check_closing(state, closing),
    };
    match outcome {
        Ok(standing) => Ok(Ok(standing)),
        Err(Stop::Refused(refusal)) => Ok(Err(refusal)),
        Err(Stop::Store(error)) => Err(error),
    }
}

/// Whether the log has taken this stop, as far as the state tells: an order until its end, the end of a session for good.
///
/// # Errors
/// When the store fails.
pub fn is_stop_logged<S: StateStore>(state: &S, stop: &StopCommand) -> Result<bool, StateStoreError> {
    Ok(match stop {
        StopCommand::Order(order) => state.order_applied(order.body.id)? || is_closed(state, order)?,
        StopCommand::SessionClosing(closing) => state.session(closing.session)?.is_some_and(|session| session.closed),
    })
}

fn check_order<S: StateStore>(state: &S, now: UnixMillis, order: &Order) -> Result<StopStanding, Stop> {
    let body = &order.body;
    let (object, kind) = body.order.stops().ok_or(Refusal::NotStopping)?;
    let cluster = state.cluster()?;
    // As in the log, time does not go back.
    let now = now.max(state.time()?);
    let context = Context { index: u64::MAX, now, cluster: &cluster };
    orders::check_cluster(&context, order)?;
    orders::check_authority(&context, order)?;
    if state.order_applied(body.id)? {
        // An order that was undone later stays undone, however often it is sent.
        return if is_stopped(state, object, kind)? { Ok(StopStanding::Applied) } else { Err(Refusal::OrderReplayed.into()) };
    }
    if is_final(state, object, kind)? {
        return Ok(StopStanding::Applied);
    }
    orders::check_time(&context, order)?;
    Ok(StopStanding::Hold { known: is_stop_object_known(state, object)? })
}

fn check_closing<S: StateStore>(state: &S, closing: &SessionClosing) -> Result<StopStanding, Stop> {
    let record: SessionRecord = must_read(state, &key(table::SESSION, &[closing.session.as_ref()]), Refusal::SessionUnknown)?;
    check_closing_signature(&record, closing)?;
    Ok(if record.closed { StopStanding::Applied } else { StopStanding::Hold { known: true } })
}

/// The session key must have signed the end of its session.
pub(super) fn check_closing_signature(record: &SessionRecord, closing: &SessionClosing) -> Result<(), Refusal> {
    let key = &record.statement.session_key;
    if key.verify(&closing_message(closing.session), closing.signature.as_slice()).is_err() && !is_on(Mutant::SkipClosingSignature) {
        return Err(Refusal::SignatureInvalid { signer: "the session key".to_owned() });
    }
    Ok(())
}

/// Whether the state knows what a stop is about.
///
/// # Errors
/// When the store fails.
pub fn is_stop_object_known<S: StateStore>(state: &S, object: StopObject) -> Result<bool, StateStoreError> {
    Ok(match object {
        StopObject::Credential(credential) => state.credential(credential)?.is_some(),
        StopObject::Session(session) => state.session(session)?.is_some(),
        StopObject::Card { credential, card } => {
            state.credential(credential)?.is_some_and(|record| record.authenticators.iter().any(|bound| bound.card == card))
        }
    })
}

/// Whether the state refuses the object at least as strongly as this kind of stop does.
fn is_stopped<S: StateStore>(state: &S, object: StopObject, kind: StopKind) -> Result<bool, StateStoreError> {
    if is_final(state, object, kind)? {
        return Ok(true);
    }
    Ok(match (object, kind) {
        (StopObject::Credential(credential), StopKind::Suspend) => {
            state.credential(credential)?.is_some_and(|record| record.suspended_by_order)
        }
        (StopObject::Card { credential, card }, _) => {
            let usable = |record: &CredentialRecord| record.authenticators.iter().any(|bound| bound.card == card && !bound.suspended);
            state.credential(credential)?.is_some_and(|record| !usable(&record))
        }
        (StopObject::Credential(_) | StopObject::Session(_), _) => false,
    })
}

/// Whether nothing that is still to come can undo the stop.
fn is_final<S: StateStore>(state: &S, object: StopObject, kind: StopKind) -> Result<bool, StateStoreError> {
    Ok(match object {
        StopObject::Credential(credential) | StopObject::Card { credential, .. } => {
            let ended = |state| state == CredentialState::Destroyed || (state == CredentialState::Revoked && kind != StopKind::Destroy);
            state.credential(credential)?.is_some_and(|record| ended(record.state))
        }
        StopObject::Session(session) => session_closed(state, session)?,
    })
}

fn is_closed<S: StateStore>(state: &S, order: &Order) -> Result<bool, StateStoreError> {
    match order.body.order.stops() {
        Some((StopObject::Session(session), _)) => session_closed(state, session),
        Some((StopObject::Credential(_) | StopObject::Card { .. }, _)) | None => Ok(false),
    }
}

fn session_closed<S: StateStore>(state: &S, session: SessionId) -> Result<bool, StateStoreError> {
    Ok(state.session(session)?.is_some_and(|record| record.closed))
}
