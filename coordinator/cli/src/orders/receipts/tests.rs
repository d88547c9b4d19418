use std::collections::BTreeMap;

use ed25519_dalek::{Signer as _, SigningKey};
use warifu_api::{StopReport, StopReportState};
use warifu_core::identity::NodeIdentity;
use warifu_protocol::{
    AnchorEntry, AnchorKind, Approval, BootId, ClusterId, ClusterRecord, Consent, CoordinatorEntry, CredentialId, Genesis, GenesisBody,
    GenesisDocument, GenesisSignature, Gone, NodeEntry, NodeId, NodeSigned, ObjectVersion, OfficerEntry, OfficerRole, Order, OrderBody,
    OrderCommand, OrderId, Policy, PublicKey, Receipt, ReceiptError, SpkiHash, StopCommand, StoreId, Threshold, UnixMillis,
    verify_roster_chain,
};

use super::args::with;
use super::{Proof, ProofLevel, ReceiptsFile, prove};

const CREDENTIAL: CredentialId = CredentialId::new([9; 16]);
const HELD: UnixMillis = UnixMillis(5_000_000);
const OFFICERS: [(&str, OfficerRole, u8); 4] = [
    ("op-1", OfficerRole::Operator, 101),
    ("op-2", OfficerRole::Operator, 102),
    ("so-1", OfficerRole::SecurityOfficer, 103),
    ("so-2", OfficerRole::SecurityOfficer, 104),
];

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn public(seed: u8) -> PublicKey {
    PublicKey::ed25519(key(seed).verifying_key().to_bytes()).expect("a key")
}

fn node(number: u8) -> NodeId {
    NodeId::new(number).expect("1 to 15")
}

fn entry(number: u8) -> NodeEntry {
    let address = format!("node-{number}:7400");
    NodeEntry { id: node(number), address, tls_spki: SpkiHash::new([number; 32]), identity: public(number), sealing_key: Vec::new().into() }
}

/// 3 of 5, one of which may lie.
fn genesis() -> Genesis {
    let anchor = |kind| AnchorEntry { kind, certificate: vec![1].into(), policies: vec!["1.2.3".to_owned()] };
    let coordinator =
        CoordinatorEntry { id: "coordinator-1".parse().expect("a name"), tls_spki: SpkiHash::new([100; 32]), identity: public(100) };
    let genesis = GenesisBody {
        format: 1,
        name: "test".parse().expect("a name"),
        created: UnixMillis(0),
        threshold: Threshold(3),
        liars: 1,
        minority_threshold: false,
        policy: Policy::default(),
        nodes: (1..=5).map(entry).collect(),
        coordinators: vec![coordinator],
        officers: OFFICERS.map(|(name, role, seed)| OfficerEntry { id: name.parse().expect("a name"), role, key: public(seed) }).into(),
        anchors: vec![anchor(AnchorKind::HpkiSigning), anchor(AnchorKind::JpkiUserAuthentication)],
    };
    let message = genesis.message();
    let signatures = OFFICERS.map(|(name, _, seed)| GenesisSignature {
        officer: name.parse().expect("a name"),
        signature: key(seed).sign(&message).to_bytes().as_slice().into(),
    });
    Genesis::new(GenesisDocument { genesis, signatures: signatures.into() }).expect("a valid genesis")
}

fn order(cluster: &ClusterRecord, number: u8, command: OrderCommand) -> Order {
    let object_version = cluster.version_for(&command).unwrap_or(ObjectVersion(0));
    let id = OrderId::new([number; 16]);
    let body = OrderBody { cluster: cluster.cluster, id, not_after: UnixMillis(9_000_000), object_version, order: command };
    let message = body.message();
    let role = body.order.class().default_approvals().role;
    let approvals = OFFICERS.iter().filter(|(_, of, _)| *of == role).map(|(name, _, seed)| Approval {
        officer: name.parse().expect("a name"),
        signature: key(*seed).sign(&message).to_bytes().as_slice().into(),
    });
    let consent = Consent { order: body.digest() };
    let consents = if body.order.class().needs_consent() {
        (2..=4).map(|site| sign(cluster.cluster, site, consent.clone())).collect()
    } else {
        Vec::new()
    };
    Order { approvals: approvals.collect(), consents, body }
}

