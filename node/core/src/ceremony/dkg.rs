//! The driver: which attempts this node takes part in, and the messages that reach it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use rand_core::CryptoRngCore;
use warifu_protocol::wire::{CeremonyReply, Round2};
use warifu_protocol::{CeremonyId, NodeId, NodeSigned, Refusal, Round1, UnixMillis};

use super::attempt::{Attempt, Held, Scene};
use super::begins::Begins;
use super::effect::{CeremonyEffect, CeremonyError};
use super::rounds::{ROUND2_PACKAGE_BYTES_MAX, part1};
use super::shares::OpenShare;
use crate::identity::NodeIdentity;
use crate::registry::{CeremonyRecord, CeremonyStep, Registry, StateStore, StateStoreError};

/// Open ceremonies that a node begins: those with the smallest ids, which are the same at every node. The others wait for these to end.
pub const CEREMONIES_BEGUN_MAX: usize = 8;
/// Attempts that a node has in memory at once; more are begun when these end. It is larger than [`CEREMONIES_BEGUN_MAX`] because what is
/// under way goes on when ceremonies with smaller ids are opened; it bounds the secrets in memory and the work of one step.
pub const ATTEMPTS_MAX: usize = 2 * CEREMONIES_BEGUN_MAX;
/// How long after a deadline, in milliseconds of its own clock, a node says that it has passed. The registry goes by the log's time and
/// refuses to hear of it earlier, which does no harm; this keeps clocks that differ a little from filling the log with such refusals.
pub const DEADLINE_GRACE_MILLIS: u64 = 1_000;

/// This node's part in all key generations and refreshes. Nothing of it survives a restart.
///
/// Call [`Self::step`] after every applied entry and about twice a second; hand round-2 messages to [`Self::handle_round2`] and step
/// again after one was taken.
///
/// # Security
/// Until an attempt is confirmed its secrets are here and nowhere else; they are wiped when it ends in whatever way.
pub struct Dkg {
    identity: NodeIdentity,
    attempts: BTreeMap<CeremonyId, Attempt>,
    begins: Begins,
}

impl Dkg {
    /// Starts with nothing under way, free to begin what there is.
    #[must_use]
    pub const fn new(identity: NodeIdentity) -> Self {
        Self { identity, attempts: BTreeMap::new(), begins: Begins::free() }
    }

    /// Lets steps begin so many attempts until this is called again. One that has half of its time behind it is begun in any case, and what is
    /// under way goes on.
    pub const fn allow_begins(&mut self, count: usize) {
        self.begins.allow(count);
    }

    /// Whether attempts wait because no more may be begun.
    #[must_use]
    pub const fn begins_wait(&self) -> bool {
        self.begins.waiting()
    }

