//! One attempt at a helper.

use std::collections::BTreeMap;

use frost_ed25519::Ed25519Sha512;
use frost_ed25519::keys::repairable::{Delta, repair_share_part1, repair_share_part2};
use rand_core::CryptoRngCore;
use warifu_protocol::canonical::sha256;
use warifu_protocol::wire::RepairScalars;
use warifu_protocol::{Command, NodeId, NodeSigned, RepairCommitments, RepairPart, RepairPartKind, Sha256, UnixMillis, weaken};
use zeroize::Zeroizing;

use super::proof::commitment;
use super::repairs::Scene;
use crate::ceremony::retry::{Outbox, PROPOSE_RETRY_MILLIS, is_due};
use crate::ceremony::{CeremonyEffect, CeremonyError, OpenShare};
use crate::registry::{Registry, StateStore};
use crate::signer::identifier;

/// Scalars in the order of the credentials.
type Scalars = Zeroizing<Vec<[u8; 32]>>;

pub(super) struct Helping {
    pub(super) attempt: u32,
    stage: Stage,
    proposed_at: Option<UnixMillis>,
    deltas: Outbox<RepairScalars>,
    sigma: Outbox<RepairScalars>,
}

enum Stage {
    /// Until its commitments are in the log nothing leaves but these.
    Commit {
        message: NodeSigned<RepairCommitments>,
        deltas: BTreeMap<NodeId, Scalars>,
    },
    /// Its own delta and those of the others, until all are here.
    Gather {
        deltas: BTreeMap<NodeId, Scalars>,
    },
    Done,
    GivenUp,
}

impl Helping {
    /// Begins with this node's deltas, or gives up when it has a share too few or had begun before a restart.
    pub(super) fn begin<S: StateStore>(
        scene: &Scene<'_, S>,
        shares: &impl OpenShare,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Self, CeremonyError> {
        let mut helping = Self {
            attempt: scene.record.attempt,
            stage: Stage::GivenUp,
            proposed_at: None,
            deltas: Outbox::empty(),
            sigma: Outbox::empty(),
        };
        if !scene.record.committed.contains(&scene.identity.node())
            && let Some((commitments, deltas)) = draw(scene, shares, rng)?
        {
            let body = RepairCommitments { ceremony: scene.ceremony, attempt: helping.attempt, commitments };
            helping.stage = Stage::Commit { message: scene.identity.sign(body), deltas };
        }
        Ok(helping)
    }

    pub(super) fn step<S: StateStore>(&mut self, scene: &Scene<'_, S>, effects: &mut Vec<CeremonyEffect>) -> Result<(), CeremonyError> {
        self.send_deltas(scene)?;
        self.send_sigma(scene);
        let command = match &self.stage {
            Stage::Commit { message, .. } if !scene.is_past_deadline(1) => Some(Command::RepairCommitted(message.clone())),
            Stage::GivenUp => Some(scene.abort(Vec::new())),
            Stage::Gather { deltas } if scene.is_past_deadline(1) => {
                let silent = scene.record.helpers.iter().copied().filter(|helper| !deltas.contains_key(helper)).collect();
                Some(scene.abort(silent))
            }
            Stage::Commit { .. } => Some(scene.abort(Vec::new())),
            // The receiver itself has been given the time to say what it lacks.
            Stage::Done if scene.is_past_deadline(3) => Some(scene.abort(Vec::new())),
            Stage::Gather { .. } | Stage::Done => None,
        };
        if let Some(command) = command
            && is_due(self.proposed_at, scene.now, PROPOSE_RETRY_MILLIS)
        {
            self.proposed_at = Some(scene.now);
            effects.push(CeremonyEffect::Propose(command));
        }
        let due = self.deltas.due(scene.now).into_iter().chain(self.sigma.due(scene.now));
        effects.extend(due.map(|(to, message)| CeremonyEffect::SendRepair { to, message }));
        Ok(())
    }

    /// Takes deltas that fit their commitments; says whether it was time for them.
    pub(super) fn take(&mut self, from: NodeId, scalars: &[[u8; 32]]) -> bool {
        match &mut self.stage {
            Stage::Commit { .. } | Stage::GivenUp => false,
            Stage::Done => true,
            Stage::Gather { deltas } => {
                deltas.entry(from).or_insert_with(|| Zeroizing::new(scalars.to_vec()));
                true
            }
        }
    }

    pub(super) fn acknowledged(&mut self, kind: RepairPartKind, to: NodeId) {
        match kind {
            RepairPartKind::Delta => self.deltas.acknowledged(to),
            RepairPartKind::Sigma => self.sigma.acknowledged(to),
        }
    }

    /// When all helpers' commitments are in the log, each gets its delta: whoever could still choose its own would see the others' first.
    fn send_deltas<S: StateStore>(&mut self, scene: &Scene<'_, S>) -> Result<(), CeremonyError> {
        let own = scene.identity.node();
        let Stage::Commit { message, deltas } = &mut self.stage else { return Ok(()) };
        if scene.record.committed != scene.record.helpers {
            return Ok(());
        }
        if scene.state.repair_commitments(scene.ceremony, own)?.as_ref() != Some(message) {
            // Said before a restart and logged after it: nobody has its deltas.
            self.enter(Stage::GivenUp);
            return Ok(());
        }
        let mut kept = BTreeMap::new();
        for (to, scalars) in std::mem::take(deltas) {
            if to == own {
                kept.insert(own, scalars);
            } else {
                self.deltas.put(to, part(scene, to, RepairPartKind::Delta, &scalars));
            }
        }
        self.enter(Stage::Gather { deltas: kept });
        Ok(())
    }

    /// When all deltas are here, their sum goes to the receiver.
    fn send_sigma<S: StateStore>(&mut self, scene: &Scene<'_, S>) {
        let Stage::Gather { deltas } = &self.stage else { return };
        if !scene.record.helpers.iter().all(|helper| deltas.contains_key(helper)) {
            return;
        }
        let mut sigmas = Zeroizing::new(Vec::with_capacity(scene.record.credentials.len()));
        for place in 0..scene.record.credentials.len() {
            let column = deltas.values().filter_map(|scalars| scalars.get(place)).filter_map(|delta| Delta::deserialize(delta).ok());
            let mut column: Vec<Delta> = column.collect();
            let sigma = Zeroizing::new(repair_share_part2(&column).serialize());
            wipe(column.iter_mut());
            sigmas.extend(<[u8; 32]>::try_from(sigma.as_slice()));
        }
        let receiver = scene.record.receiver;
        self.sigma.put(receiver, part(scene, receiver, RepairPartKind::Sigma, &sigmas));
        self.enter(Stage::Done);
    }

    fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.proposed_at = None;
    }
}

