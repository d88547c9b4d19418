//! One attempt of one ceremony at one node.

use std::collections::BTreeMap;

use frost_ed25519::keys::dkg::{round1, round2};
use frost_ed25519::keys::{KeyPackage, PublicKeyPackage};
use warifu_protocol::mutants::{Mutant, is_on};
use warifu_protocol::wire::Round2;
use warifu_protocol::{
    CeremonyAbort, CeremonyAccusation, CeremonyConfirm, CeremonyId, CeremonyOverdue, Command, CredentialId, Epoch, EpochReceipt,
    EpochRetired, NodeId, NodeSigned, Round1, Round2Hashes, Sha256, UnixMillis,
};

use super::effect::{CeremonyEffect, CeremonyError};
use super::retry::{Outbox, PROPOSE_RETRY_MILLIS, is_due};
use super::rounds::{self, Blame, Round1Packages};
use super::shares::OpenShare;
use super::transcript::{round2_hash, transcript};
use crate::identity::NodeIdentity;
use crate::registry::{CeremonyKind, CeremonyMessage, CeremonyRecord, CeremonyStep, Registry, StateStore, keeps_old_epoch};
use crate::signer::ShareRecord;

/// What an attempt needs to know of its surroundings in one step.
pub(super) struct Scene<'a, S> {
    pub(super) state: &'a S,
    pub(super) identity: &'a NodeIdentity,
    pub(super) ceremony: CeremonyId,
    pub(super) record: &'a CeremonyRecord,
    pub(super) now: UnixMillis,
}

pub(super) struct Attempt {
    pub(super) number: u32,
    stage: Stage,
    proposed_at: Option<UnixMillis>,
    overdue_said_at: Option<UnixMillis>,
    /// Since when this node sees that the old epoch can end.
    ending_since: Option<UnixMillis>,
    /// What the others sent, one message each, with its hash. Held before the log has that hash, compared with it once it has.
    incoming: BTreeMap<NodeId, (Sha256, NodeSigned<Round2>)>,
    /// What others sent that is not what they logged the hash of, one message each: it proves that they signed two things.
    contradicting: BTreeMap<NodeId, NodeSigned<Round2>>,
    /// What has not been acknowledged.
    outgoing: Outbox<NodeSigned<Round2>>,
}

enum Stage {
    Round1 {
        secrets: Vec<round1::SecretPackage>,
        message: NodeSigned<Round1>,
    },
    Round2 {
        secrets: Vec<round2::SecretPackage>,
        round1: Vec<Round1Packages>,
        message: NodeSigned<Round2Hashes>,
    },
    /// The shares are kept until the confirmation is in the log, so that a shell that failed to store them is asked again.
    Confirm {
        shares: Vec<ShareRecord>,
        message: NodeSigned<CeremonyConfirm>,
    },
    Confirmed,
    /// With what tells the others: an abort or an accusation.
    GivenUp {
        command: Box<Command>,
    },
}

/// What became of a message of another participant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Held {
    Taken,
    /// Another one than that whose hash is in the log, or than the first.
    Different,
    GivenUp,
}

impl Attempt {
    /// Begins with the packages of round 1.
    pub(super) fn new(number: u32, secrets: Vec<round1::SecretPackage>, message: NodeSigned<Round1>) -> Self {
        Self::at(number, Stage::Round1 { secrets, message })
    }

    /// Takes up an attempt in which this node had said something before it restarted. The secrets are gone with the memory that held
    /// them: either everything was done, or the attempt cannot end well.
    pub(super) fn resume<S: StateStore>(scene: &Scene<'_, S>) -> Self {
        let mut attempt = Self::at(scene.record.attempt, Stage::Confirmed);
        if !scene.record.confirmed.contains(&scene.identity.node()) {
            attempt.give_up(scene);
        }
        attempt
    }

    fn at(number: u32, stage: Stage) -> Self {
        Self {
            number,
            stage,
            proposed_at: None,
            overdue_said_at: None,
            ending_since: None,
            incoming: BTreeMap::new(),
            contradicting: BTreeMap::new(),
            outgoing: Outbox::empty(),
        }
    }

