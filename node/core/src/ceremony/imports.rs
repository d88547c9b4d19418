//! This node's part in imports: it opens its packet, and says that it has its share once that is on its disk.

use std::collections::BTreeMap;
use std::fmt;

use warifu_protocol::limits::IMPORTS_OPEN_MAX;
use warifu_protocol::wire::PacketAnswer;
use warifu_protocol::{
    CeremonyId, Command, Epoch, ImportAbort, ImportConfirm, ImportFailure, ImportPacket, Refusal, SealingKey, UnixMillis,
};

use super::dkg::DEADLINE_GRACE_MILLIS;
use super::effect::{CeremonyEffect, CeremonyError};
use super::retry::{PROPOSE_RETRY_MILLIS, is_due};
use crate::identity::NodeIdentity;
use crate::import::{OpenPacket, check_packet, open_packet};
use crate::registry::{ImportRecord, ImportStep, Registry, StateStore};
use crate::signer::ShareRecord;

/// The epoch of the shares that an import brings.
const FIRST_EPOCH: Epoch = Epoch(1);

/// This node's part in all imports; `K` opens its packets. Nothing of it survives a restart: whoever sent a packet sends it again until its confirmation is in the
/// log.
///
/// Hand packets to [`Self::handle`], and call [`Self::step`] after every applied entry and about twice a second. Both go by a state that
/// is confirmed, or not at all: which packet is right follows from it.
///
/// # Security
/// From a packet to its confirmation the share is here, at most [`IMPORTS_OPEN_MAX`] of them; it is wiped when the import ends in whatever
/// way.
pub struct Imports<K = SealingKey> {
    identity: NodeIdentity,
    sealing: K,
    held: BTreeMap<CeremonyId, Held>,
    overdue_said_at: BTreeMap<CeremonyId, UnixMillis>,
}

struct Held {
    outcome: Outcome,
    proposed_at: Option<UnixMillis>,
}

enum Outcome {
    /// Kept until the confirmation is in the log, so that a shell that failed to store it is asked again.
    Share(ShareRecord),
    /// The packet is the one that was ordered, and of no use.
    Unusable,
}

impl<K: OpenPacket> Imports<K> {
    /// Starts with nothing.
    #[must_use]
    pub const fn new(identity: NodeIdentity, sealing: K) -> Self {
        Self { identity, sealing, held: BTreeMap::new(), overdue_said_at: BTreeMap::new() }
    }

    /// Takes this node's packet, if it is the one that was ordered and holds the share that the order commits to. The same packet again is
    /// taken again. It may be sent by anybody: it opens for this node alone, and the log has its hash.
    ///
    /// # Errors
    /// Only when this node's store fails.
    pub fn handle<S: StateStore>(&mut self, packet: &ImportPacket, state: &S) -> Result<PacketAnswer, CeremonyError> {
        let (ceremony, own) = (CeremonyId::new(*packet.order.as_bytes()), self.identity.node());
        if packet.node != own {
            let reason = format!("it was brought to node {own}");
            return Ok(PacketAnswer::Refused(Refusal::PacketRefused { node: packet.node, reason }));
        }
        let Some(record) = state.import(ceremony)? else { return Ok(PacketAnswer::NotYet) };
        if !record.nodes().contains(&own) {
            return Ok(PacketAnswer::Refused(Refusal::CeremonyParticipant { node: own }));
        }
        let terms = match (record.step, record.terms) {
            (ImportStep::Open, Some(terms)) => terms,
            (ImportStep::Done, _) => return Ok(PacketAnswer::Taken),
            (ImportStep::Open | ImportStep::Failed, _) => return Ok(PacketAnswer::Refused(Refusal::CeremonyStep)),
        };
        if let Err(refusal) = check_packet(&terms.import, packet) {
            return Ok(PacketAnswer::Refused(refusal));
        }
        let has_share = self.held.get(&ceremony).is_some_and(|held| matches!(held.outcome, Outcome::Share(_)));
        if has_share || record.confirmed.contains(&own) {
            return Ok(PacketAnswer::Taken);
        }
        let (outcome, answer) = match open_packet(&terms.import, self.identity.cluster(), packet, &self.sealing) {
            Ok(share) => (Outcome::Share(ShareRecord::new(record.credential, FIRST_EPOCH, &share)), PacketAnswer::Taken),
            Err(refusal) => (Outcome::Unusable, PacketAnswer::Refused(refusal)),
        };
        self.held.entry(ceremony).or_insert(Held { outcome, proposed_at: None });
        Ok(answer)
    }

    /// Says what is to be done for the open imports.
    ///
    /// `now` is the node's wall clock. Calling it again with nothing changed asks for nothing before a retry interval has passed.
    ///
    /// # Errors
    /// Only when this node's store fails.
    pub fn step<S: StateStore>(&mut self, now: UnixMillis, state: &S) -> Result<Vec<CeremonyEffect>, CeremonyError> {
        let own = self.identity.node();
        let open: BTreeMap<CeremonyId, ImportRecord> = state.open_imports(IMPORTS_OPEN_MAX)?.into_iter().collect();
        self.held.retain(|id, _| open.get(id).is_some_and(|record| !record.confirmed.contains(&own)));
        self.overdue_said_at.retain(|id, _| open.contains_key(id));
        let mut effects = Vec::new();
        for (ceremony, record) in open {
            if !record.nodes().contains(&own) {
                continue;
            }
            if let (Some(held), Some(terms)) = (self.held.get_mut(&ceremony), &record.terms)
                && is_due(held.proposed_at, now, PROPOSE_RETRY_MILLIS)
            {
                held.proposed_at = Some(now);
                let command = match &held.outcome {
                    Outcome::Share(share) => {
                        effects.push(CeremonyEffect::StorePending { ceremony, attempt: 1, shares: vec![share.clone()] });
                        let transcript = terms.import.transcript(self.identity.cluster(), ceremony);
                        Command::ImportConfirmed(self.identity.sign(ImportConfirm { ceremony, transcript }))
                    }
                    Outcome::Unusable => self.abort(ceremony, ImportFailure::PacketUnusable),
                };
                effects.push(CeremonyEffect::Propose(command));
            }
            let past_deadline = now >= record.deadline.plus(DEADLINE_GRACE_MILLIS);
            if past_deadline && is_due(self.overdue_said_at.get(&ceremony).copied(), now, PROPOSE_RETRY_MILLIS) {
                self.overdue_said_at.insert(ceremony, now);
                effects.push(CeremonyEffect::Propose(self.abort(ceremony, ImportFailure::Overdue)));
            }
        }
        Ok(effects)
    }

    fn abort(&self, ceremony: CeremonyId, cause: ImportFailure) -> Command {
        Command::ImportAborted(self.identity.sign(ImportAbort { ceremony, cause }))
    }
}

impl<K> fmt::Debug for Imports<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Imports(node {}, {} packets, <redacted>)", self.identity.node(), self.held.len())
    }
}
