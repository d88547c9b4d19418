use warifu_protocol::wire::{CeremonyReply, Round2};
use warifu_protocol::{Blob, CeremonyId, NodeId, NodeSigned, Refusal};

use super::cluster::{CEREMONY, Cluster, NODES, identity, node};
use crate::ceremony::{CeremonyEffect, Dkg, PROPOSE_RETRY_MILLIS, ROUND2_PACKAGE_BYTES_MAX};
use crate::registry::{CeremonyStep, encode, key, table};

/// A cluster in which all round-1 packages are in the log, and the message of node 1 to node 2.
fn must_round2(seed: u64) -> (Cluster, NodeSigned<Round2>) {
    let mut cluster = Cluster::new(seed);
    cluster.run_until(1, CeremonyStep::Round2);
    // Node 2 takes part from its own first step on.
    cluster.step(2);
    let effects = cluster.step(1);
    let message = effects.into_iter().find_map(|effect| match effect {
        CeremonyEffect::SendRound2 { to, message } if to == node(2) => Some(message),
        _ => None,
    });
    (cluster, message.unwrap())
}

fn reply(cluster: &mut Cluster, from: NodeId, message: NodeSigned<Round2>) -> CeremonyReply {
    let site = cluster.site(2);
    site.dkg.handle_round2(from, message, &site.store).unwrap()
}

fn resigned(number: u8, message: &NodeSigned<Round2>, change: impl FnOnce(&mut Round2)) -> NodeSigned<Round2> {
    let mut body = message.body.clone();
    change(&mut body);
    identity(number).sign(body)
}

#[test]
fn a_message_is_taken_once_and_again() {
    let (mut cluster, message) = must_round2(1);
    assert_eq!(reply(&mut cluster, node(1), message.clone()), CeremonyReply::Taken);
    assert_eq!(reply(&mut cluster, node(1), message), CeremonyReply::Taken);
}

#[test]
fn messages_that_are_wrong_are_refused_by_name() {
    let (mut cluster, good) = must_round2(2);
    let mut unsigned = good.clone();
    unsigned.signature = Blob(vec![0; 64]);
    let mut changed = good.clone();
    changed.body.packages[0].0[10] ^= 1;
    let mut disguised = good.clone();
    disguised.node = node(3);
    let rows: Vec<(&str, u8, NodeSigned<Round2>, &str)> = vec![
        ("sent by another peer", 3, good.clone(), "malformed"),
        ("for another node", 1, resigned(1, &good, |body| body.to = node(3)), "malformed"),
        ("not signed", 1, unsigned, "signature-invalid"),
        ("changed", 1, changed, "signature-invalid"),
        ("signed by another node", 3, disguised, "signature-invalid"),
        ("of an attempt before", 1, resigned(1, &good, |body| body.attempt = 0), "ceremony-unknown"),
        ("too few packages", 1, resigned(1, &good, |body| drop(body.packages.pop())), "ceremony-packages"),
        ("no packages", 1, resigned(1, &good, |body| body.packages.clear()), "ceremony-packages"),
        ("too many packages", 1, resigned(1, &good, |body| body.packages.push(Blob::default())), "ceremony-packages"),
        ("too large a package", 1, resigned(1, &good, |body| body.packages[1] = Blob(vec![0; ROUND2_PACKAGE_BYTES_MAX + 1])), "too-large"),
        ("from itself", 2, resigned(2, &good, |_| {}), "ceremony-participant"),
        ("of no participant", 9, resigned(9, &good, |_| {}), "ceremony-participant"),
    ];
    for (what, from, message, code) in rows {
        match reply(&mut cluster, node(from), message) {
            CeremonyReply::Refused(refusal) => assert_eq!(refusal.code(), code, "{what}"),
            other => panic!("{what}: {other:?}"),
        }
    }
    assert_eq!(reply(&mut cluster, node(1), good), CeremonyReply::Taken, "a refused message stood in the way of the good one");
}

#[test]
fn a_participant_that_the_roster_does_not_name_is_refused() {
    let (mut cluster, good) = must_round2(3);
    let mut record = cluster.record(2);
    record.participants.push(node(9));
    cluster.site(2).store.0.insert(key(table::CEREMONY, &[CEREMONY.as_ref()]), encode(&record));
    let message = resigned(9, &good, |_| {});
    assert_eq!(reply(&mut cluster, node(9), message), CeremonyReply::Refused(Refusal::NodeUnknown { node: node(9) }));
}

#[test]
fn a_message_from_further_ahead_is_asked_for_again() {
    let (mut cluster, good) = must_round2(4);
    let later = resigned(1, &good, |body| body.attempt = 2);
    assert_eq!(reply(&mut cluster, node(1), later), CeremonyReply::NotYet);
    let other = resigned(1, &good, |body| body.ceremony = CeremonyId::new([7; 16]));
    assert_eq!(reply(&mut cluster, node(1), other), CeremonyReply::NotYet);
    // A process that has not made its first step.
    cluster.site(2).dkg = Dkg::new(identity(2));
    assert_eq!(reply(&mut cluster, node(1), good), CeremonyReply::NotYet);
}

#[test]
fn an_attempt_that_this_node_has_not_begun_is_asked_for_again() {
    let (mut cluster, good) = must_round2(9);
    let mut record = cluster.record(2);
    record.attempt = 2;
    cluster.site(2).store.0.insert(key(table::CEREMONY, &[CEREMONY.as_ref()]), encode(&record));
    let message = resigned(1, &good, |body| body.attempt = 2);
    assert_eq!(reply(&mut cluster, node(1), message), CeremonyReply::NotYet);
    assert!(matches!(reply(&mut cluster, node(1), good), CeremonyReply::Refused(Refusal::CeremonyUnknown { .. })));
}

#[test]
fn a_second_message_with_other_packages_is_refused() {
    let (mut cluster, good) = must_round2(5);
    let other = resigned(1, &good, |body| body.packages.swap(0, 1));
    assert_eq!(reply(&mut cluster, node(1), good.clone()), CeremonyReply::Taken);
    assert!(matches!(reply(&mut cluster, node(1), other), CeremonyReply::Refused(Refusal::Malformed { .. })));
    assert_eq!(reply(&mut cluster, node(1), good), CeremonyReply::Taken);
}

#[test]
fn packages_with_another_hash_than_the_log_has_are_refused() {
    let (mut cluster, good) = must_round2(6);
    // All hashes reach the log and node 2; no message reaches it.
    cluster.now = cluster.now.plus(PROPOSE_RETRY_MILLIS);
    for number in 1..=NODES {
        let effects = cluster.step(number);
        cluster.carry_out(number, effects);
    }
    cluster.network.clear();
    cluster.catch_up(2);
    assert_eq!(cluster.record(2).step, CeremonyStep::Confirm);
    let other = resigned(1, &good, |body| body.packages.swap(0, 1));
    assert!(matches!(reply(&mut cluster, node(1), other), CeremonyReply::Refused(Refusal::Malformed { .. })));
    assert_eq!(reply(&mut cluster, node(1), good), CeremonyReply::Taken);
}

#[test]
fn a_node_that_is_done_takes_what_it_no_longer_needs() {
    let (mut cluster, good) = must_round2(7);
    cluster.run_until(1, CeremonyStep::Done);
    assert_eq!(reply(&mut cluster, node(1), good), CeremonyReply::Taken);
}

#[test]
fn a_node_that_gave_up_says_so() {
    let (mut cluster, good) = must_round2(8);
    cluster.restart(2);
    cluster.step(2);
    assert_eq!(reply(&mut cluster, node(1), good), CeremonyReply::Refused(Refusal::CeremonyStep));
}
