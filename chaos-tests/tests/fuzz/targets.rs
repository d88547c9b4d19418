//! What is fed. Each says whether it took the input.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use warifu::orders::ReceiptsFile;
use warifu::verify::{VerifyOptions, verify};
use warifu_api::{
    CeremonyAnswer, CredentialAnswer, CredentialsAnswer, CrlsAnswer, CsrAnswer, HistoryAnswer, OrderAnswer, PacketsAnswer, PacketsBody,
    Problem, RosterAnswer, SessionAnswer, SessionOpened, SignAnswerBody, SignBody, StatusAnswer, StopAnswerBody, VersionAnswer,
};
use warifu_coordinator::document::{Canonicalization, XmlDocument, canonical_digest, document_id, embed};
use warifu_coordinator_core::{Commitments, GroupKey};
use warifu_core::audit::{CheckpointOrigin, verify_checkpoint};
use warifu_core::ceremony::repair::{commitments_fit, interpolate, scalar_fits};
use warifu_core::import::{ImportSeed, OpenPacket, open_packet};
use warifu_core::pki::{
    Certificate, CertificateKey, Crl, check_signing_certificate, ecdsa_p384_raw_from_der, parse_hc_roles, verify_authority,
    verify_card_signature, verify_csr, verify_path,
};
use warifu_core::registry::{ApplyError, Overlay, Registry as _, apply};
use warifu_core::signer::{CheckContext, ShareRecord, check};
use warifu_node::admin::AdminRequest;
use warifu_node::config::NodeConfig;
use warifu_node::raft::{MembershipView, reread};
use warifu_prescription::uri;
use warifu_protocol::canonical::sha256;
use warifu_protocol::genesis::{Genesis, GenesisDocument};
use warifu_protocol::transport::RpcRefusal;
use warifu_protocol::wire::{CeremonyCall, CeremonyReply, FreshCommitments, OrderCall, OrderReply, SignCall, SignReply};
use warifu_protocol::{
    AnchorKind, AuditEntry, Blob, Command, DocumentKind, LogEntry, NodeId, NonceId, Order, PacketError, RosterFile, SessionClosing,
    SessionOpening, SignedRequest, StopCommand, SubjectFields, Threshold,
};
use zeroize::Zeroizing;

use super::cluster::{Ground, NOW};

/// Bytes of a message between nodes and coordinators: what is decoded means the same when it is sent on.
fn message<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let (value, rest) = postcard::take_from_bytes::<T>(bytes).ok()?;
    let again = postcard::to_stdvec(&value).expect("what was decoded can be encoded");
    assert!(again.len() <= bytes.len() - rest.len(), "the encoding is the shortest");
    assert_eq!(postcard::from_bytes::<T>(&again).as_ref(), Ok(&value));
    rest.is_empty().then_some(value)
}

/// JSON from a file or a client: what is signed is what it means, so that it must be written as it was read.
fn json<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let value = serde_json::from_slice::<T>(bytes).ok()?;
    let again = serde_json::to_vec(&value).expect("what was decoded can be encoded");
    assert_eq!(serde_json::from_slice::<T>(&again).as_ref().ok(), Some(&value));
    Some(value)
}

/// Whatever stands in the log is applied or refused; what is refused opens no session and makes no credential.
fn applied(bytes: &[u8]) -> bool {
    let ground = Ground::get();
    let mut overlay = Overlay::new(&ground.state);
    let index = ground.entries.len() as u64 + 1;
    match apply(&mut overlay, index, bytes) {
        Ok(outcome) => {
            if outcome.verdict.outcome.is_err() {
                assert_eq!(
                    overlay.credentials(None, 10).ok(),
                    ground.state.credentials(None, 10).ok(),
                    "a refused entry changed a credential"
                );
                assert_eq!(overlay.cluster().ok(), ground.state.cluster().ok(), "a refused entry changed the cluster");
            }
            outcome.verdict.outcome.is_ok()
        }
        Err(ApplyError::Outdated(_)) => false,
        Err(ApplyError::Store(error)) => panic!("the store does not fail: {error}"),
    }
}

fn commanded(command: Command) {
    if let Ok(bytes) = LogEntry::new(NOW, command).encode() {
        applied(&bytes);
    }
}

