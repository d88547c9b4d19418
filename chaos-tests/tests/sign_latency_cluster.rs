//! The measurement of signatures itself, as short as it can be.

use std::process::Command;

use serde_json::Value;

#[test]
fn a_short_measurement_signs_on_a_whole_cluster_and_gives_every_figure() {
    let output = Command::new(env!("CARGO_BIN_EXE_sign-latency"))
        .args(["--documents", "5", "--bare", "5", "--seconds", "1", "--json"])
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!(report["single"]["call"]["count"], 5);
    assert_eq!(report["bare"]["share"]["count"], 5 * 3);
    assert_eq!(report["daemons"]["memory"].as_array().map(Vec::len), Some(6), "five nodes and a coordinator");
    assert!(report["ratio_p50"].as_f64().is_some_and(|ratio| ratio > 1.0), "the whole path takes longer than its arithmetic: {report}");
    let throughput = report["throughput"].as_array().expect("a list");
    assert_eq!(throughput.len(), 3);
    assert!(throughput.iter().all(|one| one["documents_per_second"].as_f64().is_some_and(|rate| rate > 0.0)), "{report}");
}
