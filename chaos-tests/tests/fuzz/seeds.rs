//! At least one input for each target that it takes.

use std::collections::{BTreeMap, BTreeSet};

use curve25519_dalek::{EdwardsPoint, Scalar};
use ed25519_dalek::pkcs8::EncodePrivateKey as _;
use serde::Serialize;
use warifu::orders::ReceiptsFile;
use warifu_api::{PacketsBody, SignBody, SignDocument};
use warifu_coordinator::document::sample;
use warifu_core::audit::checkpoint_note;
use warifu_core::pki::{assemble_csr, encode_hc_roles, render_csr};
use warifu_core::registry::Registry as _;
use warifu_core::signer::ShareRecord;
use warifu_node::admin::AdminRequest;
use warifu_protocol::transport::RpcRefusal;
use warifu_protocol::wire::{NotYet, OrderCall, OrderReply, Read, SignAnswer, SignCall, SignItem, SignReply, SignWork, SignerCommitments};
use warifu_protocol::{
    AuditEntry, AuditEvent, Blob, CertificateHash, Challenge, Checkpoint, Command, CredentialId, DocumentDigest, DocumentKind, Epoch,
    ImportPacket, LogEntry, NodeId, NonceId, Order, OrderId, PublicKey, Purpose, Refusal, Request, RosterFile, SessionClosing, SessionId,
    SessionOpening, Sha256, SignedRequest, Statement, StopCommand, SubjectFields, TerminalId,
};

use super::answers::{answers, ceremony_calls, ceremony_replies};
use super::cluster::{Ground, NOW};

/// Inputs by target.
pub(crate) type Seeds = BTreeMap<&'static str, Vec<Vec<u8>>>;

fn postcard<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("samples serialize")
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("samples serialize")
}

fn key() -> ed25519_dalek::SigningKey {
    ed25519_dalek::SigningKey::from_bytes(&warifu_protocol::canonical::sha256(b"a seed that is no pattern"))
}

fn request() -> SignedRequest {
    let request = Request {
        session: SessionId::new([0x5e; 32]),
        seq: 1,
        kind: DocumentKind::Prescription,
        document_id: "11111111-2222-4333-8444-555555555555".parse().expect("an identifier"),
        digest: DocumentDigest::new([0xd1; 32]),
        signing_time: NOW,
    };
    SignedRequest { request, signature: Blob(vec![0x51; 64]) }
}

fn opening(ground: &Ground) -> SessionOpening {
    let statement = Statement {
        cluster: ground.founding.genesis.cluster(),
        credential: CredentialId::new([0xcd; 16]),
        session_key: PublicKey::Ed25519(key().verifying_key().to_bytes()),
        facility: "clinic-1".parse().expect("a name"),
        terminal: TerminalId::new([0x7e; 16]),
        purpose: Purpose::EPrescription,
        not_before: NOW,
        not_after: NOW.plus(1000),
        max_signatures: 10,
        nonce: Challenge::new([0xc4; 32]),
    };
    let some = || Blob(vec![1; 64]);
    SessionOpening {
        statement,
        card_certificate: some(),
        intermediates: vec![some()],
        card_signature: some(),
        terminal_signature: some(),
        possession: some(),
        ocsp: None,
    }
}

fn sign_calls() -> Vec<Vec<u8>> {
    let signers = |count: u8| {
        let nodes = (1..=count).filter_map(NodeId::new);
        nodes.map(|node| SignerCommitments { node, nonce: NonceId::new([7; 16]), commitments: Blob(vec![0; 69]) }).collect()
    };
    let work = [
        SignWork::Document { request: request(), certificate: CertificateHash::new([0xce; 32]) },
        SignWork::Csr { credential: CredentialId::new([0xcd; 16]) },
    ];
    let items = work.map(|work| SignItem { work, epoch: Epoch(1), signers: signers(3) }).to_vec();
    vec![postcard(&SignCall::Commitments { count: 4 }), postcard(&SignCall::SignBatch { items, refill: 2 })]
}

