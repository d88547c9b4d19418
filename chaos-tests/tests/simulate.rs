//! A few seeds of the simulator in every test run, and the proof that a seed determines its run.

use warifu_chaos::simulate::run_seed;

/// Virtual time with faults: short, since these tests run unoptimised.
const SAFETY_MILLIS: u64 = 15_000;

#[test]
fn a_few_seeds_break_no_invariant_and_heal_once_the_faults_are_off() {
    let mut signed = 0;
    for seed in 1..=4 {
        let outcome = run_seed(seed, SAFETY_MILLIS, None).expect("a run can be set up");
        assert!(outcome.violations.is_empty(), "seed {seed}: {:#?}\n{}", outcome.violations, outcome.last.join("\n"));
        signed += outcome.counters.signed;
    }
    assert!(signed > 20, "{signed} signatures: the workload does nothing");
}

#[test]
fn the_same_seed_gives_the_same_facts_and_another_one_others() {
    let hash = |seed| run_seed(seed, 5_000, None).expect("a run can be set up").hash;
    assert_eq!(hash(7), hash(7));
    assert_ne!(hash(7), hash(8));
}
