//! One of everything that a coordinator answers, and that nodes say to each other about ceremonies.

use serde::Serialize;
use warifu_api::{
    CeremonyAnswer, CredentialAnswer, CredentialsAnswer, CrlsAnswer, CsrAnswer, HistoryAnswer, MissingReceipt, NodeReport, OrderAnswer,
    PacketDelivery, PacketState, PacketsAnswer, Problem, RosterAnswer, SessionAnswer, SessionOpened, SignAnswerBody, SignResult,
    StatusAnswer, StopAnswerBody, StopReport, StopReportState, VersionAnswer,
};
use warifu_protocol::wire::{
    Applied, CeremonyCall, CeremonyReply, CeremonyView, CredentialState, CredentialView, CrlView, NodeStatus, Remembered, RepairScalars,
    Round2, SessionView,
};
use warifu_protocol::{
    Blob, BootId, CeremonyId, Checkpoint, CredentialChange, CredentialEvent, CredentialId, Epoch, Fault, Gone, Name, NodeId, ObjectVersion,
    Order, OrderId, Origin, Receipt, Refusal, RepairPart, RepairPartKind, SessionId, Sha256, StateMark, StateRoot, Statement, StopId,
    StopKind, StopObject, StoreId, SubjectFields,
};

use super::cluster::{Ground, NOW};

const CREDENTIAL: CredentialId = CredentialId::new([0xcd; CredentialId::LEN]);
const SESSION: SessionId = SessionId::new([0x5e; SessionId::LEN]);
const BOOT: BootId = BootId::new([0xb0; BootId::LEN]);
const STORE: StoreId = StoreId::new([0x57; StoreId::LEN]);
const HASH: Sha256 = Sha256::new([0x11; 32]);

fn node() -> NodeId {
    NodeId::new(1).expect("a node id")
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn problem() -> Problem {
    Problem::new(400, "malformed", Fault::Request, "no")
}

fn credential() -> CredentialView {
    CredentialView {
        credential: CREDENTIAL,
        holder: name("dr-1"),
        subject: SubjectFields::new("JP", None, "TRIAL Ishi", "1".to_owned()).expect("a subject"),
        state: CredentialState::Active,
        version: ObjectVersion(3),
        epoch: Epoch(1),
        ceremony: CeremonyId::new([0xce; CeremonyId::LEN]),
        public_key_package: Some(Blob(vec![1; 40])),
        certificate: None,
        authenticators: Vec::new(),
        pending: Vec::new(),
        holders: vec![node()],
        origin: Origin::Imported { order: OrderId::new([1; OrderId::LEN]), officers: vec![name("security-1")] },
        destroy_at: Some(NOW),
    }
}

fn stop(ground: &Ground) -> StopReport {
    let (stop, object) = (StopId::new([0x57; StopId::LEN]), StopObject::Session(SESSION));
    let receipt = Receipt { stop, object, kind: StopKind::CloseSession, held_since: NOW, store: STORE, boot: BOOT };
    let gone = Gone { credential: CREDENTIAL, store: STORE, destroyed: vec![1], proves_destruction: false, at: NOW };
    StopReport {
        stop,
        object,
        kind: StopKind::CloseSession,
        state: StopReportState::Draining,
        until: Some(NOW),
        needed: 4,
        liars: 1,
        receipts: vec![ground.witness.sign(receipt)],
        missing: vec![MissingReceipt { node: node(), reason: "it does not answer".to_owned() }],
        logged: Some(9),
        gone: vec![ground.witness.sign(gone)],
    }
}

fn status(ground: &Ground) -> StatusAnswer {
    let cluster = ground.founding.genesis.cluster();
    let status = NodeStatus {
        node: node(),
        cluster,
        boot: BOOT,
        confirmed: true,
        reasons: vec!["it starts".to_owned()],
        leader: Some(node()),
        term: 2,
        applied: 9,
        last_log: 9,
        now: NOW,
        audit: Checkpoint { size: 3, root: HASH },
        shares_given: 7,
        version: "0.1.0".to_owned(),
    };
    let report = NodeReport {
        node: node(),
        status: Some(status),
        unreachable: None,
        usable: true,
        excluded: false,
        commitments: 16,
        latency_micros: Some(900),
    };
    StatusAnswer {
        cluster,
        coordinator: name("coordinator-1"),
        version: "0.1.0".to_owned(),
        threshold: 3,
        signers_ready: 5,
        reasons: Vec::new(),
        nodes: vec![report],
    }
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("samples serialize")
}

/// Bodies of answers.
pub(crate) fn answers(ground: &Ground, statement: &Statement, order: &Order) -> Vec<Vec<u8>> {
    let view = CeremonyView {
        ceremony: CeremonyId::new([0xce; CeremonyId::LEN]),
        attempt: 1,
        participants: vec![node()],
        round1: vec![node()],
        confirmed: Vec::new(),
        done: false,
        failed: false,
    };
    let crl = CrlView { issuer: "CN=TRIAL".to_owned(), number: "1".to_owned(), this_update: NOW, next_update: NOW, revoked: 2 };
    let event = |change| CredentialEvent { index: 4, at: NOW, change, order: None, officers: vec![name("operator-1")] };
    let signed = SignResult::Signed {
        session: SESSION,
        seq: 1,
        xml: "<a/>".to_owned(),
        signature: Blob(vec![1; 64]),
        signers: vec![node()],
        attempts: 1,
    };
    let failed = SignResult::Failed { session: SESSION, seq: 2, problem: problem() };
    let delivery = |state, problem| PacketDelivery { node: node(), state, problem };
    let deliveries =
        vec![delivery(PacketState::Taken, None), delivery(PacketState::Pending, None), delivery(PacketState::Refused, Some(problem()))];
    vec![
        json(&CeremonyAnswer { ceremony: view }),
        json(&CredentialAnswer { credential: credential() }),
        json(&CredentialsAnswer { credentials: vec![credential()], next: Some(CREDENTIAL) }),
        json(&CrlsAnswer { crls: vec![crl] }),
        json(&CsrAnswer { credential: CREDENTIAL, pem: "-----BEGIN".to_owned(), der: Blob(vec![0x30]) }),
        json(&HistoryAnswer {
            credential: CREDENTIAL,
            events: vec![event(CredentialChange::Enrolled), event(CredentialChange::State { state: CredentialState::Revoked })],
        }),
        json(&OrderAnswer { index: Some(4), applied: Applied::CrlActive, stop: Some(stop(ground)) }),
        json(&PacketsAnswer { deliveries }),
        json(&problem()),
        json(&RosterAnswer { orders: vec![order.clone()] }),
        json(&SessionAnswer { session: SessionView { session: SESSION, statement: statement.clone(), closed: true } }),
        json(&SessionOpened { session: SESSION, index: None }),
        json(&SignAnswerBody { results: vec![signed, failed] }),
        json(&status(ground)),
        json(&StopAnswerBody { stop: stop(ground) }),
        json(&VersionAnswer { version: ObjectVersion(3) }),
    ]
}

fn postcard<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("samples serialize")
}

