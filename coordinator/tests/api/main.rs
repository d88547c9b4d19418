//! The coordinator over real TLS: what it does for whom, and what bad input, bad clients and bad nodes get.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]
#![expect(unreachable_pub, reason = "the support of tests is no API")]

mod description;
mod roles;
mod support;

use std::time::{Duration, Instant};

use support::{CREDENTIAL, Fault, Fixture, must_signing_fixture};
use warifu_api::limits::{BODY_BYTES_MAX, DOCUMENTS_MAX};
use warifu_api::{ApiError, PacketState, SignBody, SignDocument, SignResult, StopReportState, paths};
use warifu_coordinator::limits::PROPOSE_CALL_DEADLINE;
use warifu_coordinator_core::limits::LACKING_VIEW_LIFE_MILLIS;
use warifu_core::pki::verify_csr;
use warifu_prescription::{SignatureFields, render};
use warifu_protocol::limits::{CRL_CHUNK_BYTES, IMPORT_PACKET_BYTES_MAX};
use warifu_protocol::wire::{Applied, ObjectRef};
use warifu_protocol::{DocumentKind, ImportPacket, NodeId, ObjectVersion, Order, OrderBody, OrderCommand, OrderId, SessionId, UnixMillis};

async fn sign(fixture: &Fixture, documents: Vec<SignDocument>) -> Vec<SignResult> {
    fixture.client("clinic").sign(&SignBody { documents }).await.unwrap().results
}

fn must_be_signed(fixture: &Fixture, document: &SignDocument, result: &SignResult) {
    let SignResult::Signed { xml, signature, signers, .. } = result else { panic!("{result:?}") };
    assert_eq!(signers.len(), 3);
    let request = &document.request.request;
    let certificate = fixture.sites.certificate();
    let rendered = render(&SignatureFields {
        kind: request.kind,
        request: request.hash(),
        document: request.digest,
        signing_time: request.signing_time,
        certificate: &certificate,
    })
    .unwrap();
    let value: [u8; 64] = signature.as_slice().try_into().unwrap();
    let key = ed25519_dalek::VerifyingKey::from_bytes(&fixture.sites.group_key()).unwrap();
    key.verify_strict(&rendered.signed_info, &ed25519_dalek::Signature::from_bytes(&value)).unwrap();
    assert!(xml.contains(&rendered.signature_element(&value)), "the signature stands in the document");
}

fn failed(result: &SignResult) -> (&str, u16) {
    match result {
        SignResult::Failed { problem, .. } => (problem.code(), problem.status),
        SignResult::Signed { .. } => panic!("it was signed"),
    }
}

fn code(error: &ApiError) -> (&str, u16) {
    let problem = error.problem().unwrap_or_else(|| panic!("{error}"));
    (problem.code(), problem.status)
}

