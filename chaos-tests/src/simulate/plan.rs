//! What one run is: how large the cluster, who lies, which faults and how often. All of it is drawn from the seed.

use std::collections::BTreeMap;

use clap::ValueEnum;
use serde::Serialize;
use warifu_coordinator_core::limits::EXCLUSION_MILLIS;
use warifu_protocol::NodeId;

use super::seed::{Dice, SeedTree};

/// Faults are on for this long by default, in virtual milliseconds.
pub const SAFETY_MILLIS: u64 = 60_000;
/// With faults off, everything must be well again within this time: a few retries of a repair, each of up to three deadlines.
const LIVENESS_MILLIS_MAX: u64 = 240_000;

/// Longest that a message is on its way, and that a site hears of an entry later than others, when nothing is wrong.
pub(super) const DELAY_USUAL: u64 = 5;
pub(super) const LAG_USUAL: u64 = 30;

/// Runs that are about something, of a thousand.
const FOCUSED: u32 = 200;

/// What a corrupt site does differently from an honest one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum Mischief {
    /// Its signature shares are random.
    FalseShares,
    /// It refuses whatever it is asked to sign.
    Refuses,
    /// Its commitments belong to nothing.
    FalseCommitments,
    /// Its round-1 packages are changed.
    FalseRound1,
    /// It sends one recipient wrong round-2 packages.
    FalseRound2,
    /// It keeps round-2 packages and parts of repairs back.
    Withholds,
    /// It accuses others without cause.
    AccusesFalsely,
    /// It confirms another outcome.
    FalseConfirm,
    /// Its parts of repairs are changed.
    FalseRepair,
    /// It signs a state root that it does not have.
    FalseRoot,
    /// It gives receipts and goes on signing.
    FalseReceipts,
    /// It gives commitments, and mostly does not answer when it is asked for shares.
    FallsSilent,
}

impl Mischief {
    const ALL: [Self; 12] = [
        Self::FalseShares,
        Self::Refuses,
        Self::FalseCommitments,
        Self::FalseRound1,
        Self::FalseRound2,
        Self::Withholds,
        Self::AccusesFalsely,
        Self::FalseConfirm,
        Self::FalseRepair,
        Self::FalseRoot,
        Self::FalseReceipts,
        Self::FallsSilent,
    ];
}

/// What a run is mostly about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, ValueEnum)]
pub enum Focus {
    /// Shares that are lost, sites that are replaced, come and go, and keys that are refreshed.
    Custody,
    /// Stops, and an adversary that is after what was stopped.
    Stops,
    /// An adversary that brings commands into the log, and a leader that forges them.
    Orders,
    /// Disks that fail, old images and copies of sites, and processes that die.
    Disks,
}

impl Focus {
    const ALL: [Self; 4] = [Self::Custody, Self::Stops, Self::Orders, Self::Disks];

    /// Has more of it happen than chance would.
    fn sharpen(self, faults: &mut Faults, dice: &mut Dice) {
        match self {
            Self::Custody => {
                faults.replace_every = dice.between(8_000, 20_000);
                faults.rot_every = dice.between(3_000, 8_000);
                faults.roster_every = dice.between(8_000, 20_000);
            }
            Self::Stops => {
                faults.attack_every = dice.between(60, 150);
                faults.ambush = dice.between(400, 900) as u32;
                faults.leader_censors = true;
            }
            Self::Orders => {
                faults.attack_every = dice.between(60, 150);
                faults.leader_forges = dice.between(100, 300) as u32;
            }
            Self::Disks => {
                faults.crash_every = dice.between(3_000, 8_000);
                faults.restore_every = dice.between(8_000, 20_000);
                faults.clone_every = dice.between(8_000, 20_000);
                faults.write_fails = dice.between(1, 6) as u32;
                faults.attack_every = dice.between(60, 300);
            }
        }
    }
}

