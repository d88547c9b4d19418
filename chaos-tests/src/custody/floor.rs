//! The arithmetic of bulk work alone: one core, no network, no log, no disk.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use frost_ed25519::keys::dkg::{part1, part2, part3, round1, round2};
use frost_ed25519::keys::repairable::{repair_share_part1, repair_share_part2, repair_share_part3};
use frost_ed25519::keys::{KeyPackage, PublicKeyPackage, refresh};
use frost_ed25519::{Ed25519Sha512, Identifier};
use rand_core::OsRng;
use serde::Serialize;
use warifu_core::ceremony::repair::{PointBytes, commitments_fit, interpolate, scalar_fits};
use warifu_core::signer::identifier;
use warifu_protocol::NodeId;

use crate::measure::processors;

/// What the arithmetic of all nodes together costs for one credential.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Floor {
    /// Credentials that were measured.
    pub credentials: u32,
    /// Time of one core for one credential, all nodes' parts together, in milliseconds.
    pub core_millis_per_credential: f64,
    /// Credentials a second that the processors of this machine could do at most if they did nothing else.
    pub credentials_per_second: f64,
}

impl Floor {
    fn of(spent: Duration, credentials: u32, processors: usize) -> Self {
        let each = spent.as_secs_f64() / f64::from(credentials);
        Self { credentials, core_millis_per_credential: each * 1e3, credentials_per_second: processors as f64 / each }
    }
}

/// The floors of all kinds of bulk work.
#[derive(Debug, Clone, Copy)]
pub struct Floors {
    /// Key generation among all nodes.
    pub generation: Floor,
    /// The share of one node, given to it by t helpers. With every check that the nodes make of each other's parts.
    pub repair: Floor,
    /// New shares for all nodes.
    pub refresh: Floor,
}

/// Every node's key and the public keys.
type Keys = BTreeMap<Identifier, (KeyPackage, PublicKeyPackage)>;

/// Measures every kind with `credentials` keys among `nodes` nodes, one key after the other.
///
/// # Errors
/// When the arithmetic fails.
pub fn floors(nodes: u8, threshold: u8, credentials: u32) -> anyhow::Result<Floors> {
    let mut spent = [Duration::ZERO; 3];
    for _ in 0..credentials {
        let keys = timed(&mut spent[0], || generate(nodes, threshold))?;
        timed(&mut spent[1], || repair(&keys, nodes, threshold))?;
        timed(&mut spent[2], || refresh_all(&keys, nodes, threshold))?;
    }
    let [generation, repair, refresh] = spent.map(|spent| Floor::of(spent, credentials, processors()));
    Ok(Floors { generation, repair, refresh })
}

fn timed<T>(spent: &mut Duration, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let start = Instant::now();
    let made = work()?;
    *spent += start.elapsed();
    Ok(made)
}

/// What all participants have after the first two parts: their secrets, what the others said first, and what each was sent.
struct Rounds {
    second: BTreeMap<Identifier, (round2::SecretPackage, BTreeMap<Identifier, round1::Package>)>,
    received: BTreeMap<Identifier, BTreeMap<Identifier, round2::Package>>,
}

type Sent = BTreeMap<Identifier, round2::Package>;

fn rounds(
    nodes: u8,
    first_part: impl Fn(Identifier) -> Result<(round1::SecretPackage, round1::Package), frost_ed25519::Error>,
    second_part: impl Fn(
        round1::SecretPackage,
        &BTreeMap<Identifier, round1::Package>,
    ) -> Result<(round2::SecretPackage, Sent), frost_ed25519::Error>,
) -> anyhow::Result<Rounds> {
    let (mut first, mut broadcast) = (BTreeMap::new(), BTreeMap::new());
    for id in node_ids(nodes).map(identifier) {
        let (secret, package) = first_part(id)?;
        first.insert(id, secret);
        broadcast.insert(id, package);
    }
    let (mut second, mut received) = (BTreeMap::new(), BTreeMap::<_, BTreeMap<_, _>>::new());
    for (id, secret) in first {
        let others = broadcast.iter().filter(|(other, _)| **other != id).map(|(other, package)| (*other, package.clone())).collect();
        let (secret, packages) = second_part(secret, &others)?;
        second.insert(id, (secret, others));
        for (to, package) in packages {
            received.entry(to).or_default().insert(id, package);
        }
    }
    Ok(Rounds { second, received })
}

/// One key; every participant's three parts.
fn generate(nodes: u8, threshold: u8) -> anyhow::Result<Keys> {
    let made = rounds(nodes, |id| part1(id, nodes.into(), threshold.into(), OsRng), part2)?;
    let mut keys = Keys::new();
    for (id, (secret, others)) in &made.second {
        keys.insert(*id, part3(secret, others, made.received.get(id).context("nothing was sent")?)?);
    }
    let mut public = keys.values().map(|(_, public)| public);
    let first = public.next().context("no node")?;
    ensure!(public.all(|other| other == first), "participants made different keys");
    Ok(keys)
}

