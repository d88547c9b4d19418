//! One document, t of n nodes, and everything that can go wrong on the way.

#![expect(unreachable_pub, reason = "tests and their support are no API")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use support::{Behaviour, World, node};
use warifu_coordinator_core::limits::{EXCLUSION_MILLIS, HEDGE_MILLIS_MAX, SIGNING_DEADLINE_MILLIS};
use warifu_coordinator_core::{GroupKey, Job, NodeNote, SignFailure};
use warifu_protocol::wire::NotYet;
use warifu_protocol::{CredentialId, Epoch, Refusal};

#[test]
fn t_of_n_honest_nodes_sign_in_one_attempt() {
    for (nodes, threshold) in [(3, 2), (5, 3), (7, 5), (15, 14)] {
        let mut world = World::new(nodes, threshold, 0, 1);
        let signed = world.must_sign();
        assert_eq!((signed.attempts, signed.hedges), (1, 0));
        assert_eq!(signed.signers.len(), usize::from(threshold));
        assert_eq!(world.sent.len(), usize::from(threshold), "nobody is asked who need not be");
    }
}

#[test]
fn equal_nodes_share_the_load() {
    let mut world = World::new(5, 3, 1, 2);
    for _ in 0..60 {
        world.must_sign();
        world.refill();
    }
    for number in 1..=5 {
        let asked = world.sent.iter().filter(|sent| **sent == node(number)).count();
        assert!((20..=52).contains(&asked), "node {number} was asked {asked} times of 180");
    }
}

#[test]
fn a_burst_of_documents_spreads_over_all_nodes_though_one_is_slower() {
    let mut world = World::new(5, 3, 1, 2);
    for number in 1..=5 {
        world.fleet.call_answered(node(number), 0, 1_000 * u64::from(number));
    }
    let asked = world.must_launch(10);
    for number in 1..=5 {
        let times = asked.iter().filter(|node| node.get() == number).count();
        assert!((3..=9).contains(&times), "node {number} was asked {times} times of 30");
    }
}

#[test]
fn a_node_that_was_slow_once_is_given_work_again_soon_after_it_says_how_it_is() {
    let mut world = World::new(5, 3, 1, 2);
    (1..=4).for_each(|number| world.fleet.call_answered(node(number), 0, 3_000));
    world.fleet.call_answered(node(5), 0, 1_000_000);
    let asked = |world: &World| world.sent.iter().filter(|sent| **sent == node(5)).count();
    for _ in 0..20 {
        world.must_sign();
        world.refill();
    }
    assert_eq!(asked(&world), 0, "others are faster");
    for _ in 0..12 {
        (1..=5).for_each(|number| world.fleet.status_answered(node(number), 1_000));
        for _ in 0..3 {
            world.must_sign();
            world.refill();
        }
    }
    assert!(asked(&world) >= 5, "asked {} times", asked(&world));
}

#[test]
fn a_node_that_gives_a_false_share_is_named_and_left_out_and_another_set_signs() {
    for behaviour in [Behaviour::FalseShare, Behaviour::Garbage] {
        let mut world = World::new(5, 3, 1, 3);
        world.behave(2, behaviour);
        let mut met = false;
        for _ in 0..20 {
            let signed = world.must_sign();
            assert!(!signed.signers.contains(&node(2)));
            met |= signed.attempts > 1;
            world.refill();
        }
        assert!(met, "the liar was never in a set");
        let culprits: Vec<_> = world.notes.iter().filter(|(_, note)| *note == NodeNote::Culprit).collect();
        assert_eq!(culprits, [&(node(2), NodeNote::Culprit)], "named once, and nobody else");
        assert!(world.fleet.view(node(2), world.now).expect("a member").excluded);
        assert!(!world.fleet.view(node(2), world.now.plus(EXCLUSION_MILLIS)).expect("a member").excluded);
    }
}

