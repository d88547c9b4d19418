//! Frozen encodings: one sample of everything that is logged, hashed, signed or sent.
//!
//! A changed hash (the first eight bytes of SHA-256) is a change of format: nodes of two versions would no longer read each other, and
//! signatures made before would no longer verify. When that is meant, raise the version that the type carries and put in the hash that
//! the failure prints.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use warifu_protocol::canonical::sha256;
use warifu_protocol::wire::{
    Applied, AuthenticatorView, CeremonyCall, CeremonyReply, CeremonyView, CredentialState, CredentialView, CrlView, FreshCommitments,
    NodeStatus, NotYet, ObjectRef, OrderCall, OrderReply, PacketAnswer, PendingView, Read, Remembered, RepairScalars, Round2, SessionView,
    SignAnswer, SignCall, SignItem, SignReply, SignWork, SignerCommitments, StopAnswer, StopReceipts, Verdict, View,
};
use warifu_protocol::{
    AnchorEntry, AnchorKind, Approval, AuditEntry, AuditEvent, AuditSubject, AuthenticatorKind, Binding, Blob, BootId, BoundCardApproval,
    CallRefusal, CeremonyAbort, CeremonyAccusation, CeremonyConfirm, CeremonyId, CeremonyOverdue, CertificateHash, Challenge, Checkpoint,
    ClusterId, Command, Consent, CoordinatorEntry, CredentialChange, CredentialEvent, CredentialId, DocumentDigest, DocumentKind,
    EncodedPoint, Enrolment, Epoch, EpochReceipt, EpochRetired, Gone, ImportAbort, ImportConfirm, ImportFailure, ImportPacket, KeyImport,
    LogEntry, Name, NodeEntry, NodeId, NodeSigned, NodeStarted, NodeStatement, NonceId, ObjectVersion, OfficerEntry, OfficerRole, Order,
    OrderBody, OrderCommand, OrderId, Origin, PeerId, Policy, PublicKey, Purpose, Receipt, RefreshStart, Refusal, RepairAbort,
    RepairAccusation, RepairCommitments, RepairConfirm, RepairPart, RepairPartKind, RepairStart, Request, Round1, Round2Hashes,
    SessionClosing, SessionId, SessionOpening, Sha256, SharesFound, SharesLost, SignedRequest, SpkiHash, StateMark, StateRoot, Statement,
    StopCommand, StopId, StopKind, StopObject, StoreId, SubjectFields, TerminalId, UnixMillis, closing_message,
};

const AT: UnixMillis = UnixMillis(1_767_225_600_000);
const CLUSTER: ClusterId = ClusterId::new([0x0c; 32]);
const CREDENTIAL: CredentialId = CredentialId::new([0xcd; 16]);
const CEREMONY: CeremonyId = CeremonyId::new([0xce; 16]);
const SESSION: SessionId = SessionId::new([0x5e; 32]);
const HASH: Sha256 = Sha256::new([0x4a; 32]);
const STOP: StopId = StopId::new([0x53; 32]);

/// What is seen beside what is expected; every difference is shown at once, as it would stand here.
struct Golden {
    changed: Vec<String>,
}

impl Golden {
    fn bytes(&mut self, what: &str, bytes: &[u8], expected: &str) {
        let seen = hex::encode(&sha256(bytes)[..8]);
        if seen != expected {
            self.changed.push(format!("{what}: {seen}, not {expected}"));
        }
    }

    /// A value's postcard form, which must also read back as the same value.
    fn postcard<T: Serialize + DeserializeOwned + PartialEq + Debug>(&mut self, what: &str, value: &T, expected: &str) {
        let bytes = postcard::to_stdvec(value).expect("samples serialize");
        assert_eq!(postcard::from_bytes::<T>(&bytes).as_ref(), Ok(value), "{what} does not read back");
        self.bytes(what, &bytes, expected);
    }

    fn finish(self) {
        assert!(self.changed.is_empty(), "encodings changed:\n{}", self.changed.join("\n"));
    }
}

fn golden(check: impl FnOnce(&mut Golden)) {
    let mut golden = Golden { changed: Vec::new() };
    check(&mut golden);
    golden.finish();
}