/// New shares of one key for everybody.
fn refresh_all(keys: &Keys, nodes: u8, threshold: u8) -> anyhow::Result<()> {
    let first = |id| refresh::refresh_dkg_part1(id, nodes.into(), threshold.into(), OsRng);
    let made = rounds(nodes, first, refresh::refresh_dkg_part2)?;
    for (id, (secret, others)) in &made.second {
        let (key, public) = keys.get(id).context("a node without a key")?.clone();
        let received = made.received.get(id).context("nothing was sent")?;
        let (_, after) = refresh::refresh_dkg_shares(secret, others, received, public.clone(), key)?;
        ensure!(after.verifying_key() == public.verifying_key(), "the refresh made another key");
    }
    Ok(())
}

/// The share of the last node, by the first t others.
fn repair(keys: &Keys, nodes: u8, threshold: u8) -> anyhow::Result<()> {
    let receiver = NodeId::new(nodes).context("a node id")?;
    let helpers: Vec<NodeId> = node_ids(threshold).collect();
    let ids: Vec<Identifier> = helpers.iter().copied().map(identifier).collect();
    let (lost, public) = keys.get(&identifier(receiver)).context("a node without a key")?;
    let verifying_share = |node: NodeId| -> anyhow::Result<PointBytes> {
        let share = public.verifying_shares().get(&identifier(node)).context("no verifying share")?;
        share.serialize()?.try_into().ok().context("a verifying share has 32 bytes")
    };
    let mut deltas = BTreeMap::new();
    let mut commitments: BTreeMap<NodeId, Vec<PointBytes>> = BTreeMap::new();
    for helper in &helpers {
        let share = &keys.get(&identifier(*helper)).context("a helper without a key")?.0;
        let drawn = repair_share_part1::<Ed25519Sha512, _>(&ids, share, &mut OsRng, identifier(receiver))?;
        for id in &ids {
            let delta = drawn.get(id).context("a delta for each helper")?;
            let point = frost_ed25519::keys::VerifyingShare::from(frost_ed25519::keys::SigningShare::deserialize(&delta.serialize())?);
            let point = point.serialize()?.try_into().ok().context("a point has 32 bytes")?;
            commitments.entry(*helper).or_default().push(point);
        }
        deltas.insert(*helper, drawn);
    }
    for _ in 0..nodes {
        for (helper, points) in &commitments {
            ensure!(commitments_fit(&helpers, *helper, receiver, &verifying_share(*helper)?, points), "commitments do not fit");
        }
    }
    let mut sigmas = Vec::new();
    let all: Vec<PointBytes> = commitments.values().flatten().copied().collect();
    for (place, helper) in helpers.iter().enumerate() {
        let mut column = Vec::new();
        for from in &helpers {
            let delta = deltas.get(from).and_then(|drawn| drawn.get(&identifier(*helper))).context("a delta")?;
            let commitment = commitments.get(from).and_then(|points| points.get(place)).context("a commitment")?;
            ensure!(from == helper || scalar_fits(&bytes(delta.serialize())?, &[*commitment]), "a delta does not fit");
            column.push(*delta);
        }
        let sigma = repair_share_part2(&column);
        let due: Vec<PointBytes> = all.iter().skip(place).step_by(helpers.len()).copied().collect();
        ensure!(scalar_fits(&bytes(sigma.serialize())?, &due), "a sigma does not fit");
        sigmas.push(sigma);
    }
    let shares = helpers.iter().map(|helper| Ok((*helper, verifying_share(*helper)?))).collect::<anyhow::Result<Vec<_>>>()?;
    ensure!(interpolate(&shares, receiver) == Some(verifying_share(receiver)?), "the verifying share is another");
    let repaired = repair_share_part3(&sigmas, identifier(receiver), public)?;
    ensure!(repaired.signing_share() == lost.signing_share(), "the repaired share is another");
    Ok(())
}

fn bytes(scalar: Vec<u8>) -> anyhow::Result<[u8; 32]> {
    scalar.try_into().ok().context("a scalar has 32 bytes")
}

fn node_ids(count: u8) -> impl Iterator<Item = NodeId> {
    (1..=count).filter_map(NodeId::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_is_what_all_processors_do_of_the_time_that_one_core_spent() {
        let floor = Floor::of(Duration::from_millis(750), 3, 2);
        assert_eq!((floor.credentials, floor.core_millis_per_credential, floor.credentials_per_second), (3, 250.0, 8.0));
    }

    #[test]
    fn every_kind_of_bulk_work_is_done_and_timed() {
        let floors = floors(3, 2, 1).expect("computes");
        for floor in [floors.generation, floors.repair, floors.refresh] {
            assert!(floor.credentials == 1 && floor.core_millis_per_credential > 0.0, "{floor:?}");
        }
    }
}