#[test]
fn two_liars_of_five_are_both_named() {
    let mut world = World::new(5, 3, 1, 4);
    world.behave(1, Behaviour::FalseShare);
    world.behave(4, Behaviour::Garbage);
    for _ in 0..20 {
        world.must_sign();
        world.refill();
    }
    let culprits: BTreeSet<_> = world.notes.iter().filter(|(_, note)| *note == NodeNote::Culprit).map(|(node, _)| *node).collect();
    assert_eq!(culprits, BTreeSet::from([node(1), node(4)]));
}

#[test]
fn when_every_signer_seems_to_lie_nobody_is_blamed_and_the_view_counts_as_stale() {
    let mut world = World::new(3, 2, 0, 5);
    let other = World::new(3, 2, 0, 6);
    let job = Job::csr(CredentialId::new([1; 16]), support::MESSAGE.to_vec(), Epoch(1), Arc::clone(&other.key));
    assert_eq!(world.sign_job(job), Err(SignFailure::ViewStale));
    assert_eq!(world.notes, []);
}

#[test]
fn a_node_that_dies_while_answers_are_expected_late_costs_no_document_a_second() {
    let mut world = World::new(5, 3, 1, 7);
    for number in 1..=5 {
        world.fleet.call_answered(node(number), 1, 5_000_000);
    }
    world.behave(1, Behaviour::Silent);
    let mut hedged = 0;
    for _ in 0..10 {
        let before = world.now;
        hedged += world.must_sign().hedges;
        assert!(world.now.since(before) < 1_000);
        world.refill();
    }
    assert_eq!(hedged, 1, "it was asked, and has not answered");
}

#[test]
fn a_slow_node_is_hedged_with_a_set_without_it_and_avoided_afterwards() {
    let mut world = World::new(5, 3, 1, 7);
    world.behave(1, Behaviour::Silent);
    let mut hedged = 0;
    for _ in 0..10 {
        let before = world.now;
        let signed = world.must_sign();
        assert!(!signed.signers.contains(&node(1)));
        assert!(world.now.since(before) < 2 * HEDGE_MILLIS_MAX);
        hedged += signed.hedges;
        world.refill();
    }
    assert_eq!(hedged, 1, "one document pays for it, not each");
    assert_eq!(world.notes, [(node(1), NodeNote::Slow)]);
}

#[test]
fn a_slow_answer_is_still_taken_when_there_is_no_other_node() {
    let mut world = World::new(3, 2, 0, 8);
    world.behave(1, Behaviour::Slow(2_000));
    world.behave(2, Behaviour::Slow(2_000));
    world.behave(3, Behaviour::Slow(2_000));
    world.must_sign();
}

#[test]
fn n_minus_t_dead_nodes_cost_time_but_no_signature() {
    for dead in [Behaviour::Down, Behaviour::Silent] {
        for seed in 0..10 {
            let mut world = World::new(5, 3, 1, seed);
            world.behave(2, dead.clone());
            world.behave(5, dead.clone());
            world.must_sign();
        }
    }
}

#[test]
fn a_hedge_that_fails_is_replaced_while_the_slow_set_is_still_out() {
    for seed in 0..60 {
        let mut world = World::new(5, 3, 1, seed);
        world.behave(1, Behaviour::Silent);
        world.behave(3, Behaviour::Down);
        world.must_sign();
    }
}

#[test]
fn fewer_than_t_nodes_fail_at_the_deadline_and_say_so() {
    let mut world = World::new(5, 3, 1, 9);
    for number in 1..=3 {
        world.behave(number, Behaviour::Down);
    }
    let before = world.now;
    let Err(SignFailure::Unavailable { threshold: 3, millis, .. }) = world.sign() else { panic!("too few nodes signed") };
    assert!(millis <= SIGNING_DEADLINE_MILLIS && world.now.since(before) <= SIGNING_DEADLINE_MILLIS);
}

