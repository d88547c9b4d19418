//! Commands that nobody who may say them has said: what a lying leader brings into the log.

use ed25519_dalek::SigningKey;
use warifu_core::identity::NodeIdentity;
use warifu_protocol::{Blob, Command, CredentialId, NodeSigned, OfficerRole, OrderCommand, OrderId, UnixMillis};

use super::people::{People, sign};
use super::seed::Dice;

/// Makes a false command out of a true one; `None` where every change of it would still be somebody's word, or none at all.
pub(super) fn forge(command: &Command, people: &People, dice: &mut Dice) -> Option<Command> {
    let mut forged = command.clone();
    match &mut forged {
        Command::Order(order) => match dice.below(6) {
            // Somebody else's order under these approvals.
            0 => order.body.id = OrderId::new(dice.bytes()),
            1 => order.body.order = another(&order.body.order)?,
            // Too few approvals.
            2 => drop(order.approvals.pop()),
            // One officer twice.
            3 => {
                let first = order.approvals.first()?.clone();
                if order.approvals.len() < 2 {
                    order.body.not_after = UnixMillis(order.body.not_after.0 + 1);
                }
                order.approvals.iter_mut().for_each(|approval| *approval = first.clone());
            }
            // Officers of another role.
            4 => {
                order.approvals = match order.body.order.class().default_approvals().role {
                    OfficerRole::SecurityOfficer => people.approvals(&order.body, OfficerRole::Operator, 2),
                    _ => people.approvals(&order.body, OfficerRole::SecurityOfficer, 2),
                }
            }
            // A key that is nobody's.
            _ => {
                let message = order.body.message();
                let key = SigningKey::from_bytes(&dice.bytes());
                order.approvals.iter_mut().for_each(|approval| approval.signature = sign(&key, &message));
            }
        },
        Command::SessionOpened(opening) => match dice.below(5) {
            0 => flip(&mut opening.card_signature),
            1 => flip(&mut opening.terminal_signature),
            2 => flip(&mut opening.possession),
            3 => opening.statement.max_signatures += 1,
            _ => opening.statement.credential = CredentialId::new(dice.bytes()),
        },
        Command::SessionClosed(closing) => flip(&mut closing.signature),
        Command::NodeStarted(signed) => forge_signed(signed, dice),
        Command::CeremonyRound1(signed) => forge_signed(signed, dice),
        Command::CeremonyRound2Hash(signed) => forge_signed(signed, dice),
        Command::CeremonyConfirm(signed) => forge_signed(signed, dice),
        Command::CeremonyAbort(signed) => forge_signed(signed, dice),
        Command::CheckpointWitnessed(signed) => forge_signed(signed, dice),
        Command::CeremonyAccused(signed) => forge_signed(signed, dice),
        Command::CeremonyOverdue(signed) => forge_signed(signed, dice),
        Command::RepairStarted(signed) => forge_signed(signed, dice),
        Command::RepairCommitted(signed) => forge_signed(signed, dice),
        Command::RepairAccused(signed) => forge_signed(signed, dice),
        Command::RepairConfirmed(signed) => forge_signed(signed, dice),
        Command::RepairAborted(signed) => forge_signed(signed, dice),
        Command::EpochReceived(signed) => forge_signed(signed, dice),
        Command::EpochRetired(signed) => forge_signed(signed, dice),
        Command::RefreshStarted(signed) => forge_signed(signed, dice),
        Command::SharesLost(signed) => forge_signed(signed, dice),
        Command::ImportConfirmed(signed) => forge_signed(signed, dice),
        Command::ImportAborted(signed) => forge_signed(signed, dice),
        Command::SharesFound(signed) => forge_signed(signed, dice),
        // Pieces of a list are recognised by their hash: a wrong one is refused like a late one.
        Command::CrlChunk { bytes, .. } => flip(bytes),
    }
    Some(forged)
}

/// In another node's name, or with another signature.
fn forge_signed<T: warifu_protocol::NodeStatement>(signed: &mut NodeSigned<T>, dice: &mut Dice) {
    match dice.below(3) {
        0 => flip(&mut signed.signature),
        1 => signed.signature = Blob::default(),
        _ => {
            let key = SigningKey::from_bytes(&dice.bytes());
            let stranger = NodeIdentity::new(signed.node, warifu_protocol::ClusterId::new(dice.bytes()), key);
            signed.signature = Blob(stranger.public_key().to_string().into_bytes());
        }
    }
}

/// The same approvals for something worse.
fn another(order: &OrderCommand) -> Option<OrderCommand> {
    Some(match order {
        OrderCommand::Suspend { credential } | OrderCommand::Resume { credential } => OrderCommand::Revoke { credential: *credential },
        OrderCommand::Revoke { credential } => OrderCommand::Destroy { credential: *credential },
        OrderCommand::Destroy { credential } => OrderCommand::Resume { credential: *credential },
        OrderCommand::InstallCertificate { credential, certificate, intermediates } => {
            let mut certificate = certificate.clone();
            flip(&mut certificate);
            OrderCommand::InstallCertificate { credential: *credential, certificate, intermediates: intermediates.clone() }
        }
        OrderCommand::BindAuthenticator { binding, certificate, intermediates, card_signature, bound_card } => {
            let mut card_signature = card_signature.clone();
            flip(&mut card_signature);
            OrderCommand::BindAuthenticator {
                binding: binding.clone(),
                certificate: certificate.clone(),
                intermediates: intermediates.clone(),
                card_signature,
                bound_card: bound_card.clone(),
            }
        }
        _ => return None,
    })
}

fn flip(bytes: &mut Blob) {
    if let Some(byte) = bytes.0.first_mut() {
        *byte ^= 1;
    }
}
