//! What corrupt sites do differently. Each runs the honest cores and changes what comes out of them.

use warifu_core::ceremony::CeremonyEffect;
use warifu_core::identity::NodeIdentity;
use warifu_core::registry::{MemoryStore, Registry as _};
use warifu_protocol::canonical::sha256;
use warifu_protocol::wire::{FreshCommitments, SignAnswer};
use warifu_protocol::{Blob, CeremonyAccusation, Command, ImportAbort, ImportFailure, NodeSigned, NodeStatement, Refusal, Sha256};

use super::plan::Mischief;
use super::seed::Dice;

/// Changes the answers of a batch.
pub(super) fn answers(mischief: Option<Mischief>, answers: &mut [SignAnswer], dice: &mut Dice) {
    for answer in answers {
        match mischief {
            Some(Mischief::FalseShares) => {
                if let SignAnswer::Share(share) = answer {
                    *share = dice.bytes();
                    share[31] &= 0x0f;
                }
            }
            Some(Mischief::Refuses) => *answer = SignAnswer::Refused(Refusal::SessionClosed),
            Some(_) | None => {}
        }
    }
}

/// Changes fresh commitments.
pub(super) fn commitments(mischief: Option<Mischief>, fresh: &mut [FreshCommitments], dice: &mut Dice) {
    if mischief == Some(Mischief::FalseCommitments) && fresh.len() > 1 {
        let place = dice.below(fresh.len() as u64 - 1) as usize;
        let other = fresh[place].commitments.clone();
        fresh[place + 1].commitments = other;
    }
}

/// Changes a state root.
pub(super) fn root(mischief: Option<Mischief>, root: Sha256) -> Sha256 {
    if mischief == Some(Mischief::FalseRoot) { Sha256::new([0xad; 32]) } else { root }
}

/// Whether it gives a receipt for a stop that it does not hold: every liar does so now and then.
pub(super) fn pretends_to_obey(mischief: Option<Mischief>, dice: &mut Dice) -> bool {
    mischief == Some(Mischief::FalseReceipts) || (mischief.is_some() && dice.permille(500))
}

/// Changes what the ceremonies ask for.
pub(super) fn distort(
    mischief: Mischief,
    identity: &NodeIdentity,
    state: &MemoryStore,
    effects: Vec<CeremonyEffect>,
    dice: &mut Dice,
) -> Vec<CeremonyEffect> {
    let mut distorted = Vec::with_capacity(effects.len());
    for effect in effects {
        match (mischief, effect) {
            (Mischief::Withholds, CeremonyEffect::SendRound2 { .. } | CeremonyEffect::SendRepair { .. }) if dice.permille(700) => {}
            (Mischief::FalseRound1, CeremonyEffect::Propose(Command::CeremonyRound1(signed))) => {
                let packages = |body: &mut warifu_protocol::Round1| flip_first(&mut body.packages);
                distorted.push(CeremonyEffect::Propose(Command::CeremonyRound1(changed(identity, signed, packages))));
            }
            (Mischief::FalseConfirm, CeremonyEffect::Propose(Command::CeremonyConfirm(signed))) => {
                let body = |body: &mut warifu_protocol::CeremonyConfirm| body.transcript = Sha256::new(dice.bytes());
                distorted.push(CeremonyEffect::Propose(Command::CeremonyConfirm(changed(identity, signed, body))));
            }
            (Mischief::FalseConfirm, CeremonyEffect::Propose(Command::ImportConfirmed(signed))) if dice.permille(500) => {
                let body = |body: &mut warifu_protocol::ImportConfirm| body.transcript = Sha256::new(dice.bytes());
                distorted.push(CeremonyEffect::Propose(Command::ImportConfirmed(changed(identity, signed, body))));
            }
            // The key was fine; nobody gets it now.
            (Mischief::AccusesFalsely, CeremonyEffect::Propose(Command::ImportConfirmed(signed))) if dice.permille(500) => {
                let abort = ImportAbort { ceremony: signed.body.ceremony, cause: ImportFailure::PacketUnusable };
                distorted.push(CeremonyEffect::Propose(Command::ImportAborted(identity.sign(abort))));
            }
            (Mischief::FalseRound2, CeremonyEffect::SendRound2 { to, message }) if dice.permille(400) => {
                let message = changed(identity, message, |body| flip_first(&mut body.packages));
                distorted.push(CeremonyEffect::SendRound2 { to, message });
            }
            (Mischief::FalseRepair, CeremonyEffect::SendRepair { to, mut message }) if dice.permille(400) => {
                let mut body = message.part.body.clone();
                if let (Some(scalar), Some(hash)) = (message.scalars.first_mut(), body.hashes.first_mut()) {
                    scalar[0] ^= 1;
                    *hash = Sha256::new(sha256(scalar.as_slice()));
                }
                message.part = identity.sign(body);
                distorted.push(CeremonyEffect::SendRepair { to, message });
            }
            (_, effect) => distorted.push(effect),
        }
    }
    if mischief == Mischief::AccusesFalsely && dice.permille(100) {
        distorted.extend(false_accusation(identity, state));
    }
    distorted
}

/// Accuses the first other participant of an open ceremony of a wrong round-1 package.
fn false_accusation(identity: &NodeIdentity, state: &MemoryStore) -> Option<CeremonyEffect> {
    let open = state.open_ceremonies(1).ok()?;
    let (ceremony, record) = open.first()?;
    let culprit = record.participants.iter().copied().find(|node| *node != identity.node())?;
    let credential = record.credentials.first().copied()?;
    let accusation = CeremonyAccusation { ceremony: *ceremony, attempt: record.attempt, culprit, credential, round2: None };
    Some(CeremonyEffect::Propose(Command::CeremonyAccused(identity.sign(accusation))))
}

fn changed<T: NodeStatement>(identity: &NodeIdentity, signed: NodeSigned<T>, change: impl FnOnce(&mut T)) -> NodeSigned<T> {
    let NodeSigned { mut body, .. } = signed;
    change(&mut body);
    identity.sign(body)
}

fn flip_first(packages: &mut [Blob]) {
    if let Some(byte) = packages.first_mut().and_then(|package| package.0.last_mut()) {
        *byte ^= 1;
    }
}
