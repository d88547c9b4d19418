//! Which receipts count, and when a stop is draining and done.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use ed25519_dalek::{Signer as _, SigningKey};
use warifu_coordinator_core::{StopProgress, StopRules, StopState};
use warifu_protocol::limits::NONCE_LIFE_MILLIS;
use warifu_protocol::wire::StopAnswer;
use warifu_protocol::{
    Blob, BootId, ClusterId, CredentialId, NodeEntry, NodeId, NodeSigned, ObjectVersion, Order, OrderBody, OrderCommand, OrderId,
    PublicKey, Receipt, ReceiptQuorum, Refusal, SpkiHash, StopCommand, StopObject, StoreId, Threshold, UnixMillis,
};

const CLUSTER: ClusterId = ClusterId::new([7; 32]);
const CREDENTIAL: CredentialId = CredentialId::new([1; 16]);
const NOW: UnixMillis = UnixMillis(1_000_000);
const SKEW: u64 = 30_000;

fn node(number: u8) -> NodeId {
    NodeId::new(number).unwrap()
}

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

fn rules() -> StopRules {
    let nodes = (1..=5)
        .map(|number| NodeEntry {
            id: node(number),
            address: String::new(),
            tls_spki: SpkiHash::new([number; 32]),
            identity: PublicKey::Ed25519(key(number).verifying_key().to_bytes()),
            sealing_key: Blob::default(),
        })
        .collect();
    let quorum = ReceiptQuorum { nodes: 5, threshold: Threshold(3), liars: 1 };
    StopRules { cluster: CLUSTER, nodes, quorum, clock_skew_millis_max: SKEW }
}

fn stop(id: u8, command: OrderCommand) -> StopCommand {
    let body = OrderBody { cluster: CLUSTER, id: OrderId::new([id; 16]), not_after: NOW, object_version: ObjectVersion(0), order: command };
    StopCommand::Order(Order { body, approvals: Vec::new(), consents: Vec::new() })
}

fn suspend() -> StopCommand {
    stop(1, OrderCommand::Suspend { credential: CREDENTIAL })
}

/// A receipt for `stop`, changed and then signed with this node's key.
fn receipt(number: u8, stop: &StopCommand, held_since: UnixMillis, change: impl FnOnce(&mut Receipt)) -> NodeSigned<Receipt> {
    let (object, kind) = stop.target().unwrap();
    let mut body =
        Receipt { stop: stop.id(), object, kind, held_since, store: StoreId::new([number; 16]), boot: BootId::new([number; 16]) };
    change(&mut body);
    let message = NodeSigned::<Receipt>::message(CLUSTER, node(number), &body);
    NodeSigned { node: node(number), body, signature: Blob(key(number).sign(&message).to_bytes().to_vec()) }
}

fn good(number: u8, held_since: UnixMillis) -> StopAnswer {
    StopAnswer::Obeyed(receipt(number, &suspend(), held_since, |_| {}))
}

fn missing(progress: &StopProgress) -> Vec<u8> {
    progress.missing().iter().map(|(node, _)| node.get()).collect()
}

#[test]
fn a_stop_drains_from_the_receipt_that_completes_the_quorum_and_is_done_a_nonces_life_later() {
    let mut progress = StopProgress::new(rules(), suspend()).unwrap();
    assert_eq!(progress.quorum().needed(), 4);
    for (number, at) in [(1, 0), (2, 10), (5, 20)] {
        progress.answered(NOW.plus(at), node(number), good(number, NOW));
        assert_eq!(progress.state(NOW.plus(NONCE_LIFE_MILLIS * 100)), StopState::Incomplete, "three of four");
    }
    assert_eq!(missing(&progress), [3, 4]);
    progress.answered(NOW.plus(500), node(3), good(3, NOW.plus(400)));
    let until = NOW.plus(500 + NONCE_LIFE_MILLIS);
    assert_eq!(progress.state(NOW.plus(500)), StopState::Draining { until });
    assert_eq!(progress.state(UnixMillis(until.0 - 1)), StopState::Draining { until });
    assert_eq!(progress.state(until), StopState::Done { since: until });
    progress.answered(until, node(4), good(4, until));
    assert_eq!(progress.state(until), StopState::Done { since: until }, "a late receipt does not begin it anew");
    assert!(missing(&progress).is_empty());
}

