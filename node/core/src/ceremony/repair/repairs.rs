//! The driver: which repairs this node helps in or is repaired by, and the messages that reach it.

use std::collections::BTreeMap;
use std::fmt;

use rand_core::CryptoRngCore;
use warifu_protocol::canonical::sha256;
use warifu_protocol::limits::REPAIRS_OPEN_MAX;
use warifu_protocol::mutants::{Mutant, is_on};
use warifu_protocol::wire::{CeremonyReply, RepairScalars};
use warifu_protocol::{
    CeremonyId, Command, CredentialId, NodeId, NodeSigned, Refusal, RepairAbort, RepairAccusation, RepairPartKind, RepairStart, Sha256,
    UnixMillis,
};

use super::helper::Helping;
use super::proof::scalar_fits;
use super::receiver::Receiving;
use crate::ceremony::begins::Begins;
use crate::ceremony::retry::{PROPOSE_RETRY_MILLIS, is_due};
use crate::ceremony::{CeremonyEffect, CeremonyError, OpenShare};
use crate::identity::NodeIdentity;
use crate::registry::{Registry, RepairRecord, StateStore, due_commitments};

/// How long after a deadline, in milliseconds of its own clock, a helper says whom it waits for. The receiver says it after twice that, for
/// it waits for helpers that wait for others.
pub const REPAIR_GRACE_MILLIS: u64 = 1_000;
/// Repairs that a node helps in at once, those with the smallest ids; it bounds the secrets in memory and the work of one step.
const HELPED_MAX: usize = 2 * REPAIRS_OPEN_MAX;

/// What an attempt needs to know of its surroundings in one step.
pub(super) struct Scene<'a, S> {
    pub(super) state: &'a S,
    pub(super) identity: &'a NodeIdentity,
    pub(super) ceremony: CeremonyId,
    pub(super) record: &'a RepairRecord,
    pub(super) now: UnixMillis,
}

/// This node's part in all repairs. Nothing of it survives a restart.
///
/// Call [`Self::step`] after every applied entry and about twice a second; hand messages to [`Self::handle`] and step again after one was
/// taken. [`Self::ask`] begins a repair of this node's own shares.
///
/// # Security
/// Deltas and sigmas are here and nowhere else; they are drawn anew for each attempt and wiped when it ends in whatever way.
pub struct Repairs {
    identity: NodeIdentity,
    helping: BTreeMap<CeremonyId, Helping>,
    receiving: BTreeMap<CeremonyId, Receiving>,
    /// Repairs of this node's own, with the first attempt of which this process has heard everything that it was sent.
    asked: BTreeMap<CeremonyId, u32>,
    accusations: BTreeMap<(CeremonyId, NodeId), Accusation>,
    begins: Begins,
}

struct Accusation {
    attempt: u32,
    message: NodeSigned<RepairAccusation>,
    proposed_at: Option<UnixMillis>,
}

impl Repairs {
    /// Starts with nothing under way, free to help in what there is.
    #[must_use]
    pub const fn new(identity: NodeIdentity) -> Self {
        Self {
            identity,
            helping: BTreeMap::new(),
            receiving: BTreeMap::new(),
            asked: BTreeMap::new(),
            accusations: BTreeMap::new(),
            begins: Begins::free(),
        }
    }

    /// Lets steps begin to help in so many attempts until this is called again. One that has half of its time behind it is begun in any case, and
    /// what is under way goes on.
    pub const fn allow_begins(&mut self, count: usize) {
        self.begins.allow(count);
    }

    /// Whether attempts wait because no more may be begun.
    #[must_use]
    pub const fn begins_wait(&self) -> bool {
        self.begins.waiting()
    }

    /// The command that asks for this node's shares of these credentials, ascending and at most
    /// [`warifu_protocol::limits::CEREMONY_CREDENTIALS_MAX`]. Every node checks that they are missing.
    pub fn ask(&mut self, credentials: Vec<CredentialId>, rng: &mut impl CryptoRngCore) -> Command {
        let mut id = [0; CeremonyId::LEN];
        rng.fill_bytes(&mut id);
        let ceremony = CeremonyId::new(id);
        self.asked.insert(ceremony, 1);
        Command::RepairStarted(self.identity.sign(RepairStart { ceremony, credentials }))
    }

