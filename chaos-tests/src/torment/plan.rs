//! Which nemesis comes when, and with what: drawn from the seed, each kind once before any comes again.

use super::nemesis::Nemesis;
use crate::simulate::Dice;

/// Of a thousand rounds of kinds that bear it, so many have untidy lines as well.
const WEATHER_PERMILLE: u32 = 400;
/// Of a thousand rounds, so many have a second fault at another site.
const SECOND_PERMILLE: u32 = 400;

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
    /// What is wrong at another site meanwhile.
    pub(super) second: Option<Nemesis>,
    /// Whether lines are untidy on top.
    pub(super) untidy: bool,
}

impl Planned {
    /// In words.
    pub(super) fn title(&self) -> String {
        let second = self.second.map(|second| format!(" + {}", second.name())).unwrap_or_default();
        format!("{}{second}{}", self.nemesis.name(), if self.untidy { " + untidy" } else { "" })
    }
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
        let seconds: Vec<Nemesis> = self.kinds.iter().copied().filter(|kind| kind.may_be_second() && *kind != nemesis).collect();
        let second = if self.dice.permille(SECOND_PERMILLE) { self.dice.pick(&seconds).copied() } else { None };
        Some(Planned { nemesis, second, untidy })
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
        let seconds: Vec<Nemesis> = first.iter().filter_map(|round| round.second).collect();
        assert!(!seconds.is_empty() && seconds.len() < first.len() && seconds.iter().all(|second| second.may_be_second()));
        assert!(first.iter().all(|round| round.second != Some(round.nemesis)));
    }

    #[test]
    fn a_second_fault_is_of_a_kind_that_was_asked_for() {
        let mut plan = Plan::new(vec![Nemesis::Split, Nemesis::Paused], SeedTree::new(3).rng("plan", 0));
        let rounds: Vec<Planned> = (0..40).filter_map(|_| plan.draw()).collect();
        assert!(rounds.iter().any(|round| round.second == Some(Nemesis::Paused)));
        assert!(rounds.iter().all(|round| round.second.is_none() || round.nemesis == Nemesis::Split));
    }
}