/// How often what goes wrong. Chances are in a thousand; 0 is never. Times are in virtual milliseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Faults {
    /// A message is lost.
    pub loss: u32,
    /// A message arrives twice.
    pub duplicate: u32,
    /// Longest time on the way.
    pub delay_max: u64,
    /// A one-way cut between two parties, about this often.
    pub cut_every: u64,
    /// A process is killed, about this often.
    pub crash_every: u64,
    /// A process dies just before or after an effect.
    pub crash_at_effect: u32,
    /// A write fails, whether or not it got to the disk.
    pub write_fails: u32,
    /// A write takes up to five seconds.
    pub write_slow: u32,
    /// A disk is full for a while, about this often.
    pub full_every: u64,
    /// An old image of a disk is put back, about this often.
    pub restore_every: u64,
    /// A copy of a site is started from its disk, about this often.
    pub clone_every: u64,
    /// Furthest that clocks are off.
    pub skew_max: u64,
    /// A clock jumps, about this often.
    pub jump_every: u64,
    /// A coordinator is killed, about this often.
    pub coordinator_crash_every: u64,
    /// A leader changes, about this often.
    pub election_every: u64,
    /// A leader changes commands that it is given, or brings in its own.
    pub leader_forges: u32,
    /// A leader keeps stopping orders back.
    pub leader_censors: bool,
    /// A site hears of entries so much later.
    pub log_lag_max: u64,
    /// Entries that leaders keep; a site that lacks older ones gets a snapshot. 0 keeps all.
    pub log_kept: u64,
    /// The adversary, with a coordinator of its own, asks for something it should not get, about this often.
    pub attack_every: u64,
    /// A stop meets an ambush: those who would stop are cut off from sites that the adversary still reaches.
    pub ambush: u32,
    /// A site is replaced by order on a new store, about this often.
    pub replace_every: u64,
    /// A share is gone from a disk, about this often.
    pub rot_every: u64,
    /// A site comes or goes for good, about this often.
    pub roster_every: u64,
}

/// One run.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// Its seed.
    pub seed: u64,
    /// n.
    pub nodes: u8,
    /// t.
    pub threshold: u8,
    /// f.
    pub liars: u8,
    /// Whether t may be less than a majority of the sites, so that more can come.
    pub minority: bool,
    /// Coordinators; the last one lies if [`Faults::attack_every`] is set, and then there are two at least.
    pub coordinators: u8,
    /// Holders.
    pub holders: u8,
    /// What it is mostly about; nothing, mostly.
    pub focus: Option<Focus>,
    /// Whether every holder has logged in before faults begin; otherwise keys are made, certified and bound while they are on.
    pub warms_up: bool,
    /// How long faults are on.
    pub safety_millis: u64,
    /// Corrupt sites, at most t−1.
    pub corrupt: BTreeMap<NodeId, Mischief>,
    /// What goes wrong.
    pub faults: Faults,
}

impl Plan {
    /// Longest until everything is well again once faults are off. Coordinators leave out who gave them what is false, repaired or not: where that
    /// can be so many that too few are left, nothing is signed before they are asked again.
    pub(super) fn liveness_millis_max(&self) -> u64 {
        let named = |mischief: &&Mischief| matches!(mischief, Mischief::FalseShares | Mischief::FalseCommitments);
        let left_out = self.corrupt.values().filter(named).count();
        let too_few_are_left = usize::from(self.nodes) < left_out + usize::from(self.threshold);
        LIVENESS_MILLIS_MAX + if too_few_are_left { EXCLUSION_MILLIS } else { 0 }
    }

    /// Draws a run: about `focus`, or about what is drawn too.
    #[must_use]
    pub fn draw(seed: u64, safety_millis: u64, focus: Option<Focus>) -> Self {
        let tree = SeedTree::new(seed);
        let mut dice = tree.rng("plan", 0);
        let nodes = *dice.pick(&[3, 4, 5, 5, 5, 5, 6, 7, 9]).unwrap_or(&5);
        let majority = nodes / 2 + 1;
        let threshold = dice.between(u64::from(majority), u64::from((nodes - 1).min(majority + 1))) as u8;
        // A genesis takes every f below t.
        let liars = match nodes {
            0..5 => 0,
            5..7 => 1,
            _ => dice.between(1, u64::from(threshold - 1)) as u8,
        };
        let mut faults = Faults::draw(&mut tree.rng("faults", 0));
        let mut lens = tree.rng("focus", 0);
        let drawn = lens.permille(FOCUSED).then(|| lens.pick(&Focus::ALL).copied()).flatten();
        let focus = focus.or(drawn);
        if let Some(focus) = focus {
            focus.sharpen(&mut faults, &mut lens);
        }
        let least = if faults.attack_every > 0 { 2 } else { 1 };
        let mut plan = Self {
            seed,
            nodes,
            threshold,
            liars,
            minority: dice.permille(300),
            coordinators: dice.between(least, 3) as u8,
            holders: dice.between(2, 4) as u8,
            focus,
            warms_up: dice.permille(650),
            safety_millis,
            corrupt: BTreeMap::new(),
            faults,
        };
        if dice.permille(500) {
            // As often at most f, for which stops promise more, as up to t-1.
            let most = if dice.permille(500) { liars } else { threshold - 1 };
            for _ in 0..dice.between(0, u64::from(most)) {
                let site = NodeId::new(dice.between(1, u64::from(nodes)) as u8);
                if let (Some(site), Some(mischief)) = (site, dice.pick(&Mischief::ALL)) {
                    plan.corrupt.insert(site, *mischief);
                }
            }
        }
        plan
    }

