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

/// Turns a first binding into one with notice, for a holder who has no bound card left to agree. Other orders stay as they are.
#[must_use]
pub fn with_notice(command: OrderCommand) -> OrderCommand {
    match command {
        OrderCommand::BindAuthenticator { binding, certificate, intermediates, card_signature, bound_card: None } => {
            OrderCommand::BindWithNotice { binding, certificate, intermediates, card_signature }
        }
        other => other,
    }
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

#[cfg(test)]
mod tests {
    use warifu_core::pki::verify_card_signature;
    use warifu_protocol::{ObjectVersion, UnixMillis};

    use super::*;
    use crate::card::{CardAlgorithm, SoftwareCard};
    use crate::card_command::new_trial_my_number_card;
    use crate::clock::now;
    use crate::keys::{OfficerKeyFile, Passphrase};
    use crate::trial_pki::TrialJpki;

    #[test]
    fn a_card_signs_its_own_binding_and_a_bound_one_agrees_before_any_officer() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let jpki = TrialJpki::new(now()).expect("a CA");
        let pin = Pin::new("4711".to_owned()).expect("a PIN");
        let mut cards = ["new", "old"].map(|name| {
            let path = directory.path().join(name);
            new_trial_my_number_card(&path, CardAlgorithm::EcdsaP384Sha384, &jpki, &pin).expect("a card");
            SoftwareCard::open(&path).expect("opens")
        });
        let [new, old] = &mut cards;
        let (cluster, credential) = (ClusterId::new([1; 32]), CredentialId::new([2; 16]));
        let command = bind_command(cluster, credential, AuthenticatorKind::MyNumberCard, Vec::new(), new, &pin).expect("binds");
        let mut order = OrderFile::draft(cluster, command, ObjectVersion(4), now(), 60_000);
        agree(&mut order, old, &pin).expect("agrees");
        let OrderCommand::BindAuthenticator { binding, certificate, card_signature, bound_card: Some(bound), .. } = &order.0.body.order
        else {
            panic!("not a binding with a bound card's word");
        };
        for (certificate, signature) in [(certificate, card_signature), (&bound.certificate, &bound.signature)] {
            let certificate = Certificate::parse(certificate.as_slice()).expect("readable");
            verify_card_signature(certificate.key(), &binding.message(), signature.as_slice()).expect("holds");
        }

        let passphrase = Passphrase::new("correct horse".to_owned()).expect("long enough");
        let key = directory.path().join("o1.key");
        let officer = OfficerKeyFile::create(&key, "o1".parse().expect("a name"), warifu_protocol::OfficerRole::Operator, &passphrase)
            .and_then(|file| file.open(&passphrase))
            .expect("an officer");
        order.approve(&officer, now()).expect("approves");
        assert!(matches!(agree(&mut order, old, &pin), Err(CredentialError::Order(OrderError::Approved))));
        let facility = OrderCommand::EnrolFacility { facility: "f".parse().expect("a name") };
        let mut other = OrderFile::draft(cluster, facility, ObjectVersion(0), UnixMillis(0), 1);
        assert!(matches!(agree(&mut other, old, &pin), Err(CredentialError::Order(OrderError::Unfit { .. }))));
    }
}