/// All of them.
pub(crate) fn seeds() -> Seeds {
    let ground = Ground::get();
    let commands: Vec<Command> = ground.entries.iter().map(|entry| LogEntry::decode(entry).expect("an entry of the log").command).collect();
    let orders: Vec<Order> =
        commands.iter().filter_map(|command| if let Command::Order(order) = command { Some(order.clone()) } else { None }).collect();
    let crl = orders_crl(&commands);
    let record = ground.state.credentials(None, 1).expect("a store in memory").pop().expect("a credential").1;
    let package = record.key.expect("a generated key").public_key_package;
    let stop = StopCommand::SessionClosing(SessionClosing { session: SessionId::new([0x5e; 32]), signature: Blob(vec![1; 64]) });
    let prescription = sample::prescription("11111111-2222-4333-8444-555555555555");
    let subject = SubjectFields::new("JP", None, "TRIAL Ishi", "1".to_owned()).expect("a subject");
    let key = key();
    let csr = {
        let parts = render_csr(&subject, &key.verifying_key().to_bytes());
        let signature = ed25519_dalek::Signer::sign(&key, &parts.info).to_bytes();
        assemble_csr(&parts.info, &signature).expect("a request")
    };
    let sign_body = SignBody { documents: vec![SignDocument { xml: prescription.clone(), request: request() }] };
    let packet = ImportPacket { order: OrderId::new([1; 16]), node: NodeId::new(1).expect("a node id"), sealed: Blob(vec![1; 40]) };
    let share = ShareRecord::new(CredentialId::new([0xcd; 16]), Epoch(1), &ground.share);
    let refusal = RpcRefusal::Busy { retry_after_ms: 5 };
    let audit = AuditEntry::new(NOW, AuditEvent::ShareDamaged { credential: CredentialId::new([0xcd; 16]), epoch: Epoch(1) });
    let body = ground.founding.genesis.document().to_toml();
    Seeds::from([
        ("log_entry", ground.entries.clone()),
        ("order", orders.iter().map(json).collect()),
        ("session_opening", vec![json(&opening(ground))]),
        ("session_closing", vec![json(&SessionClosing { session: SessionId::new([0x5e; 32]), signature: Blob(vec![1; 64]) })]),
        ("request", vec![json(&request())]),
        ("sign_call", sign_calls()),
        (
            "sign_reply",
            vec![postcard(&SignReply {
                answers: vec![
                    SignAnswer::Share([3; 32]),
                    SignAnswer::NotYet { reason: NotYet::Busy, retry_after_millis: 9 },
                    SignAnswer::Refused(Refusal::SessionUnknown),
                ],
                commitments: Vec::new(),
            })],
        ),
        (
            "order_call",
            commands
                .iter()
                .map(|command| postcard(&OrderCall::Propose(Box::new(command.clone()))))
                .chain([postcard(&OrderCall::Read(Read::Crls))])
                .collect(),
        ),
        ("order_reply", vec![postcard(&OrderReply::Unknown { reason: "no leader".to_owned() }), postcard(&OrderReply::View(None))]),
        ("ceremony_call", ceremony_calls(ground)),
        ("ceremony_reply", ceremony_replies(ground)),
        ("stop_command", vec![postcard(&stop)]),
        ("rpc_refusal", vec![postcard(&refusal)]),
        ("audit_entry", vec![postcard(&audit)]),
        ("membership", memberships()),
        ("genesis", vec![body.into_bytes()]),
        ("certificate", ground.founding.genesis.body().anchors.iter().map(|anchor| anchor.certificate.as_slice().to_vec()).collect()),
        ("crl", vec![crl]),
        ("csr", vec![csr]),
        ("hc_roles", vec![encode_hc_roles(&["Medical Doctor"]).expect("a role")]),
        ("ecdsa_signature", vec![hex::decode("3006020101020101").expect("hexadecimal")]),
        ("document", vec![prescription.into_bytes()]),
        ("sign_body", vec![json(&sign_body)]),
        ("packets_body", vec![json(&PacketsBody { packets: vec![packet] })]),
        ("answers", answers(ground, &opening(ground).statement, orders.first().expect("an order"))),
        ("receipts_file", vec![json(&ReceiptsFile { stop, receipts: Vec::new(), gone: Vec::new() })]),
        ("node_config", vec![include_bytes!("../../../deploy/config/node.toml").to_vec()]),
        ("coordinator_config", vec![include_bytes!("../../../deploy/config/coordinator.toml").to_vec()]),
        ("raft_frame", raft_frames()),
        ("group_key", vec![package.as_slice().to_vec()]),
        ("commitments", vec![ground.commitments.clone()]),
        ("round1_package", vec![ground.ceremony.right[0].as_slice().to_vec()]),
        ("round2_package", vec![ground.ceremony.right[1].as_slice().to_vec()]),
        ("repair_parts", repair_parts()),
        ("import_plaintext", vec![ground.import.2.clone()]),
        ("share_record", vec![share.encode().to_vec()]),
        ("import_seed", vec![key.to_pkcs8_der().expect("a key file").as_bytes().to_vec(), hex::encode(key.to_bytes()).into_bytes()]),
        ("roster_file", vec![json(&RosterFile { orders: Vec::new() })]),
        ("admin_request", [AdminRequest::Status, AdminRequest::Audit { from: 0, limit: 9 }].iter().map(json).collect()),
        ("checkpoint_note", vec![checkpoint_note(&ground.witness, &Checkpoint { size: 3, root: Sha256::new([3; 32]) }).into_bytes()]),
        ("snapshot", vec![snapshot(ground)]),
        ("enrolment_rows", vec![b"dr-1,TRIAL Ishi,1\n".to_vec()]),
    ])
}

