//! The story of keys over years, as short as it can be.

use std::process::Command;

use serde_json::Value;

#[test]
fn a_few_keys_live_through_a_lost_disk_a_refresh_an_exchanged_site_and_a_destruction_while_signing_goes_on() {
    let output = Command::new(env!("CARGO_BIN_EXE_years"))
        .args(["--credentials", "4", "--rate", "4", "--old-disk", "8", "--json"])
        .output()
        .expect("the program starts");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    assert!(output.status.success(), "{}\n{report:#}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(report["signing"]["failed"], 0);
    let steps = report["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), 12, "{report:#}");
    assert!(steps.iter().all(|step| step["holds"] == true), "{report:#}");
}
