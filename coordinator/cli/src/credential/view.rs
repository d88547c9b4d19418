//! Credentials as people read them.

use warifu_core::pki::Certificate;
use warifu_protocol::wire::{CredentialView, PendingView};

use crate::console::table;

pub(super) fn list(credentials: &[CredentialView]) -> String {
    let rows = credentials.iter().map(|view| {
        [
            view.credential.to_string(),
            view.holder.to_string(),
            view.subject.to_string(),
            view.state.to_string(),
            view.authenticators.len().to_string(),
        ]
    });
    table(["credential", "holder", "subject", "state", "cards"], rows)
}

pub(super) fn one(view: &CredentialView) -> String {
    let certificate = match view.certificate.as_ref().map(|der| Certificate::parse(der.as_slice())) {
        None => "none".to_owned(),
        Some(Err(error)) => format!("UNREADABLE: {error}"),
        Some(Ok(certificate)) => {
            let roles = certificate.hc_roles().unwrap_or_default().join(", ");
            format!("{} by {}, {} until {}", certificate.hash(), certificate.issuer(), roles, certificate.not_after())
        }
    };
    let mut rows = vec![
        ["credential".to_owned(), view.credential.to_string()],
        ["holder".to_owned(), view.holder.to_string()],
        ["subject".to_owned(), view.subject.to_string()],
        ["state".to_owned(), view.state.to_string()],
        ["version".to_owned(), view.version.to_string()],
        ["epoch of its shares".to_owned(), view.epoch.to_string()],
        ["ceremony".to_owned(), view.ceremony.to_string()],
        ["certificate".to_owned(), certificate],
    ];
    rows.extend(view.authenticators.iter().map(|bound| {
        let suspended = if bound.suspended { " SUSPENDED: opens no session" } else { "" };
        ["card".to_owned(), format!("{:?} {}{suspended}", bound.kind, bound.card)]
    }));
    rows.extend(view.pending.iter().map(|pending| {
        let PendingView { card, kind, effective_at, order } = pending;
        let text = format!("{kind:?} {card} takes effect at {effective_at} by order {order}, unless suspended before");
        ["PENDING card".to_owned(), text]
    }));
    table(["", ""], rows)
}