    /// Forgets a repair that was asked for and refused.
    pub fn refused(&mut self, ceremony: CeremonyId) {
        self.asked.remove(&ceremony);
    }

    /// How many shares of its own this node has put together in a repair.
    #[must_use]
    pub fn repaired(&self, ceremony: CeremonyId) -> u64 {
        self.receiving.get(&ceremony).map_or(0, Receiving::repaired)
    }

    /// Brings every repair as far as applied state allows and says what is to be done.
    ///
    /// `now` is the node's wall clock. Calling it again with nothing changed asks for nothing before a retry interval has passed.
    ///
    /// # Errors
    /// [`CeremonyError`], all of them this node's own; the same call may be made again.
    pub fn step<S: StateStore>(
        &mut self,
        now: UnixMillis,
        state: &S,
        shares: &impl OpenShare,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Vec<CeremonyEffect>, CeremonyError> {
        let mut effects = Vec::new();
        let open: BTreeMap<CeremonyId, RepairRecord> = state.open_repairs()?.into_iter().collect();
        let own = self.identity.node();
        let ceremony_millis_max = if open.is_empty() { 0 } else { state.cluster()?.policy.ceremony_millis_max };
        let is_current = |id: &CeremonyId, attempt: u32| open.get(id).is_some_and(|record| record.attempt == attempt);
        self.helping.retain(|id, helping| is_current(id, helping.attempt));
        self.asked.retain(|id, _| !self.receiving.contains_key(id) || open.contains_key(id));
        self.receiving.retain(|id, receiving| is_current(id, receiving.attempt));
        self.accusations.retain(|(id, _), accusation| is_current(id, accusation.attempt));
        for (ceremony, record) in &open {
            let scene = Scene { state, identity: &self.identity, ceremony: *ceremony, record, now };
            if record.receiver == own {
                let first = *self.asked.entry(*ceremony).or_insert(record.attempt + 1);
                let receiving = self.receiving.entry(*ceremony).or_insert_with(|| Receiving::new(record.attempt));
                // What an earlier process of this node was sent is lost, and was acknowledged.
                receiving.step(&scene, record.attempt < first, &mut effects)?;
            } else if record.helpers.contains(&own) {
                if !self.helping.contains_key(ceremony) {
                    let full = self.helping.len() >= HELPED_MAX;
                    if full || !self.begins.take(now, record.deadline, ceremony_millis_max) {
                        continue;
                    }
                    self.helping.insert(*ceremony, Helping::begin(&scene, shares, rng)?);
                }
                if let Some(helping) = self.helping.get_mut(ceremony) {
                    helping.step(&scene, &mut effects)?;
                }
            }
        }
        for accusation in self.accusations.values_mut().filter(|accusation| is_due(accusation.proposed_at, now, PROPOSE_RETRY_MILLIS)) {
            accusation.proposed_at = Some(now);
            effects.push(CeremonyEffect::Propose(Command::RepairAccused(accusation.message.clone())));
        }
        Ok(effects)
    }

    /// Takes another node's deltas or sigmas. `from` is the peer that the channel authenticated.
    ///
    /// Each scalar is checked against the commitments in the log before it is taken; the sender of one that does not fit is accused with
    /// the next step. [`CeremonyReply::NotYet`] asks the sender to repeat the message: this node has not come so far.
    ///
    /// # Errors
    /// Only when this node's store fails.
    pub fn handle<S: StateStore>(&mut self, from: NodeId, message: RepairScalars, state: &S) -> Result<CeremonyReply, CeremonyError> {
        let own = self.identity.node();
        let body = &message.part.body;
        if message.part.node != from || body.to != own || from == own {
            let reason = format!("it says node {} to node {}", message.part.node, body.to);
            return Ok(CeremonyReply::Refused(Refusal::Malformed { what: "the repair message".to_owned(), reason }));
        }
        let ceremony = body.ceremony;
        let record = match state.repair(ceremony)? {
            // One that has ended is not known either; the sender hears of it from its own log.
            None => return Ok(CeremonyReply::NotYet),
            Some(record) if record.attempt < body.attempt => return Ok(CeremonyReply::NotYet),
            Some(record) if record.attempt > body.attempt => return Ok(CeremonyReply::Refused(Refusal::CeremonyUnknown { ceremony })),
            Some(record) => record,
        };
        if let Err(refusal) = check_shape(&record, own, &message) {
            return Ok(CeremonyReply::Refused(refusal));
        }
        let cluster = state.cluster()?;
        let Some(entry) = cluster.node(from) else { return Ok(CeremonyReply::Refused(Refusal::NodeUnknown { node: from })) };
        if message.part.verify(cluster.cluster, &entry.identity).is_err() {
            return Ok(CeremonyReply::Refused(Refusal::SignatureInvalid { signer: format!("node {from}") }));
        }
        let attempt = body.attempt;
        let is_ready = match body.kind {
            RepairPartKind::Delta => self.helping.get(&ceremony).is_some_and(|helping| helping.attempt == attempt),
            RepairPartKind::Sigma => self.receiving.get(&ceremony).is_some_and(|receiving| receiving.attempt == attempt),
        };
        if !is_ready {
            return Ok(CeremonyReply::NotYet);
        }
        let Some(due) = due_commitments(state, ceremony, &record, body.kind, from, own)? else {
            return Ok(CeremonyReply::NotYet);
        };
        for (place, ((scalar, hash), due)) in message.scalars.iter().zip(&body.hashes).zip(&due).enumerate() {
            if *hash != Sha256::new(sha256(scalar)) {
                let (what, reason) = ("the repair message".to_owned(), "a scalar is not the one that was signed".to_owned());
                return Ok(CeremonyReply::Refused(Refusal::Malformed { what, reason }));
            }
            if !scalar_fits(scalar, due) && !is_on(Mutant::SkipRepairScalar) {
                let place = u32::try_from(place).expect("a repair has far fewer credentials than 2³²");
                let message = self.identity.sign(RepairAccusation { part: message.part.clone(), place, scalar: *scalar });
                self.accusations.insert((ceremony, from), Accusation { attempt, message, proposed_at: None });
                let (what, reason) = ("the repair message".to_owned(), "a scalar does not fit its commitments".to_owned());
                return Ok(CeremonyReply::Refused(Refusal::Malformed { what, reason }));
            }
        }
        let taken = match body.kind {
            RepairPartKind::Delta => self.helping.get_mut(&ceremony).is_some_and(|helping| helping.take(from, &message.scalars)),
            RepairPartKind::Sigma => self.receiving.get_mut(&ceremony).is_some_and(|receiving| receiving.take(from, &message.scalars)),
        };
        Ok(if taken { CeremonyReply::Taken } else { CeremonyReply::NotYet })
    }

    /// Notes that a recipient has taken its parts: they are wiped and not sent again.
    pub fn acknowledged(&mut self, ceremony: CeremonyId, attempt: u32, kind: RepairPartKind, to: NodeId) {
        if let Some(helping) = self.helping.get_mut(&ceremony).filter(|helping| helping.attempt == attempt) {
            helping.acknowledged(kind, to);
        }
    }
}

impl fmt::Debug for Repairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (helping, receiving) = (self.helping.len(), self.receiving.len());
        write!(f, "Repairs(node {}, helping in {helping}, receiving in {receiving}, <redacted>)", self.identity.node())
    }
}

impl<S: StateStore> Scene<'_, S> {
    pub(super) fn abort(&self, silent: Vec<NodeId>) -> Command {
        let body = RepairAbort { ceremony: self.ceremony, attempt: self.record.attempt, silent };
        Command::RepairAborted(self.identity.sign(body))
    }

    pub(super) fn is_past_deadline(&self, graces: u64) -> bool {
        self.now >= self.record.deadline.plus(graces * REPAIR_GRACE_MILLIS)
    }
}

fn check_shape(record: &RepairRecord, own: NodeId, message: &RepairScalars) -> Result<(), Refusal> {
    let body = &message.part.body;
    let expected = match body.kind {
        RepairPartKind::Delta => record.helpers.contains(&own),
        RepairPartKind::Sigma => record.receiver == own,
    };
    if !record.helpers.contains(&message.part.node) || !expected {
        return Err(Refusal::CeremonyParticipant { node: message.part.node });
    }
    let count = record.credentials.len();
    if body.hashes.len() != count || message.scalars.len() != count {
        return Err(Refusal::CeremonyPackages { expected: count as u64 });
    }
    Ok(())
}
