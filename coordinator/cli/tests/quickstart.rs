//! The whole story with real processes, and that nothing of it outlives its parent.

#![cfg(feature = "embedded")]
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking and says on the terminal what it skips")]

#[path = "support/independent.rs"]
mod independent_verifiers;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use der::{Decode as _, Encode as _};
use independent_verifiers::{jdk_verdicts, xml_sec_accepts};
use warifu_coordinator::document::{XmlDocument, sample};

/// Two whole stories at once are more than a small machine has time for.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

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

/// A child that does not outlive its test, however that ends. Its daemons end with it.
struct Guarded(Option<Child>);

impl Guarded {
    fn child(&mut self) -> &mut Child {
        self.0.as_mut().unwrap()
    }

    fn output(mut self) -> Output {
        self.0.take().unwrap().wait_with_output().unwrap()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn interrupt(parent: &Child) {
    assert!(Command::new("kill").args(["-INT", &parent.id().to_string()]).status().unwrap().success());
}

/// The document that a person brings: the service's sample, which lies outside the project, or a sample of our own where that is absent.
fn own_document() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/samples/prescription-004-unsigned.xml");
    fs::read_to_string(&path).unwrap_or_else(|error| {
        eprintln!("our own sample in place of {}: {error}", path.display());
        sample::prescription("9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d")
    })
}

fn document_id(xml: &str) -> String {
    XmlDocument::parse(xml.as_bytes()).unwrap().document_id().unwrap().to_string()
}

/// The key in the certificate of the signature with this id, as SubjectPublicKeyInfo.
fn signers_key(xml: &str, signature: &str) -> Vec<u8> {
    let (_, from_signature) = xml.split_once(&format!("Id=\"{signature}\"")).unwrap();
    let (_, from_certificate) = from_signature.split_once("X509Certificate>").unwrap();
    let (text, _) = from_certificate.split_once('<').unwrap();
    let der = base64::engine::general_purpose::STANDARD.decode(text.trim()).unwrap();
    x509_cert::Certificate::from_der(&der).unwrap().tbs_certificate.subject_public_key_info.to_der().unwrap()
}

fn must_start(directory: &Path) -> Guarded {
    let child = Guarded(Some(quickstart(&["--nodes", "3", "--dir", directory.to_str().unwrap()]).spawn().unwrap()));
    wait_for("three nodes and a coordinator run", || daemons(directory) == 4);
    child
}

#[test]
fn every_promise_of_quickstart_comes_true_for_a_document_of_ones_own_with_the_default_sites() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let signed = directory.path().join("signed.xml");
    let place = directory.path().join("cluster");
    let own = directory.path().join("own.xml");
    let brought = own_document();
    fs::write(&own, &brought).unwrap();
    let [place_name, out, document] = [&place, &signed, &own].map(|path| path.to_str().unwrap());
    let output = quickstart(&["--json", "--dir", place_name, "--out", out, "--document", document]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success(), "{told} {report:#}");
    assert_eq!(report["success"], true);
    let steps: Vec<(&str, &str)> = report["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| (step["step"].as_str().unwrap().trim(), step["result"].as_str().unwrap()))
        .collect();
    let result = |name: &str| steps.iter().find(|(step, _)| *step == name).map(|(_, result)| *result).unwrap();
    assert!(result("make keys, trial CAs and genesis").starts_with("3 of 5,"), "{steps:?}");
    let killed = result("kill the leader and more under load, restart").strip_prefix("killed ").unwrap();
    let mut killed: Vec<&str> = killed.split(", ").map(|node| node.trim_end_matches(" (leader)")).collect();
    killed.sort_unstable();
    let back: Vec<&str> = steps
        .iter()
        .filter(|(_, result)| *result == "yes")
        .filter_map(|(step, _)| step.strip_prefix("node ")?.strip_suffix(" gives shares again"))
        .collect();
    assert_eq!(killed.len(), 2, "as many as leave the threshold: {steps:?}");
    assert_eq!(back, killed, "every killed site contributes again: {steps:?}");
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
    let prescription = fs::read_to_string(&signed).unwrap();
    assert_eq!(document_id(&prescription), document_id(&brought), "it is the document that was given");
    others_agree(directory.path(), &prescription, &fs::read_to_string(report["dispensing"].as_str().unwrap()).unwrap());
}

/// Verifiers that share no code with ours accept what the cluster signed, and not with a byte of it changed.
fn others_agree(directory: &Path, prescription: &str, dispensing: &str) {
    let [doctor, pharmacist] = ["PrescriptionSign", "DispensingSign"].map(|signature| (signature, signers_key(dispensing, signature)));
    let (one, two) = ([doctor.clone()], [doctor, pharmacist]);
    let altered = |xml: &str, element: &str| {
        let tag = format!("<{element}");
        assert_eq!(xml.matches(&format!("{tag} ")).count(), 1, "{element}");
        xml.replacen(&tag, &format!("{tag} altered=\"1\""), 1)
    };
    let (false_prescription, false_dispensing) = (altered(prescription, "PrescriptionDocument"), altered(dispensing, "DispensingDocument"));
    assert!(xml_sec_accepts(prescription, &one, "PrescriptionDocument"));
    assert!(!xml_sec_accepts(&false_prescription, &one, "PrescriptionDocument"));
    assert!(xml_sec_accepts(dispensing, &two, "Dispensing"));
    assert!(!xml_sec_accepts(&false_dispensing, &two, "Dispensing"));

    let files = [("p.xml", prescription), ("d.xml", dispensing), ("false-p.xml", &false_prescription), ("false-d.xml", &false_dispensing)];
    for (name, xml) in files {
        fs::write(directory.join(name), xml).unwrap();
    }
    if let Some(verdicts) = jdk_verdicts(directory, &files.map(|(name, _)| name)) {
        assert_eq!(verdicts, "p.xml valid 1\nd.xml valid 2\nfalse-p.xml invalid\nfalse-d.xml invalid\n");
    }
}

#[test]
fn every_command_that_is_printed_for_a_cluster_that_stays_works_as_it_is_printed() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    // With what a shell would take for something else.
    let place = directory.path().join("the cluster's $HOME");
    let mut parent = Guarded(Some(quickstart(&["--nodes", "3", "--keep", "--dir", place.to_str().unwrap()]).spawn().unwrap()));
    let mut printed = BufReader::new(parent.child().stdout.take().unwrap()).lines().map(Result::unwrap);
    let head = printed.by_ref().find(|line| line == "The cluster stays up until Ctrl-C.");
    assert!(head.is_some(), "{:?}", parent.output());
    let said: Vec<String> = printed.by_ref().take_while(|line| !line.contains("everything lies in")).collect();
    assert_eq!(daemons(&place), 4);
    let commands: Vec<&str> = said.iter().filter_map(|line| line.strip_prefix("  ")).collect();
    let curl = Command::new("curl").arg("--version").output().is_ok_and(|output| output.status.success());
    for command in &commands {
        if command.starts_with("curl ") && !curl {
            eprintln!("skipped: no curl for `{command}`");
            continue;
        }
        let output = Command::new("sh").args(["-c", command]).stdin(Stdio::null()).output().unwrap();
        let (out, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{command}: {out} {told}");
        if command.starts_with("curl ") {
            // curl ends well with any answer.
            let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
            assert_eq!(answer["threshold"], 2, "{out}");
        }
    }
    let named = |word: &str| commands.iter().filter(|command| command.contains(word)).count();
    for word in [" status ", "curl ", " credential list ", " terminal login ", " terminal sign ", " verify ", " terminal logout "] {
        assert_eq!(named(word), 1, "{word}: {said:#?}");
    }
    assert_eq!(commands.len(), 7, "{said:#?}");
    interrupt(parent.child());
    let output = parent.output();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(daemons(&place), 0);
}

#[test]
fn no_process_outlives_a_parent_that_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    // By SIGKILL.
    drop(must_start(directory.path()));
    wait_for("every process has ended", || daemons(directory.path()) == 0);
}

#[test]
fn an_interrupt_ends_every_process_and_fails() {
    let directory = tempfile::tempdir().unwrap();
    let mut parent = must_start(directory.path());
    interrupt(parent.child());
    let output = parent.output();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("stopped: every process was ended"), "{told}");
    assert_eq!(daemons(directory.path()), 0);
}