fn sign<T: warifu_protocol::NodeStatement>(cluster: ClusterId, number: u8, body: T) -> NodeSigned<T> {
    NodeIdentity::new(node(number), cluster, key(number)).sign(body)
}

/// The roster with a node more or less.
fn roster(cluster: &ClusterRecord, edit: impl FnOnce(&mut Vec<NodeEntry>)) -> OrderCommand {
    let mut nodes = cluster.nodes.clone();
    edit(&mut nodes);
    OrderCommand::UpdateRoster { nodes, coordinators: cluster.coordinators.clone(), officers: cluster.officers.clone() }
}

struct Case {
    cluster: ClusterId,
    stop: StopCommand,
}

impl Case {
    fn new(cluster: &ClusterRecord, command: OrderCommand) -> Self {
        Self { cluster: cluster.cluster, stop: StopCommand::Order(order(cluster, 77, command)) }
    }

    fn receipt(&self, number: u8) -> NodeSigned<Receipt> {
        let (object, kind) = self.stop.target().expect("a stop");
        let held_since = HELD.plus(u64::from(number));
        let body = Receipt { stop: self.stop.id(), object, kind, held_since, store: StoreId::new([1; 16]), boot: BootId::new([1; 16]) };
        sign(self.cluster, number, body)
    }

    fn gone(&self, number: u8, proves_destruction: bool) -> NodeSigned<Gone> {
        let body = Gone { credential: CREDENTIAL, store: StoreId::new([1; 16]), destroyed: vec![4], proves_destruction, at: HELD };
        sign(self.cluster, number, body)
    }

    fn file(&self, receipts: &[u8], gone: &[(u8, bool)]) -> ReceiptsFile {
        ReceiptsFile {
            stop: self.stop.clone(),
            receipts: receipts.iter().map(|number| self.receipt(*number)).collect(),
            gone: gone.iter().map(|(number, proves)| self.gone(*number, *proves)).collect(),
        }
    }
}

fn numbers(nodes: &[NodeId]) -> Vec<u8> {
    nodes.iter().map(|node| node.get()).collect()
}

#[test]
fn receipts_prove_that_nobody_can_sign_and_the_words_of_all_nodes_that_it_is_gone() {
    let founded = ClusterRecord::founded(&genesis());
    let destroy = Case::new(&founded, OrderCommand::Destroy { credential: CREDENTIAL });
    let all = [1, 2, 3, 4, 5];
    let plainly = all.map(|number| (number, true));
    let with_a_file = [(1, true), (2, true), (3, false), (4, true), (5, true)];
    type Row<'a> = (&'a [u8], &'a [(u8, bool)], ProofLevel);
    let rows: [Row<'_>; 8] = [
        (&[], &[], ProofLevel::Nothing),
        (&[1, 3, 5], &[], ProofLevel::Nothing),
        (&[1, 3, 5], &plainly[..4], ProofLevel::Nothing),
        (&[1, 2, 3, 5], &[], ProofLevel::CannotSign),
        (&all, &plainly[1..], ProofLevel::CannotSign),
        (&all, &with_a_file, ProofLevel::Gone),
        (&[1, 2, 3, 5], &plainly, ProofLevel::GoneProvably),
        (&[2], &plainly, ProofLevel::GoneProvably),
    ];
    for (receipts, gone, level) in rows {
        let proof = prove(&founded, &destroy.file(receipts, gone)).expect("all of it counts");
        assert_eq!(proof.level, level, "{receipts:?} {gone:?}");
        assert_eq!((proof.needed, proof.revision, numbers(&proof.nodes).as_slice()), (4, 0, receipts));
        assert_eq!(proof.over_at.is_some(), receipts.len() >= 4);
        assert_eq!(proof.gone.len() + proof.not_gone.len(), 5);
        let words = proof.words();
        let claimed = [("NOT PROVED", ProofLevel::Nothing), ("CANNOT SIGN", ProofLevel::CannotSign)];
        claimed.into_iter().for_each(|(text, of)| assert_eq!(words.contains(text), of == level, "{words}"));
        assert_eq!(words.contains("GONE"), level >= ProofLevel::Gone, "{words}");
    }
    let proof = prove(&founded, &destroy.file(&[1, 2, 3, 5], &[])).expect("counts");
    assert_eq!(proof.over_at, Some(HELD.plus(5).plus(30_000)), "from the receipt that made it enough");

    let mut empty = destroy.gone(1, true);
    empty.body.destroyed.clear();
    let resigned = sign(founded.cluster, 1, empty.body);
    let mut file = destroy.file(&all, &plainly[1..]);
    file.gone.push(resigned);
    assert_eq!(prove(&founded, &file).expect("counts").level, ProofLevel::Gone, "without a generation there is nothing to prove");

    let revoke = Case::new(&founded, OrderCommand::Revoke { credential: CREDENTIAL });
    assert_eq!(prove(&founded, &revoke.file(&all, &plainly)).expect("counts").level, ProofLevel::GoneProvably, "by policy");
}