/// Members: none yet, some of whom one only learns, and in the middle of a change; the second and third with a place in the log.
fn memberships() -> Vec<Vec<u8>> {
    let node = |id: u64| (id, ("127.0.0.1:1", [3_u8; 32], [4_u8; 32]));
    let nodes = BTreeMap::from([node(1), node(2), node(3), node(4)]);
    let (old, new) = (BTreeSet::from([1_u64, 2, 3]), BTreeSet::from([2_u64, 3, 4]));
    let place = |index: u64| Some(((2_u64, 1_u64), index));
    vec![
        Vec::new(),
        postcard(&(place(0), (vec![old.clone()], &nodes))),
        postcard(&(place(300), (vec![old, new], &nodes))),
        postcard(&(None::<((u64, u64), u64)>, (Vec::<BTreeSet<u64>>::new(), BTreeMap::<u64, ()>::new()))),
    ]
}

/// A scalar of a repair with the points that commit to its parts.
fn repair_parts() -> Vec<Vec<u8>> {
    let parts: Vec<Scalar> = (1..=3_u8).map(|part| Scalar::from_bytes_mod_order(warifu_protocol::canonical::sha256(&[part]))).collect();
    let with = |count: usize| {
        let scalar: Scalar = parts[..count].iter().sum();
        let points = parts[..count].iter().flat_map(|part| EdwardsPoint::mul_base(part).compress().0);
        scalar.to_bytes().into_iter().chain(points).collect()
    };
    vec![with(1), with(3)]
}

/// What a leader sends of a founded cluster, without the hash at its end.
fn snapshot(ground: &Ground) -> Vec<u8> {
    let mut content = Vec::new();
    let frozen = ground.store.1.freeze().expect("a store that can be read");
    frozen.write_to(&mut content).expect("memory takes it");
    content.truncate(content.len() - 32);
    content
}

/// One of each message between rafts, as they are kept.
fn raft_frames() -> Vec<Vec<u8>> {
    let lines = include_str!("../../../node/src/raft/tests/frames.txt").lines();
    lines.filter_map(|line| hex::decode(line.split_once(' ')?.1).ok()).collect()
}

/// A list, put together from its pieces in the log.
fn orders_crl(commands: &[Command]) -> Vec<u8> {
    let mut pieces = commands
        .iter()
        .filter_map(|command| if let Command::CrlChunk { order, bytes, .. } = command { Some((order, bytes)) } else { None });
    let first = pieces.next().expect("a piece of a list");
    let rest = pieces.filter(|(order, _)| *order == first.0).flat_map(|(_, bytes)| bytes.as_slice().to_vec());
    first.1.as_slice().iter().copied().chain(rest).collect()
}
