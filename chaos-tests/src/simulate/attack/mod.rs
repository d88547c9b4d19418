//! What the adversary does: it has a coordinator that lies, the keys of stolen terminals and of sessions at them, cards that were taken or lost, whatever
//! went over the network, and the network between sites for a while.

mod commands;
mod shares;
mod stops;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use warifu_protocol::canonical::sha256;
use warifu_protocol::wire::FreshCommitments;
use warifu_protocol::{Command, CredentialId, DocumentKind, NodeId, SessionId, Sha256};

use super::seed::{Dice, SeedTree};
use super::world::World;

pub(super) use stops::Insistence;

/// Of one site: nonces that it still knows are worth more than many.
const HOARD_MAX: usize = 24;
/// Hoarded commitments are used for so long, mostly; afterwards the site should know nothing of them.
const FRESH_MILLIS: u64 = 25_000;
/// Sessions that the adversary remembers the keys of.
const STOLEN_MAX: usize = 60;

/// What the adversary has.
pub(super) struct Adversary {
    pub(super) dice: Dice,
    /// Sessions whose keys it has, oldest first.
    stolen: VecDeque<Stolen>,
    /// Commands that nobody who may say them has said, by digest.
    forged: BTreeSet<[u8; 32]>,
    ambush: Option<stops::Ambush>,
    /// What the state is to be taken for at positions of forged snapshots.
    forged_marks: BTreeMap<u64, Sha256>,
    /// Numbers of sessions that were used up for stolen requests.
    numbers: u32,
}

/// A session whose key was stolen.
#[derive(Clone, Debug)]
pub(super) struct Stolen {
    /// Its id.
    pub(super) session: SessionId,
    /// Whose.
    pub(super) credential: CredentialId,
    /// Number of its key.
    pub(super) key: u64,
    /// What its holder may sign.
    pub(super) kind: DocumentKind,
}

/// Commitments that a lying coordinator keeps for itself, and since when.
pub(super) type Hoard = VecDeque<(u64, FreshCommitments)>;

impl Adversary {
    pub(super) fn new(tree: &SeedTree) -> Self {
        Self {
            dice: tree.rng("adversary", 0),
            stolen: VecDeque::new(),
            forged: BTreeSet::new(),
            ambush: None,
            forged_marks: BTreeMap::new(),
            numbers: 0,
        }
    }

    /// A session's key gets into its hands.
    pub(super) fn steal(&mut self, stolen: Stolen) {
        if self.stolen.len() == STOLEN_MAX {
            self.stolen.pop_front();
        }
        self.stolen.push_back(stolen);
    }

    /// Remembers that nobody who may say this command has said it.
    pub(super) fn note_forged(&mut self, command: &Command) {
        self.forged.insert(digest(command));
    }

    /// Has corrupt sites sign that the state at a position was this one.
    pub(super) fn note_forged_mark(&mut self, index: u64, mark: Sha256) {
        self.forged_marks.insert(index, mark);
    }

    /// What corrupt sites say of a position.
    pub(super) fn forged_mark(&self, index: u64) -> Option<Sha256> {
        self.forged_marks.get(&index).copied()
    }

    /// Whether it made this command.
    pub(super) fn has_forged(&self, command: &Command) -> bool {
        self.forged.contains(&digest(command))
    }
}

/// Keeps commitments back, the newest of them.
pub(super) fn hoard(hoard: &mut Hoard, now: u64, fresh: impl IntoIterator<Item = FreshCommitments>) {
    hoard.extend(fresh.into_iter().map(|one| (now, one)));
    while hoard.len() > HOARD_MAX {
        hoard.pop_front();
    }
}

/// What tells one command from another.
pub(super) fn digest(command: &Command) -> [u8; 32] {
    sha256(&postcard::to_stdvec(command).expect("commands serialize"))
}

impl World {
    /// The coordinator that lies, if it runs.
    fn liar(&self) -> Option<usize> {
        self.coordinators.iter().position(|one| one.lies && one.is_up)
    }

    /// The adversary does one thing.
    pub(super) fn attack(&mut self) {
        let Some(liar) = self.liar() else { return };
        self.gather_commitments(liar);
        match self.adversary.dice.below(100) {
            0..25 => self.attack_log(liar),
            25..60 => self.attack_what_is_stopped(liar),
            _ => self.attack_site(liar),
        }
    }

    /// Asks for commitments beside those that signatures take.
    fn gather_commitments(&mut self, liar: usize) {
        // Sites that were removed run on for a while, and know nonces.
        let sites: Vec<NodeId> = self.reached.keys().chain(&self.gone).copied().collect();
        let Some(site) = self.adversary.dice.pick(&sites).copied() else { return };
        let now = self.now;
        let Some(coordinator) = self.coordinators.get(liar) else { return };
        let is_short = coordinator.hoard.get(&site).is_none_or(|kept| kept.iter().filter(|(at, _)| now < at + FRESH_MILLIS).count() < 4);
        if is_short {
            self.ask_for_commitments(liar, site);
        }
    }
}
