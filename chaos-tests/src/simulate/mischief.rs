//! What corrupt sites do differently. Each runs the honest cores and changes what comes out of them; only what was really changed is counted.

use warifu_core::ceremony::CeremonyEffect;
use warifu_core::identity::NodeIdentity;
use warifu_core::registry::{MemoryStore, Registry as _};
use warifu_protocol::canonical::sha256;
use warifu_protocol::wire::{FreshCommitments, SignAnswer};
use warifu_protocol::{Blob, CeremonyAccusation, Command, ImportAbort, ImportFailure, NodeSigned, NodeStatement, Refusal, Sha256};

use super::counters::Counters;
use super::plan::Mischief;
use super::seed::Dice;

/// Changes the answers of a batch.
pub(super) fn answers(mischief: Option<Mischief>, answers: &mut [SignAnswer], dice: &mut Dice, counters: &mut Counters) {
    for answer in answers {
        match mischief {
            Some(Mischief::FalseShares) => {
                if let SignAnswer::Share(share) = answer {
                    *share = dice.bytes();
                    share[31] &= 0x0f;
                    counters.injected("false share", 1);
                }
            }
            Some(Mischief::Refuses) => {
                counters.injected("share refused by a liar", u64::from(matches!(answer, SignAnswer::Share(_))));
                *answer = SignAnswer::Refused(Refusal::SessionClosed);
            }
            Some(_) | None => {}
        }
    }
}

/// Answers, of a thousand, that a site which falls silent keeps back.
const KEPT_BACK: u32 = 700;

/// Whether it keeps its answer to a batch back, although its coordinator waits for shares with the commitments that it gave.
pub(super) fn falls_silent(mischief: Option<Mischief>, answers: &[SignAnswer], dice: &mut Dice, counters: &mut Counters) -> bool {
    let shares = answers.iter().filter(|answer| matches!(answer, SignAnswer::Share(_))).count() as u64;
    let is_silent = mischief == Some(Mischief::FallsSilent) && shares > 0 && dice.permille(KEPT_BACK);
    counters.injected("signature share withheld", if is_silent { shares } else { 0 });
    is_silent
}

/// Changes fresh commitments.
pub(super) fn commitments(mischief: Option<Mischief>, fresh: &mut [FreshCommitments], dice: &mut Dice, counters: &mut Counters) {
    if mischief == Some(Mischief::FalseCommitments) && fresh.len() > 1 {
        let place = dice.below(fresh.len() as u64 - 1) as usize;
        let other = fresh[place].commitments.clone();
        fresh[place + 1].commitments = other;
        counters.injected("false commitments", 1);
    }
}

