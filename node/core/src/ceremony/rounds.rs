//! The three parts of frost-core's DKG, or of its refresh, for all credentials of a ceremony at once and with whoever is to blame.

use std::collections::BTreeMap;

use frost_core::Field as _;
use frost_ed25519::keys::dkg::{self, round1, round2};
use frost_ed25519::keys::{KeyPackage, PublicKeyPackage, SecretShare, refresh};
use frost_ed25519::{Ed25519ScalarField, Error, Identifier};
use rand_core::CryptoRngCore;
use warifu_protocol::wire::Round2;
use warifu_protocol::{Blob, CredentialId, NodeId, NodeSigned, Round1};
use zeroize::{Zeroize as _, Zeroizing};

use super::repair::zero_share_fits;
use crate::registry::CeremonyKind;
use crate::signer::{identifier, node_of};

/// Largest serialized round-2 package; FROST(Ed25519, SHA-512) has 37 bytes.
pub const ROUND2_PACKAGE_BYTES_MAX: usize = 64;

/// The round-1 packages of the other participants for one credential.
pub(super) type Round1Packages = BTreeMap<Identifier, round1::Package>;

/// Why a part cannot be done with what the others sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Blame {
    /// Whose package is wrong, where that can be told.
    pub(super) culprit: Option<NodeId>,
    /// Of which credential.
    pub(super) credential: CredentialId,
}

/// What this node has after round 1. Packages that are not taken out of it are wiped.
#[derive(Default)]
pub(super) struct Round2Made {
    pub(super) secrets: Vec<round2::SecretPackage>,
    pub(super) round1: Vec<Round1Packages>,
    /// Serialized packages by recipient, in the order of the credentials.
    pub(super) packages: BTreeMap<NodeId, Vec<Blob>>,
}

impl Drop for Round2Made {
    fn drop(&mut self) {
        self.packages.values_mut().flatten().for_each(|package| package.0.zeroize());
    }
}

/// Part 1 for `count` credentials.
pub(super) fn part1(
    kind: CeremonyKind,
    own: NodeId,
    participants: &[NodeId],
    threshold: u16,
    count: usize,
    rng: &mut impl CryptoRngCore,
) -> Result<(Vec<round1::SecretPackage>, Vec<Blob>), Error> {
    let max_signers = u16::try_from(participants.len()).map_err(|_| Error::InvalidMaxSigners)?;
    let mut secrets = Vec::with_capacity(count);
    let mut packages = Vec::with_capacity(count);
    for _ in 0..count {
        let (secret, package) = match kind {
            CeremonyKind::Generate => dkg::part1(identifier(own), max_signers, threshold, &mut *rng)?,
            CeremonyKind::Refresh => refresh::refresh_dkg_part1(identifier(own), max_signers, threshold, &mut *rng)?,
        };
        packages.push(Blob(package.serialize()?));
        secrets.push(secret);
    }
    Ok((secrets, packages))
}

/// Part 2: checks the others' round-1 packages and makes the packages for each of them.
pub(super) fn part2(
    kind: CeremonyKind,
    secrets: Vec<round1::SecretPackage>,
    credentials: &[CredentialId],
    others: &[NodeSigned<Round1>],
) -> Result<Round2Made, Blame> {
    let senders: Vec<NodeId> = others.iter().map(|message| message.node).collect();
    let mut made = Round2Made::default();
    for (place, (secret, credential)) in secrets.into_iter().zip(credentials).enumerate() {
        let mut packages = Round1Packages::new();
        for message in others {
            let blame = || Blame { culprit: Some(message.node), credential: *credential };
            let package = message.body.packages.get(place).ok_or_else(blame)?;
            let package = read_round1(kind, package, *secret.min_signers()).ok_or_else(blame)?;
            packages.insert(identifier(message.node), package);
        }
        let made_here = match kind {
            CeremonyKind::Generate => dkg::part2(secret, &packages),
            CeremonyKind::Refresh => refresh::refresh_dkg_part2(secret, &packages),
        };
        let (secret, outgoing) = made_here.map_err(|error| blame(&senders, *credential, &error))?;
        for message in others {
            let package = outgoing.get(&identifier(message.node)).and_then(|package| package.serialize().ok());
            let package = package.ok_or(Blame { culprit: None, credential: *credential })?;
            made.packages.entry(message.node).or_default().push(Blob(package));
        }
        made.secrets.push(secret);
        made.round1.push(packages);
    }
    Ok(made)
}

