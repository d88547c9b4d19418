//! Coordinators side by side know nothing of each other: what one has answered the other answers too, and the end of one costs nothing at the
//! other.

use std::time::Duration;

use anyhow::ensure;
use tokio::time::sleep;
use warifu::keys::KeyKind;
use warifu::local_cluster::{LocalCluster, LocalClusterOptions};
use warifu::terminal::{self, Prepared, SignedDocument, TerminalError};
use warifu::verify::{VerifyOptions, verify};
use warifu_api::ApiClient;
use warifu_coordinator::document::sample;
use warifu_core::pki::{Certificate, TrustAnchor};
use warifu_protocol::DocumentKind;

use crate::hammer::{Hammer, SharedSession};
use crate::{NODES, Running, THRESHOLD};

const COORDINATORS: u8 = 2;
const SIGNATURES: u32 = 2_000;
/// Documents that show that signing goes on.
const MORE: usize = 20;
/// Tries of one document on a busy machine.
const TRIES: usize = 5;
const CALL: Duration = Duration::from_secs(15);

/// A signed document without the signature's value: two signatures of one request differ in nothing else, and either is good.
fn without_value(signed: &SignedDocument) -> Option<(&str, &str)> {
    let (before, rest) = signed.xml.split_once("SignatureValue")?;
    let (_, after) = rest.rsplit_once("SignatureValue")?;
    Some((before, after))
}

/// What becomes of a document that must not be signed. Where no node may yet know better, the coordinator says that it is to be asked again.
async fn code(document: &Prepared, client: &ApiClient, anchors: &[TrustAnchor]) -> String {
    let mut last = String::new();
    for _ in 0..TRIES {
        match document.sign(client, anchors).await {
            Ok(_) => return "signed".to_owned(),
            Err(TerminalError::Refused { problem }) if problem.status == 503 => {
                last = problem.detail;
                sleep(Duration::from_secs(problem.retry_after_seconds.unwrap_or(1).into())).await;
            }
            Err(TerminalError::Refused { problem }) => return problem.code().to_owned(),
            Err(other) => return format!("unexpected: {other}"),
        }
    }
    format!("nothing after {TRIES} tries: {last}")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_coordinator_answered_the_other_answers_too_and_goes_on_answering_when_the_first_is_gone() -> anyhow::Result<()> {
    let (directory, options) = Running::options(NODES, THRESHOLD.0)?;
    // One request is sent again after everything else.
    let options = LocalClusterOptions { policy: crate::patient(), ..options };
    let mut run = Running::start(LocalCluster::found_with_coordinators(&options, COORDINATORS)?, directory).await?;
    let doctor = run.holder("doctor", "Medical Doctor").await?;
    let session = doctor.log_in(&run.cluster, &run.directory.path().join("session.json"), KeyKind::Ed25519, SIGNATURES).await?;
    let (first, second) = (run.cluster.client_of(0, doctor.client, CALL)?, run.cluster.client_of(1, doctor.client, CALL)?);
    let anchors = session.anchors.clone();
    let session = SharedSession::new(session);
    let trusted = VerifyOptions { anchors: vec![Certificate::parse(run.cluster.hpki.certificate_der())?], at: None };
    let same = |one: &SignedDocument, other: &SignedDocument| {
        for signed in [one, other] {
            let report = verify(signed.xml.as_bytes(), &trusted);
            ensure!(report.valid, "{report}");
        }
        ensure!(without_value(one).is_some() && without_value(one) == without_value(other), "one request, two documents");
        anyhow::Ok(())
    };

    let one_by_one = session.prepare(warifu::clock::now())?;
    let at_first = one_by_one.sign(&first, &anchors).await?;
    same(&at_first, &one_by_one.sign(&second, &anchors).await?)?;
    let at_once = session.prepare(warifu::clock::now())?;
    let (left, right) = tokio::join!(at_once.sign(&first, &anchors), at_once.sign(&second, &anchors));
    same(&left?, &right?)?;
    // The number is spent at every coordinator.
    let key = &session.open().file.secret.key;
    let xml = sample::prescription("2439e0c5-7c1d-4512-861d-263de48417bf");
    let number = one_by_one.request.request.seq;
    let other = Prepared::new(xml, DocumentKind::Prescription, session.id(), number, key, warifu::clock::now())?;
    for client in [&first, &second] {
        assert_eq!(code(&other, client, &anchors).await, "seq-used");
    }

    let load = Hammer::start(&session, vec![run.cluster.client_of(1, doctor.client, CALL)?], &anchors);
    load.sign_on(MORE).await?;
    run.cluster.kill_coordinator(0);
    load.sign_on(MORE).await?;
    let asked = load.end().await;
    let failed: Vec<&String> = asked.iter().filter_map(|asked| asked.outcome.as_ref().err()).collect();
    ensure!(failed.is_empty(), "{} of {} documents failed: {failed:?}", failed.len(), asked.len());
    ensure!(one_by_one.sign(&first, &anchors).await.is_err(), "the first coordinator is gone");
    same(&at_first, &one_by_one.sign(&second, &anchors).await?)?;
    second.close_session(&terminal::close(session.id(), key)?).await?;
    assert_eq!(code(&one_by_one, &second, &anchors).await, "session-closed");
    run.cluster.stop();
    Ok(())
}
