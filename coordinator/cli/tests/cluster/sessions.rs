//! What a platform or holder may not do, shown on real processes; each refusal by its code, and honest work goes on beside it.

use warifu::keys::{KeyKind, LocalKey};
use warifu::local_cluster::LocalCluster;
use warifu::terminal::{Prepared, TerminalError};
use warifu_coordinator::document::sample;
use warifu_protocol::wire::CredentialState;
use warifu_protocol::{DocumentKind, OrderCommand, UnixMillis};

use crate::{Running, running};

const HOUR_MILLIS: u64 = 60 * 60 * 1000;

/// A document with an id of its own.
fn prescription(number: u32) -> String {
    sample::prescription(&format!("1439e0c5-7c1d-4512-861d-{number:012}"))
}

fn code(outcome: Result<warifu::terminal::SignedDocument, TerminalError>) -> String {
    match outcome {
        Ok(_) => "signed".to_owned(),
        Err(TerminalError::Refused { problem }) => problem.code().to_owned(),
        Err(other) => format!("unexpected: {other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_signs_what_it_may_and_nothing_else() -> anyhow::Result<()> {
    let run = running().await?;
    let doctor = run.holder("doctor", "Medical Doctor").await?;
    let pharmacist = run.holder("pharmacist", "Pharmacist").await?;
    let path = |file: &str| run.directory.path().join(file);
    let mut session = doctor.log_in(&run.cluster, &path("doctor.json"), KeyKind::P256, 5).await?;
    let other = pharmacist.log_in(&run.cluster, &path("pharmacist.json"), KeyKind::Ed25519, 5).await?;
    let (id, now) = (session.session(), warifu::clock::now());
    let kind = DocumentKind::Prescription;
    let anchors = session.anchors.clone();

    let signed = session.sign(prescription(1), kind).await?;
    let key = &session.file.secret.key;
    let same = Prepared::new(prescription(2), kind, id, 2, key, now)?;
    assert_eq!(code(same.sign(&session.client, &anchors).await), "signed");
    assert_eq!(code(same.sign(&session.client, &anchors).await), "signed", "the same request again is the same document");

    let prepared = |xml, kind, session, seq, key: &LocalKey, now: UnixMillis| Prepared::new(xml, kind, session, seq, key, now);
    let dispensing = sample::dispensing(&signed.xml, "2439e0c5-7c1d-4512-861d-263de48417bf")?;
    let mut moved_digest = prepared(prescription(3), kind, id, 3, key, now)?;
    // Another byte of the signed element, the same id.
    moved_digest.xml = moved_digest.xml.replace("U0ox", "U0oy");
    let rows = [
        ("seq-used", prepared(prescription(5), kind, id, 2, key, now)?),
        ("seq-out-of-range", prepared(prescription(5), kind, id, 6, key, now)?),
        ("seq-out-of-range", prepared(prescription(5), kind, id, 0, key, now)?),
        ("request-signature-invalid", prepared(prescription(5), kind, id, 3, &LocalKey::generate(KeyKind::P256)?, now)?),
        ("request-signature-invalid", prepared(prescription(5), kind, id, 3, &other.file.secret.key, now)?),
        ("signing-time-skew", prepared(prescription(5), kind, id, 3, key, now.minus(HOUR_MILLIS))?),
        ("signing-time-skew", prepared(prescription(5), kind, id, 3, key, now.plus(HOUR_MILLIS))?),
        ("role-missing", prepared(dispensing, DocumentKind::Dispensing, id, 3, key, now)?),
        ("digest-mismatch", moved_digest),
    ];
    for (expected, request) in rows {
        assert_eq!(code(request.sign(&session.client, &anchors).await), expected, "{:?}", request.request.request);
    }
    let pharmacists = prepared(prescription(6), kind, other.session(), 1, &other.file.secret.key, now)?;
    assert_eq!(code(pharmacists.sign(&other.client, &anchors).await), "role-missing", "a pharmacist's prescription");
    let foreign = prepared(prescription(7), kind, id, 3, key, now)?;
    let refused = code(foreign.sign(&other.client, &anchors).await);
    assert_ne!(refused, "signed", "another platform's session is not there");
    assert_eq!(code(foreign.sign(&session.client, &anchors).await), "signed", "none of this disturbed the session");

    let after = prepared(prescription(8), kind, id, 4, key, now)?;
    let client = run.cluster.client(doctor.client, std::time::Duration::from_secs(15))?;
    session.log_out().await?;
    assert_eq!(code(after.sign(&client, &anchors).await), "session-closed");
    assert_eq!(code(same.sign(&client, &anchors).await), "session-closed", "not even what was signed before");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_card_a_revoked_certificate_and_a_suspension_each_end_a_session() -> anyhow::Result<()> {
    let run = running().await?;
    let (first, second) = (run.holder("doctor-1", "Medical Doctor").await?, run.holder("doctor-2", "Dentist").await?);
    let path = |file: &str| run.directory.path().join(file);
    let mut sessions = Vec::new();
    for (holder, file) in [(&first, "1.json"), (&second, "2.json")] {
        let mut session = holder.log_in(&run.cluster, &path(file), KeyKind::Ed25519, 10).await?;
        session.sign(prescription(1), DocumentKind::Prescription).await?;
        sessions.push(session);
    }
    let anchors = sessions[0].anchors.clone();
    let sign = async |session: &warifu::local_cluster::OpenSession, seq| -> anyhow::Result<String> {
        let (key, now) = (&session.file.secret.key, warifu::clock::now());
        let request = Prepared::new(prescription(seq), DocumentKind::Prescription, session.session(), seq, key, now)?;
        Ok(code(request.sign(&session.client, &anchors).await))
    };

    let certificate = card_certificate(&first)?;
    revoke(&run, &certificate).await?;
    assert_eq!(sign(&sessions[0], 2).await?, "session-closed", "the first doctor's card is revoked");
    assert_eq!(sign(&sessions[1], 2).await?, "signed", "the second doctor's is not");
    let again = first.log_in(&run.cluster, &path("again.json"), KeyKind::Ed25519, 1).await.err().map(|error| format!("{error:?}"));
    assert!(again.as_deref().is_some_and(|error| error.contains("card-revoked")), "{again:?}");

    run.cluster.order(OrderCommand::Suspend { credential: second.credential }, None).await?;
    let suspended = sign(&sessions[1], 3).await?;
    assert!(["session-closed", "credential-state"].contains(&suspended.as_str()), "{suspended}");
    run.cluster.order(OrderCommand::Resume { credential: second.credential }, None).await?;
    assert_eq!(sign(&sessions[1], 3).await?, "session-closed", "a resumed credential needs a new login");
    let mut session = second.log_in(&run.cluster, &path("resumed.json"), KeyKind::Ed25519, 10).await?;
    session.sign(prescription(4), DocumentKind::Prescription).await?;

    let client = run.cluster.client(LocalCluster::CLIENT_CA, std::time::Duration::from_secs(15))?;
    let der = client.credential(second.credential).await?.certificate.expect("it was certified");
    let serial = *warifu_core::pki::Certificate::parse(der.as_slice())?.serial();
    let (from, until) = (warifu::clock::now().minus(60_000), warifu::clock::now().plus(24 * HOUR_MILLIS));
    let list = run.cluster.hpki.crl(2, &[serial], from, until)?;
    run.cluster.order(warifu::credential::crl_command(&list, None)?, Some(&list)).await?;
    let ended = sign(&session, 2).await?;
    assert!(["session-closed", "credential-state"].contains(&ended.as_str()), "{ended}");
    assert_eq!(client.credential(second.credential).await?.state, CredentialState::Suspended);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_a_closed_session_again_is_answered_and_not_logged() -> anyhow::Result<()> {
    const AGAIN: u64 = 300;
    let run = running().await?;
    let doctor = run.holder("doctor", "Medical Doctor").await?;
    let session = doctor.log_in(&run.cluster, &run.directory.path().join("doctor.json"), KeyKind::P256, 5).await?;
    let closing = warifu::terminal::close(session.session(), &session.file.secret.key)?;
    session.client.close_session(&closing).await?;
    let client = run.cluster.client(LocalCluster::CLIENT_OPERATIONS, std::time::Duration::from_secs(15))?;
    let last = async || -> anyhow::Result<u64> {
        Ok(client.status().await?.nodes.iter().filter_map(|node| node.status.as_ref()).map(|node| node.last_log).max().unwrap_or(0))
    };
    let before = last().await?;
    for _ in 0..AGAIN {
        session.client.close_session(&closing).await?;
    }
    // Nodes log things of their own, and what other tests want.
    let logged = last().await? - before;
    assert!(logged < AGAIN / 3, "{logged} entries for {AGAIN} closings of a closed session");
    Ok(())
}

fn card_certificate(holder: &warifu::local_cluster::Holder) -> anyhow::Result<Vec<u8>> {
    use warifu::card::Card as _;
    Ok(holder.card()?.certificate()?)
}

/// Brings in a newer list of the card CA that has this card on it.
async fn revoke(run: &Running, certificate: &[u8]) -> anyhow::Result<()> {
    let serial = *warifu_core::pki::Certificate::parse(certificate)?.serial();
    let (from, until) = (warifu::clock::now().minus(60_000), warifu::clock::now().plus(24 * HOUR_MILLIS));
    let list = run.cluster.jpki.crl(2, &[serial], from, until)?;
    run.cluster.order(warifu::credential::crl_command(&list, None)?, Some(&list)).await?;
    Ok(())
}
