//! Which nemesis comes when: drawn from the seed, each kind once before any comes again.

use super::nemesis::Nemesis;
use crate::simulate::Dice;

/// Of a thousand rounds of kinds that bear it, so many have untidy lines as well.
const WEATHER_PERMILLE: u32 = 400;

/// The kinds in the order in which they come, without an end.
#[derive(Debug)]
pub(super) struct Plan {
    kinds: Vec<Nemesis>,
    left: Vec<Nemesis>,
    dice: Dice,
}

/// One round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) nemesis: Nemesis,
    /// Whether lines are untidy on top.
    pub(super) untidy: bool,
}

impl Plan {
    pub(super) const fn new(kinds: Vec<Nemesis>, dice: Dice) -> Self {
        Self { kinds, left: Vec::new(), dice }
    }

    /// The next round.
    pub(super) fn draw(&mut self) -> Option<Planned> {
        if self.left.is_empty() {
            self.left.clone_from(&self.kinds);
        }
        if self.left.is_empty() {
            return None;
        }
        let place = self.dice.below(self.left.len() as u64) as usize;
        let nemesis = self.left.swap_remove(place);
        let untidy = self.dice.permille(WEATHER_PERMILLE) && nemesis.bears_weather();
        Some(Planned { nemesis, untidy })
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;
    use crate::simulate::SeedTree;

    fn rounds(seed: u64) -> Vec<Planned> {
        let mut plan = Plan::new(Nemesis::value_variants().to_vec(), SeedTree::new(seed).rng("plan", 0));
        (0..3 * Nemesis::value_variants().len()).filter_map(|_| plan.draw()).collect()
    }

    #[test]
    fn a_seed_gives_one_plan_in_which_every_kind_comes_before_any_comes_again() {
        let first = rounds(1);
        assert_eq!(rounds(1), first);
        assert_ne!(rounds(2), first);
        for turn in first.chunks(Nemesis::value_variants().len()) {
            let mut kinds: Vec<Nemesis> = turn.iter().map(|round| round.nemesis).collect();
            kinds.sort_unstable();
            assert_eq!(kinds, Nemesis::value_variants());
        }
        assert!(first.iter().any(|round| round.untidy) && first.iter().all(|round| !round.untidy || round.nemesis.bears_weather()));
    }
}