#[test]
fn a_restarted_node_gives_fresh_commitments_and_signs() {
    let mut world = World::new(3, 2, 0, 10);
    for number in 1..=3 {
        world.behave(number, Behaviour::Forgets(1));
    }
    let signed = world.must_sign();
    assert!(signed.attempts > 1);
    assert!(world.notes.iter().all(|(_, note)| *note == NodeNote::CommitmentsGone));
}

#[test]
fn a_node_that_keeps_forgetting_does_not_use_up_the_attempts() {
    for seed in 0..10 {
        let mut world = World::new(4, 3, 0, seed);
        world.behave(1, Behaviour::Forgets(u32::MAX));
        world.must_sign();
    }
}

#[test]
fn nodes_that_are_behind_or_busy_or_unconfirmed_are_replaced() {
    for reason in [NotYet::StateBehind, NotYet::Busy, NotYet::Unconfirmed] {
        for seed in 0..5 {
            let mut world = World::new(5, 3, 1, seed);
            world.behave(1, Behaviour::NotYet(reason));
            world.behave(2, Behaviour::NotYet(reason));
            world.must_sign();
        }
    }
}

#[test]
fn one_lying_refusal_does_not_refuse_a_document_when_one_node_may_lie() {
    for refusal in [Refusal::SessionClosed, Refusal::CertificateMoved, Refusal::CardRevoked, Refusal::CommitmentsChanged] {
        for seed in 0..10 {
            let mut world = World::new(5, 3, 1, seed);
            world.behave(1, Behaviour::Refuses(refusal.clone()));
            let signed = world.must_sign();
            assert!(!signed.signers.contains(&node(1)));
        }
    }
}

#[test]
fn the_same_refusal_of_enough_nodes_is_the_answer() {
    let table = [
        (5, 3, 0, 3), // n - t + 1: the others are too few to sign
        (5, 3, 1, 3),
        (5, 4, 3, 2),
        (3, 2, 0, 2),
    ];
    for (nodes, threshold, liars, quorum) in table {
        let mut world = World::new(nodes, threshold, liars, 11);
        for number in 1..=nodes {
            world.behave(number, Behaviour::Refuses(Refusal::SeqUsed));
        }
        match world.sign() {
            Err(SignFailure::Refused { refusal: Refusal::SeqUsed, nodes }) => assert_eq!(nodes.len(), quorum),
            other => panic!("{other:?}"),
        }
        assert_eq!(world.sent.len(), usize::from(threshold), "a refused document uses one set");
    }
}

#[test]
fn refusals_for_different_reasons_are_reported_without_choosing_one() {
    let mut world = World::new(5, 3, 1, 12);
    for (number, refusal) in [
        (1, Refusal::SessionClosed),
        (2, Refusal::SessionUnknown),
        (3, Refusal::SeqUsed),
        (4, Refusal::CardRevoked),
        (5, Refusal::SessionNotValid),
    ] {
        world.behave(number, Behaviour::Refuses(refusal));
    }
    let Err(SignFailure::Unavailable { refusals, .. }) = world.sign() else { panic!("one was chosen") };
    assert!(refusals.len() >= 3, "{refusals:?}");
}

#[test]
fn a_moved_certificate_makes_the_view_stale() {
    let mut world = World::new(5, 3, 1, 13);
    for number in 1..=5 {
        world.behave(number, Behaviour::Refuses(Refusal::CertificateMoved));
    }
    assert_eq!(world.sign(), Err(SignFailure::ViewStale));
}

/// By a view with this key.
fn must_be_stale_at_once(world: &mut World, key: GroupKey) {
    let job = Job::csr(CredentialId::new([1; 16]), support::MESSAGE.to_vec(), Epoch(1), Arc::new(key));
    let before = world.now;
    assert_eq!(world.sign_job(job), Err(SignFailure::ViewStale));
    assert!(world.now.since(before) < HEDGE_MILLIS_MAX, "nothing is waited for");
}