pub(crate) fn log_entry(bytes: &[u8]) -> bool {
    applied(bytes);
    let Ok(entry) = LogEntry::decode(bytes) else { return false };
    let again = entry.encode().expect("what was short enough to be read is short enough to be written");
    assert_eq!(LogEntry::decode(&again), Ok(entry));
    true
}

pub(crate) fn order(bytes: &[u8]) -> bool {
    let Some(order) = json::<Order>(bytes) else { return false };
    let _ = order.body.message();
    commanded(Command::Order(order));
    true
}

pub(crate) fn session_opening(bytes: &[u8]) -> bool {
    let Some(opening) = json::<SessionOpening>(bytes) else { return false };
    let _ = opening.statement.session();
    commanded(Command::SessionOpened(opening));
    true
}

pub(crate) fn session_closing(bytes: &[u8]) -> bool {
    json::<SessionClosing>(bytes).map(|closing| commanded(Command::SessionClosed(closing))).is_some()
}

pub(crate) fn request(bytes: &[u8]) -> bool {
    json::<SignedRequest>(bytes).is_some()
}

/// A call of a coordinator for signature shares, through all that a node checks before it looks for a nonce.
pub(crate) fn sign_call(bytes: &[u8]) -> bool {
    let Some(call) = message::<SignCall>(bytes) else { return false };
    let ground = Ground::get();
    if let SignCall::SignBatch { items, .. } = &call {
        let node = ground.founding.genesis.body().nodes[0].id;
        let context = CheckContext::read(&ground.state, node, NOW).expect("the cluster is founded");
        for item in items {
            let _ = check(&ground.state, &context, item);
        }
    }
    true
}

pub(crate) fn sign_reply(bytes: &[u8]) -> bool {
    message::<SignReply>(bytes).is_some()
}

pub(crate) fn order_call(bytes: &[u8]) -> bool {
    message::<OrderCall>(bytes).is_some()
}

pub(crate) fn order_reply(bytes: &[u8]) -> bool {
    message::<OrderReply>(bytes).is_some()
}

pub(crate) fn ceremony_call(bytes: &[u8]) -> bool {
    message::<CeremonyCall>(bytes).is_some()
}

pub(crate) fn ceremony_reply(bytes: &[u8]) -> bool {
    message::<CeremonyReply>(bytes).is_some()
}

pub(crate) fn stop_command(bytes: &[u8]) -> bool {
    let Some(stop) = message::<StopCommand>(bytes) else { return false };
    let _ = stop.id();
    true
}

pub(crate) fn rpc_refusal(bytes: &[u8]) -> bool {
    message::<RpcRefusal>(bytes).is_some_and(|refusal| !refusal.to_string().is_empty())
}

pub(crate) fn audit_entry(bytes: &[u8]) -> bool {
    message::<AuditEntry>(bytes).is_some()
}

pub(crate) fn membership(bytes: &[u8]) -> bool {
    MembershipView::decode(bytes).is_ok()
}

/// What nodes send each other for consensus.
pub(crate) fn raft_frame(bytes: &[u8]) -> bool {
    let read = reread(bytes);
    for (kind, again) in &read {
        assert!(reread(again).contains(&(kind, again.clone())), "a {kind} does not mean the same when it is sent on");
    }
    !read.is_empty()
}

pub(crate) fn genesis(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    GenesisDocument::from_toml(text).is_ok_and(|document| Genesis::new(document).is_ok())
}

pub(crate) fn certificate(bytes: &[u8]) -> bool {
    let anchors = &Ground::get().anchors;
    let Ok(certificate) = Certificate::parse(bytes) else { return false };
    let _ = (
        certificate.hc_roles(),
        certificate.subject().to_subject_fields(),
        certificate.subject().common_name(),
        format!("{certificate:?}"),
    );
    let _ = (certificate.policies(), certificate.extended_key_usage(), certificate.subject_key_id(), certificate.authority_key_id());
    for kind in [AnchorKind::HpkiSigning, AnchorKind::HpkiAuthentication, AnchorKind::JpkiUserAuthentication] {
        let direct = verify_path(&certificate, &[], anchors, kind, NOW).is_ok();
        let own = [certificate.clone()];
        let _ = (direct, verify_path(&certificate, &own, anchors, kind, NOW));
    }
    let _ = verify_authority(&certificate, anchors, NOW);
    if let (Ok(subject), CertificateKey::Ed25519(key)) = (SubjectFields::new("JP", None, "TRIAL", "1".to_owned()), certificate.key()) {
        let _ = check_signing_certificate(&certificate, key, &subject, &[], anchors, NOW);
    }
    let _ = verify_card_signature(certificate.key(), b"statement", bytes);
    true
}

