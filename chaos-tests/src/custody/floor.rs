//! The arithmetic of bulk work alone: one core, no network, no log, no disk.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use frost_ed25519::Identifier;
use frost_ed25519::keys::dkg::{part1, part2, part3};
use rand_core::OsRng;
use serde::Serialize;

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

/// Generates `credentials` keys among `nodes` participants, one after the other.
///
/// # Errors
/// When key generation fails.
pub fn dkg_floor(nodes: u8, threshold: u8, credentials: u32) -> anyhow::Result<Floor> {
    let mut spent = Duration::ZERO;
    for _ in 0..credentials {
        let start = Instant::now();
        generate(nodes, threshold)?;
        spent += start.elapsed();
    }
    let each = spent.as_secs_f64() / f64::from(credentials);
    let processors = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    Ok(Floor { credentials, core_millis_per_credential: each * 1e3, credentials_per_second: processors / each })
}

/// One key; every participant's three parts.
fn generate(nodes: u8, threshold: u8) -> anyhow::Result<()> {
    let ids = (1..=u16::from(nodes)).map(Identifier::try_from).collect::<Result<Vec<_>, _>>()?;
    let (mut first, mut broadcast) = (BTreeMap::new(), BTreeMap::new());
    for id in &ids {
        let (secret, package) = part1(*id, nodes.into(), threshold.into(), OsRng)?;
        first.insert(*id, secret);
        broadcast.insert(*id, package);
    }
    let (mut second, mut sent) = (BTreeMap::new(), BTreeMap::new());
    for (id, secret) in first {
        let others = others(&broadcast, id);
        let (secret, packages) = part2(secret, &others)?;
        second.insert(id, (secret, others));
        sent.insert(id, packages);
    }
    let mut keys = Vec::with_capacity(ids.len());
    for (id, (secret, others)) in &second {
        let received = sent.iter().filter_map(|(from, packages)| Some((*from, packages.get(id)?.clone()))).collect();
        keys.push(part3(secret, others, &received)?.1);
    }
    anyhow::ensure!(keys.windows(2).all(|pair| pair[0] == pair[1]), "participants made different keys");
    Ok(())
}

fn others<T: Clone>(all: &BTreeMap<Identifier, T>, own: Identifier) -> BTreeMap<Identifier, T> {
    all.iter().filter(|(id, _)| **id != own).map(|(id, value)| (*id, value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_of_more_nodes_is_higher() {
        let (few, many) = (dkg_floor(3, 2, 3).expect("generates"), dkg_floor(7, 4, 3).expect("generates"));
        assert_eq!((few.credentials, many.credentials), (3, 3));
        assert!(many.core_millis_per_credential > few.core_millis_per_credential, "{few:?} {many:?}");
        assert!(few.credentials_per_second > many.credentials_per_second, "{few:?} {many:?}");
    }
}
