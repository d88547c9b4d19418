//! Exit codes, trusted files, and the two forms of output.

use std::path::Path;
use std::process::{Command, ExitCode};

use clap::Parser as _;
use warifu::verify::{TRUST_FILE_BYTES_MAX, VerifyArgs, load_anchors, run};

use super::support::{Ca, check, signed_prescription};

fn must_run(file: &Path, trust: &[&Path]) -> String {
    let trust = trust.iter().map(|path| path.to_path_buf()).collect();
    let code: ExitCode = run(&VerifyArgs { file: file.to_path_buf(), trust, at: None, json: true }).unwrap();
    format!("{code:?}")
}

#[test]
fn exit_codes_tell_valid_invalid_and_unreadable_apart() {
    let ca = Ca::new("Trial CA");
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let xml = signed_prescription(&ca.doctor());
    let good = file("good.xml", xml.as_bytes());
    let bad = file("bad.xml", xml.replace("U0ox", "U0oy").as_bytes());
    let anchor = file("ca.der", &ca.der);
    let stranger = file("stranger.pem", pem::encode(&pem::Pem::new("CERTIFICATE", Ca::new("Stranger").der)).as_bytes());
    let garbage = file("garbage.txt", b"garbage");
    let missing = directory.path().join("missing");
    let [valid, invalid, unreadable] = [0, 1, 2].map(|code| format!("{:?}", ExitCode::from(code)));
    assert_eq!(must_run(&good, &[]), valid);
    assert_eq!(must_run(&good, &[&anchor]), valid);
    assert_eq!(must_run(&good, &[directory.path()]), valid);
    assert_eq!(must_run(&bad, &[]), invalid);
    assert_eq!(must_run(&good, &[&stranger]), invalid);
    assert_eq!(must_run(&missing, &[]), unreadable);
    assert_eq!(must_run(&good, &[&missing]), unreadable);
    assert_eq!(must_run(&good, &[&garbage]), unreadable);
    assert_eq!(must_run(directory.path(), &[]), unreadable);
}

#[test]
fn trusted_files_must_hold_ca_certificates() {
    let ca = Ca::new("Trial CA");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trust.pem");
    let bundle = [&ca.der, &Ca::new("Other").der].map(|der| pem::encode(&pem::Pem::new("CERTIFICATE", der.clone()))).concat();
    let rows: [(Vec<u8>, Result<usize, &str>); 6] = [
        (bundle.into_bytes(), Ok(2)),
        (ca.der.clone(), Ok(1)),
        (ca.doctor().certificate, Err("not a CA's")),
        (pem::encode(&pem::Pem::new("PRIVATE KEY", vec![1, 2, 3])).into_bytes(), Err("holds no certificate")),
        (Vec::new(), Err("PEM or DER")),
        (vec![b'x'; usize::try_from(TRUST_FILE_BYTES_MAX).unwrap() + 1], Err("more than")),
    ];
    for (content, expected) in rows {
        std::fs::write(&path, content).unwrap();
        match (load_anchors(std::slice::from_ref(&path)), expected) {
            (Ok(anchors), Ok(count)) => assert_eq!(anchors.len(), count),
            (Err(error), Err(reason)) => assert!(format!("{error:#}").contains(reason), "{error:#}"),
            (found, expected) => panic!("{expected:?}: {found:?}"),
        }
    }
    std::fs::remove_file(&path).unwrap();
    let error = load_anchors(&[directory.path().to_path_buf()]).unwrap_err();
    assert!(format!("{error:#}").contains("holds no .pem"), "{error:#}");
}

#[test]
fn the_text_says_who_what_when_and_what_is_uncovered() {
    let ca = Ca::new("Trial CA");
    let report = check(&signed_prescription(&ca.doctor()));
    let text = report.to_string();
    for expected in [
        "VALID prescription 0b7a3c52-6f0e-4a5e-9f0d-3a1f5b2c4d6e",
        "/Document/Prescription/PrescriptionDocument",
        "CN=Taro Shiken",
        "[Medical Doctor]",
        "Ed25519",
        "2026-04-01T00:00:00Z (claimed by the signer; no timestamp was verified)",
        "trust      not checked; a CA's certificate is given with --trust",
        "Not covered by any valid signature:",
        "/Document/Prescription/PrescriptionManagement",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["valid"], true);
    assert_eq!(json["signatures"][0]["trust"]["status"], "not_checked");
    assert_eq!(json["signatures"][0]["signer"]["roles"][0], "Medical Doctor");
}

#[test]
fn the_program_prints_one_json_verdict_and_nothing_else() {
    let ca = Ca::new("Trial CA");
    let directory = tempfile::tempdir().unwrap();
    let xml = signed_prescription(&ca.doctor());
    for (xml, code) in [(xml.clone(), 0), (xml.replace("U0ox", "U0oy"), 1)] {
        let file = directory.path().join("document.xml");
        std::fs::write(&file, &xml).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_warifu")).arg("verify").arg(&file).arg("--json").output().unwrap();
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(code), ""));
        let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(printed, serde_json::to_value(check(&xml)).unwrap());
        assert_eq!(printed["valid"], code == 0);
    }
}

#[derive(clap::Parser)]
struct CommandLine {
    #[command(flatten)]
    verify: VerifyArgs,
}

#[test]
fn times_are_read_in_rfc_3339_and_nothing_else() {
    let parse = |at: &str| CommandLine::try_parse_from(["verify", "file.xml", "--at", at]).map(|line| line.verify.at.unwrap());
    assert_eq!(parse("2026-04-01T09:00:00+09:00").unwrap(), super::support::SIGNING_TIME);
    for bad in ["yesterday", "", "2026-04-01", "1969-12-31T23:59:59Z"] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}
