//! A few seeds of the simulator in every test run, and the proof that a seed determines its run.

use std::process::Command;

use warifu_chaos::simulate::run_seed;

/// Virtual time with faults: short, since these tests run unoptimised.
const SAFETY_MILLIS: u64 = 8_000;

#[test]
fn a_few_seeds_break_no_invariant_and_heal_once_the_faults_are_off() {
    let mut signed = 0;
    for seed in 1..=3 {
        let outcome = run_seed(seed, SAFETY_MILLIS, None).expect("a run can be set up");
        assert!(outcome.violations.is_empty(), "seed {seed}: {:#?}\n{}", outcome.violations, outcome.last.join("\n"));
        signed += outcome.counters.signed;
    }
    assert!(signed > 10, "{signed} signatures: the workload does nothing");
}

#[test]
fn the_same_seed_gives_the_same_facts_and_another_one_others() {
    let hash = |seed| run_seed(seed, 5_000, None).expect("a run can be set up").hash;
    assert_eq!(hash(7), hash(7));
    assert_ne!(hash(7), hash(8));
}

#[test]
fn two_processes_get_the_same_facts_from_the_same_seeds() {
    let hash = || {
        let output = Command::new(env!("CARGO_BIN_EXE_simulate"))
            .args(["--seed", "40", "--iterations", "2", "--seconds", "3", "--json"])
            .output()
            .expect("the simulator runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a report");
        report["hash"].as_str().expect("a hash").to_owned()
    };
    let first = hash();
    assert_eq!(first.len(), 64);
    assert_eq!(first, hash());
}

#[test]
fn replay_steps_through_the_log_of_a_run_and_says_by_its_exit_code_whether_anything_was_meant() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("facts.jsonl");
    let mut file = std::fs::File::create(&log).expect("a file");
    run_seed(7, 3_000, Some(&mut file)).expect("a run can be set up");
    drop(file);
    let replay = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_replay")).arg(&log).args(arguments).output().expect("replay runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).lines().count())
    };
    assert_eq!(replay(&["--kind", "started", "--last", "2"]), (Some(0), 2));
    assert_eq!(replay(&["--kind", "no-such-kind"]), (Some(1), 0));
    let (code, of_one) = replay(&["--site", "1", "--to", "2000"]);
    assert!(code == Some(0) && of_one < replay(&[]).1, "{of_one} lines");
    std::fs::write(&log, "no log\n").expect("a file");
    assert_eq!(replay(&[]).0, Some(2));
}
