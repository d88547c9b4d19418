//! Who of two participants lies: judged by every node from the log and what the accuser brings.

use warifu_protocol::mutants::{Mutant, is_on};
use warifu_protocol::wire::{Applied, Round2};
use warifu_protocol::{Blob, CeremonyAccusation, NodeId, NodeSigned, Refusal, Round1, Round2Hashes};

use super::apply::{Context, Stop};
use super::ceremonies::{at_attempt, check_participant, restart};
use super::nodes::check_signature;
use super::reader::{CeremonyMessage, Registry};
use super::records::{CeremonyRecord, CeremonyStep};
use super::store::{Overlay, StateStore, StateStoreError};
use crate::ceremony::{round1_is_right, round2_hash, round2_is_right};

/// Leaves the culprit out of the next attempt, or the accuser if the package is right. What is no evidence at all is refused.
pub(super) fn judge<S: StateStore>(
    state: &mut Overlay<'_, S>,
    context: &Context<'_>,
    message: &NodeSigned<CeremonyAccusation>,
) -> Result<Applied, Stop> {
    let (accuser, body) = (message.node, &message.body);
    check_signature(context, message)?;
    let record = at_attempt(state, body.ceremony, body.attempt)?;
    check_participant(&record, accuser)?;
    check_participant(&record, body.culprit)?;
    if accuser == body.culprit {
        return Err(Refusal::CeremonyParticipant { node: accuser }.into());
    }
    let place = record.credentials.iter().position(|credential| *credential == body.credential);
    let place = place.ok_or(Refusal::CeremonyPackages { expected: record.credentials.len() as u64 })?;
    let case = Case { record: &record, accuser, body, place, threshold: u16::from(context.cluster.threshold.0) };
    let right = match &body.round2 {
        None if record.step == CeremonyStep::Round1 => return Err(Refusal::CeremonyStep.into()),
        None => case.round1(state)?.is_some_and(|package| round1_is_right(record.kind, body.culprit, accuser, case.threshold, &package)),
        Some(_) if record.step != CeremonyStep::Confirm => return Err(Refusal::CeremonyStep.into()),
        Some(sent) => {
            case.check_evidence(context, sent)?;
            case.round2_is_right(state, sent)? || is_on(Mutant::SkipRound2Check)
        }
    };
    restart(state, context, body.ceremony, record, &[if right { accuser } else { body.culprit }])?;
    Ok(Applied::Done)
}

struct Case<'a> {
    record: &'a CeremonyRecord,
    accuser: NodeId,
    body: &'a CeremonyAccusation,
    place: usize,
    threshold: u16,
}

impl Case<'_> {
    /// The culprit's logged round-1 package for the credential.
    fn round1<S: StateStore>(&self, state: &S) -> Result<Option<Blob>, StateStoreError> {
        let (ceremony, attempt) = (self.body.ceremony, self.body.attempt);
        let logged: Option<NodeSigned<Round1>> = state.ceremony_message(ceremony, attempt, CeremonyMessage::Round1, self.body.culprit)?;
        Ok(logged.and_then(|message| message.body.packages.get(self.place).cloned()))
    }

    /// The message is what the culprit signed for the accuser in this attempt.
    fn check_evidence(&self, context: &Context<'_>, sent: &NodeSigned<Round2>) -> Result<(), Refusal> {
        let belongs = sent.node == self.body.culprit
            && (sent.body.ceremony, sent.body.attempt, sent.body.to) == (self.body.ceremony, self.body.attempt, self.accuser);
        if !belongs {
            let reason = "it is not of the accused, for the accuser, in this attempt".to_owned();
            return Err(Refusal::Malformed { what: "the round-2 message".to_owned(), reason });
        }
        check_signature(context, sent)
    }

    fn round2_is_right<S: StateStore>(&self, state: &S, sent: &NodeSigned<Round2>) -> Result<bool, StateStoreError> {
        let (ceremony, attempt, culprit) = (self.body.ceremony, self.body.attempt, self.body.culprit);
        let logged: Option<NodeSigned<Round2Hashes>> = state.ceremony_message(ceremony, attempt, CeremonyMessage::Round2Hashes, culprit)?;
        let hash = logged.and_then(|logged| logged.body.hashes.into_iter().find(|(to, _)| *to == self.accuser));
        let as_logged = hash.is_some_and(|(_, hash)| hash == round2_hash(&sent.body.packages));
        let (Some(round1), Some(package)) = (self.round1(state)?, sent.body.packages.get(self.place)) else { return Ok(false) };
        let complete = sent.body.packages.len() == self.record.credentials.len();
        Ok(as_logged && complete && round2_is_right(self.record.kind, self.accuser, self.threshold, &round1, package))
    }
}