pub(crate) fn crl(bytes: &[u8]) -> bool {
    let Ok(crl) = Crl::parse(bytes) else { return false };
    for authority in &Ground::get().authorities {
        let verified = crl.verify(authority).is_ok();
        let _ = (verified, crl.covers(authority), crl.freshness(NOW, 1, 1));
    }
    let _ = crl.revoked().map(|entry| crl.is_revoked(&entry.serial).is_some()).all(|is_found| {
        assert!(is_found, "a listed serial is not found");
        true
    });
    true
}

pub(crate) fn csr(bytes: &[u8]) -> bool {
    verify_csr(bytes).is_ok()
}

pub(crate) fn hc_roles(bytes: &[u8]) -> bool {
    parse_hc_roles(bytes).is_ok()
}

pub(crate) fn ecdsa_signature(bytes: &[u8]) -> bool {
    ecdsa_p384_raw_from_der(bytes).is_ok()
}

/// A prescription or a dispensing as a client sends it: what is looked at, what is signed and what the signature is put into are one document.
pub(crate) fn document(bytes: &[u8]) -> bool {
    let mut is_taken = false;
    for kind in [DocumentKind::Prescription, DocumentKind::Dispensing] {
        let digest = canonical_digest(bytes, kind);
        let id = document_id(bytes, kind);
        if let (Ok(digest), Ok(_)) = (digest, id) {
            let signature = format!("<Signature xmlns=\"{}\" Id=\"{}\"/>", uri::XMLDSIG, kind.signature_id());
            if let Ok(signed) = embed(bytes, kind, &signature) {
                assert_eq!(canonical_digest(signed.as_bytes(), kind).ok(), Some(digest), "the signature changed what it signs");
                is_taken = true;
            }
        }
    }
    let _ = verify(bytes, &VerifyOptions::default());
    if let Ok(document) = XmlDocument::parse(bytes)
        && let Some(root) = document.nodes().nth(1)
    {
        let _ = (document.canonicalize(root, Canonicalization::Exclusive), document.canonicalize(root, Canonicalization::Inclusive));
    }
    is_taken
}

pub(crate) fn sign_body(bytes: &[u8]) -> bool {
    json::<SignBody>(bytes).is_some()
}

pub(crate) fn packets_body(bytes: &[u8]) -> bool {
    json::<PacketsBody>(bytes).is_some()
}

/// What a client of the coordinator reads.
pub(crate) fn answers(bytes: &[u8]) -> bool {
    let readers: &[fn(&[u8]) -> bool] = &[
        |bytes| json::<CeremonyAnswer>(bytes).is_some(),
        |bytes| json::<CredentialAnswer>(bytes).is_some(),
        |bytes| json::<CredentialsAnswer>(bytes).is_some(),
        |bytes| json::<CrlsAnswer>(bytes).is_some(),
        |bytes| json::<CsrAnswer>(bytes).is_some(),
        |bytes| json::<HistoryAnswer>(bytes).is_some(),
        |bytes| json::<OrderAnswer>(bytes).is_some(),
        |bytes| json::<PacketsAnswer>(bytes).is_some(),
        |bytes| json::<Problem>(bytes).is_some(),
        |bytes| json::<RosterAnswer>(bytes).is_some(),
        |bytes| json::<SessionAnswer>(bytes).is_some(),
        |bytes| json::<SessionOpened>(bytes).is_some(),
        |bytes| json::<SignAnswerBody>(bytes).is_some(),
        |bytes| json::<StatusAnswer>(bytes).is_some(),
        |bytes| json::<StopAnswerBody>(bytes).is_some(),
        |bytes| json::<VersionAnswer>(bytes).is_some(),
    ];
    readers.iter().filter(|read| read(bytes)).count() > 0
}

/// A participant's round-1 package of a key generation, as it stands in the log, when another one says that it is wrong.
pub(crate) fn round1_package(bytes: &[u8]) -> bool {
    Ground::get().ceremony.round1_stands(bytes)
}

