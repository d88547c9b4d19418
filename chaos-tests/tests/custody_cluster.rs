//! The measurement of bulk work itself, as short as it can be.

use std::process::Command;

use serde_json::Value;

#[test]
fn a_short_measurement_enrols_repairs_and_refreshes_while_every_document_is_signed() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let plot = directory.path().join("plot.html");
    let output = Command::new(env!("CARGO_BIN_EXE_custody"))
        .args(["--enrol", "3", "--credentials", "5", "--rate", "4", "--quiet", "2", "--json", "--plot"])
        .arg(&plot)
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!(report["whole"]["failed"], 0);
    let bulk: Vec<(Value, Value)> =
        report["bulk"].as_array().expect("a list").iter().map(|one| (one["what"].clone(), one["credentials"].clone())).collect();
    let expected = [("key generation, nothing signed", 2), ("key generation", 3), ("repair of one site", 6), ("refresh", 6)];
    assert_eq!(bulk, expected.map(|(what, count)| (Value::from(what), Value::from(count))));
    assert!(report["bulk"][3]["p99_ratio"].as_f64().is_some_and(|ratio| ratio > 0.0), "{report:#}");
    assert!(std::fs::read_to_string(plot).expect("a plot").contains("repair of one site"));
}
