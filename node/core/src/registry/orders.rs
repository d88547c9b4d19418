//! Orders: who approved them, whether they still apply, and what they do.

use warifu_protocol::mutants::{Mutant, is_on};
use warifu_protocol::wire::Applied;
use warifu_protocol::{Name, ObjectVersion, Order, OrderCommand, PublicKey, Refusal, TerminalId};

use super::apply::{Context, Stop};
use super::bindings::{self, BindingEvidence};
use super::crls::Announced;
use super::reader::{Registry, encode, key, table};
use super::records::{FacilityRecord, TerminalRecord};
use super::store::{Overlay, StateStore};
use super::{credentials, crls, imports, refreshes, refreshes_due, roster, sessions};

/// Ended orders that one order clears away: more than one, so that they cannot pile up.
const CLEARED_PER_ORDER: usize = 8;

pub(super) fn apply<S: StateStore>(state: &mut Overlay<'_, S>, context: &Context<'_>, order: &Order) -> Result<Applied, Stop> {
    let body = &order.body;
    check_cluster(context, order)?;
    check_time(context, order)?;
    if state.order_applied(body.id)? && !is_on(Mutant::ReplayOrder) {
        return Err(Refusal::OrderReplayed.into());
    }
    // Before the object is looked at: what the log refuses for the object's sake was ordered by those who may.
    check_authority(context, order)?;
    let version = version(state, context, &body.order)?;
    if !body.order.is_stopping() && body.object_version != version && !is_on(Mutant::SkipObjectVersion) {
        return Err(Refusal::ObjectVersionMoved { written: body.object_version, current: version }.into());
    }
    let applied = carry_out(state, context, order)?;
    clear_ended(state, context)?;
    state.put(key(table::ORDER, &[body.id.as_ref()]), encode(&body.not_after));
    state.put(key(table::ORDER_EXPIRY, &[&body.not_after.0.to_be_bytes(), body.id.as_ref()]), Vec::new());
    Ok(applied)
}

/// Who approved and consented.
pub(super) fn check_authority(context: &Context<'_>, order: &Order) -> Result<(), Refusal> {
    let class = order.body.order.class();
    context.cluster.check_approvals(order, class)?;
    context.cluster.check_consents(order, class)
}

pub(super) fn check_cluster(context: &Context<'_>, order: &Order) -> Result<(), Refusal> {
    let found = order.body.cluster;
    if found == context.cluster.cluster { Ok(()) } else { Err(Refusal::WrongCluster { found }) }
}

pub(super) fn check_time(context: &Context<'_>, order: &Order) -> Result<(), Refusal> {
    let (not_after, limit_millis) = (order.body.not_after, context.cluster.policy.order_millis_max);
    if not_after < context.now && !is_on(Mutant::ExpiredOrder) {
        return Err(Refusal::OrderExpired { not_after });
    }
    if not_after > context.now.plus(limit_millis) {
        return Err(Refusal::OrderLifeTooLong { limit_millis });
    }
    Ok(())
}

/// The version of the object that an order changes.
fn version<S: StateStore>(state: &S, context: &Context<'_>, command: &OrderCommand) -> Result<ObjectVersion, Stop> {
    Ok(match command {
        // New objects are at version 0, as is a CRL series: its own number orders it.
        // A refresh changes nothing that another order could be about.
        OrderCommand::Enrol { .. }
        | OrderCommand::Import { .. }
        | OrderCommand::UpdateCrl { .. }
        | OrderCommand::CloseSession { .. }
        | OrderCommand::Refresh { .. }
        | OrderCommand::RefreshAll { .. } => ObjectVersion(0),
        OrderCommand::InstallCertificate { credential, .. }
        | OrderCommand::UnbindAuthenticator { credential, .. }
        | OrderCommand::SuspendBinding { credential, .. }
        | OrderCommand::Destroy { credential }
        | OrderCommand::ResumeBinding { credential, .. }
        | OrderCommand::Suspend { credential }
        | OrderCommand::Resume { credential }
        | OrderCommand::Revoke { credential } => {
            state.credential(*credential)?.ok_or(Refusal::CredentialUnknown { credential: *credential })?.version
        }
        OrderCommand::BindAuthenticator { binding, .. } | OrderCommand::BindWithNotice { binding, .. } => {
            let credential = binding.credential;
            state.credential(credential)?.ok_or(Refusal::CredentialUnknown { credential })?.version
        }
        OrderCommand::EnrolFacility { facility } => state.facility(facility)?.map(|record| record.version).unwrap_or_default(),
        OrderCommand::EnrolTerminal { terminal, .. } | OrderCommand::RetireTerminal { terminal } => {
            state.terminal(*terminal)?.map(|record| record.version).unwrap_or_default()
        }
        OrderCommand::UpdateRoster { .. } | OrderCommand::ReplaceStore { .. } => context.cluster.roster_version,
        OrderCommand::UpdatePolicy { .. } => context.cluster.policy_version,
        OrderCommand::UpdateAnchors { .. } => context.cluster.anchors_version,
    })
}

