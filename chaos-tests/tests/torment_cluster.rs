//! Real processes under faults, as short as it can be.

use std::io::Write as _;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

/// One cluster at a time: each wants all processors.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs it and checks what does not depend on how busy the machine is. The report.
fn must_keep_promises(kinds: &[&str], arguments: &[&str]) -> Value {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut command = Command::new(env!("CARGO_BIN_EXE_torment"));
    command.args(["--json", "--seconds", "1", "--quiet", "3", "--rate", "8"]).args(arguments);
    for kind in kinds {
        command.args(["--only", kind]);
    }
    let output = command.output().expect("the program starts");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let shown = format!("{}\n{report:#}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(report["stuck"], Value::Null, "{shown}");
    assert_eq!(report["failures"].as_array().map(Vec::len), Some(0), "{shown}");
    let rounds = report["rounds"].as_array().expect("rounds");
    assert_eq!(rounds.len(), kinds.len(), "{shown}");
    assert!(rounds.iter().all(|round| round["signed_in_the_dark"] == 0), "{shown}");
    for round in rounds {
        let left_out = round["nemesis"] == "clock-skew" && report["not_done"]["clock-skew"] == "libfaketime is not installed: not done";
        assert!(left_out || round["times"].as_u64() > Some(0), "nothing was done in {}: {shown}", round["title"]);
        assert!(round["second"].is_null() || round["second_times"].as_u64() > Some(0), "no second fault in {}: {shown}", round["title"]);
    }
    let left_out = report["not_done"].as_object().expect("kinds").keys();
    assert!(left_out.into_iter().all(|kind| kind == "clock-skew"), "{shown}");
    let checked = report["checked"].as_array().expect("promises");
    // What an old disk must not have is looked for where one was tried.
    assert_eq!(checked.len(), if kinds.contains(&"old-disk") { 15 } else { 14 }, "{shown}");
    for promise in checked {
        assert_eq!(promise["violations"].as_array().map(Vec::len), Some(0), "{shown}");
        assert!(promise["looked_at"].as_u64() > Some(0), "nothing was looked at for {}: {shown}", promise["invariant"]);
    }
    report
}

#[test]
fn killed_paused_and_lost_sites_cost_no_document_and_too_many_lost_sites_sign_nothing() {
    let kinds = [
        "killed",
        "paused",
        "leader-killed",
        "site-loss",
        "too-many-lost",
        "everything-killed",
        "coordinator-killed",
        "rolling-upgrade",
        "old-disk",
        "clock-skew",
        "revoked",
    ];
    must_keep_promises(&kinds, &["--seed", "1", "--hold", "2"]);
}

#[test]
fn lossy_slow_flapping_and_cut_lines_cost_no_document() {
    let kinds = ["leader-isolated", "split", "deaf", "flapping", "slow-sites", "wide-area", "untidy"];
    must_keep_promises(&kinds, &["--seed", "2", "--hold", "2"]);
}

#[test]
fn power_that_all_sites_lose_at_once_costs_nothing_that_was_acknowledged() {
    must_keep_promises(&["power-cut"], &["--seed", "5", "--hold", "2"]);
}

#[test]
fn failing_lost_and_slow_disks_and_restarts_cost_nothing_that_was_acknowledged() {
    let kinds = ["disk-fails", "disk-full", "disk-slow", "disk-wiped", "rolling-restart"];
    must_keep_promises(&kinds, &["--seed", "4", "--hold", "2"]);
}

#[test]
fn sites_in_network_namespaces_of_their_own_keep_promises_and_nothing_is_left_of_them() {
    let list = || Command::new("ip").args(["netns", "list"]).output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let trial = format!("warifu-trial-{}", std::process::id());
    let netns = |what: &str| Command::new("ip").args(["netns", what, &trial]).output().is_ok_and(|output| output.status.success());
    if !netns("add") {
        writeln!(std::io::stderr(), "skipped: network namespaces cannot be made here").expect("somebody reads it");
        return;
    }
    assert!(netns("delete"));
    let report = must_keep_promises(&["killed", "split"], &["--seed", "3", "--hold", "2", "--netns"]);
    let names: Vec<&str> = report["namespaces"].as_array().expect("names").iter().filter_map(Value::as_str).collect();
    assert_eq!(names.len(), 5, "{report:#}");
    let left = list().expect("ip runs");
    assert!(names.iter().all(|name| !left.contains(name)), "{left}");
}
