//! Evidence of a cluster that kept its promises, to be spoilt by tests.

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;
use warifu_api::{StopReport, StopReportState};
use warifu_core::identity::NodeIdentity;
use warifu_protocol::wire::CredentialState;
use warifu_protocol::{
    AuditEntry, AuditEvent, Blob, BootId, CertificateHash, Checkpoint, ClusterId, CredentialId, DocumentDigest, DocumentKind, Epoch,
    NodeId, NodeStarted, NonceId, Receipt, Refusal, Request, SessionId, Sha256, SignedRequest, StopId, StopKind, StopObject, StoreId,
    UnixMillis,
};

use super::evidence::{AuditLog, Evidence, Spoken, State};
use crate::torment::oracle::{Asked, Outcome, Said};

const CLUSTER: ClusterId = ClusterId::new([1; ClusterId::LEN]);
const NODES: u8 = 5;

pub(super) fn must_node(id: u8) -> NodeId {
    NodeId::new(id).expect("a node id")
}

pub(super) const fn must_session(number: u8) -> SessionId {
    SessionId::new([number; SessionId::LEN])
}

fn identity(node: u8) -> NodeIdentity {
    NodeIdentity::new(must_node(node), CLUSTER, SigningKey::from_bytes(&[node; 32]))
}

/// Five sites with threshold three that have done nothing yet.
pub(super) fn evidence() -> Evidence {
    let nodes = (1..=NODES).map(must_node);
    let state = |node| State {
        node,
        position: Vec::new(),
        root: Sha256::new([0; 32]),
        marks: BTreeMap::new(),
        sessions: BTreeMap::new(),
        credentials: BTreeMap::from([(CredentialId::new([0; CredentialId::LEN]), CredentialState::Active)]),
    };
    Evidence {
        cluster: CLUSTER,
        threshold: 3,
        said: Said::default(),
        anchors: Vec::new(),
        logs: nodes.clone().map(|node| AuditLog { node, disk: format!("disk of node {node}"), entries: Vec::new() }).collect(),
        tried: Vec::new(),
        states: nodes.map(state).collect(),
        raft: BTreeMap::new(),
        spoken: BTreeMap::new(),
        remembered: Vec::new(),
        identities: (1..=NODES).map(|node| (must_node(node), vec![identity(node).public_key()])).collect(),
        disks: NODES.into(),
        damage: Vec::new(),
    }
}

fn request(document: &str, session: u8, seq: u32) -> Request {
    Request {
        session: must_session(session),
        seq,
        kind: DocumentKind::Prescription,
        document_id: document.replace(' ', "-").parse().expect("a document id"),
        digest: DocumentDigest::new([0; DocumentDigest::LEN]),
        signing_time: UnixMillis(0),
    }
}

/// A document that a client was given under this number, whatever is in it.
pub(super) fn must_signed(session: u8, seq: u32) -> Asked {
    Asked { request: request("document", session, seq), outcome: Outcome::Signed("<Prescription/>".to_owned()) }
}

const fn entry(event: AuditEvent) -> AuditEntry {
    AuditEntry::new(UnixMillis(0), event)
}

/// The entry for a share of that document, under a nonce.
pub(super) fn share(session: u8, seq: u32, nonce: u8, node: u8) -> AuditEntry {
    share_of("document", session, seq, nonce, node)
}

pub(super) fn share_of(document: &str, session: u8, seq: u32, nonce: u8, node: u8) -> AuditEntry {
    entry(AuditEvent::DocumentShare {
        request: SignedRequest { request: request(document, session, seq), signature: Blob(Vec::new()) },
        credential: CredentialId::new([0; CredentialId::LEN]),
        epoch: Epoch(1),
        certificate: CertificateHash::new([0; CertificateHash::LEN]),
        rendered: Sha256::new([0; 32]),
        nonce: NonceId::new([nonce; NonceId::LEN]),
        signers: vec![must_node(node)],
        coordinator: "coordinator-1".parse().expect("a name"),
    })
}

/// The entry for a share of the document that [`must_signed`] has under number 1 of session 1, of these bytes and with these signers.
pub(super) fn share_of_bytes(rendered: Sha256, signers: &[NodeId]) -> AuditEntry {
    let mut entry = share(1, 1, 1, 1);
    if let AuditEvent::DocumentShare { rendered: bytes, signers: set, .. } = &mut entry.event {
        (*bytes, *set) = (rendered, signers.to_vec());
    }
    entry
}

/// What a node says when it starts, with so many entries in its audit log.
pub(super) fn started_with(node: u8, audit_size: u64) -> Spoken {
    let body = NodeStarted {
        store: StoreId::new([0; StoreId::LEN]),
        incarnation: 1,
        boot: BootId::new([0; BootId::LEN]),
        audit_size,
        raft_index: 0,
        earlier: Vec::new(),
        log_version: 1,
    };
    Spoken::Started(identity(node).sign(body))
}

pub(super) fn checkpoint(node: u8, size: u64, root: Sha256) -> Spoken {
    Spoken::Checkpoint(identity(node).sign(Checkpoint { size, root }))
}

/// The entry of whoever applied an entry of the raft log that was refused.
pub(super) fn refused(index: u64) -> AuditEntry {
    let mut entry = applied(index, 0);
    if let AuditEvent::EntryApplied { refusal, .. } = &mut entry.event {
        *refusal = Some(Refusal::NodeUnknown { node: must_node(1) });
    }
    entry
}

pub(super) fn held(session: u8) -> AuditEntry {
    entry(AuditEvent::StopHeld { stop: stop(session), object: StopObject::Session(must_session(session)) })
}

pub(super) fn started() -> AuditEntry {
    let (store, boot) = (StoreId::new([0; StoreId::LEN]), BootId::new([0; BootId::LEN]));
    entry(AuditEvent::Started { store, incarnation: 1, boot, version: "test".to_owned() })
}

pub(super) fn confirmed() -> AuditEntry {
    entry(AuditEvent::Confirmed { index: 1, root: Sha256::new([0; 32]), by: Vec::new() })
}

pub(super) fn applied(index: u64, content: u8) -> AuditEntry {
    entry(AuditEvent::EntryApplied { index, entry: Sha256::new([content; 32]), kind: "test".to_owned(), refusal: None })
}

const fn stop(session: u8) -> StopId {
    StopId::new([session; StopId::LEN])
}

/// The end of a session was acknowledged by so many sites, and is on their disks and in every state.
pub(super) fn acknowledged(evidence: &mut Evidence, session: u8, sites: u8) {
    let object = StopObject::Session(must_session(session));
    let mut receipts = Vec::new();
    for node in 1..=sites {
        let receipt = Receipt {
            stop: stop(session),
            object,
            kind: StopKind::CloseSession,
            held_since: UnixMillis(0),
            store: StoreId::new([node; StoreId::LEN]),
            boot: BootId::new([node; BootId::LEN]),
        };
        evidence.logs[usize::from(node) - 1].entries.push(entry(AuditEvent::ReceiptGiven { receipt: receipt.clone() }));
        receipts.push(identity(node).sign(receipt));
    }
    evidence.said.stopped.push(StopReport {
        stop: stop(session),
        object,
        kind: StopKind::CloseSession,
        state: StopReportState::Draining,
        until: None,
        needed: 4,
        liars: 1,
        receipts,
        missing: Vec::new(),
        logged: None,
        gone: Vec::new(),
    });
    for state in &mut evidence.states {
        state.sessions.insert(must_session(session), true);
    }
}