#[test]
fn a_view_is_stale_at_once_when_too_few_of_its_holders_are_left_that_do_not_contradict_it() {
    for seed in 0..10 {
        let mut world = World::new(5, 3, 1, seed);
        // Refreshed since: the epoch is over, and the fifth site, which lacked its share before, is none of the view's holders.
        for number in 1..=5 {
            world.behave(number, Behaviour::Refuses(Refusal::ShareMissing));
        }
        let key = GroupKey::clone(&world.key).held_by(&[1, 2, 3, 4].map(node)).expect("enough holders");
        must_be_stale_at_once(&mut world, key);
    }
}

#[test]
fn a_view_is_stale_at_once_when_a_holder_by_it_has_left_the_cluster_and_another_contradicts_it() {
    for seed in 0..10 {
        let mut world = World::new(5, 3, 1, seed);
        // The fourth site was removed, and the keys were refreshed among the others; the fifth and the second have not answered yet that it is so.
        world.fleet.set_nodes([1, 2, 3, 5].map(node));
        for number in [1, 3, 5] {
            world.behave(number, Behaviour::Refuses(Refusal::ShareMissing));
        }
        let key = GroupKey::clone(&world.key).held_by(&[1, 2, 3, 4].map(node)).expect("enough holders");
        must_be_stale_at_once(&mut world, key);
    }
}

#[test]
fn a_view_that_an_honest_node_contradicts_is_stale_when_the_others_cannot_be_asked() {
    for seed in 0..10 {
        let mut world = World::new(5, 3, 1, seed);
        world.behave(4, Behaviour::Down);
        for number in [1, 5] {
            world.behave(number, Behaviour::Refuses(Refusal::ShareMissing));
        }
        let key = GroupKey::clone(&world.key);
        must_be_stale_at_once(&mut world, key);
    }
}

#[test]
fn the_rest_of_a_set_is_heard_when_one_of_it_contradicts_the_view_and_there_is_no_other_set() {
    for seed in 0..10 {
        let mut world = World::new(5, 4, 1, seed);
        world.fleet.note(node(5), world.now, NodeNote::Culprit);
        for number in 1..=4 {
            world.behave(number, Behaviour::Refuses(Refusal::ShareMissing));
        }
        let key = GroupKey::clone(&world.key);
        must_be_stale_at_once(&mut world, key);
    }
}

#[test]
fn one_liar_cannot_make_a_view_stale_while_others_may_come_back() {
    let mut world = World::new(5, 3, 1, 17);
    world.behave(1, Behaviour::Refuses(Refusal::ShareMissing));
    world.behave(4, Behaviour::Down);
    world.behave(5, Behaviour::Down);
    assert!(matches!(world.sign(), Err(SignFailure::Unavailable { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever n-t nodes do, a signature comes out, it verifies, no nonce is asked for twice, and no honest node is blamed.
    #[test]
    fn up_to_n_minus_t_faulty_nodes_cannot_keep_the_others_from_signing(
        seed in any::<u64>(),
        faults in proptest::collection::btree_map(1_u8..=5, 0_usize..10, 0..=2),
    ) {
        let kinds = [
            Behaviour::Silent, Behaviour::Down, Behaviour::FalseShare, Behaviour::Garbage, Behaviour::Forgets(3), Behaviour::Slow(300),
            Behaviour::Refuses(Refusal::NodeUnconfirmed), Behaviour::NotYet(NotYet::StateBehind),
            // Nodes that the log has not reached for a while.
            Behaviour::Refuses(Refusal::SessionClosed), Behaviour::Refuses(Refusal::CertificateMoved),
        ];
        let mut world = World::new(5, 3, 1, seed);
        for (number, kind) in &faults {
            world.behave(*number, kinds[*kind].clone());
        }
        for _ in 0..4 {
            world.must_sign();
            world.refill();
        }
        for (culprit, _) in world.notes.iter().filter(|(_, note)| *note == NodeNote::Culprit) {
            prop_assert!(matches!(world.behaviour(culprit.get()), Behaviour::FalseShare | Behaviour::Garbage));
        }
    }
}
