//! What a corrupt site does with the effects of its core before they leave.

use warifu_protocol::{Blob, Command};

use super::cluster::{Mischief, identity, node};
use crate::ceremony::{CeremonyEffect, round2_hash};
use crate::identity::NodeIdentity;

/// A liar does not give itself away: it keeps quiet about its own log entries being others than it made.
pub(super) fn is_no_abort(effect: &CeremonyEffect) -> bool {
    !matches!(effect, CeremonyEffect::Propose(Command::CeremonyAbort(_)))
}

/// Node 2 has this package for the second credential in its first attempt, in place of its own.
pub(super) fn node_2_proposes(package: Blob) -> Mischief {
    Box::new(move |who, mut effects| {
        if who.node() != node(2) {
            return effects;
        }
        effects.retain(is_no_abort);
        for effect in &mut effects {
            if let CeremonyEffect::Propose(Command::CeremonyRound1(message)) = effect
                && message.body.attempt == 1
            {
                let mut body = message.body.clone();
                body.packages[1] = package.clone();
                *message = identity(2).sign(body);
            }
        }
        effects
    })
}

/// Node 2 sends node 3 the packages of node 4, consistently with the hash that it logs, in the first attempt.
pub(super) fn node_2_lies_to_node_3(who: &NodeIdentity, mut effects: Vec<CeremonyEffect>) -> Vec<CeremonyEffect> {
    if who.node() != node(2) {
        return effects;
    }
    effects.retain(is_no_abort);
    let packages = effects.iter().find_map(|effect| match effect {
        CeremonyEffect::SendRound2 { to, message } if *to == node(4) && message.body.attempt == 1 => Some(message.body.packages.clone()),
        _ => None,
    });
    let Some(packages) = packages else { return effects };
    for effect in &mut effects {
        match effect {
            CeremonyEffect::SendRound2 { to, message } if *to == node(3) => {
                let mut body = message.body.clone();
                body.packages = packages.clone();
                *message = identity(2).sign(body);
            }
            CeremonyEffect::Propose(Command::CeremonyRound2Hash(message)) => {
                let mut body = message.body.clone();
                body.hashes.iter_mut().filter(|(to, _)| *to == node(3)).for_each(|(_, hash)| *hash = round2_hash(&packages));
                *message = identity(2).sign(body);
            }
            _ => {}
        }
    }
    effects
}
