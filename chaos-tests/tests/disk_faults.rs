//! Real nodes on disks that forget and fail, as short as it can be.

use std::process::Command;

use serde_json::Value;

fn run(arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_disk-faults"))
        .args(["--nodes", "3", "--threshold", "2", "--rate", "8", "--json"])
        .args(arguments)
        .output()
        .expect("the program starts");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    assert!(output.status.success(), "{}\n{report:#}", String::from_utf8_lossy(&output.stderr));
    report
}

#[test]
fn nothing_that_was_acknowledged_is_lost_when_all_nodes_lose_their_power_at_once() {
    let report = run(&["--iterations", "3", "--faults", "0"]);
    let cuts = report["cuts"].as_array().expect("a list");
    assert_eq!(cuts.len(), 3);
    assert!(
        cuts.iter().map(|cut| cut["lost"]["changes"].as_u64().expect("a number")).sum::<u64>() > 0,
        "the cuts took nothing: {report:#}"
    );
    let kept = |what: &str| report["kept"][what].as_u64().expect("a number");
    assert!(kept("documents") > 0 && kept("facilities") > 0 && kept("sessions") > 0, "there was something to lose: {report:#}");
}

#[test]
fn a_node_whose_disk_fails_says_so_and_comes_back_while_the_others_sign_every_document() {
    let report = run(&["--iterations", "0", "--faults", "4"]);
    let faults = report["faults"].as_array().expect("a list");
    assert!(faults.iter().filter(|case| case["met"] == true).count() >= 3, "{report:#}");
    assert_eq!(report["signing"]["failed"], 0);
}