/// One of each call of a node to another about ceremonies and starts.
pub(crate) fn ceremony_calls(ground: &Ground) -> Vec<Vec<u8>> {
    let ceremony = CeremonyId::new([0xce; CeremonyId::LEN]);
    let part = RepairPart { ceremony, attempt: 1, to: node(), kind: RepairPartKind::Delta, hashes: vec![HASH] };
    let calls = [
        CeremonyCall::Round2(Box::new(ground.witness.sign(Round2 { ceremony, attempt: 1, to: node(), packages: vec![Blob(vec![1; 37])] }))),
        CeremonyCall::StateRoot { boot: BOOT, index: 9 },
        CeremonyCall::Remembered,
        CeremonyCall::Repair(Box::new(RepairScalars { part: ground.witness.sign(part), scalars: vec![[3; 32]] })),
        CeremonyCall::StateMark { index: 300 },
    ];
    // A further kind belongs into the list above.
    let place = |call: &CeremonyCall| match call {
        CeremonyCall::Round2(_) => 0,
        CeremonyCall::StateRoot { .. } => 1,
        CeremonyCall::Remembered => 2,
        CeremonyCall::Repair(_) => 3,
        CeremonyCall::StateMark { .. } => 4,
    };
    assert!(calls.iter().map(place).eq(0..calls.len()), "one of each kind");
    calls.iter().map(postcard).collect()
}

/// One of each reply to them.
pub(crate) fn ceremony_replies(ground: &Ground) -> Vec<Vec<u8>> {
    let replies = [
        CeremonyReply::Taken,
        CeremonyReply::StateRoot(ground.witness.sign(StateRoot { boot: BOOT, index: 9, root: HASH })),
        CeremonyReply::Remembered(Some(Remembered { store: STORE, boot: BOOT })),
        CeremonyReply::NotYet,
        CeremonyReply::Refused(Refusal::SessionUnknown),
        CeremonyReply::StateMark(ground.witness.sign(StateMark { index: 300, mark: HASH })),
    ];
    // A further kind belongs into the list above.
    let place = |reply: &CeremonyReply| match reply {
        CeremonyReply::Taken => 0,
        CeremonyReply::StateRoot(_) => 1,
        CeremonyReply::Remembered(_) => 2,
        CeremonyReply::NotYet => 3,
        CeremonyReply::Refused(_) => 4,
        CeremonyReply::StateMark(_) => 5,
    };
    assert!(replies.iter().map(place).eq(0..replies.len()), "one of each kind");
    replies.iter().map(postcard).chain([postcard(&CeremonyReply::Remembered(None))]).collect()
}
