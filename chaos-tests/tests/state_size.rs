//! The measurement of memory itself, on a load small enough for every run of the tests.

use std::process::Command;

use warifu_chaos::command::Outcome as _;
use warifu_chaos::state_size::Report;

#[test]
fn a_small_load_is_applied_read_reopened_and_installed_with_one_root() {
    let output = Command::new(env!("CARGO_BIN_EXE_state-size"))
        .args(["--credentials", "260", "--bound-every", "100", "--reads", "40", "--json"])
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Report = serde_json::from_slice(&output.stdout).expect("a report");
    assert!(report.passes());
    assert_eq!((report.credentials, report.bound), (260, 3));
    assert_eq!(report.load.reads.expect("it reads").credential.count, 40);
    // Two lists in two entries each; two ceremonies of an order and three messages of five nodes; certificates; cards.
    assert_eq!(report.load.entries, 4 + 2 * 16 + 260 + 3);
    let mut too_large = report.clone();
    too_large.reopen.end.peak_bytes = 512_000_001;
    assert!(!too_large.passes(), "more memory than the bound fails");
    let mut other = report;
    other.install.root = warifu_protocol::Sha256::new([0; 32]);
    assert!(!other.passes(), "another registry than the one that was loaded fails");
}