    /// Goes as far as the log and the messages allow, then asks for what is missing; `past_deadline`, also for the attempt's end.
    pub(super) fn step<S: StateStore>(
        &mut self,
        scene: &Scene<'_, S>,
        past_deadline: bool,
        shares: &impl OpenShare,
        effects: &mut Vec<CeremonyEffect>,
    ) -> Result<(), CeremonyError> {
        if scene.record.step == CeremonyStep::Switch {
            return self.switch(scene, past_deadline, effects);
        }
        self.finish_round1(scene)?;
        self.finish_round2(scene, shares)?;
        if matches!(self.stage, Stage::Confirm { .. }) && scene.record.confirmed.contains(&scene.identity.node()) {
            self.enter(Stage::Confirmed);
        }
        self.emit(scene, effects);
        // By this node's clock only: the registry goes by the log's time, so nothing is dropped before the attempt has really ended.
        if past_deadline && is_due(self.overdue_said_at, scene.now, PROPOSE_RETRY_MILLIS) {
            self.overdue_said_at = Some(scene.now);
            let body = CeremonyOverdue { ceremony: scene.ceremony, attempt: self.number };
            effects.push(CeremonyEffect::Propose(Command::CeremonyOverdue(scene.identity.sign(body))));
        }
        Ok(())
    }

    /// Holds a message whose sender, signature and bounds have been checked.
    pub(super) fn hold<S: StateStore>(&mut self, scene: &Scene<'_, S>, message: NodeSigned<Round2>) -> Result<Held, CeremonyError> {
        match self.stage {
            Stage::Confirm { .. } | Stage::Confirmed => return Ok(Held::Taken),
            Stage::GivenUp { .. } => return Ok(Held::GivenUp),
            Stage::Round1 { .. } | Stage::Round2 { .. } => {}
        }
        let hash = round2_hash(&message.body.packages);
        if let Some((held, _)) = self.incoming.get(&message.node) {
            return Ok(if *held == hash { Held::Taken } else { Held::Different });
        }
        if scene.record.round2.contains(&message.node) {
            let logged: NodeSigned<Round2Hashes> = scene.message(CeremonyMessage::Round2Hashes, message.node)?;
            if hash_for(&logged.body, scene.identity.node()) != Some(hash) && !is_on(Mutant::SkipRound2Hash) {
                self.contradicting.entry(message.node).or_insert(message);
                return Ok(Held::Different);
            }
        }
        self.incoming.insert(message.node, (hash, message));
        Ok(Held::Taken)
    }

    pub(super) fn acknowledged(&mut self, to: NodeId) {
        self.outgoing.acknowledged(to);
    }

    fn finish_round1<S: StateStore>(&mut self, scene: &Scene<'_, S>) -> Result<(), CeremonyError> {
        let own = scene.identity.node();
        let Stage::Round1 { secrets, message } = &mut self.stage else { return Ok(()) };
        if !scene.record.round1.contains(&own) {
            return Ok(());
        }
        let logged: NodeSigned<Round1> = scene.message(CeremonyMessage::Round1, own)?;
        if logged != *message {
            // Said before a restart and logged after it: nobody has its secrets.
            self.give_up(scene);
            return Ok(());
        }
        if scene.record.step == CeremonyStep::Round1 {
            return Ok(());
        }
        let others = scene.messages_of_others(CeremonyMessage::Round1)?;
        match rounds::part2(scene.record.kind, std::mem::take(secrets), &scene.record.credentials, &others) {
            Ok(mut made) => {
                let hashes = made.packages.iter().map(|(to, packages)| (*to, round2_hash(packages))).collect();
                let (ceremony, attempt) = (scene.ceremony, self.number);
                let message = scene.identity.sign(Round2Hashes { ceremony, attempt, hashes });
                let (secrets, round1) = (std::mem::take(&mut made.secrets), std::mem::take(&mut made.round1));
                self.enter(Stage::Round2 { secrets, round1, message });
                for (to, packages) in std::mem::take(&mut made.packages) {
                    self.outgoing.put(to, scene.identity.sign(Round2 { ceremony, attempt, to, packages }));
                }
            }
            Err(blame) => self.accuse(scene, &blame, None),
        }
        Ok(())
    }

