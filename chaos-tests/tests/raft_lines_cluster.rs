//! Consensus on bad lines and disks, as short as it can be.

use std::process::Command;

use serde_json::Value;

#[test]
fn what_clients_were_told_is_in_one_log_once_whatever_lines_and_disks_did() {
    let output = Command::new(env!("CARGO_BIN_EXE_raft-lines"))
        .args(["--seed", "1", "--rounds", "6", "--round-millis", "2000", "--clients", "4", "--json"])
        .output()
        .expect("the program starts");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    assert!(output.status.success(), "{}\n{report:#}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(report["rounds"].as_array().map(Vec::len), Some(6));
    assert!(report["acknowledged"].as_u64() > Some(20), "{report:#}");
    let checked = report["checked"].as_array().expect("promises");
    assert_eq!(checked.len(), 7, "{report:#}");
}