fn order(fixture: &Fixture, id: u8, command: OrderCommand) -> Order {
    let body = OrderBody {
        cluster: fixture.genesis.cluster(),
        id: OrderId::new([id; 16]),
        not_after: UnixMillis(1),
        object_version: ObjectVersion(0),
        order: command,
    };
    Order { body, approvals: Vec::new(), consents: Vec::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prescription_is_signed_and_signed_again_and_not_another_one_under_its_number() {
    let fixture = must_signing_fixture("").await;
    fixture.must_open().await;
    let document = fixture.document(1);
    for _ in 0..2 {
        let results = sign(&fixture, vec![document.clone()]).await;
        must_be_signed(&fixture, &document, &results[0]);
    }
    let mut other = fixture.document(2).request.request;
    other.seq = 1;
    let other = SignDocument { xml: fixture.document(2).xml, request: fixture.sign(other) };
    assert_eq!(failed(&sign(&fixture, vec![other]).await[0]), ("seq-used", 409));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_signed_document_by_document() {
    let fixture = must_signing_fixture("").await;
    fixture.must_open().await;
    let mut documents: Vec<_> = (1..=40).map(|seq| fixture.document(seq)).collect();
    documents[7].xml = documents[8].xml.clone();
    let results = sign(&fixture, documents.clone()).await;
    assert_eq!(results.len(), documents.len());
    for (index, (document, result)) in documents.iter().zip(&results).enumerate() {
        if index == 7 {
            assert_eq!(failed(result), ("document-id-mismatch", 400));
        } else {
            must_be_signed(&fixture, document, result);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_seen_and_closed_by_its_own_platform_alone() {
    let fixture = must_signing_fixture("").await;
    fixture.must_open().await;
    let session = fixture.statement.session();
    assert!(!fixture.client("clinic").session(session).await.unwrap().closed);
    assert_eq!(code(&fixture.client("rival").session(session).await.unwrap_err()), ("session-unknown", 404));
    assert_eq!(code(&fixture.client("rival").close_session(&fixture.closing()).await.unwrap_err()), ("session-unknown", 404));
    let foreign = fixture.client("rival").sign(&SignBody { documents: vec![fixture.document(1)] }).await.unwrap();
    assert_eq!(failed(&foreign.results[0]), ("session-unknown", 404));
    assert_eq!(fixture.sites.shares(1) + fixture.sites.shares(2) + fixture.sites.shares(3), 0, "no node was asked for it");

    let mut forged = fixture.closing();
    forged.signature.0[0] ^= 1;
    assert_eq!(code(&fixture.client("clinic").close_session(&forged).await.unwrap_err()), ("signature-invalid", 403));
    fixture.client("clinic").close_session(&fixture.closing()).await.unwrap();
    assert!(fixture.client("clinic").session(session).await.unwrap().closed);
    assert_eq!(failed(&sign(&fixture, vec![fixture.document(1)]).await[0]), ("session-closed", 409));
    let again = fixture.client("clinic").close_session(&fixture.closing()).await.unwrap();
    assert_eq!(again.stop.map(|stop| stop.receipts.len()), Some(5), "closing it again is no error");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_opened_once_at_the_callers_own_facility() {
    let fixture = must_signing_fixture("").await;
    let client = fixture.client("clinic");
    let mut foreign = fixture.statement.clone();
    foreign.facility = "clinic-9".parse().unwrap();
    assert_eq!(code(&client.open_session(&fixture.opening(&foreign)).await.unwrap_err()), ("facility-not-yours", 403));
    let mut elsewhere = fixture.statement.clone();
    elsewhere.cluster = warifu_protocol::ClusterId::new([0; 32]);
    assert_eq!(code(&client.open_session(&fixture.opening(&elsewhere)).await.unwrap_err()), ("wrong-cluster", 400));
    assert!(client.open_session(&fixture.opening(&fixture.statement)).await.unwrap().index.is_some());
    assert_eq!(code(&client.open_session(&fixture.opening(&fixture.statement)).await.unwrap_err()), ("statement-used", 409));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_whose_verdict_was_lost_is_found_applied() {
    let fixture = must_signing_fixture("").await;
    // The leader is tried first, and loses what it brought into the log.
    fixture.sites.fault(1, Some(Fault::LosesVerdicts));
    let opened = fixture.client("clinic").open_session(&fixture.opening(&fixture.statement)).await.unwrap();
    assert_eq!((opened.session, opened.index), (fixture.statement.session(), None));
    let closed = fixture.client("clinic").close_session(&fixture.closing()).await.unwrap();
    assert_eq!((closed.index, closed.applied), (None, Applied::Done));
    let retire = OrderCommand::RetireTerminal { terminal: fixture.statement.terminal };
    let answer = fixture.client("authority").order(&order(&fixture, 1, retire.clone())).await.unwrap();
    assert_eq!((answer.index, answer.applied), (None, Applied::Done));
    fixture.sites.fault(1, None);
    let again = fixture.client("authority").order(&order(&fixture, 1, retire)).await.unwrap_err();
    assert_eq!(code(&again), ("order-replayed", 409), "a repetition by the caller is no lost verdict");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_the_leader_says_nothing_about_is_given_to_another_node_meanwhile() {
    for (fault, index) in [(Fault::Hang, Some(101)), (Fault::SwallowsVerdicts, None)] {
        let fixture = must_signing_fixture("").await;
        // The leader is tried first.
        fixture.sites.fault(1, Some(fault));
        let started = Instant::now();
        let opened = fixture.client("clinic").open_session(&fixture.opening(&fixture.statement)).await.unwrap();
        assert_eq!(
            (opened.session, opened.index),
            (fixture.statement.session(), index),
            "of two that have it, each may be the one that counts"
        );
        assert!(started.elapsed() < PROPOSE_CALL_DEADLINE, "the first call was waited for: {:?}", started.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_are_not_what_the_request_says_reach_no_node() {
    let fixture = must_signing_fixture("").await;
    fixture.must_open().await;
    let good = fixture.document(1);
    let with = |change: &dyn Fn(&mut warifu_protocol::Request)| {
        let mut request = good.request.request.clone();
        change(&mut request);
        SignDocument { xml: good.xml.clone(), request: fixture.sign(request) }
    };
    let xml = |xml: String| SignDocument { xml, request: good.request.clone() };
    let mut long_signature = good.clone();
    long_signature.request.signature = vec![0; 4096].into();
    let table = [
        (with(&|request| request.digest = warifu_protocol::DocumentDigest::new([0; 32])), ("digest-mismatch", 400)),
        (with(&|request| request.document_id = "other".parse().unwrap()), ("document-id-mismatch", 400)),
        (with(&|request| request.kind = DocumentKind::Dispensing), ("document-kind", 400)),
        (with(&|request| request.session = SessionId::new([0; 32])), ("session-unknown", 404)),
        (xml(String::new()), ("document-refused", 400)),
        (xml("<Document".to_owned()), ("document-refused", 400)),
        (
            xml(format!("<!DOCTYPE Document>{}", good.xml.split_once("?>").map_or(good.xml.as_str(), |(_, rest)| rest))),
            ("document-refused", 400),
        ),
        (xml(good.xml.replace("UHJ", "UHK").replace("U0ox", "U0oy")), ("digest-mismatch", 400)),
        (long_signature, ("malformed", 400)),
    ];
    for (number, (document, expected)) in table.into_iter().enumerate() {
        assert_eq!(failed(&sign(&fixture, vec![document]).await[0]), expected, "row {number}");
    }
    assert_eq!((1..=5).map(|number| fixture.sites.shares(number)).sum::<u64>(), 0);
    must_be_signed(&fixture, &good, &sign(&fixture, vec![good.clone()]).await[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_nodes_refuse_is_the_answer() {
    let fixture = must_signing_fixture("").await;
    fixture.must_open().await;
    let mut forged = fixture.document(1);
    forged.request.signature.0[0] ^= 1;
    assert_eq!(failed(&sign(&fixture, vec![forged]).await[0]), ("request-signature-invalid", 403));
    fixture.sites.set_role(DocumentKind::Dispensing);
    assert_eq!(failed(&sign(&fixture, vec![fixture.document(1)]).await[0]), ("role-missing", 403));
    let refused =
        fixture.client("authority").order(&order(&fixture, 9, OrderCommand::Suspend { credential: CREDENTIAL })).await.unwrap_err();
    assert_eq!(code(&refused), ("officer-unknown", 403));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_calls_get_problem_documents() {
    let fixture = must_signing_fixture("").await;
    let (clinic, authority) = (fixture.caller("clinic"), fixture.caller("authority"));
    let document = serde_json::to_value(fixture.document(1)).unwrap();
    let many = serde_json::json!({ "documents": vec![document.clone(); DOCUMENTS_MAX + 1] }).to_string();
    let extra = serde_json::json!({ "documents": [document], "more": 1 }).to_string();
    let close = format!("/v1/sessions/{}/close", SessionId::new([0; 32]));
    let closing = serde_json::to_string(&fixture.closing()).unwrap();
    let json = Some("application/json");
    type Row<'a> = (&'a support::Caller, &'a str, String, Option<&'a str>, Vec<u8>, &'a str, u16);
    let table: Vec<Row<'_>> = vec![
        (&clinic, "POST", paths::SIGN.into(), json, b"".to_vec(), "malformed", 400),
        (&clinic, "POST", paths::SIGN.into(), json, b"{".to_vec(), "malformed", 400),
        (&clinic, "POST", paths::SIGN.into(), json, b"{\"documents\":[]}".to_vec(), "malformed", 400),
        (&clinic, "POST", paths::SIGN.into(), json, many.into_bytes(), "malformed", 400),
        (&clinic, "POST", paths::SIGN.into(), json, extra.into_bytes(), "malformed", 400),
        (&clinic, "POST", paths::SIGN.into(), json, vec![0xff; 10], "malformed", 400),
        (&clinic, "POST", paths::SIGN.into(), Some("text/xml"), b"{}".to_vec(), "media-type", 415),
        (&clinic, "POST", paths::SIGN.into(), None, b"{}".to_vec(), "media-type", 415),
        (&clinic, "POST", paths::SIGN.into(), json, vec![b' '; BODY_BYTES_MAX + 8 * 1024 * 1024], "body-too-large", 413),
        (&clinic, "POST", paths::SESSIONS.into(), json, b"{}".to_vec(), "malformed", 400),
        (&clinic, "POST", close, json, closing.into_bytes(), "malformed", 400),
        (&clinic, "GET", "/v1/sessions/xyz".into(), None, vec![], "malformed", 400),
        (&clinic, "GET", "/v1/nothing".into(), None, vec![], "not-found", 404),
        (&clinic, "GET", "/".into(), None, vec![], "not-found", 404),
        (&clinic, "DELETE", paths::SIGN.into(), None, vec![], "method-not-allowed", 405),
        (&authority, "POST", paths::ORDERS.into(), json, b"{\"body\":1}".to_vec(), "malformed", 400),
        (&authority, "POST", "/v1/crls/00".into(), Some("application/octet-stream"), vec![1], "malformed", 400),
        (&authority, "POST", format!("/v1/crls/{}", OrderId::new([1; 16])), Some("application/octet-stream"), vec![], "malformed", 400),
        (&authority, "GET", "/v1/credentials?limit=0".into(), None, vec![], "malformed", 400),
        (&authority, "GET", "/v1/credentials?limit=1001".into(), None, vec![], "malformed", 400),
        (&authority, "GET", "/v1/credentials?page=1".into(), None, vec![], "malformed", 400),
        (&authority, "GET", format!("/v1/credentials/{}", OrderId::new([1; 16])), None, vec![], "credential-unknown", 404),
        (&authority, "GET", "/v1/objects/planet/1/version".into(), None, vec![], "malformed", 400),
        (&authority, "GET", format!("/v1/ceremonies/{}", OrderId::new([1; 16])), None, vec![], "ceremony-unknown", 404),
    ];
    for (caller, method, path, media, body, expected, status) in table {
        let answer = caller.call(method, &path, media, &body).await.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let problem = answer.must_problem();
        assert_eq!((problem.code(), problem.status), (expected, status), "{method} {path}: {}", problem.detail);
        let id = problem.instance.unwrap();
        assert!(answer.head.to_ascii_lowercase().contains(&format!("x-request-id: {id}")), "{}", answer.head);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_key_or_none_gets_no_further_than_the_handshake() {
    let fixture = must_signing_fixture("").await;
    assert!(fixture.caller("stranger").call("GET", paths::STATUS, None, &[]).await.is_err());
    assert!(fixture.nobody().call("GET", paths::STATUS, None, &[]).await.is_err());
    assert_eq!(fixture.caller("auditor").get(paths::STATUS).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_calls_too_often_is_told_to_wait_and_others_are_not() {
    let fixture = must_signing_fixture("limits = { requests_per_second = 1, requests_burst = 3 }").await;
    let caller = fixture.caller("watch");
    for _ in 0..3 {
        assert_eq!(caller.get(paths::STATUS).await.status, 200);
    }
    let answer = caller.get(paths::STATUS).await;
    assert_eq!(answer.must_problem().code(), "rate-limited");
    assert!(answer.head.to_ascii_lowercase().contains("retry-after: "), "{}", answer.head);
    assert_eq!(fixture.caller("auditor").get(paths::STATUS).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lying_node_is_named_and_costs_no_document() {
    for fault in [Fault::FalseShare, Fault::FalseCommitments] {
        let fixture = must_signing_fixture("").await;
        fixture.must_open().await;
        fixture.sites.fault(2, Some(fault));
        for call in 0..10 {
            let documents: Vec<_> = (1..=10).map(|number| fixture.document(10 * call + number)).collect();
            for (document, result) in documents.iter().zip(sign(&fixture, documents.clone()).await) {
                must_be_signed(&fixture, document, &result);
            }
        }
        // Commitments are renewed after a while at the latest; shares are false at once.
        if fault == Fault::FalseShare {
            let status = fixture.client("watch").status().await.unwrap();
            let excluded: Vec<_> = status.nodes.iter().filter(|node| node.excluded).map(|node| node.node.get()).collect();
            assert_eq!(excluded, [2]);
            let (_, metrics) = fixture.page("/metrics").await;
            let named = metrics.lines().filter(|line| line.starts_with("warifu_coordinator_culprits_total")).collect::<Vec<_>>();
            assert!(named.len() == 1 && named[0].contains("node=\"2\""), "{named:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n_minus_t_lost_nodes_cost_no_document_and_one_more_is_said_plainly() {
    for fault in [Fault::Down, Fault::Hang] {
        let fixture = must_signing_fixture("").await;
        fixture.must_open().await;
        fixture.sites.fault(1, Some(fault));
        fixture.sites.fault(4, Some(fault));
        for seq in 1..=10 {
            let started = Instant::now();
            let document = fixture.document(seq);
            must_be_signed(&fixture, &document, &sign(&fixture, vec![document.clone()]).await[0]);
            assert!(started.elapsed() < Duration::from_secs(4));
        }
        fixture.sites.fault(5, Some(fault));
        assert_eq!(failed(&sign(&fixture, vec![fixture.document(11)]).await[0]), ("signers-unavailable", 503));
        let (status, reasons) = fixture.page("/readyz").await;
        assert_eq!(status, 503);
        assert!(reasons.contains("a signature needs 3"), "{reasons}");
        let (status, health) = fixture.page("/healthz").await;
        assert!(status == 200 && health.ends_with("\r\n\r\nok\n"), "the process is well when the cluster is not: {health}");
        fixture.sites.fault(1, None);
        fixture.must_become_ready().await;
        let document = fixture.document(12);
        must_be_signed(&fixture, &document, &sign(&fixture, vec![document.clone()]).await[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unconfirmed_nodes_are_not_counted_as_signers() {
    let fixture = must_signing_fixture("").await;
    for number in 1..=3 {
        fixture.sites.fault(number, Some(Fault::Unconfirmed));
    }
    for _ in 0..200 {
        if fixture.page("/readyz").await.0 == 503 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("still ready");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lies_about_a_credential_is_outvoted() {
    let fixture = must_signing_fixture("").await;
    fixture.must_open().await;
    fixture.sites.fault(3, Some(Fault::LiesOnReads));
    let view = fixture.client("auditor").credential(CREDENTIAL).await.unwrap();
    assert_eq!(view.certificate.unwrap().0, fixture.sites.certificate());
    let document = fixture.document(1);
    must_be_signed(&fixture, &document, &sign(&fixture, vec![document.clone()]).await[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_was_replaced_is_noticed_while_signing() {
    let fixture = must_signing_fixture("").await;
    fixture.must_open().await;
    let first = fixture.document(1);
    must_be_signed(&fixture, &first, &sign(&fixture, vec![first.clone()]).await[0]);
    fixture.sites.install(b"another certificate");
    let second = fixture.document(2);
    must_be_signed(&fixture, &second, &sign(&fixture, vec![second.clone()]).await[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_whose_shares_were_repaired_is_soon_asked_so_that_others_may_be_away() {
    let fixture = must_signing_fixture("").await;
    fixture.must_open().await;
    fixture.sites.set_holders(&[1, 2, 4, 5]);
    let first = fixture.document(1);
    must_be_signed(&fixture, &first, &sign(&fixture, vec![first.clone()]).await[0]);
    assert_eq!(fixture.sites.shares(3), 0);
    fixture.sites.set_holders(&[1, 2, 3, 4, 5]);
    fixture.sites.fault(1, Some(Fault::Down));
    fixture.sites.fault(2, Some(Fault::Down));
    let started = Instant::now();
    for number in 2.. {
        let document = fixture.document(number);
        let results = sign(&fixture, vec![document.clone()]).await;
        if matches!(results[0], SignResult::Signed { .. }) {
            must_be_signed(&fixture, &document, &results[0]);
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "site 3 is not asked: {results:?}");
    }
    assert!(fixture.sites.shares(3) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_cannot_be_read_anew_serves_for_a_while_before_the_next_try() {
    let fixture = must_signing_fixture("").await;
    fixture.must_open().await;
    fixture.sites.set_holders(&[1, 2, 4, 5]);
    let started = Instant::now();
    let first = fixture.document(1);
    must_be_signed(&fixture, &first, &sign(&fixture, vec![first.clone()]).await[0]);
    (1..=5).for_each(|number| fixture.sites.fault(number, Some(Fault::KnowsNoCredential)));
    let (before, mut after_a_try) = (fixture.sites.credential_reads(1), 0);
    for number in 2.. {
        let document = fixture.document(number);
        must_be_signed(&fixture, &document, &sign(&fixture, vec![document.clone()]).await[0]);
        after_a_try += u64::from(fixture.sites.credential_reads(1) > before);
        if after_a_try == 10 {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "it is not read anew");
    }
    let tries = fixture.sites.credential_reads(1) - before;
    let pauses = u64::try_from(started.elapsed().as_millis()).unwrap() / LACKING_VIEW_LIFE_MILLIS;
    assert!(tries <= pauses, "{tries} tries in the time of {pauses} pauses");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ca_gets_a_request_that_the_threshold_key_signed() {
    let fixture = must_signing_fixture("").await;
    let answer = fixture.client("authority").csr(CREDENTIAL).await.unwrap();
    let (subject, key) = verify_csr(answer.der.as_slice()).unwrap();
    assert_eq!(key, fixture.sites.group_key());
    assert_eq!(subject.common_name(), "Hanako Ishi");
    assert!(answer.pem.starts_with("-----BEGIN CERTIFICATE REQUEST-----"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crl_travels_in_pieces_after_its_order() {
    let fixture = must_signing_fixture("").await;
    let crl: Vec<u8> = (0..CRL_CHUNK_BYTES * 2 + 17).map(|index| u8::try_from(index % 251).unwrap()).collect();
    let announced = order(&fixture, 3, OrderCommand::update_crl(&crl, 1, None));
    let answer = fixture.client("authority").order(&announced).await.unwrap();
    assert_eq!(answer.applied, Applied::CrlExpected { order: announced.body.id, next: 0 });
    // The verdict of the first pieces is lost, which is no reason to fail.
    fixture.sites.fault(1, Some(Fault::LosesVerdicts));
    let answer = fixture.client("authority").upload_crl(announced.body.id, crl.clone()).await.unwrap();
    assert!(matches!(answer.applied, Applied::CrlActive | Applied::CrlExpected { next: 3, .. }));
    assert_eq!(fixture.sites.crl(), crl);
    fixture.sites.fault(1, None);
    let again = fixture.client("authority").upload_crl(announced.body.id, vec![0]).await.unwrap_err();
    assert_eq!(code(&again), ("crl-chunk-unexpected", 409));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_counts_as_applied_only_when_more_nodes_than_may_lie_say_so() {
    let fixture = must_signing_fixture("").await;
    // The node that leads, and is asked first.
    fixture.sites.fault(1, Some(Fault::InventsVerdicts));
    let facility = OrderCommand::EnrolFacility { facility: "clinic-1".parse().unwrap() };
    let invented = fixture.client("authority").order(&order(&fixture, 9, facility.clone())).await.unwrap_err();
    assert_eq!(code(&invented), ("outcome-unknown", 503));
    fixture.sites.fault(1, None);
    let answer = fixture.client("authority").order(&order(&fixture, 9, facility)).await.unwrap();
    assert_eq!(answer.applied, Applied::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_of_an_import_go_to_their_nodes_and_whoever_did_not_take_one_is_named() {
    let fixture = must_signing_fixture("").await;
    let order = OrderId::new([0x1a; 16]);
    let packet = |number: u8, sealed: &[u8]| ImportPacket { order, node: NodeId::new(number).unwrap(), sealed: sealed.into() };
    fixture.sites.fault(3, Some(Fault::Down));
    fixture.sites.fault(4, Some(Fault::Unconfirmed));
    let packets = vec![packet(1, b"sealed"), packet(2, b""), packet(3, b"sealed"), packet(4, b"sealed")];
    let answer = fixture.client("authority").bring_packets(order, packets).await.unwrap();
    let states: Vec<_> = answer.deliveries.iter().map(|delivery| (delivery.node.get(), delivery.state)).collect();
    assert_eq!(states, [(1, PacketState::Taken), (2, PacketState::Refused), (3, PacketState::Pending), (4, PacketState::Pending)]);
    let codes: Vec<_> =
        answer.deliveries.iter().map(|delivery| delivery.problem.as_ref().map(|problem| problem.code().to_owned())).collect();
    assert_eq!(codes, [None, Some("ceremony-step".into()), Some("packet-pending".into()), Some("packet-pending".into())]);

    let other = OrderId::new([2; 16]);
    let large = packet(1, &vec![0; IMPORT_PACKET_BYTES_MAX + 1]);
    for (what, path, packets) in [
        ("none", order, vec![]),
        ("two for one node", order, vec![packet(1, b"a"), packet(1, b"b")]),
        ("another order's", other, vec![packet(1, b"a")]),
        ("too large", order, vec![large]),
    ] {
        let refused = fixture.client("authority").bring_packets(path, packets).await.unwrap_err();
        assert_eq!(code(&refused), ("malformed", 400), "{what}");
    }
    for client in ["clinic", "watch", "auditor"] {
        let refused = fixture.client(client).bring_packets(order, vec![packet(1, b"a")]).await.unwrap_err();
        assert_eq!(code(&refused).1, 403, "{client}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registry_is_read_page_by_page() {
    let fixture = must_signing_fixture("").await;
    for name in ["authority", "watch", "auditor"] {
        let client = fixture.client(name);
        assert_eq!(client.credentials(None, 1).await.unwrap().next, Some(CREDENTIAL));
        assert_eq!(client.credentials(Some(CREDENTIAL), 1).await.unwrap().credentials, []);
        assert_eq!(client.object_version(&ObjectRef::Credential(CREDENTIAL)).await.unwrap(), ObjectVersion(4));
        assert_eq!(client.crls().await.unwrap().crls, []);
        let status = client.status().await.unwrap();
        assert_eq!((status.cluster, status.threshold, status.nodes.len()), (fixture.genesis.cluster(), 3, 5));
    }
    let description: serde_json::Value = serde_json::from_slice(&fixture.caller("watch").get(paths::OPENAPI).await.body).unwrap();
    assert!(description["paths"]["/v1/sign"]["post"].is_object());
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_lets_running_documents_end() {
    let mut fixture = must_signing_fixture("").await;
    fixture.must_open().await;
    *fixture.sites.delay.lock() = Duration::from_millis(400);
    let (client, document) = (fixture.client("clinic"), fixture.document(1));
    let documents = vec![document.clone()];
    let signing = tokio::spawn(async move { client.sign(&SignBody { documents }).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    fixture.running.take().unwrap().stop().await;
    let results = signing.await.unwrap().unwrap().results;
    must_be_signed(&fixture, &document, &results[0]);
    assert!(fixture.caller("clinic").call("GET", paths::STATUS, None, &[]).await.is_err(), "no new connection is taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_answered_with_receipts_and_brought_to_the_nodes_that_were_away() {
    let fixture = must_signing_fixture("").await;
    let client = fixture.client("authority");
    fixture.sites.fault(5, Some(Fault::Down));
    let revoke = order(&fixture, 1, OrderCommand::Revoke { credential: CREDENTIAL });
    let answer = client.order(&revoke).await.unwrap();
    let report = answer.stop.expect("a stop");
    assert_eq!((report.state, report.receipts.len() as u64), (StopReportState::Draining, report.needed));
    assert_eq!(report.missing.iter().map(|missing| missing.node.get()).collect::<Vec<_>>(), [5]);
    assert!(report.until.is_some() && report.logged == answer.index);
    fixture.sites.fault(5, None);
    let again = client.stop(report.stop).await.unwrap();
    for _ in 0..100 {
        if client.stop(report.stop).await.unwrap().missing.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(client.stop(report.stop).await.unwrap().missing.is_empty(), "it was pursued: {again:?}");
    assert_eq!(again.until, report.until, "a late receipt does not begin it anew");
    assert_eq!(code(&client.stop(warifu_protocol::StopId::new([9; 32])).await.unwrap_err()), ("stop-unknown", 404));
    assert_eq!(code(&fixture.client("clinic").stop(report.stop).await.unwrap_err()), ("stop-unknown", 404), "another's business");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_too_few_nodes_obey_is_said_to_be_incomplete() {
    let fixture = must_signing_fixture("").await;
    let client = fixture.client("authority");
    let needed = {
        let report = client.order(&order(&fixture, 1, OrderCommand::Revoke { credential: CREDENTIAL })).await.unwrap().stop.unwrap();
        report.needed
    };
    let lost = 5 - u8::try_from(needed).unwrap() + 1;
    for number in 0..lost {
        fixture.sites.fault(5 - number, Some(if number == 0 { Fault::Down } else { Fault::Unconfirmed }));
    }
    let report = client.order(&order(&fixture, 2, OrderCommand::Revoke { credential: CREDENTIAL })).await.unwrap().stop.unwrap();
    assert_eq!((report.state, report.until), (StopReportState::Incomplete, None));
    assert_eq!(report.missing.len(), usize::from(lost));
}
