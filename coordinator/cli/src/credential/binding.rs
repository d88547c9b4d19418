//! Binding a card to a credential: what the card signs, and what a card bound already adds.

use warifu_core::pki::Certificate;
use warifu_protocol::{AuthenticatorKind, Binding, Blob, BoundCardApproval, Challenge, ClusterId, CredentialId, OrderCommand};

use super::error::CredentialError;
use crate::card::{Card, Pin};
use crate::orders::{OrderError, OrderFile};

/// Has a card sign its own binding. The text is rendered here from the fields; nothing that anybody sent is signed.
///
/// # Errors
/// [`CredentialError::Certificate`] or [`CredentialError::Card`].
pub fn bind_command(
    cluster: ClusterId,
    credential: CredentialId,
    kind: AuthenticatorKind,
    intermediates: Vec<Blob>,
    card: &mut dyn Card,
    pin: &Pin,
) -> Result<OrderCommand, CredentialError> {
    let certificate = card.certificate()?;
    let hash = Certificate::parse(&certificate).map_err(|source| CredentialError::Certificate { source })?.hash();
    let binding = Binding { cluster, credential, kind, card: hash, nonce: Challenge::new(rand::random()) };
    let card_signature = Blob(card.sign(pin, &binding.message())?);
    Ok(OrderCommand::BindAuthenticator { binding, certificate: Blob(certificate), intermediates, card_signature, bound_card: None })
}

/// Adds the agreement of a card bound already to an order that binds a further one. No officer may have approved it yet.
///
/// # Errors
/// [`OrderError::Approved`], [`OrderError::Unfit`] for another order, or [`CredentialError::Card`].
pub fn agree(order: &mut OrderFile, card: &mut dyn Card, pin: &Pin) -> Result<(), CredentialError> {
    if !order.0.approvals.is_empty() {
        return Err(OrderError::Approved.into());
    }
    let OrderCommand::BindAuthenticator { binding, bound_card, .. } = &mut order.0.body.order else {
        return Err(OrderError::Unfit { reason: "the order binds no card, so no card can agree to it".to_owned() }.into());
    };
    let certificate = Blob(card.certificate()?);
    let signature = Blob(card.sign(pin, &binding.message())?);
    *bound_card = Some(BoundCardApproval { certificate, signature });
    Ok(())
}