/// A round-1 package for this threshold. frost-core finds a polynomial of another degree too, but does not say whose it is.
/// A refresh adds polynomials without a constant, to which there is no commitment.
fn read_round1(kind: CeremonyKind, bytes: &Blob, threshold: u16) -> Option<round1::Package> {
    let package = round1::Package::deserialize(bytes.as_slice()).ok()?;
    let degree = package.commitment().serialize().ok()?.len();
    let expected = match kind {
        CeremonyKind::Generate => usize::from(threshold),
        CeremonyKind::Refresh => usize::from(threshold) - 1,
    };
    (degree == expected).then_some(package)
}

/// Whether part 2 at `recipient` accepts this round-1 package of `sender`. The answer is that of frost-core's own check, which needs
/// some polynomial of the recipient's to run at all; any does.
pub(crate) fn round1_is_right(kind: CeremonyKind, sender: NodeId, recipient: NodeId, threshold: u16, package: &Blob) -> bool {
    let Some(package) = read_round1(kind, package, threshold) else { return false };
    if kind == CeremonyKind::Refresh {
        // Nobody can choose the constant, so there is nothing to prove the knowledge of.
        return true;
    }
    let ones = vec![Ed25519ScalarField::one(); usize::from(threshold)];
    let secret = round1::SecretPackage::new(identifier(recipient), ones, package.commitment().clone(), threshold, 2);
    dkg::part2(secret, &Round1Packages::from([(identifier(sender), package)])).is_ok()
}

/// Whether part 3 at `recipient` accepts this round-2 package of the sender of that round-1 package.
pub(crate) fn round2_is_right(kind: CeremonyKind, recipient: NodeId, threshold: u16, round1: &Blob, package: &Blob) -> bool {
    let (Some(round1), Ok(package)) = (read_round1(kind, round1, threshold), round2::Package::deserialize(package.as_slice())) else {
        return false;
    };
    match kind {
        CeremonyKind::Generate => {
            SecretShare::new(identifier(recipient), *package.signing_share(), round1.commitment().clone()).verify().is_ok()
        }
        CeremonyKind::Refresh => {
            let share = Zeroizing::new(package.signing_share().serialize());
            let coefficients = round1.commitment().serialize().unwrap_or_default();
            zero_share_fits(&share, recipient, &coefficients)
        }
    }
}

/// Part 3: checks the packages that the others sent to this node and makes its shares.
///
/// `old` has what is refreshed, in the order of the credentials; nothing in a key generation.
pub(super) fn part3(
    secrets: &[round2::SecretPackage],
    round1: &[Round1Packages],
    credentials: &[CredentialId],
    received: &BTreeMap<NodeId, NodeSigned<Round2>>,
    old: &[(KeyPackage, PublicKeyPackage)],
) -> Result<Vec<(KeyPackage, PublicKeyPackage)>, Blame> {
    let senders: Vec<NodeId> = received.keys().copied().collect();
    let mut keys = Vec::with_capacity(credentials.len());
    for (place, ((secret, round1), credential)) in secrets.iter().zip(round1).zip(credentials).enumerate() {
        let mut packages = BTreeMap::new();
        for (node, message) in received {
            let package = message.body.packages.get(place).and_then(|bytes| round2::Package::deserialize(bytes.as_slice()).ok());
            let package = package.ok_or(Blame { culprit: Some(*node), credential: *credential })?;
            packages.insert(identifier(*node), package);
        }
        let made = match old.get(place) {
            None => dkg::part3(secret, round1, &packages).map_err(|error| blame(&senders, *credential, &error))?,
            Some((key, public)) => refresh::refresh_dkg_shares(secret, round1, &packages, public.clone(), key.clone()).map_err(|_| {
                // frost-core does not say whose share is wrong.
                let lies = |node: &&NodeId| !fits_round1(**node, key, round1, &packages);
                Blame { culprit: senders.iter().find(lies).copied(), credential: *credential }
            })?,
        };
        keys.push(made);
    }
    Ok(keys)
}

fn fits_round1(sender: NodeId, own: &KeyPackage, round1: &Round1Packages, packages: &BTreeMap<Identifier, round2::Package>) -> bool {
    let sender = identifier(sender);
    let (Some(round1), Some(package)) = (round1.get(&sender), packages.get(&sender)) else { return false };
    let share = Zeroizing::new(package.signing_share().serialize());
    let coefficients = round1.commitment().serialize().unwrap_or_default();
    every_node().any(|node| identifier(node) == *own.identifier() && zero_share_fits(&share, node, &coefficients))
}

fn every_node() -> impl Iterator<Item = NodeId> {
    (1..=NodeId::MAX).filter_map(NodeId::new)
}

fn blame(senders: &[NodeId], credential: CredentialId, error: &Error) -> Blame {
    let culprit = error.culprits().first().and_then(|culprit| node_of(senders, *culprit));
    Blame { culprit, credential }
}