    /// Brings every open ceremony as far as applied state allows and says what is to be done.
    ///
    /// `now` is the node's wall clock. Calling it again with nothing changed asks for nothing before a retry interval has passed. With
    /// 256 credentials one call may compute for about a second, so shells keep it off their reactor.
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
        let open = self.open(state)?;
        self.attempts.retain(|id, attempt| open.get(id).is_some_and(|record| record.attempt == attempt.number));
        if open.is_empty() {
            return Ok(effects);
        }
        let cluster = state.cluster()?;
        let threshold = u16::from(cluster.threshold.0);
        for (ceremony, record) in &open {
            let full = self.attempts.len() >= ATTEMPTS_MAX && !self.attempts.contains_key(ceremony);
            if full || !record.participants.contains(&self.identity.node()) {
                continue;
            }
            let scene = Scene { state, identity: &self.identity, ceremony: *ceremony, record, now };
            let past_deadline = now >= record.deadline.plus(DEADLINE_GRACE_MILLIS);
            let attempt = match self.attempts.entry(*ceremony) {
                Entry::Occupied(attempt) => attempt.into_mut(),
                Entry::Vacant(place) => {
                    // What a restart cut off is told at once; that is no work.
                    let is_new = !record.round1.contains(&self.identity.node());
                    if is_new && !self.begins.take(now, record.deadline, cluster.policy.ceremony_millis_max) {
                        continue;
                    }
                    place.insert(begin(&scene, threshold, rng)?)
                }
            };
            attempt.step(&scene, past_deadline, shares, &mut effects)?;
        }
        Ok(effects)
    }

    /// The open ceremonies with the smallest ids, and those that are under way.
    fn open<S: StateStore>(&self, state: &S) -> Result<BTreeMap<CeremonyId, CeremonyRecord>, StateStoreError> {
        let mut open: BTreeMap<_, _> = state.open_ceremonies(CEREMONIES_BEGUN_MAX)?.into_iter().collect();
        for id in self.attempts.keys() {
            if let Entry::Vacant(place) = open.entry(*id)
                && let Some(record) = state.ceremony(*id)?
                && !matches!(record.step, CeremonyStep::Done | CeremonyStep::Failed)
            {
                place.insert(record);
            }
        }
        Ok(open)
    }

    /// Takes another node's round-2 packages. `from` is the peer that the channel authenticated.
    ///
    /// The same message again is taken again. [`CeremonyReply::NotYet`] asks the sender to repeat it: this node has not come so far.
    ///
    /// # Errors
    /// Only when this node's store fails.
    pub fn handle_round2<S: StateStore>(
        &mut self,
        from: NodeId,
        message: NodeSigned<Round2>,
        state: &S,
    ) -> Result<CeremonyReply, CeremonyError> {
        let own = self.identity.node();
        if message.node != from || message.body.to != own {
            let reason = format!("it says node {} to node {}", message.node, message.body.to);
            return Ok(refused(Refusal::Malformed { what: "the round-2 message".to_owned(), reason }));
        }
        let (ceremony, number) = (message.body.ceremony, message.body.attempt);
        let Some(record) = state.ceremony(ceremony)?.filter(|record| record.attempt >= number) else {
            return Ok(CeremonyReply::NotYet);
        };
        if let Err(refusal) = check_round2(&record, own, &message) {
            return Ok(refused(refusal));
        }
        let cluster = state.cluster()?;
        let Some(entry) = cluster.node(from) else { return Ok(refused(Refusal::NodeUnknown { node: from })) };
        if message.verify(cluster.cluster, &entry.identity).is_err() {
            return Ok(refused(Refusal::SignatureInvalid { signer: format!("node {from}") }));
        }
        if record.confirmed.contains(&own) {
            return Ok(CeremonyReply::Taken);
        }
        let scene = Scene { state, identity: &self.identity, ceremony, record: &record, now: UnixMillis::default() };
        let Some(attempt) = self.attempts.get_mut(&ceremony).filter(|attempt| attempt.number == number) else {
            return Ok(CeremonyReply::NotYet);
        };
        Ok(match attempt.hold(&scene, message)? {
            Held::Taken => CeremonyReply::Taken,
            Held::GivenUp => refused(Refusal::CeremonyStep),
            Held::Different => refused(Refusal::Malformed {
                what: "the round-2 message".to_owned(),
                reason: "its packages are not those that the log has the hash of, or that were sent first".to_owned(),
            }),
        })
    }

    /// Notes that a recipient has taken its packages: they are wiped and not sent again.
    pub fn round2_acknowledged(&mut self, ceremony: CeremonyId, attempt: u32, to: NodeId) {
        if let Some(running) = self.attempts.get_mut(&ceremony).filter(|running| running.number == attempt) {
            running.acknowledged(to);
        }
    }
}

impl fmt::Debug for Dkg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dkg(node {}, {} ceremonies, <redacted>)", self.identity.node(), self.attempts.len())
    }
}

fn begin<S: StateStore>(scene: &Scene<'_, S>, threshold: u16, rng: &mut impl CryptoRngCore) -> Result<Attempt, CeremonyError> {
    let (identity, record, ceremony) = (scene.identity, scene.record, scene.ceremony);
    if record.round1.contains(&identity.node()) {
        return Ok(Attempt::resume(scene));
    }
    let (secrets, packages) = part1(record.kind, identity.node(), &record.participants, threshold, record.credentials.len(), rng)
        .map_err(|source| CeremonyError::Own { ceremony, source })?;
    let attempt = record.attempt;
    Ok(Attempt::new(attempt, secrets, identity.sign(Round1 { ceremony, attempt, packages })))
}

fn check_round2(record: &CeremonyRecord, own: NodeId, message: &NodeSigned<Round2>) -> Result<(), Refusal> {
    let body = &message.body;
    if body.attempt != record.attempt || record.step == CeremonyStep::Failed {
        return Err(Refusal::CeremonyUnknown { ceremony: body.ceremony });
    }
    if let Some(node) = [message.node, own].into_iter().find(|node| !record.participants.contains(node)) {
        return Err(Refusal::CeremonyParticipant { node });
    }
    if message.node == own {
        return Err(Refusal::CeremonyParticipant { node: own });
    }
    if body.packages.len() != record.credentials.len() {
        return Err(Refusal::CeremonyPackages { expected: record.credentials.len() as u64 });
    }
    if body.packages.iter().any(|package| package.len() > ROUND2_PACKAGE_BYTES_MAX) {
        return Err(Refusal::TooLarge { what: "a round-2 package".to_owned(), limit: ROUND2_PACKAGE_BYTES_MAX as u64 });
    }
    Ok(())
}

const fn refused(refusal: Refusal) -> CeremonyReply {
    CeremonyReply::Refused(refusal)
}
