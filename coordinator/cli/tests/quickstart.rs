//! The whole story with real processes, and that nothing of it outlives its parent.

#![cfg(feature = "embedded")]
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

fn quickstart(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_warifu"));
    command.arg("quickstart").args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Daemons whose configuration lies in `directory`.
fn daemons(directory: &Path) -> usize {
    let name = directory.to_str().unwrap();
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok())
        .filter(|line| {
            let line = String::from_utf8_lossy(line);
            line.contains("--config") && line.contains(name)
        })
        .count()
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn must_start(directory: &Path) -> Child {
    let child = quickstart(&["--nodes", "3", "--dir", directory.to_str().unwrap()]).spawn().unwrap();
    wait_for("three nodes and a coordinator run", || daemons(directory) == 4);
    child
}

#[test]
fn every_promise_of_quickstart_comes_true_on_three_sites() {
    let directory = tempfile::tempdir().unwrap();
    let signed = directory.path().join("signed.xml");
    let place = directory.path().join("cluster");
    let output =
        quickstart(&["--nodes", "3", "--json", "--dir", place.to_str().unwrap(), "--out", signed.to_str().unwrap()]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success(), "{told} {report:#}");
    assert_eq!(report["success"], true);
    let outage = &report["outage"];
    assert_eq!(outage["failed"], 0, "{outage}");
    assert!(outage["rate"].as_u64().unwrap() >= 20 && outage["attempted"].as_u64().unwrap() >= 16 * 20, "{outage}");
    assert!(outage["signed_during_outage"].as_u64().unwrap() > 0, "{outage}");
    assert!(report["seconds"].as_f64().unwrap() < 60.0, "{report:#}");
    assert_eq!(daemons(&place), 0, "no process stays");

    for document in ["prescription", "dispensing"] {
        let document = report[document].as_str().unwrap();
        let verified = Command::new(env!("CARGO_BIN_EXE_warifu"))
            .args(["verify", document, "--trust", report["trust"].as_str().unwrap()])
            .output()
            .unwrap();
        assert!(verified.status.success(), "{document}: {}", String::from_utf8_lossy(&verified.stdout));
    }
    assert_eq!(report["prescription"].as_str(), signed.to_str());
}

#[test]
fn no_process_outlives_a_parent_that_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let mut parent = must_start(directory.path());
    parent.kill().unwrap();
    parent.wait().unwrap();
    wait_for("every process has ended", || daemons(directory.path()) == 0);
}

#[test]
fn an_interrupt_ends_every_process_and_fails() {
    let directory = tempfile::tempdir().unwrap();
    let parent = must_start(directory.path());
    assert!(Command::new("kill").args(["-INT", &parent.id().to_string()]).status().unwrap().success());
    let output = parent.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("stopped: every process was ended"), "{told}");
    assert_eq!(daemons(directory.path()), 0);
}
