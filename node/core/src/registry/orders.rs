//! Orders: who approved them, whether they still apply, and what they do.

use std::collections::BTreeSet;

use warifu_protocol::limits::APPROVALS_MAX;
use warifu_protocol::wire::Applied;
use warifu_protocol::{CommandClass, Name, ObjectVersion, Order, OrderCommand, OrderId, PublicKey, Refusal, TerminalId};

use super::apply::{Context, Stop};
use super::reader::{Registry, encode, key, table};
use super::records::{FacilityRecord, TerminalRecord};
use super::store::{Overlay, StateStore};
use super::{credentials, crls, sessions};

/// Ended orders that one order clears away: more than one, so that they cannot pile up.
const CLEARED_PER_ORDER: usize = 8;

pub(super) fn apply<S: StateStore>(state: &mut Overlay<'_, S>, context: &Context<'_>, order: &Order) -> Result<Applied, Stop> {
    let body = &order.body;
    if body.cluster != context.cluster.cluster {
        return Err(Refusal::WrongCluster { found: body.cluster }.into());
    }
    if body.not_after < context.now {
        return Err(Refusal::OrderExpired { not_after: body.not_after }.into());
    }
    let limit_millis = context.cluster.policy.order_millis_max;
    if body.not_after > context.now.plus(limit_millis) {
        return Err(Refusal::OrderLifeTooLong { limit_millis }.into());
    }
    let order_key = key(table::ORDER, &[body.id.as_ref()]);
    if state.get(&order_key)?.is_some() {
        return Err(Refusal::OrderReplayed.into());
    }
    let target = target(state, &body.order)?;
    check_approvals(context, order, body.order.class(target.has_card))?;
    if !body.order.is_stopping() && body.object_version != target.version {
        return Err(Refusal::ObjectVersionMoved { written: body.object_version, current: target.version }.into());
    }
    let applied = carry_out(state, context, body.id, &body.order)?;
    clear_ended(state, context)?;
    state.put(order_key, encode(&body.not_after));
    state.put(key(table::ORDER_EXPIRY, &[&body.not_after.0.to_be_bytes(), body.id.as_ref()]), Vec::new());
    Ok(applied)
}

/// The object that an order changes.
struct Target {
    version: ObjectVersion,
    has_card: bool,
}

fn target<S: StateStore>(state: &S, command: &OrderCommand) -> Result<Target, Stop> {
    let mut has_card = false;
    let version = match command {
        // New objects are at version 0, as is a CRL series: its own number orders it.
        OrderCommand::Enrol { .. } | OrderCommand::UpdateCrl { .. } | OrderCommand::CloseSession { .. } => ObjectVersion(0),
        OrderCommand::InstallCertificate { credential, .. }
        | OrderCommand::UnbindAuthenticator { credential, .. }
        | OrderCommand::Suspend { credential }
        | OrderCommand::Resume { credential }
        | OrderCommand::Revoke { credential } => {
            state.credential(*credential)?.ok_or(Refusal::CredentialUnknown { credential: *credential })?.version
        }
        OrderCommand::BindAuthenticator { binding, .. } => {
            let credential = binding.credential;
            let record = state.credential(credential)?.ok_or(Refusal::CredentialUnknown { credential })?;
            has_card = !record.authenticators.is_empty();
            record.version
        }
        OrderCommand::EnrolFacility { facility } => state.facility(facility)?.map(|record| record.version).unwrap_or_default(),
        OrderCommand::EnrolTerminal { terminal, .. } | OrderCommand::RetireTerminal { terminal } => {
            state.terminal(*terminal)?.map(|record| record.version).unwrap_or_default()
        }
    };
    Ok(Target { version, has_card })
}

/// Counts the officers of the needed role whose signatures verify; any approval that is wrong in any way refuses the order.
fn check_approvals(context: &Context<'_>, order: &Order, class: CommandClass) -> Result<(), Refusal> {
    if order.approvals.len() > APPROVALS_MAX {
        return Err(Refusal::TooLarge { what: "approvals".to_owned(), limit: APPROVALS_MAX as u64 });
    }
    let rule = context.cluster.policy.approvals_for(class);
    let message = order.body.message();
    let mut approved = BTreeSet::new();
    for approval in &order.approvals {
        let known = context.cluster.officers.iter().find(|officer| officer.id == approval.officer);
        let officer = known.ok_or_else(|| Refusal::OfficerUnknown { officer: approval.officer.clone() })?;
        if officer.role != rule.role {
            return Err(Refusal::OfficerRole { officer: approval.officer.clone(), needs: rule.role });
        }
        if !approved.insert(&approval.officer) {
            return Err(Refusal::ApprovalDuplicate { officer: approval.officer.clone() });
        }
        officer
            .key
            .verify(&message, approval.signature.as_slice())
            .map_err(|_| Refusal::SignatureInvalid { signer: format!("officer {}", approval.officer) })?;
    }
    if approved.len() < usize::from(rule.count) {
        return Err(Refusal::ApprovalsMissing { role: rule.role, needed: rule.count, present: approved.len() as u8 });
    }
    Ok(())
}

fn carry_out<S: StateStore>(
    state: &mut Overlay<'_, S>,
    context: &Context<'_>,
    id: OrderId,
    command: &OrderCommand,
) -> Result<Applied, Stop> {
    match command {
        OrderCommand::Enrol { enrolments } => credentials::enrol(state, context, id, enrolments),
        OrderCommand::InstallCertificate { credential, certificate, intermediates } => {
            credentials::install_certificate(state, context, *credential, certificate, intermediates)
        }
        OrderCommand::BindAuthenticator { binding, certificate, intermediates, card_signature, bound_card } => credentials::bind(
            state,
            context,
            &credentials::BindingEvidence { binding, certificate, intermediates, card_signature, bound_card: bound_card.as_ref() },
        ),
        OrderCommand::UnbindAuthenticator { credential, card } => credentials::unbind(state, *credential, *card),
        OrderCommand::Suspend { credential } => credentials::suspend(state, *credential),
        OrderCommand::Resume { credential } => credentials::resume(state, *credential),
        OrderCommand::Revoke { credential } => credentials::revoke(state, *credential),
        OrderCommand::CloseSession { session } => sessions::close(state, *session),
        OrderCommand::EnrolFacility { facility } => enrol_facility(state, facility),
        OrderCommand::EnrolTerminal { terminal, facility, key } => enrol_terminal(state, *terminal, facility, *key),
        OrderCommand::RetireTerminal { terminal } => retire_terminal(state, *terminal),
        OrderCommand::UpdateCrl { hash, number, size } => crls::announce(state, context, id, *hash, *number, *size),
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