/// A round-2 package, as its recipient shows it to all.
pub(crate) fn round2_package(bytes: &[u8]) -> bool {
    Ground::get().ceremony.round2_stands(bytes)
}

/// What nodes send each other in a repair and commit to in the log: a scalar, and points.
pub(crate) fn repair_parts(bytes: &[u8]) -> bool {
    let parts: Vec<[u8; 32]> = bytes.chunks_exact(32).map(|part| part.try_into().expect("32 bytes")).collect();
    let Some((scalar, points)) = parts.split_first() else { return false };
    let helpers: Vec<NodeId> = (1..NodeId::MAX).filter_map(NodeId::new).take(points.len()).collect();
    let receiver = NodeId::new(NodeId::MAX).expect("the last number is one");
    let shares: Vec<(NodeId, [u8; 32])> = helpers.iter().copied().zip(points.iter().copied()).collect();
    let _ = interpolate(&shares, receiver);
    if let (Some(helper), Some(share)) = (helpers.first(), points.first()) {
        let _ = commitments_fit(&helpers, *helper, receiver, share, points);
    }
    scalar_fits(scalar, points)
}

/// A packet that opens to this.
struct Opened<'a>(&'a [u8]);

impl OpenPacket for Opened<'_> {
    fn open(&self, _: &[u8], _: &[u8]) -> Result<Zeroizing<Vec<u8>>, PacketError> {
        Ok(Zeroizing::new(self.0.to_vec()))
    }
}

/// What a sealed packet of an import holds.
pub(crate) fn import_plaintext(bytes: &[u8]) -> bool {
    let ground = Ground::get();
    let (import, packet, _) = &ground.import;
    open_packet(import, ground.founding.genesis.cluster(), packet, &Opened(bytes)).is_ok()
}

pub(crate) fn receipts_file(bytes: &[u8]) -> bool {
    serde_json::from_slice::<ReceiptsFile>(bytes).is_ok()
}

pub(crate) fn node_config(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| NodeConfig::from_toml(text).is_ok())
}

pub(crate) fn coordinator_config(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| warifu_coordinator::config::Config::from_toml(text).is_ok())
}

pub(crate) fn group_key(bytes: &[u8]) -> bool {
    GroupKey::parse(bytes, Threshold(3)).is_ok()
}

pub(crate) fn commitments(bytes: &[u8]) -> bool {
    Commitments::parse(FreshCommitments { nonce: NonceId::new([0; 16]), commitments: Blob(bytes.to_vec()) }).is_ok()
}

pub(crate) fn share_record(bytes: &[u8]) -> bool {
    ShareRecord::decode(bytes).is_ok_and(|record| {
        assert_eq!(record.encode().as_slice(), bytes);
        record.key_package().is_ok()
    })
}

pub(crate) fn import_seed(bytes: &[u8]) -> bool {
    ImportSeed::parse(bytes).is_ok()
}

/// What a site or coordinator is given that was away or is new.
pub(crate) fn roster_file(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| RosterFile::follow(text, &Ground::get().founding.genesis).is_ok())
}

/// A line at the administrator's socket.
pub(crate) fn admin_request(bytes: &[u8]) -> bool {
    json::<AdminRequest>(bytes).is_some()
}

/// A checkpoint as another node signed it.
pub(crate) fn checkpoint_note(bytes: &[u8]) -> bool {
    let ground = Ground::get();
    let origin = CheckpointOrigin { cluster: ground.founding.genesis.cluster(), node: ground.witness.node() };
    std::str::from_utf8(bytes).is_ok_and(|text| verify_checkpoint(text, &origin, &ground.witness.public_key()).is_ok())
}

/// The records of a snapshot under their right hash, as a leader that lies would send them.
pub(crate) fn snapshot(bytes: &[u8]) -> bool {
    let (directory, state) = &Ground::get().store;
    let content = [bytes, &sha256(bytes)].concat();
    let scratch = directory.path().join(format!("scratch-{:?}", std::thread::current().id()));
    state.examine_snapshot(content.as_slice(), &scratch, 0).is_ok()
}

pub(crate) fn enrolment_rows(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| warifu::credential::parse_rows(text).is_ok_and(|rows| !rows.is_empty()))
}
