//! Real processes under faults, as short as it can be.

use std::process::Command;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

/// One cluster at a time: each wants all processors.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs it and checks what does not depend on how busy the machine is.
fn must_keep_promises(kinds: &[&str], arguments: &[&str]) {
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
    let checked = report["checked"].as_array().expect("promises");
    assert_eq!(checked.len(), 14, "{shown}");
    for promise in checked {
        assert_eq!(promise["violations"].as_array().map(Vec::len), Some(0), "{shown}");
        assert!(promise["looked_at"].as_u64() > Some(0), "nothing was looked at for {}: {shown}", promise["invariant"]);
    }
}

#[test]
fn killed_paused_and_lost_sites_cost_no_document_and_too_many_lost_sites_sign_nothing() {
    let kinds = ["killed", "paused", "leader-killed", "site-loss", "too-many-lost", "coordinator-killed", "old-disk", "revoked"];
    must_keep_promises(&kinds, &["--seed", "1", "--hold", "2"]);
}

#[test]
fn lossy_slow_flapping_and_cut_lines_cost_no_document() {
    let kinds = ["leader-isolated", "split", "deaf", "flapping", "slow-sites", "wide-area", "untidy"];
    must_keep_promises(&kinds, &["--seed", "2", "--hold", "2"]);
}