#[test]
fn a_coordinator_that_hears_of_an_old_stop_does_not_wait_again_and_a_receipt_from_the_future_delays_nothing() {
    let mut progress = StopProgress::new(rules(), suspend()).unwrap();
    let long_ago = NOW.minus(NONCE_LIFE_MILLIS + SKEW);
    for number in [1, 2, 3] {
        progress.answered(NOW, node(number), good(number, long_ago));
    }
    progress.answered(NOW, node(4), good(4, NOW.plus(24 * 60 * 60 * 1000)));
    assert_eq!(progress.state(NOW), StopState::Draining { until: NOW.plus(NONCE_LIFE_MILLIS) }, "node 4's clock is no help, and no harm");
    progress.answered(NOW, node(5), good(5, long_ago));
    assert_eq!(progress.state(NOW), StopState::Done { since: NOW });
}

#[test]
fn only_receipts_of_the_roster_for_this_very_stop_count_and_each_once() {
    let mut progress = StopProgress::new(rules(), suspend()).unwrap();
    let other = stop(2, OrderCommand::Suspend { credential: CREDENTIAL });
    let table: Vec<(&str, u8, StopAnswer)> = vec![
        ("in another's name", 2, StopAnswer::Obeyed(receipt(1, &suspend(), NOW, |_| {}))),
        ("of another order", 1, StopAnswer::Obeyed(receipt(1, &other, NOW, |_| {}))),
        (
            "of another object",
            1,
            StopAnswer::Obeyed(receipt(1, &suspend(), NOW, |body| body.object = StopObject::Credential(CredentialId::new([2; 16])))),
        ),
        ("of another kind", 1, StopAnswer::Obeyed(receipt(1, &stop(1, OrderCommand::Revoke { credential: CREDENTIAL }), NOW, |_| {}))),
        ("changed after it was signed", 1, {
            let mut changed = receipt(1, &suspend(), NOW, |_| {});
            changed.body.held_since = NOW.minus(1);
            StopAnswer::Obeyed(changed)
        }),
        ("of a stranger", 6, StopAnswer::Obeyed(receipt(6, &suspend(), NOW, |_| {}))),
        ("of a node that is not confirmed", 1, StopAnswer::Unconfirmed),
        ("of a node that cannot write", 1, StopAnswer::Failed { reason: "the disk is full".to_owned() }),
    ];
    for (case, number, answer) in table {
        progress.answered(NOW, node(number), answer);
        assert!(progress.receipts().is_empty(), "{case}");
        assert_eq!(missing(&progress), [1, 2, 3, 4, 5], "{case}");
    }
    for _ in 0..4 {
        progress.answered(NOW, node(1), good(1, NOW));
    }
    assert_eq!(progress.receipts().len(), 1);
    assert_eq!(progress.state(NOW), StopState::Incomplete);
}

#[test]
fn a_stop_is_refused_when_so_many_nodes_refuse_that_the_rest_cannot_complete_it() {
    let mut progress = StopProgress::new(rules(), suspend()).unwrap();
    let refusal = Refusal::OrderReplayed;
    progress.answered(NOW, node(1), StopAnswer::Refused(refusal.clone()));
    assert_eq!(progress.refused(), None, "one node may lie");
    progress.failed(node(2), "it cannot be reached".to_owned());
    assert_eq!(progress.refused(), None, "it may come back");
    progress.answered(NOW, node(2), StopAnswer::Refused(refusal.clone()));
    assert_eq!(progress.refused(), Some(refusal));
    assert!(StopProgress::new(rules(), stop(1, OrderCommand::Resume { credential: CREDENTIAL })).is_none(), "it stops nothing");
}