fn node(number: u8) -> NodeId {
    NodeId::new(number).expect("a node id")
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn blob(byte: u8) -> Blob {
    Blob(vec![byte; 3])
}

fn key() -> PublicKey {
    // The base point of the curve is as good a key as any.
    let text = format!("ed25519:58{}", "66".repeat(31));
    text.parse().expect("a key")
}

fn signed<T: NodeStatement>(body: T) -> NodeSigned<T> {
    NodeSigned { node: node(3), body, signature: blob(0x51) }
}

fn subject() -> SubjectFields {
    SubjectFields::new("JP", Some("Trial Clinic".to_owned()), "Hanako Iryo", "TRIAL-0001").expect("a subject")
}

fn binding() -> Binding {
    let card = CertificateHash::new([0xca; 32]);
    Binding { cluster: CLUSTER, credential: CREDENTIAL, kind: AuthenticatorKind::MyNumberCard, card, nonce: Challenge::new([7; 32]) }
}

fn order(order: OrderCommand) -> Order {
    let body = OrderBody { cluster: CLUSTER, id: OrderId::new([0x0d; 16]), not_after: AT, object_version: ObjectVersion(7), order };
    Order { body, approvals: vec![Approval { officer: name("op-1"), signature: blob(0x51) }], consents: Vec::new() }
}

fn statement() -> Statement {
    Statement {
        cluster: CLUSTER,
        credential: CREDENTIAL,
        session_key: key(),
        facility: name("clinic-1"),
        terminal: TerminalId::new([0x7e; 16]),
        purpose: Purpose::EPrescription,
        not_before: AT,
        not_after: AT.plus(3_600_000),
        max_signatures: 300,
        nonce: Challenge::new([9; 32]),
    }
}

fn opening() -> SessionOpening {
    SessionOpening {
        statement: statement(),
        card_certificate: blob(1),
        intermediates: vec![blob(2)],
        card_signature: blob(3),
        terminal_signature: blob(4),
        possession: blob(5),
        ocsp: None,
    }
}

fn request() -> SignedRequest {
    let request = Request {
        session: SESSION,
        seq: 17,
        kind: DocumentKind::Dispensing,
        document_id: "doc-1".parse().expect("a document id"),
        digest: DocumentDigest::new([0xdd; 32]),
        signing_time: AT,
    };
    SignedRequest { request, signature: blob(6) }
}

fn started() -> NodeStarted {
    let earlier = vec![BootId::new([0xb0; 16])];
    NodeStarted {
        store: StoreId::new([0x57; 16]),
        incarnation: 2,
        boot: BootId::new([0xb1; 16]),
        earlier,
        audit_size: 300,
        raft_index: 20,
        log_version: 1,
    }
}

fn confirm() -> CeremonyConfirm {
    CeremonyConfirm { ceremony: CEREMONY, attempt: 1, transcript: HASH, public_key_packages: vec![blob(8)] }
}

fn abort() -> CeremonyAbort {
    CeremonyAbort { ceremony: CEREMONY, attempt: 1, culprit: Some(node(2)), credential: Some(CREDENTIAL) }
}

fn accusation() -> CeremonyAccusation {
    let round2 = Some(Box::new(signed(round2())));
    CeremonyAccusation { ceremony: CEREMONY, attempt: 1, culprit: node(2), credential: CREDENTIAL, round2 }
}

fn round2_hashes() -> Round2Hashes {
    Round2Hashes { ceremony: CEREMONY, attempt: 1, hashes: vec![(node(1), HASH), (node(2), HASH)] }
}

fn round1() -> Round1 {
    Round1 { ceremony: CEREMONY, attempt: 1, packages: vec![blob(7)] }
}

fn round2() -> Round2 {
    Round2 { ceremony: CEREMONY, attempt: 1, to: node(2), packages: vec![blob(7)] }
}

fn gone() -> Gone {
    Gone { credential: CREDENTIAL, store: StoreId::new([0x57; 16]), destroyed: vec![1, 2], proves_destruction: true, at: AT }
}

fn receipt() -> Receipt {
    Receipt {
        stop: STOP,
        object: StopObject::Credential(CREDENTIAL),
        kind: StopKind::Revoke,
        held_since: AT,
        store: StoreId::new([0x57; 16]),
        boot: BootId::new([0xb1; 16]),
    }
}

fn checkpoint() -> Checkpoint {
    Checkpoint { size: 300, root: HASH }
}

fn orders() -> Vec<(&'static str, OrderCommand, &'static str)> {
    let terminal = TerminalId::new([0x7e; 16]);
    let card = CertificateHash::new([0xca; 32]);
    let enrolment = Enrolment { credential: CREDENTIAL, holder: name("holder-1"), subject: subject() };
    let bound_card = Some(BoundCardApproval { certificate: blob(4), signature: blob(5) });
    let anchor = AnchorEntry { kind: AnchorKind::HpkiSigning, certificate: blob(1), policies: vec!["1.2.3".to_owned()] };
    let coordinator = CoordinatorEntry { id: name("coordinator-1"), tls_spki: SpkiHash::new([0xc1; 32]), identity: key() };
    let officer = OfficerEntry { id: name("so-1"), role: OfficerRole::SecurityOfficer, key: key() };
    vec![
        ("enrol", OrderCommand::Enrol { enrolments: vec![enrolment] }, "4d0fc4edb15604b0"),
        (
            "install",
            OrderCommand::InstallCertificate { credential: CREDENTIAL, certificate: blob(1), intermediates: vec![blob(2)] },
            "11e8124cbfe55732",
        ),
        (
            "bind",
            OrderCommand::BindAuthenticator {
                binding: binding(),
                certificate: blob(1),
                intermediates: vec![blob(2)],
                card_signature: blob(3),
                bound_card,
            },
            "9779952861eda8c8",
        ),
        ("unbind", OrderCommand::UnbindAuthenticator { credential: CREDENTIAL, card }, "6db8f8a316098aa5"),
        ("facility", OrderCommand::EnrolFacility { facility: name("clinic-1") }, "67fdf2b7a7c7ab55"),
        ("terminal", OrderCommand::EnrolTerminal { terminal, facility: name("clinic-1"), key: key() }, "39cde222881e03d1"),
        ("retire", OrderCommand::RetireTerminal { terminal }, "7deb0c03ef864e30"),
        ("suspend", OrderCommand::Suspend { credential: CREDENTIAL }, "d403d8f99529fbbb"),
        ("resume", OrderCommand::Resume { credential: CREDENTIAL }, "d19d3007aa8ab16d"),
        ("revoke", OrderCommand::Revoke { credential: CREDENTIAL }, "114218a4c79e7d7b"),
        ("close", OrderCommand::CloseSession { session: SESSION }, "f9fdab46ff980dcd"),
        (
            "crl",
            OrderCommand::UpdateCrl { hash: HASH, number: 9, size: 400, pieces: vec![HASH], issuer: Some(blob(2)) },
            "5631ab111fb7e5e4",
        ),
        ("policy", OrderCommand::UpdatePolicy { policy: Policy::default() }, "d33041a8f5e427e9"),
        ("anchors", OrderCommand::UpdateAnchors { anchors: vec![anchor] }, "cec2226fc9d8a129"),
        (
            "roster",
            OrderCommand::UpdateRoster { nodes: vec![node_entry()], coordinators: vec![coordinator], officers: vec![officer] },
            "250655b9fb375063",
        ),
        ("replace store", OrderCommand::ReplaceStore { node: node_entry(), store: StoreId::new([0x57; 16]) }, "a29006859166717b"),
        (
            "bind with notice",
            OrderCommand::BindWithNotice {
                binding: binding(),
                certificate: blob(1),
                intermediates: vec![blob(2)],
                card_signature: blob(3),
            },
            "d7fd425754e38b18",
        ),
        ("suspend card", OrderCommand::SuspendBinding { credential: CREDENTIAL, card }, "0dcff2f38aff12d8"),
        ("resume card", OrderCommand::ResumeBinding { credential: CREDENTIAL, card }, "ff5307b3fc2b6afc"),
        ("refresh", OrderCommand::Refresh { credentials: vec![CREDENTIAL] }, "c170fa387adea6ef"),
        ("refresh all", OrderCommand::RefreshAll { held_by: None }, "d9cd0e62f9a1f852"),
        ("refresh of a node's", OrderCommand::RefreshAll { held_by: Some(node(3)) }, "01feff810cd5baee"),
        ("import", OrderCommand::Import { import: key_import() }, "02676433c87eaa34"),
    ]
}

fn key_import() -> KeyImport {
    let enrolment = Enrolment { credential: CREDENTIAL, holder: name("holder-1"), subject: subject() };
    let commitment = vec![EncodedPoint::new([0x58; 32]), EncodedPoint::new([0x59; 32])];
    KeyImport { enrolment, commitment, packets: vec![(node(1), HASH), (node(3), HASH)] }
}

fn import_confirm() -> ImportConfirm {
    ImportConfirm { ceremony: CEREMONY, transcript: HASH }
}

fn import_abort(cause: ImportFailure) -> ImportAbort {
    ImportAbort { ceremony: CEREMONY, cause }
}

fn imported() -> Origin {
    Origin::Imported { order: OrderId::new([0x0d; 16]), officers: vec![name("so-1"), name("so-2")] }
}

fn node_entry() -> NodeEntry {
    let tls_spki = SpkiHash::new([0x15; 32]);
    NodeEntry { id: node(3), address: "site-3.invalid:7400".to_owned(), tls_spki, identity: key(), sealing_key: blob(7) }
}

fn consent() -> Consent {
    Consent { order: HASH }
}

#[test]
fn what_officers_cards_terminals_and_session_keys_sign_is_frozen() {
    golden(|golden| {
        for (what, command, expected) in orders() {
            golden.bytes(&format!("order message {what}"), &order(command).body.message(), expected);
        }
        golden.bytes("binding message", &binding().message(), "4cb3153327bdc237");
        golden.bytes("statement message", &statement().message(), "fbd795049af4827c");
        golden.bytes("statement terminal message", &statement().terminal_message(), "ae3ce8eccb7bc2a7");
        golden.bytes("statement possession message", &statement().possession_message(), "198cf8f6f6ecd050");
        golden.bytes("request message", &request().request.message(), "ec44d8b27bbc2eb6");
        golden.bytes("closing message", &closing_message(SESSION), "08b54275eb5aefb6");
    });
}

#[test]
fn what_is_signed_as_text_reads_as_one_expects() {
    let text = String::from_utf8(statement().message()).expect("a statement is text");
    let expected = format!(
        "warifu-session-v1\n{{\"cluster\":\"{}\",\"credential\":\"{CREDENTIAL}\",\"session_key\":\"{}\",\"facility\":\"clinic-1\",\
         \"terminal\":\"{}\",\"purpose\":\"e-prescription\",\"not_before\":1767225600000,\"not_after\":1767229200000,\
         \"max_signatures\":300,\"nonce\":\"{}\"}}",
        "0c".repeat(32),
        key(),
        "7e".repeat(16),
        "09".repeat(32),
    );
    assert_eq!(text, expected);
    let text = String::from_utf8(request().request.message()).expect("a request is text");
    let expected = format!(
        "warifu-request-v1\n{{\"session\":\"{SESSION}\",\"seq\":17,\"kind\":\"dispensing\",\"document_id\":\"doc-1\",\"digest\":\"{}\",\
         \"signing_time\":1767225600000}}",
        "dd".repeat(32),
    );
    assert_eq!(text, expected);
    let text = String::from_utf8(order(OrderCommand::Suspend { credential: CREDENTIAL }).body.message()).expect("an order is text");
    let expected = format!(
        "warifu-order-v1\n{{\"cluster\":\"{CLUSTER}\",\"id\":\"{}\",\"not_after\":1767225600000,\"object_version\":7,\
         \"order\":{{\"suspend\":{{\"credential\":\"{CREDENTIAL}\"}}}}}}",
        "0d".repeat(16),
    );
    assert_eq!(text, expected);
}

#[test]
fn an_order_with_a_field_that_nobody_knows_is_refused_at_every_depth() {
    let order = serde_json::to_value(order(OrderCommand::Suspend { credential: CREDENTIAL })).expect("an order is JSON");
    assert!(serde_json::from_value::<Order>(order.clone()).is_ok());
    for place in ["", "/body", "/body/order/suspend", "/approvals/0"] {
        let mut more = order.clone();
        more.pointer_mut(place).and_then(|at| at.as_object_mut()).expect("an object").insert("unheard_of".to_owned(), true.into());
        let refused = serde_json::from_value::<Order>(more).expect_err(place).to_string();
        assert!(refused.contains("unheard_of"), "{refused}");
    }
}

#[test]
fn what_nodes_sign_is_frozen() {
    fn message<T: NodeStatement>(body: &T) -> Vec<u8> {
        NodeSigned::<T>::message(CLUSTER, node(3), body)
    }
    golden(|golden| {
        golden.bytes("node started", &message(&started()), "7e545e51045f321a");
        golden.bytes("state root", &message(&StateRoot { boot: BootId::new([0xb1; 16]), index: 300, root: HASH }), "c39b3c2b71a25257");
        golden.bytes("round 1", &message(&round1()), "44903c271f940e77");
        golden.bytes("round 2", &message(&round2()), "aaf61147cc7d43cd");
        golden.bytes("round 2 hashes", &message(&round2_hashes()), "6e9c87507be8b0cf");
        golden.bytes("confirm", &message(&confirm()), "9579a7c9cc3f5310");
        golden.bytes("abort", &message(&abort()), "18578be7fbc63e0e");
        golden.bytes("checkpoint", &message(&checkpoint()), "1a0605554e9d3a39");
        golden.bytes("state mark", &message(&StateMark { index: 300, mark: HASH }), "596761d8bf4b3ce7");
        golden.bytes("accusation", &message(&accusation()), "9c2b551e6e62e016");
        golden.bytes("overdue", &message(&CeremonyOverdue { ceremony: CEREMONY, attempt: 1 }), "c3a9752e5e9ca26d");
        golden.bytes("consent", &message(&consent()), "164a2b567c9e1755");
        golden.bytes("receipt", &message(&receipt()), "a153d6bc282ec926");
        golden.bytes("gone", &message(&gone()), "3a4d73d678296d31");
        let due = RefreshStart { ceremony: CEREMONY, credentials: vec![CREDENTIAL] };
        golden.bytes("refresh start", &message(&due), "8405242a68bb08e3");
        golden.bytes("shares lost", &message(&SharesLost { number: 301, shares: vec![(CREDENTIAL, Epoch(2))] }), "c3ae1048928c34e8");
        golden.bytes("shares found", &message(&SharesFound { number: 301, shares: vec![(CREDENTIAL, Epoch(2))] }), "77e9d2953b95eb6c");
        golden.bytes("import confirmed", &message(&import_confirm()), "d60a46e3bed917da");
        golden.bytes("import aborted", &message(&import_abort(ImportFailure::PacketUnusable)), "fb1839d6a4c038fd");
        let (order, ceremony) = (OrderId::new([0x0d; 16]), CEREMONY);
        golden.bytes("import packet context", &key_import().packet_context(CLUSTER, order, node(3)), "f1144f34f566ad75");
        golden.bytes("import transcript", key_import().transcript(CLUSTER, ceremony).as_ref(), "2fd283aacf963f25");
        golden.bytes("destroy order", &self::order(OrderCommand::Destroy { credential: CREDENTIAL }).body.message(), "8ba05d7eb89f069f");
    });
}

#[test]
fn log_entries_are_frozen() {
    golden(|golden| {
        let mut entry = |what: &str, command: Command, expected: &str| {
            let entry = LogEntry::new(AT, command);
            let bytes = entry.encode().expect("a small entry");
            assert_eq!(LogEntry::decode(&bytes), Ok(entry), "{what} does not read back");
            golden.bytes(&format!("entry {what}"), &bytes, expected);
        };
        entry("node started", Command::NodeStarted(signed(started())), "fb672307f95c3fb2");
        for ((what, command, _), expected) in orders().into_iter().zip(ORDER_ENTRIES) {
            entry(what, Command::Order(order(command)), expected);
        }
        let mut consented = order(OrderCommand::UpdatePolicy { policy: Policy::default() });
        consented.consents.push(signed(consent()));
        entry("consented", Command::Order(consented), "5b8f022c2a3d8b20");
        entry("crl chunk", Command::CrlChunk { order: OrderId::new([0x0d; 16]), index: 1, bytes: blob(9) }, "c7cfbe8cb67dbda3");
        entry("session opened", Command::SessionOpened(opening()), "8acca204353a380a");
        entry("session closed", Command::SessionClosed(SessionClosing { session: SESSION, signature: blob(6) }), "0cdf8ba962480753");
        entry("round 1", Command::CeremonyRound1(signed(round1())), "44d82d01bb21ec17");
        entry("round 2 hashes", Command::CeremonyRound2Hash(signed(round2_hashes())), "836afe51ffbcf9b2");
        entry("confirm", Command::CeremonyConfirm(signed(confirm())), "abb92f9b6f7cd8d3");
        entry("abort", Command::CeremonyAbort(signed(abort())), "d0c085e61da7a73d");
        entry("checkpoint", Command::CheckpointWitnessed(signed(checkpoint())), "ae942ac3bd49af19");
        entry("accusation", Command::CeremonyAccused(signed(accusation())), "75a31bf0e689556f");
        entry("overdue", Command::CeremonyOverdue(signed(CeremonyOverdue { ceremony: CEREMONY, attempt: 1 })), "62bc462ec288faad");
        entry("repair started", Command::RepairStarted(signed(repair_start())), "132b705d71cee9f8");
        entry("repair committed", Command::RepairCommitted(signed(repair_commitments())), "07e324cfc3cf120a");
        entry("repair accused", Command::RepairAccused(signed(repair_accusation())), "8e4b0c7321a3eb79");
        entry("repair confirmed", Command::RepairConfirmed(signed(RepairConfirm { ceremony: CEREMONY, attempt: 2 })), "4548cc8e2571bb3f");
        let (ceremony, attempt) = (CEREMONY, 2);
        entry("epoch received", Command::EpochReceived(signed(EpochReceipt { ceremony, attempt })), "dd7a62455e5d8dd5");
        entry("epoch retired", Command::EpochRetired(signed(EpochRetired { ceremony, attempt })), "5ae2cba7b7b75f1f");
        entry("import confirmed", Command::ImportConfirmed(signed(import_confirm())), "3b6b010864e30877");
        entry("import overdue", Command::ImportAborted(signed(import_abort(ImportFailure::Overdue))), "b64eab029db663b5");
        entry("import aborted", Command::ImportAborted(signed(import_abort(ImportFailure::PacketUnusable))), "eb4ad305a99e87c6");
        entry("repair aborted", Command::RepairAborted(signed(repair_abort())), "7d00e088e5f3247b");
        let due = RefreshStart { ceremony: CEREMONY, credentials: vec![CREDENTIAL] };
        entry("refresh started", Command::RefreshStarted(signed(due)), "9bf12b691213fb1e");
        let lost = SharesLost { number: 301, shares: vec![(CREDENTIAL, Epoch(2))] };
        entry("shares lost", Command::SharesLost(signed(lost)), "f0ed0aa9b7e3bbc7");
        let found = SharesFound { number: 301, shares: vec![(CREDENTIAL, Epoch(2))] };
        entry("shares found", Command::SharesFound(signed(found)), "54b6a559c217b928");
    });
}

fn repair_start() -> RepairStart {
    RepairStart { ceremony: CEREMONY, credentials: vec![CREDENTIAL] }
}

fn repair_commitments() -> RepairCommitments {
    RepairCommitments { ceremony: CEREMONY, attempt: 2, commitments: vec![vec![[1; 32], [2; 32]]] }
}

fn repair_part() -> RepairPart {
    RepairPart { ceremony: CEREMONY, attempt: 2, to: node(1), kind: RepairPartKind::Sigma, hashes: vec![HASH] }
}

fn repair_accusation() -> RepairAccusation {
    RepairAccusation { part: signed(repair_part()), place: 1, scalar: [3; 32] }
}

fn repair_abort() -> RepairAbort {
    RepairAbort { ceremony: CEREMONY, attempt: 2, silent: vec![node(2)] }
}

/// The entries of [`orders`], in their order.
const ORDER_ENTRIES: [&str; 23] = [
    "6b353ce8712a19b5",
    "c67f6cc6fb69cfa4",
    "6822cad49228abb3",
    "aba48217098ee380",
    "d5240b2734d79059",
    "c8e75ccd35b8e28a",
    "e0c3e18abeadb5de",
    "c07ac96e36f8a451",
    "8c4d909da5d1d71c",
    "fc063f66cc572ac0",
    "d0a7bc50b2c615fa",
    "3451435a194e2102",
    "b75148a9de388cb0",
    "12c7fcb67cf9e122",
    "4062588feb605ac2",
    "17cb269335aa50fb",
    "f3cd25fcb4912af0",
    "8d66df291529936d",
    "51f752c409089e72",
    "a2ff6f7a0406cad6",
    "92c4c11331598a83",
    "fce7f230765d8838",
    "81df6cc569feaf68",
];

#[test]
fn audit_entries_are_frozen() {
    let (store, boot) = (StoreId::new([0x57; 16]), BootId::new([0xb1; 16]));
    let (epoch, signers, coordinator) = (Epoch(1), vec![node(1), node(3)], name("coordinator-1"));
    let (nonce, rendered) = (NonceId::new([0x0e; 16]), HASH);
    let events = [
        ("started", AuditEvent::Started { store, incarnation: 2, boot, version: "0.1.0".to_owned() }, "950d9344c0e73e37"),
        ("confirmed", AuditEvent::Confirmed { index: 300, root: HASH, by: signers.clone() }, "41f5440d33a5d614"),
        (
            "document share",
            AuditEvent::DocumentShare {
                request: request(),
                credential: CREDENTIAL,
                epoch,
                certificate: CertificateHash::new([0xca; 32]),
                rendered,
                nonce,
                signers: signers.clone(),
                coordinator: coordinator.clone(),
            },
            "d4453687cb39bf5f",
        ),
        (
            "csr share",
            AuditEvent::CsrShare { credential: CREDENTIAL, epoch, rendered, nonce, signers, coordinator: coordinator.clone() },
            "6b4ed32b2d206428",
        ),
        (
            "share refused",
            AuditEvent::ShareRefused { request: Some(request()), credential: None, refusal: Refusal::SeqUsed, coordinator },
            "89b504da15673919",
        ),
        (
            "entry applied",
            AuditEvent::EntryApplied { index: 300, entry: HASH, kind: "enrol".to_owned(), refusal: Some(Refusal::OrderReplayed) },
            "6d45a947321c2b95",
        ),
        ("alarm", AuditEvent::Alarm { text: "two logs".to_owned() }, "d1de136c13ee8232"),
        ("stopped", AuditEvent::Stopped, "ad8a12a34ae6d46c"),
        (
            "snapshot forged",
            AuditEvent::SnapshotForged { from: node(2), index: 300, mark: HASH, against: vec![node(1), node(3)] },
            "a8693774168399c5",
        ),
        ("kek rotating", AuditEvent::KekRotating { generation: 2 }, "5ddc4cdf1ce7209d"),
        ("kek destroyed", AuditEvent::KekDestroyed { generations: vec![1], current: 2, resealed: 300, proved: true }, "038daf8bc7dc3c12"),
        ("share damaged", AuditEvent::ShareDamaged { credential: CREDENTIAL, epoch }, "8bb5768042318c35"),
        ("backed up", AuditEvent::BackedUp { shares: 300, digest: HASH }, "c3a22d01722381d3"),
        ("restored", AuditEvent::Restored { shares: 300, digest: HASH }, "cb241f76fb3758b4"),
        (
            "consented",
            AuditEvent::Consented { order: OrderId::new([0x0d; 16]), digest: HASH, kind: "policy-updated".to_owned() },
            "5571282d9cc34341",
        ),
        (
            "stop held",
            AuditEvent::StopHeld {
                stop: STOP,
                object: StopObject::Card { credential: CREDENTIAL, card: CertificateHash::new([0xca; 32]) },
            },
            "bf99085ed13cf332",
        ),
        ("receipt given", AuditEvent::ReceiptGiven { receipt: receipt() }, "ba5c084b639b6eb7"),
        ("hold ended", AuditEvent::HoldEnded { stop: STOP, index: Some(300) }, "5337598a3edeaa17"),
        ("shares deleted", AuditEvent::SharesDeleted { credential: CREDENTIAL }, "7522a406b1b16bd9"),
        ("gone given", AuditEvent::GoneGiven { gone: gone() }, "218dbc4fb9f37bfb"),
        (
            "command refused",
            AuditEvent::CommandRefused {
                peer: PeerId::Coordinator(name("coordinator-1")),
                kind: "session-closed".to_owned(),
                subject: Command::SessionClosed(SessionClosing { session: SESSION, signature: blob(6) }).subject(),
                command: HASH,
                refusal: Refusal::SessionClosed,
            },
            "3c48f81a7ad1c09b",
        ),
        (
            "call refused",
            AuditEvent::CallRefused {
                peer: PeerId::Node(node(2)),
                call: "round-2 packages".to_owned(),
                subject: AuditSubject { ceremony: Some(CEREMONY), node: Some(node(2)), ..AuditSubject::default() },
                request: Some(HASH),
                refusal: CallRefusal::Refused(Refusal::CeremonyStep),
            },
            "4f1b45e79e7f7ac3",
        ),
        (
            "frame refused",
            AuditEvent::CallRefused {
                peer: PeerId::Node(node(2)),
                call: "raft".to_owned(),
                subject: AuditSubject::default(),
                request: None,
                refusal: CallRefusal::TooLarge { limit: 300 },
            },
            "d9f2c14d62ddbcc9",
        ),
        (
            "share not yet",
            AuditEvent::ShareNotYet {
                request: Some(request()),
                credential: None,
                nonce: Some(nonce),
                reason: NotYet::NonceUnknown,
                coordinator: name("coordinator-1"),
            },
            "039d8180933644c0",
        ),
    ];
    golden(|golden| {
        for (what, event, expected) in events {
            let entry = AuditEntry::new(AT, event);
            assert_eq!(entry.encode(), postcard::to_stdvec(&entry).expect("samples serialize"));
            golden.postcard(&format!("audit {what}"), &entry, expected);
        }
    });
}

fn history() -> Vec<CredentialEvent> {
    let (card, certificate) = (CertificateHash::new([0xca; 32]), CertificateHash::new([0xce; 32]));
    let holders = vec![node(1), node(3)];
    let changes = [
        CredentialChange::Enrolled,
        CredentialChange::KeyMade { ceremony: CEREMONY, holders: holders.clone() },
        CredentialChange::Certified { certificate },
        CredentialChange::Bound { card, kind: AuthenticatorKind::HpkiCard },
        CredentialChange::Unbound { card },
        CredentialChange::State { state: CredentialState::Suspended },
        CredentialChange::Refreshed { epoch: Epoch(2), holders: holders.clone() },
        CredentialChange::Holders { holders: holders.clone() },
        CredentialChange::KeyImported { order: OrderId::new([0x0d; 16]), officers: vec![name("so-1"), name("so-2")], holders },
    ];
    let order = Some(OrderId::new([0x0d; 16]));
    changes.into_iter().map(|change| CredentialEvent { index: 9, at: AT, change, order, officers: vec![name("op-1")] }).collect()
}

fn credential_view() -> CredentialView {
    CredentialView {
        credential: CREDENTIAL,
        holder: name("holder-1"),
        subject: subject(),
        state: CredentialState::Active,
        version: ObjectVersion(7),
        epoch: Epoch(1),
        ceremony: CEREMONY,
        public_key_package: Some(blob(1)),
        certificate: None,
        authenticators: vec![AuthenticatorView {
            card: CertificateHash::new([0xca; 32]),
            kind: AuthenticatorKind::HpkiCard,
            suspended: true,
        }],
        pending: vec![PendingView {
            card: CertificateHash::new([0xcb; 32]),
            kind: AuthenticatorKind::MyNumberCard,
            effective_at: AT,
            order: OrderId::new([0x0d; 16]),
        }],
        holders: vec![node(1), node(3)],
        origin: Origin::Generated,
        destroy_at: Some(AT),
    }
}

#[test]
fn frames_between_coordinators_and_nodes_are_frozen() {
    let signers = vec![SignerCommitments { node: node(1), nonce: NonceId::new([0x0e; 16]), commitments: blob(1) }];
    let document = SignWork::Document { request: request(), certificate: CertificateHash::new([0xca; 32]) };
    let items =
        [document, SignWork::Csr { credential: CREDENTIAL }].map(|work| SignItem { work, epoch: Epoch(1), signers: signers.clone() });
    let answers = vec![
        SignAnswer::Share([0x5a; 32]),
        SignAnswer::NotYet { reason: NotYet::Unconfirmed, retry_after_millis: 250 },
        SignAnswer::Refused(Refusal::SeqUsed),
    ];
    let commitments = vec![FreshCommitments { nonce: NonceId::new([0x0e; 16]), commitments: blob(2) }];
    let reads = [
        Read::Credential(CREDENTIAL),
        Read::Session(SESSION),
        Read::Ceremony(CEREMONY),
        Read::ObjectVersion(ObjectRef::Facility(name("clinic-1"))),
        Read::Credentials { after: Some(CREDENTIAL), limit: 100 },
        Read::Crls,
    ];
    let later_reads = [
        Read::ObjectVersion(ObjectRef::Roster),
        Read::ObjectVersion(ObjectRef::Policy),
        Read::ObjectVersion(ObjectRef::Anchors),
        Read::RosterOrders { after: 3 },
        Read::History(CREDENTIAL),
    ];
    let orders = vec![order(OrderCommand::Suspend { credential: CREDENTIAL })];
    let ceremony = CeremonyView {
        ceremony: CEREMONY,
        attempt: 2,
        participants: vec![node(1), node(2)],
        round1: vec![node(1)],
        confirmed: Vec::new(),
        done: false,
        failed: false,
    };
    let crl = CrlView { issuer: "CN=CA".to_owned(), number: "0a".to_owned(), this_update: AT, next_update: AT, revoked: 3 };
    let views = [
        View::Credential(Box::new(CredentialView { origin: imported(), ..credential_view() })),
        View::Credentials(vec![credential_view()]),
        View::Session(Box::new(SessionView { session: SESSION, statement: statement(), closed: true })),
        View::Ceremony(ceremony),
        View::ObjectVersion(ObjectVersion(7)),
        View::Crls(vec![crl]),
    ];
    golden(|golden| {
        golden.postcard("commitments call", &SignCall::Commitments { count: 300 }, "64f6ead0f2bf09b7");
        golden.postcard("sign batch", &SignCall::SignBatch { items: items.to_vec(), refill: 4 }, "5b0d24e6e1717225");
        golden.postcard("sign reply", &SignReply { answers, commitments }, "5a9fa678c6b6835f");
        let proposal = OrderCall::Propose(Box::new(Command::SessionOpened(opening())));
        golden.postcard("propose", &proposal, "23442c46f4abeb27");
        golden.postcard("reads", &reads.map(OrderCall::Read), "a013c2325bb3c0e4");
        golden.postcard("later reads", &later_reads.map(OrderCall::Read), "e12a14c3f4312154");
        let applied = OrderId::new([0x0d; 16]);
        golden.postcard("order applied", &OrderCall::Read(Read::OrderApplied(applied)), "e23079435b498688");
        golden.postcard("is applied", &OrderReply::View(Some(View::OrderApplied(applied))), "1fb5147fb8cfaae5");
        golden.postcard("roster orders", &OrderReply::View(Some(View::RosterOrders(orders))), "96f2ea5c40f59d89");
        golden.postcard("history", &OrderReply::View(Some(View::History(history()))), "4c958eec24819cda");
        golden.postcard("status call", &OrderCall::Status, "dbc1b4c900ffe48d");
        golden.postcard("views", &views.map(|view| OrderReply::View(Some(view))), "e77264f577e9262e");
        golden.postcard("no view", &OrderReply::View(None), "99be5efb88ca2013");
        golden.postcard("unknown", &OrderReply::Unknown { reason: "no leader".to_owned() }, "4f73f3139d463c9a");
        let verdicts = [
            Ok(Applied::Done),
            Ok(Applied::CeremonyStarted(CEREMONY)),
            Ok(Applied::SessionOpened(SESSION)),
            Ok(Applied::CrlExpected { order: OrderId::new([0x0d; 16]), next: 1 }),
            Ok(Applied::CrlActive),
            Err(Refusal::CardUnbound),
        ];
        golden.postcard("verdicts", &verdicts.map(|outcome| OrderReply::Verdict(Verdict { index: 300, outcome })), "f3fb3d44d4d02940");
        golden.postcard("status", &OrderReply::Status(Box::new(status())), "c550073eb4748e45");
        let suspend = StopCommand::Order(order(OrderCommand::Suspend { credential: CREDENTIAL }));
        let closing = StopCommand::SessionClosing(SessionClosing { session: SESSION, signature: blob(6) });
        let stops = [suspend.clone(), closing].map(|stop| OrderCall::Stop(Box::new(stop)));
        golden.postcard("stops", &stops, "570a5bc16c845690");
        golden.postcard("receipts call", &OrderCall::Receipts(STOP), "e22f1649682abea0");
        let answers = [
            StopAnswer::Obeyed(signed(receipt())),
            StopAnswer::Unconfirmed,
            StopAnswer::Refused(Refusal::Stopped { object: StopObject::Session(SESSION) }),
            StopAnswer::Refused(Refusal::NotStopping),
            StopAnswer::Refused(Refusal::HoldsTooMany { limit: 3 }),
            StopAnswer::Failed { reason: "disk".to_owned() },
        ];
        golden.postcard("stop answers", &answers.map(OrderReply::Stop), "c11b3c3fd6e6d45f");
        let receipts = StopReceipts { stop: suspend, receipt: Some(signed(receipt())), logged: Some(300), gone: Some(signed(gone())) };
        let packet = ImportPacket { order: OrderId::new([0x0d; 16]), node: node(3), sealed: blob(0x5e) };
        golden.postcard("import packet", &OrderCall::ImportPacket(Box::new(packet)), "e5cbf7b4cfb53097");
        let answers = [
            PacketAnswer::Taken,
            PacketAnswer::NotYet,
            PacketAnswer::Refused(Refusal::KeyRefused { reason: "weak".to_owned() }),
            PacketAnswer::Refused(Refusal::KeyUsed { credential: CREDENTIAL }),
            PacketAnswer::Refused(Refusal::ImportRefused { reason: "nodes".to_owned() }),
            PacketAnswer::Refused(Refusal::PacketRefused { node: node(3), reason: "changed".to_owned() }),
        ];
        golden.postcard("import packet answers", &answers.map(OrderReply::ImportPacket), "e1a633cbaf771419");
        golden.postcard("receipts", &OrderReply::Receipts(Some(Box::new(receipts))), "8f57837d60a4b38c");
    });
}

fn status() -> NodeStatus {
    NodeStatus {
        node: node(3),
        cluster: CLUSTER,
        boot: BootId::new([0xb1; 16]),
        confirmed: true,
        reasons: vec!["behind".to_owned()],
        leader: Some(node(1)),
        term: 4,
        applied: 300,
        last_log: 301,
        now: AT,
        audit: checkpoint(),
        shares_given: 12,
        version: "0.1.0".to_owned(),
    }
}

#[test]
fn frames_between_nodes_are_frozen() {
    let boot = BootId::new([0xb1; 16]);
    let root = StateRoot { boot, index: 300, root: HASH };
    golden(|golden| {
        golden.postcard("round 2 call", &CeremonyCall::Round2(Box::new(signed(round2()))), "5ec1da7b4e27c68c");
        golden.postcard("state root call", &CeremonyCall::StateRoot { boot, index: 300 }, "2336b0cd307c399a");
        golden.postcard("remembered call", &CeremonyCall::Remembered, "dbc1b4c900ffe48d");
        let repair = RepairScalars { part: signed(repair_part()), scalars: vec![[4; 32]] };
        golden.postcard("repair call", &CeremonyCall::Repair(Box::new(repair)), "7f95e0d5f596581e");
        golden.postcard("taken", &CeremonyReply::Taken, "6e340b9cffb37a98");
        golden.postcard("state root reply", &CeremonyReply::StateRoot(signed(root)), "d6d4a1226271de96");
        golden.postcard("not yet", &CeremonyReply::NotYet, "084fed08b978af4d");
        golden.postcard("refused", &CeremonyReply::Refused(Refusal::CeremonyStep), "9146c9bf7e0db246");
        let remembered = Remembered { store: StoreId::new([0x57; 16]), boot };
        golden.postcard("remembered", &CeremonyReply::Remembered(Some(remembered)), "16f7fa5dc87f08f5");
        golden.postcard("state mark call", &CeremonyCall::StateMark { index: 300 }, "3d128be4a7e837fb");
        let mark = StateMark { index: 300, mark: HASH };
        golden.postcard("state mark reply", &CeremonyReply::StateMark(signed(mark)), "b84a9bf5d21e429c");
    });
}