fn carry_out<S: StateStore>(state: &mut Overlay<'_, S>, context: &Context<'_>, order: &Order) -> Result<Applied, Stop> {
    let id = order.body.id;
    match &order.body.order {
        OrderCommand::Enrol { enrolments } => credentials::enrol(state, context, id, enrolments),
        OrderCommand::InstallCertificate { credential, certificate, intermediates } => {
            credentials::install_certificate(state, context, *credential, certificate, intermediates)
        }
        OrderCommand::BindAuthenticator { binding, certificate, intermediates, card_signature, bound_card } => {
            bindings::bind(state, context, &BindingEvidence { binding, certificate, intermediates, card_signature }, bound_card.as_ref())
        }
        OrderCommand::BindWithNotice { binding, certificate, intermediates, card_signature } => {
            bindings::bind_with_notice(state, context, id, &BindingEvidence { binding, certificate, intermediates, card_signature })
        }
        OrderCommand::UnbindAuthenticator { credential, card } => bindings::unbind(state, *credential, *card),
        OrderCommand::SuspendBinding { credential, card } => bindings::suspend(state, *credential, *card),
        OrderCommand::Destroy { credential } => credentials::destroy(state, context, *credential),
        OrderCommand::ResumeBinding { credential, card } => bindings::resume(state, *credential, *card),
        OrderCommand::Suspend { credential } => credentials::suspend(state, *credential),
        OrderCommand::Resume { credential } => credentials::resume(state, *credential),
        OrderCommand::Revoke { credential } => credentials::revoke(state, context, *credential),
        OrderCommand::CloseSession { session } => sessions::close(state, *session),
        OrderCommand::Refresh { credentials } => refreshes::start(state, context, id, credentials),
        OrderCommand::RefreshAll { held_by } => refreshes_due::order_all(state, context, *held_by),
        OrderCommand::Import { import } => imports::start(state, context, order, import),
        OrderCommand::EnrolFacility { facility } => enrol_facility(state, facility),
        OrderCommand::EnrolTerminal { terminal, facility, key } => enrol_terminal(state, *terminal, facility, *key),
        OrderCommand::RetireTerminal { terminal } => retire_terminal(state, *terminal),
        OrderCommand::UpdateCrl { hash, number, size, pieces, issuer } => {
            let upload = Announced { hash: *hash, number: *number, size: *size, pieces, issuer: issuer.as_ref() };
            crls::announce(state, context, id, &upload)
        }
        OrderCommand::UpdatePolicy { .. }
        | OrderCommand::UpdateAnchors { .. }
        | OrderCommand::UpdateRoster { .. }
        | OrderCommand::ReplaceStore { .. } => roster::revise(state, context, order),
    }
}

fn enrol_facility<S: StateStore>(state: &mut Overlay<'_, S>, facility: &Name) -> Result<Applied, Stop> {
    if state.facility(facility)?.is_some() {
        return Err(Refusal::FacilityExists { facility: facility.clone() }.into());
    }
    let record = FacilityRecord { version: ObjectVersion(1) };
    state.put(key(table::FACILITY, &[facility.as_str().as_bytes()]), encode(&record));
    Ok(Applied::Done)
}

fn enrol_terminal<S: StateStore>(
    state: &mut Overlay<'_, S>,
    terminal: TerminalId,
    facility: &Name,
    terminal_key: PublicKey,
) -> Result<Applied, Stop> {
    sessions::check_key(&terminal_key, "a terminal's key")?;
    if state.facility(facility)?.is_none() {
        return Err(Refusal::FacilityUnknown { facility: facility.clone() }.into());
    }
    if state.terminal(terminal)?.is_some() {
        return Err(Refusal::TerminalExists { terminal }.into());
    }
    let record = TerminalRecord { version: ObjectVersion(1), facility: facility.clone(), key: terminal_key, retired: false };
    state.put(key(table::TERMINAL, &[terminal.as_ref()]), encode(&record));
    Ok(Applied::Done)
}

fn retire_terminal<S: StateStore>(state: &mut Overlay<'_, S>, terminal: TerminalId) -> Result<Applied, Stop> {
    let mut record = state.terminal(terminal)?.ok_or(Refusal::TerminalUnknown { terminal })?;
    record.retired = true;
    record.version.0 += 1;
    state.put(key(table::TERMINAL, &[terminal.as_ref()]), encode(&record));
    Ok(Applied::Done)
}

fn clear_ended<S: StateStore>(state: &mut Overlay<'_, S>, context: &Context<'_>) -> Result<(), Stop> {
    let to = key(table::ORDER_EXPIRY, &[&context.now.0.to_be_bytes()]);
    for (expiry, _) in state.scan(&[table::ORDER_EXPIRY], &to, CLEARED_PER_ORDER)? {
        if let Some(id) = expiry.get(1 + size_of::<u64>()..) {
            state.delete(key(table::ORDER, &[id]));
        }
        state.delete(expiry);
    }
    Ok(())
}
