//! What goes wrong: something on the lines, something at one site, or both.

use std::time::Duration;

use serde::Serialize;
use warifu_protocol::NodeId;

use crate::preload::Fault as DiskFault;
use crate::proxy::{Faults, Mesh, Party};
use crate::simulate::Dice;

/// A fault of one round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Every line loses.
    Loss,
    /// Every line doubles.
    Doubles,
    /// Every line reorders.
    Reorders,
    /// Every line is long.
    Delay,
    /// Some directed pairs of nodes are cut.
    OneWayCuts,
    /// The leader is not heard by other nodes, and hears them.
    MuteLeader,
    /// The leader does not hear other nodes, and is heard.
    DeafLeader,
    /// The nodes are in two parts.
    Split,
    /// Each directed pair has faults of its own.
    Storm,
    /// Fsyncs of one node's log take long.
    SlowDisk,
    /// One fsync or write of one node's stores fails.
    FailingDisk,
    /// One node is stopped in order for the while.
    Stopped,
}

/// Of a thousand rounds, so many have a fault at one site as well as one on the lines.
const BOTH_PERMILLE: u32 = 400;
/// Of a thousand rounds, so many have only one at one site.
const SITE_PERMILLE: u32 = 200;
/// Of a thousand directed pairs, so many are cut when some are.
const CUT_PERMILLE: u32 = 250;

const LINES: [Fault; 9] = [
    Fault::Loss,
    Fault::Doubles,
    Fault::Reorders,
    Fault::Delay,
    Fault::OneWayCuts,
    Fault::MuteLeader,
    Fault::DeafLeader,
    Fault::Split,
    Fault::Storm,
];
const SITES: [Fault; 3] = [Fault::SlowDisk, Fault::FailingDisk, Fault::Stopped];
/// How long an fsync of a slow disk takes: longer than an election.
const SLOW_MILLIS: [u64; 3] = [200, 800, 2_500];
/// How a failing disk fails.
const FAILURES: [DiskFault; 4] = [DiskFault::SyncFails, DiskFault::SyncFailsKept, DiskFault::WriteFails, DiskFault::WriteTorn];

/// The faults of one round: what is on the lines, and what at one site. One of them at least is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) lines: Option<Fault>,
    pub(super) site: Option<Fault>,
    pub(super) length: Duration,
}

impl Planned {
    /// Draws a round of at most this length, and at least a quarter of it.
    pub(super) fn draw(dice: &mut Dice, longest: Duration) -> Self {
        let (only_site, both) = (dice.permille(SITE_PERMILLE), dice.permille(BOTH_PERMILLE));
        let (lines, site) = (dice.pick(&LINES).copied(), dice.pick(&SITES).copied());
        let millis = longest.as_millis() as u64;
        let length = Duration::from_millis(dice.between(millis / 4, millis));
        Self { lines: lines.filter(|_| !only_site), site: site.filter(|_| only_site || both), length }
    }

    /// In words.
    pub(super) fn title(&self) -> String {
        let names: Vec<String> = self.lines.iter().chain(&self.site).map(|fault| fault.name()).collect();
        names.join(" + ")
    }
}

