//! The description at `/openapi.json` is of what is really taken and given.

use std::collections::BTreeSet;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use warifu_api::{
    CeremonyAnswer, CredentialAnswer, CredentialsAnswer, CrlsAnswer, CsrAnswer, HistoryAnswer, MissingReceipt, NodeReport, OrderAnswer,
    PacketDelivery, PacketState, PacketsAnswer, PacketsBody, Problem, RosterAnswer, SessionAnswer, SessionOpened, SignAnswerBody, SignBody,
    SignDocument, SignResult, StatusAnswer, StopAnswerBody, StopReport, StopReportState, VersionAnswer, paths,
};
use warifu_protocol::wire::{Applied, CredentialState};
use warifu_protocol::{
    AnchorKind, AuthenticatorKind, CommandClass, CredentialChange, DocumentKind, Fault, ObjectVersion, OfficerRole, OrderCommand, Origin,
    Purpose, StopKind, StopObject,
};

use super::support::{CREDENTIAL, Description, Fixture, Side, examples, must_signing_fixture};

pub async fn must_describe(fixture: &Fixture) -> Description {
    Description::new(serde_json::from_slice(&fixture.caller("watch").get(paths::OPENAPI).await.body).unwrap())
}

fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap()
}

fn problem() -> Problem {
    Problem { instance: Some("request-1".to_owned()), ..Problem::new(503, "busy", Fault::Cluster, "later").retry_after(1) }
}

fn stop_report(object: StopObject) -> StopReport {
    StopReport {
        stop: examples::STOP,
        object,
        kind: StopKind::Revoke,
        state: StopReportState::Draining,
        until: Some(examples::AT),
        needed: 4,
        liars: 1,
        receipts: vec![examples::receipt(object)],
        missing: vec![MissingReceipt { node: examples::node(5), reason: "no answer".to_owned() }],
        logged: Some(12),
        gone: vec![examples::gone()],
    }
}

fn sign_results() -> Vec<SignResult> {
    let (session, signers) = (examples::SESSION, vec![examples::node(1), examples::node(2)]);
    let signature = examples::blob(64);
    vec![
        SignResult::Signed { session, seq: 1, xml: "<Document/>".to_owned(), signature, signers, attempts: 1 },
        SignResult::Failed { session, seq: 2, problem: problem() },
    ]
}

fn status_answer() -> StatusAnswer {
    let report = |status, unreachable| NodeReport {
        node: examples::node(3),
        status,
        unreachable,
        usable: true,
        excluded: false,
        commitments: 3,
        latency_micros: Some(700),
    };
    StatusAnswer {
        cluster: examples::CLUSTER,
        coordinator: examples::name("coordinator-1"),
        version: "0.1.0".to_owned(),
        threshold: 3,
        signers_ready: 5,
        reasons: vec!["a signature needs 3 nodes".to_owned()],
        nodes: vec![report(Some(examples::status()), None), report(None, Some("no answer".to_owned()))],
    }
}