/// Changes a state root.
pub(super) fn root(mischief: Option<Mischief>, root: Sha256, counters: &mut Counters) -> Sha256 {
    if mischief != Some(Mischief::FalseRoot) {
        return root;
    }
    counters.injected("false root", 1);
    Sha256::new([0xad; 32])
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
    counters: &mut Counters,
) -> Vec<CeremonyEffect> {
    let mut distorted = Vec::with_capacity(effects.len());
    let mut count = |what, is_changed| counters.injected(what, u64::from(is_changed));
    for effect in effects {
        match (mischief, effect) {
            (Mischief::Withholds, CeremonyEffect::SendRound2 { .. } | CeremonyEffect::SendRepair { .. }) if dice.permille(700) => {
                count("secret withheld in a ceremony", true);
            }
            (Mischief::FalseRound1, CeremonyEffect::Propose(Command::CeremonyRound1(signed))) => {
                let packages = |body: &mut warifu_protocol::Round1| count("false round-1 package", flip_first(&mut body.packages));
                distorted.push(CeremonyEffect::Propose(Command::CeremonyRound1(changed(identity, signed, packages))));
            }
            (Mischief::FalseConfirm, CeremonyEffect::Propose(Command::CeremonyConfirm(signed))) => {
                let body = |body: &mut warifu_protocol::CeremonyConfirm| body.transcript = Sha256::new(dice.bytes());
                count("false confirmation", true);
                distorted.push(CeremonyEffect::Propose(Command::CeremonyConfirm(changed(identity, signed, body))));
            }
            (Mischief::FalseConfirm, CeremonyEffect::Propose(Command::ImportConfirmed(signed))) if dice.permille(500) => {
                let body = |body: &mut warifu_protocol::ImportConfirm| body.transcript = Sha256::new(dice.bytes());
                count("false confirmation", true);
                distorted.push(CeremonyEffect::Propose(Command::ImportConfirmed(changed(identity, signed, body))));
            }
            // The key was fine; nobody gets it now.
            (Mischief::AccusesFalsely, CeremonyEffect::Propose(Command::ImportConfirmed(signed))) if dice.permille(500) => {
                let abort = ImportAbort { ceremony: signed.body.ceremony, cause: ImportFailure::PacketUnusable };
                count("import given up falsely", true);
                distorted.push(CeremonyEffect::Propose(Command::ImportAborted(identity.sign(abort))));
            }
            (Mischief::FalseRound2, CeremonyEffect::SendRound2 { to, message }) if dice.permille(400) => {
                let message = changed(identity, message, |body| count("false round-2 package", flip_first(&mut body.packages)));
                distorted.push(CeremonyEffect::SendRound2 { to, message });
            }
            (Mischief::FalseRepair, CeremonyEffect::SendRepair { to, mut message }) if dice.permille(400) => {
                let mut body = message.part.body.clone();
                if let (Some(scalar), Some(hash)) = (message.scalars.first_mut(), body.hashes.first_mut()) {
                    scalar[0] ^= 1;
                    *hash = Sha256::new(sha256(scalar.as_slice()));
                    count("false part of a repair", true);
                }
                message.part = identity.sign(body);
                distorted.push(CeremonyEffect::SendRepair { to, message });
            }
            (_, effect) => distorted.push(effect),
        }
    }
    if mischief == Mischief::AccusesFalsely && dice.permille(100) {
        let accusation = false_accusation(identity, state);
        count("false accusation", accusation.is_some());
        distorted.extend(accusation);
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

/// Says whether there was anything to change.
fn flip_first(packages: &mut [Blob]) -> bool {
    let byte = packages.first_mut().and_then(|package| package.0.last_mut());
    byte.map(|byte| *byte ^= 1).is_some()
}

#[cfg(test)]
mod tests {
    use super::super::seed::SeedTree;
    use super::*;
    use warifu_protocol::NonceId;

    #[test]
    fn only_what_a_corrupt_site_really_changed_is_counted() {
        let counted = |change: &dyn Fn(&mut Dice, &mut Counters)| {
            let mut counters = Counters::default();
            change(&mut SeedTree::new(1).rng("mischief", 0), &mut counters);
            counters.faults.into_iter().collect::<Vec<_>>()
        };
        let batch = |mischief| {
            counted(&|dice, counters| {
                let mut batch = [SignAnswer::Share([1; 32]), SignAnswer::Refused(Refusal::ShareMissing), SignAnswer::Share([2; 32])];
                answers(mischief, &mut batch, dice, counters);
            })
        };
        assert_eq!(batch(Some(Mischief::FalseShares)), [("false share", 2)]);
        assert_eq!(batch(Some(Mischief::Refuses)), [("share refused by a liar", 2)], "what was refused anyway is not its doing");
        assert_eq!(batch(Some(Mischief::FalseRoot)), []);
        assert_eq!(batch(None), []);
        let kept_back = |mischief| {
            counted(&|dice, counters| {
                let batch = [SignAnswer::Share([1; 32]), SignAnswer::Refused(Refusal::ShareMissing), SignAnswer::Share([2; 32])];
                while !falls_silent(Some(mischief), &batch, dice, counters) && mischief == Mischief::FallsSilent {}
                assert!(!falls_silent(Some(mischief), &batch[1..2], dice, counters), "there is nothing to keep back");
            })
        };
        assert_eq!(kept_back(Mischief::FallsSilent), [("signature share withheld", 2)]);
        assert_eq!(kept_back(Mischief::Withholds), []);
        let offered = |number: u8| {
            counted(&|dice, counters| {
                let one = |pair| FreshCommitments { nonce: NonceId::new([pair; 16]), commitments: Blob(vec![pair]) };
                commitments(Some(Mischief::FalseCommitments), &mut (0..number).map(one).collect::<Vec<_>>(), dice, counters);
            })
        };
        assert_eq!(offered(1), [], "there is no other to mix it up with");
        assert_eq!(offered(3), [("false commitments", 1)]);
        assert!(!flip_first(&mut []) && !flip_first(&mut [Blob(Vec::new())]) && flip_first(&mut [Blob(vec![1])]));
    }
}