/// The commitments, by credential and helper, and the deltas by helper and credential. `None` when this node cannot help.
#[expect(clippy::type_complexity, reason = "two halves of one result, taken apart at once")]
fn draw<S: StateStore>(
    scene: &Scene<'_, S>,
    shares: &impl OpenShare,
    rng: &mut impl CryptoRngCore,
) -> Result<Option<(Vec<Vec<[u8; 32]>>, BTreeMap<NodeId, Scalars>)>, CeremonyError> {
    let (own, ceremony) = (scene.identity.node(), scene.ceremony);
    let helpers: Vec<_> = scene.record.helpers.iter().map(|helper| identifier(*helper)).collect();
    let count = scene.record.credentials.len();
    let mut commitments = Vec::with_capacity(count);
    // Reserved in full, so that no part is left behind in a buffer that was outgrown.
    let room = || Zeroizing::new(Vec::with_capacity(count));
    let mut deltas: BTreeMap<NodeId, Scalars> = scene.record.helpers.iter().map(|helper| (*helper, room())).collect();
    for (credential, epoch) in &scene.record.credentials {
        let Some(share) = shares.open_share(*credential, *epoch).filter(|share| *share.identifier() == identifier(own)) else {
            return Ok(None);
        };
        let mut drawn = repair_share_part1::<Ed25519Sha512, _>(&helpers, &share, rng, identifier(scene.record.receiver))
            .map_err(|source| CeremonyError::Own { ceremony, source })?;
        weaken!(RepairReusesDelta, {
            let mut same = <rand_chacha::ChaCha20Rng as rand_core::SeedableRng>::from_seed([7; 32]);
            drawn = repair_share_part1::<Ed25519Sha512, _>(&helpers, &share, &mut same, identifier(scene.record.receiver))
                .map_err(|source| CeremonyError::Own { ceremony, source })?;
        });
        let mut points = Vec::with_capacity(helpers.len());
        for (helper, scalars) in &mut deltas {
            let delta = drawn.get(&identifier(*helper)).map(|delta| Zeroizing::new(delta.serialize()));
            let delta = delta.and_then(|delta| <[u8; 32]>::try_from(delta.as_slice()).ok()).map(Zeroizing::new);
            let fits = delta.as_ref().and_then(|delta| Some((commitment(delta)?, **delta)));
            let Some((point, scalar)) = fits else { return Ok(None) };
            points.push(point);
            scalars.push(scalar);
        }
        weaken!(RepairSendsRawShare, {
            let raw = <[u8; 32]>::try_from(share.signing_share().serialize()).unwrap_or_default();
            deltas.values_mut().filter_map(|scalars| scalars.last_mut()).for_each(|scalar| *scalar = raw);
        });
        wipe(drawn.values_mut());
        commitments.push(points);
    }
    Ok(Some((commitments, deltas)))
}

/// frost-core does not wipe its deltas, so they are overwritten.
fn wipe<'a>(deltas: impl Iterator<Item = &'a mut Delta>) {
    let zero = Delta::deserialize(&[0; 32]).expect("zero is a scalar");
    deltas.for_each(|delta| *delta = zero);
}

fn part<S: StateStore>(scene: &Scene<'_, S>, to: NodeId, kind: RepairPartKind, scalars: &[[u8; 32]]) -> RepairScalars {
    let hashes = scalars.iter().map(|scalar| Sha256::new(sha256(scalar))).collect();
    let body = RepairPart { ceremony: scene.ceremony, attempt: scene.record.attempt, to, kind, hashes };
    RepairScalars { part: scene.identity.sign(body), scalars: scalars.to_vec() }
}