/// At least one example of every JSON body that is taken or given.
fn bodies() -> Vec<(&'static str, &'static str, Side, Vec<Value>)> {
    let order_answers = |stop: Option<StopReport>| {
        let answer = move |applied| json(&OrderAnswer { index: Some(7), applied, stop: stop.clone() });
        examples::applied().into_iter().map(answer).collect::<Vec<_>>()
    };
    let stop = || stop_report(examples::stopped()[0]);
    let documents = vec![SignDocument { xml: "<Document/>".to_owned(), request: examples::request() }];
    let delivery = |state, problem| PacketDelivery { node: examples::node(3), state, problem };
    let deliveries = vec![delivery(PacketState::Taken, None), delivery(PacketState::Refused, Some(problem()))];
    let (credential, credentials) = (examples::CREDENTIAL, examples::credentials);
    let orders: Vec<_> = examples::commands().into_iter().map(examples::order).collect();
    vec![
        ("post", paths::SESSIONS, Side::Body, vec![json(&examples::opening())]),
        ("post", paths::SESSIONS, Side::Answer, vec![json(&SessionOpened { session: examples::SESSION, index: Some(3) })]),
        ("get", paths::SESSION, Side::Answer, vec![json(&SessionAnswer { session: examples::session() })]),
        ("post", paths::SESSION_CLOSE, Side::Body, vec![json(&examples::closing())]),
        ("post", paths::SESSION_CLOSE, Side::Answer, order_answers(Some(stop()))),
        ("post", paths::SIGN, Side::Body, vec![json(&SignBody { documents })]),
        ("post", paths::SIGN, Side::Answer, vec![json(&SignAnswerBody { results: sign_results() })]),
        ("post", paths::ORDERS, Side::Body, orders.iter().map(json).collect()),
        ("post", paths::ORDERS, Side::Answer, order_answers(Some(stop()))),
        ("post", paths::CRL, Side::Answer, order_answers(None)),
        ("post", paths::IMPORT, Side::Body, vec![json(&PacketsBody { packets: vec![examples::packet()] })]),
        ("post", paths::IMPORT, Side::Answer, vec![json(&PacketsAnswer { deliveries })]),
        ("get", paths::CRLS, Side::Answer, vec![json(&CrlsAnswer { crls: vec![examples::crl()] })]),
        ("get", paths::ROSTER, Side::Answer, vec![json(&RosterAnswer { orders })]),
        ("get", paths::CREDENTIALS, Side::Answer, vec![json(&CredentialsAnswer { credentials: credentials(), next: Some(credential) })]),
        (
            "get",
            paths::CREDENTIAL,
            Side::Answer,
            credentials().into_iter().map(|credential| json(&CredentialAnswer { credential })).collect(),
        ),
        ("get", paths::HISTORY, Side::Answer, vec![json(&HistoryAnswer { credential, events: examples::events() })]),
        ("get", paths::CSR, Side::Answer, vec![json(&CsrAnswer { credential, pem: "PEM".to_owned(), der: examples::blob(5) })]),
        ("get", paths::OBJECT_VERSION, Side::Answer, vec![json(&VersionAnswer { version: ObjectVersion(4) })]),
        ("get", paths::CEREMONY, Side::Answer, vec![json(&CeremonyAnswer { ceremony: examples::ceremony() })]),
        (
            "get",
            paths::STOP,
            Side::Answer,
            examples::stopped().into_iter().map(|object| json(&StopAnswerBody { stop: stop_report(object) })).collect(),
        ),
        ("get", paths::STATUS, Side::Answer, vec![json(&status_answer())]),
    ]
}