#[test]
fn a_receipt_that_does_not_count_is_named_and_spoils_the_file() {
    let founded = ClusterRecord::founded(&genesis());
    let case = Case::new(&founded, OrderCommand::Destroy { credential: CREDENTIAL });
    let other = Case::new(&founded, OrderCommand::Destroy { credential: CredentialId::new([8; 16]) });
    let suspend = Case::new(&founded, OrderCommand::Suspend { credential: CREDENTIAL });
    let elsewhere = Case { cluster: ClusterId::new([6; 32]), stop: case.stop.clone() };
    type Edit<'a> = &'a dyn Fn(&mut ReceiptsFile);
    type Expected = fn(&ReceiptError) -> bool;
    let signature: Expected = |error| matches!(error, ReceiptError::Signature { .. });
    let unknown: Expected = |error| matches!(error, ReceiptError::NodeUnknown { .. });
    let duplicate: Expected = |error| matches!(error, ReceiptError::Duplicate { .. });
    let something_else: Expected = |error| matches!(error, ReceiptError::Other { .. });
    let rows: [(&str, Edit<'_>, Expected); 13] = [
        ("an outsider's", &|file| file.receipts.push(case.receipt(6)), unknown),
        ("an outsider's word", &|file| file.gone.push(case.gone(6, true)), unknown),
        ("the same node twice", &|file| file.receipts.push(case.receipt(1)), duplicate),
        ("its word twice", &|file| file.gone.push(case.gone(1, true)), duplicate),
        ("in another's name", &|file| file.receipts[0].node = node(5), signature),
        ("another time", &|file| file.receipts[0].body.held_since = UnixMillis(1), signature),
        ("a flipped bit", &|file| file.receipts[0].signature.0[5] ^= 1, signature),
        ("of another cluster", &|file| file.receipts[0] = elsewhere.receipt(1), signature),
        ("a word of another cluster", &|file| file.gone[0] = elsewhere.gone(1, true), signature),
        ("provable after all", &|file| file.gone[0].body.proves_destruction = true, signature),
        ("for another stop", &|file| file.receipts[0] = other.receipt(1), something_else),
        ("for another kind of stop", &|file| file.receipts[0] = suspend.receipt(1), something_else),
        ("a word about another key", &|file| file.stop = other.stop.clone(), something_else),
    ];
    for (case_name, edit, expected) in rows {
        let mut file = case.file(&[1, 2, 3, 4], &[(1, false), (2, true)]);
        assert!(prove(&founded, &file).is_ok());
        edit(&mut file);
        let error = prove(&founded, &file).expect_err(case_name);
        assert!(expected(&error), "{case_name}: {error:?}");
    }
    let mut file = suspend.file(&[1, 2, 3, 4], &[]);
    file.gone = case.file(&[], &[(1, true)]).gone;
    assert!(matches!(prove(&founded, &file), Err(ReceiptError::Other { .. })), "a suspension destroys nothing");
    let resume =
        Case { cluster: founded.cluster, stop: StopCommand::Order(order(&founded, 5, OrderCommand::Resume { credential: CREDENTIAL })) };
    let file = ReceiptsFile { stop: resume.stop, receipts: Vec::new(), gone: Vec::new() };
    assert!(matches!(prove(&founded, &file), Err(ReceiptError::NotStopping)));
}

#[test]
fn receipts_count_by_the_roster_of_their_time() {
    let genesis = genesis();
    let founded = ClusterRecord::founded(&genesis);
    let shrink = order(&founded, 1, roster(&founded, |nodes| nodes.retain(|entry| entry.id != node(1))));
    let shrunk = verify_roster_chain(&genesis, std::slice::from_ref(&shrink)).expect("follows");
    let grow = order(&shrunk, 2, roster(&shrunk, |nodes| nodes.push(entry(6))));
    let moved = verify_roster_chain(&genesis, &[shrink, grow]).expect("follows");
    let case = Case::new(&founded, OrderCommand::Destroy { credential: CREDENTIAL });
    let level = |cluster: &ClusterRecord, receipts: &[u8]| {
        prove(cluster, &case.file(receipts, &[])).map(|Proof { level, revision, .. }| (level, revision))
    };

    let unknown = |number| Err(ReceiptError::NodeUnknown { node: node(number) });
    assert_eq!(level(&founded, &[2, 3, 4, 6]), unknown(6), "the genesis does not know of later nodes");
    assert_eq!(level(&shrunk, &[2, 3, 4]), Ok((ProofLevel::CannotSign, 1)), "of four nodes three must obey");
    assert_eq!(level(&moved, &[2, 3, 4]), Ok((ProofLevel::Nothing, 2)), "of five nodes four");
    assert_eq!(level(&moved, &[2, 3, 4, 6]), Ok((ProofLevel::CannotSign, 2)));
    assert_eq!(level(&moved, &[1, 2, 3, 4]), unknown(1), "a removed node's word counts no more");
    assert_eq!(level(&founded, &[1, 2, 3, 4]), Ok((ProofLevel::CannotSign, 0)), "but by the roster of its time it does");
    let gone = |cluster: &ClusterRecord, said: &[u8]| {
        let said: Vec<(u8, bool)> = said.iter().map(|number| (*number, true)).collect();
        prove(cluster, &case.file(&[], &said)).expect("counts").level
    };
    assert_eq!(gone(&shrunk, &[2, 3, 4, 5]), ProofLevel::GoneProvably);
    assert_eq!(gone(&moved, &[2, 3, 4, 5]), ProofLevel::Nothing, "the new one could have a share");
    assert_eq!(gone(&moved, &[2, 3, 4, 5, 6]), ProofLevel::GoneProvably);
}

#[test]
fn a_file_is_completed_by_what_nodes_say_later_and_keeps_what_it_has() {
    let founded = ClusterRecord::founded(&genesis());
    let case = Case::new(&founded, OrderCommand::Revoke { credential: CREDENTIAL });
    let (object, kind) = case.stop.target().expect("a stop");
    let late = case.file(&[1, 2, 5], &[(5, true), (2, true)]);
    let report = StopReport {
        stop: case.stop.id(),
        object,
        kind,
        state: StopReportState::Incomplete,
        until: None,
        needed: 4,
        liars: 1,
        receipts: late.receipts,
        missing: Vec::new(),
        logged: None,
        gone: late.gone,
    };
    let file = with(case.file(&[1, 3, 4], &[(2, false)]), &report);
    let by_node: BTreeMap<u8, _> = file.receipts.iter().map(|receipt| (receipt.node.get(), receipt)).collect();
    assert_eq!(by_node.keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(file.gone, case.file(&[], &[(2, false), (5, true)]).gone, "what was said first stays");
    assert_eq!(prove(&founded, &file).expect("counts").level, ProofLevel::CannotSign);
}
