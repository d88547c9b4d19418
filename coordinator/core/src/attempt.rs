//! One signer set at work on one document. A set is fixed by its commitments: if one signer fails, all of it is void.

use std::collections::{BTreeMap, BTreeSet};

use frost_ed25519::round2::SignatureShare;
use frost_ed25519::{CheaterDetection, SigningPackage};
use warifu_protocol::mutants::{Mutant, is_on};
use warifu_protocol::wire::{SignItem, SignerCommitments};
use warifu_protocol::{NodeId, weaken};

use crate::commitments::Commitments;
use crate::job::Job;
use crate::key::{identifier, node_of};
use crate::{GroupKey, MonotonicMillis};

#[derive(Debug)]
pub(crate) struct Attempt {
    package: SigningPackage,
    signers: Vec<SignerCommitments>,
    shares: BTreeMap<NodeId, [u8; 32]>,
    answered: BTreeSet<NodeId>,
    /// No signature can come of it; further answers may still say why.
    pub(crate) is_void: bool,
    /// When it is called slow; taken when it was.
    pub(crate) overdue_at: Option<MonotonicMillis>,
}

/// Why shares do not make a signature.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AggregateInvalid {
    /// Whose shares are false; empty if each share is right by itself.
    pub(crate) culprits: BTreeSet<NodeId>,
}

impl Attempt {
    pub(crate) fn new(job: &Job, chosen: BTreeMap<NodeId, Commitments>, overdue_at: MonotonicMillis) -> Self {
        let mut points = BTreeMap::new();
        let mut signers = Vec::with_capacity(chosen.len());
        for (node, commitments) in chosen {
            let (signer, point) = commitments.into_parts(node);
            points.insert(identifier(node), point);
            signers.push(signer);
        }
        Self {
            package: SigningPackage::new(points, &job.message),
            signers,
            shares: BTreeMap::new(),
            answered: BTreeSet::new(),
            is_void: false,
            overdue_at: Some(overdue_at),
        }
    }

    pub(crate) fn item(&self, job: &Job) -> SignItem {
        SignItem { work: job.work.clone(), epoch: job.epoch, signers: self.signers.clone() }
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.signers.iter().map(|signer| signer.node)
    }

    pub(crate) fn unanswered(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes().filter(|node| !self.answered.contains(node))
    }

    /// Whether this is a signer's first answer; any other is ignored.
    pub(crate) fn take_answer(&mut self, node: NodeId) -> bool {
        self.nodes().any(|signer| signer == node) && self.answered.insert(node)
    }

    pub(crate) fn add_share(&mut self, node: NodeId, share: [u8; 32]) {
        self.shares.insert(node, share);
    }

    pub(crate) fn is_answered(&self) -> bool {
        self.answered.len() == self.signers.len()
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.shares.len() == self.signers.len()
    }

    /// Adds the shares up and verifies the result strictly; when it does not verify, each share by itself to name who is at fault.
    pub(crate) fn aggregate(&self, key: &GroupKey, message: &[u8]) -> Result<[u8; 64], AggregateInvalid> {
        let mut shares = BTreeMap::new();
        let mut culprits = BTreeSet::new();
        for (node, bytes) in &self.shares {
            match SignatureShare::deserialize(bytes) {
                Ok(share) => {
                    shares.insert(identifier(*node), share);
                }
                Err(_) => {
                    culprits.insert(*node);
                }
            }
        }
        if !culprits.is_empty() {
            return Err(AggregateInvalid { culprits });
        }
        let aggregated = frost_ed25519::aggregate_custom(&self.package, &shares, key.package(), CheaterDetection::AllCheaters);
        match aggregated.and_then(|signature| signature.serialize()) {
            Ok(bytes) => <[u8; 64]>::try_from(bytes)
                .ok()
                .filter(|signature| key.verifies(message, signature) || is_on(Mutant::ReleaseUnverified))
                .ok_or_else(|| AggregateInvalid { culprits: BTreeSet::new() }),
            Err(error) => {
                weaken!(ReleaseUnverified, { return Ok([0; 64]) });
                let culprits = error.culprits().iter().filter_map(|culprit| node_of(culprit, self.nodes())).collect();
                Err(AggregateInvalid { culprits })
            }
        }
    }
}