    fn finish_round2<S: StateStore>(&mut self, scene: &Scene<'_, S>, shares: &impl OpenShare) -> Result<(), CeremonyError> {
        let own = scene.identity.node();
        let Stage::Round2 { secrets, round1, message } = &self.stage else { return Ok(()) };
        if scene.record.step != CeremonyStep::Confirm {
            return Ok(());
        }
        let hashes: Vec<NodeSigned<Round2Hashes>> = scene.messages(CeremonyMessage::Round2Hashes)?;
        if !hashes.contains(message) {
            self.give_up(scene);
            return Ok(());
        }
        let mut complete = true;
        for logged in hashes.iter().filter(|logged| logged.node != own) {
            let contradicting = match self.incoming.get(&logged.node) {
                Some((hash, _)) if hash_for(&logged.body, own) == Some(*hash) || is_on(Mutant::SkipRound2Hash) => continue,
                Some(_) => self.incoming.remove(&logged.node).map(|(_, message)| message),
                None => self.contradicting.remove(&logged.node),
            };
            match (contradicting, scene.record.credentials.first()) {
                // It signed one thing for this node and another for the log; which credential does not matter.
                (Some(message), Some(credential)) => {
                    self.accuse(scene, &Blame { culprit: Some(logged.node), credential: *credential }, Some(message));
                    return Ok(());
                }
                (None, _) | (_, None) => complete = false,
            }
        }
        if !complete {
            return Ok(());
        }
        let received: BTreeMap<_, _> = std::mem::take(&mut self.incoming).into_iter().map(|(node, (_, message))| (node, message)).collect();
        let old = match scene.record.kind {
            CeremonyKind::Generate => Vec::new(),
            CeremonyKind::Refresh => match scene.refreshed(shares)? {
                Some(old) => old,
                // A share is missing or damaged here.
                None => {
                    self.give_up(scene);
                    return Ok(());
                }
            },
        };
        match rounds::part3(secrets, round1, &scene.record.credentials, &received, &old) {
            Ok(keys) => {
                let mut public_key_packages = Vec::with_capacity(keys.len());
                let mut made = Vec::with_capacity(keys.len());
                for (credential, (key_package, public)) in scene.record.credentials.iter().zip(&keys) {
                    let public = public.serialize().map_err(|source| CeremonyError::Own { ceremony: scene.ceremony, source })?;
                    public_key_packages.push(public.into());
                    let epoch = scene.new_epoch(*credential)?;
                    made.push(ShareRecord::new(*credential, epoch, key_package));
                }
                let message = scene.identity.sign(CeremonyConfirm {
                    ceremony: scene.ceremony,
                    attempt: self.number,
                    transcript: transcript(&scene.messages(CeremonyMessage::Round1)?, &hashes),
                    public_key_packages,
                });
                self.enter(Stage::Confirm { shares: made, message });
            }
            Err(blame) => {
                let evidence = blame.culprit.and_then(|culprit| received.get(&culprit).cloned());
                self.accuse(scene, &blame, evidence);
            }
        }
        Ok(())
    }

    /// Both epochs sign: says that this node has the new one, then asks for the end of the old one.
    fn switch<S: StateStore>(
        &mut self,
        scene: &Scene<'_, S>,
        past_deadline: bool,
        effects: &mut Vec<CeremonyEffect>,
    ) -> Result<(), CeremonyError> {
        let (record, ceremony, attempt) = (scene.record, scene.ceremony, self.number);
        // The share of the old epoch that waits in memory for its confirmation is on the disk now.
        if !matches!(self.stage, Stage::Confirmed) {
            self.enter(Stage::Confirmed);
        }
        if !is_due(self.proposed_at, scene.now, PROPOSE_RETRY_MILLIS) {
            return Ok(());
        }
        let command = if !record.receipts.contains(&scene.identity.node()) {
            Command::EpochReceived(scene.identity.sign(EpochReceipt { ceremony, attempt }))
        } else if past_deadline || record.receipts == record.participants {
            // One after the other: what the others say after the first is refused, and takes room in the log.
            let before = record.participants.iter().take_while(|node| **node != scene.identity.node()).count() as u64;
            let since = *self.ending_since.get_or_insert(scene.now);
            if scene.now.distance(since) < before * PROPOSE_RETRY_MILLIS {
                return Ok(());
            }
            // Looked at no more often than it is asked for: it reads every credential.
            if keeps_old_epoch(scene.state, record)?.is_some() {
                self.proposed_at = Some(scene.now);
                return Ok(());
            }
            Command::EpochRetired(scene.identity.sign(EpochRetired { ceremony, attempt }))
        } else {
            return Ok(());
        };
        self.proposed_at = Some(scene.now);
        effects.push(CeremonyEffect::Propose(command));
        Ok(())
    }

    /// Asks for what is neither in the log nor acknowledged, at most once in each retry interval.
    fn emit<S: StateStore>(&mut self, scene: &Scene<'_, S>, effects: &mut Vec<CeremonyEffect>) {
        let own = scene.identity.node();
        let record = scene.record;
        let command = match &self.stage {
            Stage::Round1 { message, .. } if !record.round1.contains(&own) => Some(Command::CeremonyRound1(message.clone())),
            Stage::Round2 { message, .. } if !record.round2.contains(&own) => Some(Command::CeremonyRound2Hash(message.clone())),
            Stage::Confirm { message, .. } => Some(Command::CeremonyConfirm(message.clone())),
            Stage::GivenUp { command } => Some(Command::clone(command)),
            Stage::Round1 { .. } | Stage::Round2 { .. } | Stage::Confirmed => None,
        };
        if let Some(command) = command
            && is_due(self.proposed_at, scene.now, PROPOSE_RETRY_MILLIS)
        {
            self.proposed_at = Some(scene.now);
            if let Stage::Confirm { shares, .. } = &self.stage {
                let (ceremony, attempt, shares) = (scene.ceremony, self.number, shares.clone());
                effects.push(CeremonyEffect::StorePending { ceremony, attempt, shares });
            }
            effects.push(CeremonyEffect::Propose(command));
        }
        // Whoever has confirmed has everybody's packages.
        self.outgoing.retain(|to| !record.confirmed.contains(&to));
        effects.extend(self.outgoing.due(scene.now).into_iter().map(|(to, message)| CeremonyEffect::SendRound2 { to, message }));
    }

