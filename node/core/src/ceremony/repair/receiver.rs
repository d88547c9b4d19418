//! One attempt at the node that lacks the shares.

use std::collections::BTreeMap;

use frost_ed25519::keys::PublicKeyPackage;
use frost_ed25519::keys::repairable::{Sigma, repair_share_part3};
use warifu_protocol::{Command, NodeId, NodeSigned, RepairConfirm, UnixMillis};
use zeroize::Zeroizing;

use super::repairs::Scene;
use crate::ceremony::retry::{PROPOSE_RETRY_MILLIS, is_due};
use crate::ceremony::{CeremonyEffect, CeremonyError};
use crate::registry::{Registry, StateStore};
use crate::signer::{ShareRecord, identifier};

pub(super) struct Receiving {
    pub(super) attempt: u32,
    sigmas: BTreeMap<NodeId, Zeroizing<Vec<[u8; 32]>>>,
    /// Kept until the confirmation is in the log, so that a shell that failed to store them is asked again.
    repaired: Option<(Vec<ShareRecord>, NodeSigned<RepairConfirm>)>,
    proposed_at: Option<UnixMillis>,
}

impl Receiving {
    pub(super) const fn new(attempt: u32) -> Self {
        Self { attempt, sigmas: BTreeMap::new(), repaired: None, proposed_at: None }
    }

    pub(super) fn repaired(&self) -> u64 {
        self.repaired.as_ref().map_or(0, |(shares, _)| shares.len() as u64)
    }

    /// Takes sigmas that fit their commitments.
    pub(super) fn take(&mut self, from: NodeId, scalars: &[[u8; 32]]) -> bool {
        if self.repaired.is_none() {
            self.sigmas.entry(from).or_insert_with(|| Zeroizing::new(scalars.to_vec()));
        }
        true
    }

    /// `lost` says that an earlier process of this node was sent parts that this one does not have.
    pub(super) fn step<S: StateStore>(
        &mut self,
        scene: &Scene<'_, S>,
        lost: bool,
        effects: &mut Vec<CeremonyEffect>,
    ) -> Result<(), CeremonyError> {
        if self.repaired.is_none() && scene.record.helpers.iter().all(|helper| self.sigmas.contains_key(helper)) {
            let shares = self.put_together(scene)?;
            self.sigmas.clear();
            let message = scene.identity.sign(RepairConfirm { ceremony: scene.ceremony, attempt: self.attempt });
            self.repaired = Some((shares, message));
            self.proposed_at = None;
        }
        if !is_due(self.proposed_at, scene.now, PROPOSE_RETRY_MILLIS) {
            return Ok(());
        }
        if let Some((shares, message)) = &self.repaired {
            let (ceremony, attempt, shares) = (scene.ceremony, self.attempt, shares.clone());
            effects.push(CeremonyEffect::StorePending { ceremony, attempt, shares });
            effects.push(CeremonyEffect::Propose(Command::RepairConfirmed(message.clone())));
        } else if lost || scene.is_past_deadline(2) {
            let silent = scene.record.helpers.iter().copied().filter(|helper| !self.sigmas.contains_key(helper)).collect();
            effects.push(CeremonyEffect::Propose(scene.abort(silent)));
        } else {
            return Ok(());
        }
        self.proposed_at = Some(scene.now);
        Ok(())
    }

    /// The shares, each compared with this node's verifying share.
    fn put_together<S: StateStore>(&self, scene: &Scene<'_, S>) -> Result<Vec<ShareRecord>, CeremonyError> {
        let (ceremony, own) = (scene.ceremony, scene.identity.node());
        let unfit = || CeremonyError::SharesUnfit { ceremony };
        let basis = scene.state.repair_basis(ceremony)?;
        let mut shares = Vec::with_capacity(scene.record.credentials.len());
        for (place, ((credential, epoch), expected)) in scene.record.credentials.iter().zip(&basis.receiver).enumerate() {
            let record = scene.state.credential(*credential)?.ok_or_else(unfit)?;
            let key = record.key.ok_or_else(unfit)?;
            let public = PublicKeyPackage::deserialize(key.public_key_package.as_slice()).map_err(|_| unfit())?;
            let column = self.sigmas.values().filter_map(|scalars| scalars.get(place)).filter_map(|sigma| Sigma::deserialize(sigma).ok());
            let mut column: Vec<Sigma> = column.collect();
            let package = repair_share_part3(&column, identifier(own), &public);
            // frost-core does not wipe them.
            column.fill(Sigma::deserialize(&[0; 32]).expect("zero is a scalar"));
            let package = package.map_err(|source| CeremonyError::Own { ceremony, source })?;
            let verifying_share = package.verifying_share().serialize().map_err(|source| CeremonyError::Own { ceremony, source })?;
            if verifying_share != expected.as_slice() {
                return Err(unfit());
            }
            shares.push(ShareRecord::new(*credential, *epoch, &package));
        }
        Ok(shares)
    }
}