/// The words by which serde knows the alternatives of a type, told when it meets one that it does not know.
fn must_know_words<T: DeserializeOwned>() -> BTreeSet<String> {
    let Err(error) = serde_json::from_value::<T>(json!("surprise")) else { panic!("a surprise is taken") };
    let error = error.to_string();
    let (_, expected) = error.split_once("expected ").expect("the parser says what it expected");
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_body_and_answer_is_as_the_description_says_and_it_says_nothing_else() {
    let mut description = must_describe(&must_signing_fixture("").await).await;
    let table = bodies();
    for (method, path) in description.operations() {
        for side in [Side::Body, Side::Answer] {
            let has_example = table.iter().any(|row| (row.0, row.1) == (&method, &path) && row.2 as u8 == side as u8);
            assert_eq!(description.json(&method, &path, side).is_some(), has_example, "{method} {path}: {side:?}");
        }
    }
    for (method, path, side, values) in table {
        let schema = description.json(method, path, side).expect("there is one");
        assert!(!values.is_empty(), "{method} {path}: {side:?}");
        for value in values {
            description.check(&schema, &value).unwrap_or_else(|error| panic!("{method} {path}: {side:?}: {error}"));
        }
    }
    assert_eq!(description.unmet(), Vec::<String>::new(), "described, and in no body");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_knows_the_alternatives_that_the_programs_know() {
    let description = must_describe(&must_signing_fixture("").await).await;
    let of_approvals = format!("{}/properties/approvals/propertyNames", Description::component("Policy"));
    let table = [
        (Description::component("OrderCommand"), must_know_words::<OrderCommand>()),
        (Description::component("CredentialChange"), must_know_words::<CredentialChange>()),
        (Description::component("CredentialState"), must_know_words::<CredentialState>()),
        (Description::component("Applied"), must_know_words::<Applied>()),
        (Description::component("AuthenticatorKind"), must_know_words::<AuthenticatorKind>()),
        (Description::component("StopObject"), must_know_words::<StopObject>()),
        (Description::component("StopKind"), must_know_words::<StopKind>()),
        (Description::component("Origin"), must_know_words::<Origin>()),
        (Description::component("Purpose"), must_know_words::<Purpose>()),
        (Description::component("DocumentKind"), must_know_words::<DocumentKind>()),
        (Description::component("OfficerRole"), must_know_words::<OfficerRole>()),
        (Description::component("AnchorKind"), must_know_words::<AnchorKind>()),
        (Description::component("Fault"), must_know_words::<Fault>()),
        (Description::component("PacketState"), must_know_words::<PacketState>()),
        (Description::component("StopReportState"), must_know_words::<StopReportState>()),
        (of_approvals, must_know_words::<CommandClass>()),
    ];
    for (schema, known) in table {
        assert_eq!(description.words(&schema), known, "{schema}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_served_is_as_the_description_says() {
    let fixture = must_signing_fixture("").await;
    let mut description = must_describe(&fixture).await;
    let revoke = super::order(&fixture, 1, OrderCommand::Revoke { credential: CREDENTIAL });
    let close = paths::SESSION_CLOSE.replace("{session}", &fixture.statement.session().to_string());
    let sign = SignBody { documents: vec![fixture.document(1), fixture.document(1)] };
    let calls = [
        ("clinic", paths::SESSIONS, paths::SESSIONS.to_owned(), json(&fixture.opening(&fixture.statement))),
        ("clinic", paths::SIGN, paths::SIGN.to_owned(), json(&sign)),
        ("clinic", paths::SESSION_CLOSE, close, json(&fixture.closing())),
        ("authority", paths::ORDERS, paths::ORDERS.to_owned(), json(&revoke)),
    ];
    for (client, path, called, body) in calls {
        let schema = description.json("post", path, Side::Body).expect("described");
        description.check(&schema, &body).unwrap_or_else(|error| panic!("{called}: {error}"));
        let answer = fixture.caller(client).post_json(&called, body.to_string().as_bytes()).await;
        assert!((200..300).contains(&answer.status), "{called}: {answer:?}");
        let schema = description.json("post", path, Side::Answer).expect("described");
        description.check(&schema, &serde_json::from_slice(&answer.body).unwrap()).unwrap_or_else(|error| panic!("{called}: {error}"));
    }
    let session = paths::SESSION.replace("{session}", &fixture.statement.session().to_string());
    let stop = paths::STOP.replace("{stop}", &warifu_protocol::StopCommand::Order(revoke).id().to_string());
    let of_credential = |path: &str| path.replace("{credential}", &CREDENTIAL.to_string());
    let version = paths::OBJECT_VERSION.replace("{kind}", "credential").replace("{id}", &CREDENTIAL.to_string());
    let reads = [
        ("clinic", paths::SESSION, session),
        ("authority", paths::CSR, of_credential(paths::CSR)),
        ("watch", paths::CREDENTIAL, of_credential(paths::CREDENTIAL)),
        ("watch", paths::CREDENTIALS, paths::CREDENTIALS.to_owned()),
        ("watch", paths::OBJECT_VERSION, version),
        ("watch", paths::CRLS, paths::CRLS.to_owned()),
        ("watch", paths::ROSTER, paths::ROSTER.to_owned()),
        ("watch", paths::STOP, stop),
        ("watch", paths::STATUS, paths::STATUS.to_owned()),
    ];
    for (client, path, called) in reads {
        let answer = fixture.caller(client).get(&called).await;
        assert_eq!(answer.status, 200, "{called}: {answer:?}");
        let schema = description.json("get", path, Side::Answer).expect("described");
        description.check(&schema, &serde_json::from_slice(&answer.body).unwrap()).unwrap_or_else(|error| panic!("{called}: {error}"));
    }
    let refused = json(&fixture.caller("watch").get("/v1/nothing").await.must_problem());
    description.check(&Description::component("Problem"), &refused).unwrap();
}