    /// Tells the others whose package is wrong, with the proof: its round-2 message, or its round-1 message in the log. Where that cannot
    /// be told, the attempt is given up without an accusation.
    fn accuse<S: StateStore>(&mut self, scene: &Scene<'_, S>, blame: &Blame, evidence: Option<NodeSigned<Round2>>) {
        let (ceremony, attempt, credential) = (scene.ceremony, self.number, blame.credential);
        let command = match blame.culprit {
            Some(culprit) => {
                let body = CeremonyAccusation { ceremony, attempt, culprit, credential, round2: evidence.map(Box::new) };
                Command::CeremonyAccused(scene.identity.sign(body))
            }
            None => Command::CeremonyAbort(scene.identity.sign(CeremonyAbort {
                ceremony,
                attempt,
                culprit: None,
                credential: Some(credential),
            })),
        };
        self.end(command);
    }

    /// For reasons of this node's own, such as a restart.
    fn give_up<S: StateStore>(&mut self, scene: &Scene<'_, S>) {
        let body = CeremonyAbort { ceremony: scene.ceremony, attempt: self.number, culprit: None, credential: None };
        self.end(Command::CeremonyAbort(scene.identity.sign(body)));
    }

    /// Drops every secret of the attempt and tells the others.
    fn end(&mut self, command: Command) {
        self.incoming.clear();
        self.contradicting.clear();
        self.outgoing.clear();
        self.enter(Stage::GivenUp { command: Box::new(command) });
    }

    fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.proposed_at = None;
    }
}

impl<S: StateStore> Scene<'_, S> {
    /// What this node has of the keys that are refreshed; `None` when it lacks a share.
    fn refreshed(&self, shares: &impl OpenShare) -> Result<Option<Vec<(KeyPackage, PublicKeyPackage)>>, CeremonyError> {
        let mut old = Vec::with_capacity(self.record.credentials.len());
        for credential in &self.record.credentials {
            let record = self.state.credential(*credential)?;
            let share = record.as_ref().and_then(|record| shares.open_share(*credential, record.epoch));
            let public = record.and_then(|record| record.key);
            let public = public.and_then(|key| PublicKeyPackage::deserialize(key.public_key_package.as_slice()).ok());
            let (Some(share), Some(public)) = (share, public) else { return Ok(None) };
            old.push((share, public));
        }
        Ok(Some(old))
    }

    /// A generated key begins with epoch 1; a refresh makes the next one.
    fn new_epoch(&self, credential: CredentialId) -> Result<Epoch, CeremonyError> {
        Ok(match self.record.kind {
            CeremonyKind::Generate => Epoch(1),
            CeremonyKind::Refresh => Epoch(self.state.credential(credential)?.map_or(0, |record| record.epoch.0) + 1),
        })
    }

    fn message<T: serde::de::DeserializeOwned>(&self, message: CeremonyMessage, from: NodeId) -> Result<T, CeremonyError> {
        self.state
            .ceremony_message(self.ceremony, self.record.attempt, message, from)?
            .ok_or(CeremonyError::MessageMissing { ceremony: self.ceremony, node: from })
    }

    /// Of all participants, in the order of the nodes.
    fn messages<T: serde::de::DeserializeOwned>(&self, message: CeremonyMessage) -> Result<Vec<T>, CeremonyError> {
        self.record.participants.iter().map(|node| self.message(message, *node)).collect()
    }

    fn messages_of_others<T: serde::de::DeserializeOwned>(&self, message: CeremonyMessage) -> Result<Vec<T>, CeremonyError> {
        let others = self.record.participants.iter().filter(|node| **node != self.identity.node());
        others.map(|node| self.message(message, *node)).collect()
    }
}

fn hash_for(hashes: &Round2Hashes, to: NodeId) -> Option<Sha256> {
    hashes.hashes.iter().find(|(recipient, _)| *recipient == to).map(|(_, hash)| *hash)
}