    /// Whether no more sites lie than stops are promised against.
    #[must_use]
    pub fn within_liars(&self) -> bool {
        self.corrupt.len() <= usize::from(self.liars)
    }
}

impl Faults {
    /// Each is on in about every other run, with its own intensity.
    fn draw(dice: &mut Dice) -> Self {
        let mut chance = |most: u64| if dice.permille(450) { dice.between(1, most) as u32 } else { 0 };
        let (loss, duplicate, crash_at_effect) = (chance(150), chance(150), chance(8));
        let (write_fails, write_slow, leader_forges) = (chance(4), chance(40), chance(200));
        let mut every = |least: u64, most: u64| if dice.permille(450) { dice.between(least, most) } else { 0 };
        let (cut_every, crash_every, full_every) = (every(1_500, 15_000), every(4_000, 20_000), every(15_000, 40_000));
        let (restore_every, clone_every, jump_every) = (every(15_000, 60_000), every(15_000, 60_000), every(8_000, 40_000));
        let (coordinator_crash_every, election_every) = (every(8_000, 30_000), every(4_000, 20_000));
        let (replace_every, rot_every, roster_every) = (every(20_000, 50_000), every(8_000, 30_000), every(10_000, 40_000));
        Self {
            loss,
            duplicate,
            delay_max: if dice.permille(700) { dice.between(DELAY_USUAL, 400) } else { DELAY_USUAL },
            cut_every,
            crash_every,
            crash_at_effect,
            write_fails,
            write_slow,
            full_every,
            restore_every,
            clone_every,
            skew_max: if dice.permille(400) { dice.between(10, 12_000) } else { 0 },
            jump_every,
            coordinator_crash_every,
            election_every,
            leader_forges,
            leader_censors: dice.permille(250),
            log_lag_max: if dice.permille(500) { dice.between(50, 6_000) } else { LAG_USUAL },
            log_kept: if dice.permille(500) { dice.between(4, 60) } else { 0 },
            // What an adversary asks for costs little, and finds more than anything else does.
            attack_every: if dice.permille(750) { dice.between(60, 500) } else { 0 },
            ambush: if dice.permille(500) { dice.between(100, 700) as u32 } else { 0 },
            replace_every,
            rot_every,
            roster_every,
        }
    }

    /// No faults, as in the liveness phase.
    #[must_use]
    pub fn none() -> Self {
        Self { delay_max: DELAY_USUAL, log_lag_max: LAG_USUAL, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_gives_a_cluster_that_a_genesis_accepts_and_no_more_corrupt_sites_than_are_survived() {
        let (mut corrupt, mut many) = (0, 0);
        for seed in 0..500 {
            let plan = Plan::draw(seed, SAFETY_MILLIS, None);
            assert!(plan.threshold >= 2 && plan.threshold < plan.nodes && plan.threshold * 2 > plan.nodes, "{plan:?}");
            assert!(plan.corrupt.len() < usize::from(plan.threshold), "{plan:?}");
            assert!(plan.liars < plan.threshold, "{plan:?}");
            corrupt += usize::from(!plan.corrupt.is_empty());
            many += usize::from(plan.liars >= 2 && plan.corrupt.len() >= 2);
        }
        assert!(corrupt > 100, "{corrupt} of 500 plans have corrupt sites");
        assert!(many > 10, "{many} of 500 plans are for two liars and have two");
    }
}