impl Fault {
    /// As it is in reports.
    #[must_use]
    pub fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// Puts it on the lines; what it did, if there is more to say.
    pub(super) fn put_on_lines(self, mesh: &Mesh, leader: Option<NodeId>, dice: &mut Dice) -> Option<String> {
        let (weather, parties) = (mesh.weather(), mesh.parties());
        let nodes: Vec<Party> = parties.iter().copied().filter(|party| matches!(party, Party::Node(_))).collect();
        let everywhere = |faults: Faults| {
            for (from, to) in pairs(&parties) {
                weather.set(from, to, faults);
            }
        };
        let others = |leader: NodeId| nodes.iter().copied().filter(move |party| *party != Party::Node(leader));
        match self {
            Self::Loss => everywhere(Faults { loss_permille: dice.between(50, 300) as u32, ..Faults::CLEAR }),
            Self::Doubles => everywhere(Faults { duplicate_permille: 300, jitter: Duration::from_millis(20), ..Faults::CLEAR }),
            Self::Reorders => everywhere(Faults { reorder_permille: 300, hold: Duration::from_millis(60), ..Faults::CLEAR }),
            Self::Delay => {
                let delay = Duration::from_millis(dice.between(20, 250));
                everywhere(Faults { delay, jitter: delay / 2, ..Faults::CLEAR });
            }
            Self::OneWayCuts => {
                let cut: Vec<_> = pairs(&nodes).into_iter().filter(|_| dice.permille(CUT_PERMILLE)).collect();
                cut.iter().for_each(|(from, to)| weather.set(*from, *to, Faults::CUT));
                let cut: Vec<String> = cut.iter().map(|(from, to)| format!("{from} to {to}")).collect();
                return Some(cut.join(", "));
            }
            Self::MuteLeader => {
                let leader = leader?;
                others(leader).for_each(|other| weather.set(Party::Node(leader), other, Faults::CUT));
                return Some(format!("node {leader}"));
            }
            Self::DeafLeader => {
                let leader = leader?;
                others(leader).for_each(|other| weather.set(other, Party::Node(leader), Faults::CUT));
                return Some(format!("node {leader}"));
            }
            Self::Split => {
                let (mut one, mut two) = (Vec::new(), nodes);
                for _ in 0..dice.between(1, two.len() as u64 / 2) {
                    one.push(two.swap_remove(dice.below(two.len() as u64) as usize));
                }
                one.iter().for_each(|one| two.iter().for_each(|two| weather.set_both(*one, *two, Faults::CUT)));
                return Some(format!("{} | {}", one.len(), two.len()));
            }
            Self::Storm => {
                for (from, to) in pairs(&parties) {
                    weather.set(from, to, storm(dice));
                }
            }
            Self::SlowDisk | Self::FailingDisk | Self::Stopped => {}
        }
        None
    }

    /// What it asks of the shim: the fault, whether it stays, and of which files it is.
    pub(super) fn of_disk(self, node: NodeId, dice: &mut Dice) -> Option<(DiskFault, bool, String)> {
        match self {
            Self::SlowDisk => Some((DiskFault::SyncSlow(*dice.pick(&SLOW_MILLIS)?), true, format!("node-{node}/data/raft/"))),
            Self::FailingDisk => Some((*dice.pick(&FAILURES)?, false, format!("node-{node}/data/"))),
            _ => None,
        }
    }
}

/// Every directed pair.
fn pairs(parties: &[Party]) -> Vec<(Party, Party)> {
    parties.iter().flat_map(|from| parties.iter().filter(move |to| *to != from).map(|to| (*from, *to))).collect()
}

fn storm(dice: &mut Dice) -> Faults {
    Faults {
        loss_permille: dice.below(200) as u32,
        duplicate_permille: dice.below(200) as u32,
        reorder_permille: dice.below(300) as u32,
        hold: Duration::from_millis(dice.below(100)),
        delay: Duration::from_millis(dice.below(80)),
        jitter: Duration::from_millis(dice.below(40)),
        cut: dice.permille(100),
        flapping: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::SeedTree;

    #[test]
    fn a_seed_draws_the_same_rounds_of_lines_of_sites_and_of_both_and_none_of_nothing() {
        let rounds = |seed| {
            let mut dice = SeedTree::new(seed).rng("rounds", 0);
            (0..200).map(|_| Planned::draw(&mut dice, Duration::from_secs(4))).collect::<Vec<_>>()
        };
        let first = rounds(1);
        assert_eq!(rounds(1), first);
        assert_ne!(rounds(2), first);
        assert!(first.iter().all(|round| round.lines.is_some() || round.site.is_some()));
        let both = |round: &&Planned| round.lines.is_some() && round.site.is_some();
        assert!(first.iter().filter(both).count() > 20);
        for fault in LINES.iter().chain(&SITES) {
            assert!(first.iter().any(|round| round.lines == Some(*fault) || round.site == Some(*fault)), "{fault:?} never comes");
        }
        assert!(first.iter().all(|round| (1_000..=4_000).contains(&round.length.as_millis())));
    }
}
