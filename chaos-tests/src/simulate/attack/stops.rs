//! What the adversary does about a stop: it sees one on the network before any site does.

use std::collections::BTreeSet;

use warifu_protocol::{CredentialId, NodeId, SignedRequest, StopCommand, StopObject};

use crate::simulate::event::{Event, Party};
use crate::simulate::world::World;

/// How often it asks again for what was stopped.
const INSISTENCE: u32 = 14;
/// Pause between two of these: short at first, when only holds stand in the way, and longer than a coordinator takes to acknowledge.
const INSIST_MILLIS: (u64, u64) = (3, 400);
/// How long an ambush lasts: longer than coordinators pause before they send a stop again.
const AMBUSH_MILLIS: (u64, u64) = (1_000, 6_000);

/// A request that is asked for again and again.
#[derive(Clone, Debug)]
pub(in crate::simulate) struct Insistence {
    credential: CredentialId,
    request: SignedRequest,
    left: u32,
}

/// Sites that hear of nothing but what the adversary tells them, and those that are its own.
#[derive(Clone, Debug)]
pub(super) struct Ambush {
    pub(super) sites: BTreeSet<NodeId>,
    pub(super) until: u64,
}

impl World {
    /// A client has asked a coordinator for a stop.
    pub(in crate::simulate) fn notice_stop(&mut self, asked: usize, stop: &StopCommand) {
        let Some(liar) = self.liar() else { return };
        let Some((object, _)) = stop.target() else { return };
        let is_meant = |stolen: &&super::Stolen| match object {
            StopObject::Session(session) => stolen.session == session,
            StopObject::Credential(credential) | StopObject::Card { credential, .. } => stolen.credential == credential,
        };
        let Some(stolen) = self.adversary.stolen.iter().rev().find(is_meant).cloned() else { return };
        if asked != liar && self.adversary.dice.permille(self.faults.ambush) {
            self.lay_ambush(liar);
        }
        let request = self.stolen_request(&stolen);
        self.insist(Insistence { credential: stolen.credential, request, left: INSISTENCE });
    }

    /// Asks once more.
    pub(in crate::simulate) fn insist(&mut self, mut insistence: Insistence) {
        let Some(liar) = self.liar() else { return };
        self.gather_commitments(liar);
        let is_asked = self.ask_all(liar, insistence.credential, &insistence.request);
        self.counters.injected("request under a stopped session", u64::from(is_asked));
        insistence.left -= 1;
        if insistence.left > 0 {
            let (least, most) = INSIST_MILLIS;
            let after = self.adversary.dice.between(least, most);
            self.after(after, Event::Insist(Box::new(insistence)));
        }
    }

    /// Cuts honest sites off from everybody but the lying coordinator: with the corrupt ones they are t.
    fn lay_ambush(&mut self, liar: usize) {
        let (least, most) = AMBUSH_MILLIS;
        let until = self.now + self.adversary.dice.between(least, most);
        let (corrupt, mut honest): (Vec<NodeId>, Vec<NodeId>) = self.reached.keys().partition(|site| self.plan.corrupt.contains_key(site));
        let needed = usize::from(self.plan.threshold).saturating_sub(corrupt.len());
        while honest.len() > needed {
            let place = self.adversary.dice.below(honest.len() as u64) as usize;
            honest.remove(place);
        }
        let sites: BTreeSet<NodeId> = honest.iter().chain(&corrupt).copied().collect();
        let inside: Vec<Party> = honest.iter().filter_map(|site| self.reached.get(site)).map(|place| Party::Site(*place)).collect();
        let outside = self.reached.values().filter(|place| !honest.contains(&place.node)).map(|place| Party::Site(*place));
        let others = (0..self.coordinators.len()).filter(|number| *number != liar).map(Party::Coordinator);
        let outside: Vec<Party> = outside.chain(others).collect();
        for inner in &inside {
            for outer in &outside {
                self.cuts.insert((*inner, *outer), until);
                self.cuts.insert((*outer, *inner), until);
            }
        }
        self.adversary.ambush = Some(Ambush { sites, until });
        self.counters.injected("ambush at a stop", 1);
    }
}
