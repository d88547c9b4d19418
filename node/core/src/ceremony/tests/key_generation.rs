use std::collections::BTreeMap;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use warifu_protocol::{Blob, CeremonyAccusation, CeremonyId, Command, LogEntry, NodeId};

use super::cluster::{CEREMONY, CREDENTIALS, Cluster, NODES, START, identity, node};
use super::mischief::{is_no_abort, node_2_lies_to_node_3, node_2_proposes};
use crate::ceremony::{ATTEMPTS_MAX, CEREMONIES_BEGUN_MAX, CeremonyEffect, DEADLINE_GRACE_MILLIS, PROPOSE_RETRY_MILLIS, SEND_RETRY_MILLIS};
use crate::registry::CeremonyStep;

fn all_participants() -> Vec<NodeId> {
    (1..=NODES).map(node).collect()
}

#[test]
fn five_nodes_end_with_shares_of_one_key_that_three_of_them_sign_with() {
    let mut cluster = Cluster::new(1);
    cluster.run_until(1, CeremonyStep::Done);
    assert!(cluster.aborts().is_empty());
    for credential in CREDENTIALS {
        assert_eq!(cluster.holders(1, credential), all_participants());
    }
    assert_ne!(cluster.credential(1, CREDENTIALS[0]).key, cluster.credential(1, CREDENTIALS[1]).key);
    cluster.assert_signs([1, 2, 3]);
    cluster.assert_signs([2, 4, 5]);
}

#[test]
fn late_repeated_and_reordered_messages_do_no_harm() {
    for seed in 10..16 {
        let mut cluster = Cluster::new(seed);
        cluster.rough = true;
        cluster.run_until(1, CeremonyStep::Done);
        assert!(cluster.aborts().is_empty(), "seed {seed}");
        cluster.assert_signs([1, 3, 5]);
    }
}

#[test]
fn a_lie_in_round_2_is_proved_and_its_author_left_out() {
    let mut cluster = Cluster::new(2);
    cluster.mischief = Box::new(node_2_lies_to_node_3);
    cluster.run_until(2, CeremonyStep::Done);
    let accusations = cluster.accusations();
    assert_eq!((cluster.aborts().len(), accusations.len(), accusations[0].node), (0, 1, node(3)));
    let body = &accusations[0].body;
    assert_eq!((body.attempt, body.culprit, body.credential), (1, node(2), CREDENTIALS[0]));
    assert_eq!(cluster.record(1).participants, [1, 3, 4, 5].map(node), "the liar is left out, its victim is not");
    cluster.assert_signs([1, 3, 5]);
}

#[test]
fn a_false_accusation_costs_the_accuser_its_place() {
    for round in [1, 2] {
        let mut cluster = Cluster::new(15);
        let mut received = None;
        // Node 3 says that what node 2 sent it is wrong, which it is not.
        cluster.mischief = Box::new(move |who, mut effects| {
            if who.node() == node(2) {
                let sent = effects.iter().find_map(|effect| match effect {
                    CeremonyEffect::SendRound2 { to, message } if *to == node(3) && message.body.attempt == 1 => Some(message.clone()),
                    _ => None,
                });
                received = sent.or_else(|| received.take());
            }
            for effect in &mut effects {
                if let CeremonyEffect::Propose(command @ Command::CeremonyConfirm(_)) = effect
                    && who.node() == node(3)
                    && let Some(message) = &received
                {
                    let round2 = (round == 2).then(|| Box::new(message.clone()));
                    let (culprit, credential) = (node(2), CREDENTIALS[1]);
                    let body = CeremonyAccusation { ceremony: CEREMONY, attempt: 1, culprit, credential, round2 };
                    *command = Command::CeremonyAccused(identity(3).sign(body));
                }
            }
            effects
        });
        cluster.run_until(2, CeremonyStep::Done);
        assert_eq!(cluster.record(1).participants, [1, 2, 4, 5].map(node), "round {round}");
        cluster.assert_signs([1, 2, 4]);
    }
}

#[test]
fn a_fast_clock_costs_nobody_its_place() {
    let mut cluster = Cluster::new(16);
    cluster.ahead = BTreeMap::from([(1, 15_000)]);
    cluster.site(5).alive = false;
    while cluster.overdue().is_empty() {
        cluster.tick();
    }
    assert!(cluster.now < START.plus(10_000), "the fast clock asks long before the deadline");
    cluster.site(5).alive = true;
    cluster.run_until(1, CeremonyStep::Done);
    assert_eq!(cluster.record(1).participants, all_participants());
}

#[test]
fn a_bad_package_in_round_1_is_found_and_its_author_left_out() {
    let other_degree = {
        let mut rng = ChaCha20Rng::seed_from_u64(5);
        let (_, package) = frost_ed25519::keys::dkg::part1(crate::signer::identifier(node(2)), 5, 2, &mut rng).unwrap();
        package.serialize().unwrap()
    };
    let other_proof = {
        let mut rng = ChaCha20Rng::seed_from_u64(6);
        let (_, package) = frost_ed25519::keys::dkg::part1(crate::signer::identifier(node(4)), 5, 3, &mut rng).unwrap();
        package.serialize().unwrap()
    };
    for bad in [Vec::new(), vec![0; 200], other_degree, other_proof] {
        let mut cluster = Cluster::new(3);
        cluster.mischief = node_2_proposes(Blob(bad));
        cluster.run_until(2, CeremonyStep::Done);
        let accusations = cluster.accusations();
        assert!(!accusations.is_empty());
        for accusation in accusations {
            let body = accusation.body;
            assert_eq!((body.culprit, body.credential, body.round2), (node(2), CREDENTIALS[1], None));
        }
        assert_eq!(cluster.record(1).participants, [1, 3, 4, 5].map(node));
    }
}

#[test]
fn packages_that_are_not_those_in_the_log_are_held_against_their_sender() {
    let mut cluster = Cluster::new(4);
    // Node 2 logs another hash than that of what it sends to node 3.
    cluster.mischief = Box::new(|who, mut effects| {
        effects.retain(|effect| who.node() != node(2) || is_no_abort(effect));
        for effect in &mut effects {
            if let CeremonyEffect::Propose(Command::CeremonyRound2Hash(message)) = effect
                && who.node() == node(2)
                && message.body.attempt == 1
            {
                let mut body = message.body.clone();
                body.hashes.iter_mut().filter(|(to, _)| *to == node(3)).for_each(|(_, hash)| *hash = [9; 32].into());
                *message = identity(2).sign(body);
            }
        }
        effects
    });
    cluster.run_until(2, CeremonyStep::Done);
    let accusations = cluster.accusations();
    assert_eq!((accusations.len(), accusations[0].node, accusations[0].body.culprit), (1, node(3), node(2)));
    assert_eq!(cluster.record(1).participants, [1, 3, 4, 5].map(node));
}

#[test]
fn a_node_that_is_away_is_left_out_after_the_deadline() {
    let mut cluster = Cluster::new(5);
    cluster.site(4).alive = false;
    cluster.run_until(2, CeremonyStep::Done);
    let four: Vec<_> = [1, 2, 3, 5].map(node).to_vec();
    assert_eq!(cluster.record(1).participants, four);
    assert!(cluster.now >= START.plus(20_000 + DEADLINE_GRACE_MILLIS));
    assert!(cluster.aborts().is_empty() && cluster.accusations().is_empty() && !cluster.overdue().is_empty());
    cluster.assert_signs([1, 2, 5]);
}

#[test]
fn nobody_is_left_out_before_the_deadline() {
    let mut cluster = Cluster::new(6);
    cluster.site(4).alive = false;
    while cluster.now < START.plus(20_000 + DEADLINE_GRACE_MILLIS - 400) {
        cluster.tick();
    }
    assert!(cluster.aborts().is_empty() && cluster.overdue().is_empty());
}

#[test]
fn a_node_that_restarts_after_its_round_1_gives_the_attempt_up() {
    for step in [CeremonyStep::Round1, CeremonyStep::Round2, CeremonyStep::Confirm] {
        let mut cluster = Cluster::new(7);
        if step == CeremonyStep::Round1 {
            cluster.site(5).alive = false;
            cluster.tick();
            cluster.site(5).alive = true;
        } else {
            cluster.run_until(1, step);
        }
        cluster.restart(3);
        cluster.run_until(2, CeremonyStep::Done);
        let abort = &cluster.aborts()[0];
        assert_eq!((abort.node, abort.body.culprit), (node(3), None), "at {step:?}");
        assert_eq!(cluster.record(1).participants, [1, 2, 4, 5].map(node));
        cluster.assert_signs([1, 2, 4]);
    }
}

#[test]
fn packages_that_were_logged_after_a_restart_are_known_as_lost() {
    let mut cluster = Cluster::new(8);
    let before = cluster.step(3);
    cluster.restart(3);
    // The proposal of before wins the race.
    cluster.carry_out(3, before);
    cluster.run_until(2, CeremonyStep::Done);
    assert_eq!(cluster.aborts()[0].node, node(3));
}

#[test]
fn a_node_that_restarts_after_its_confirmation_has_nothing_left_to_do() {
    let mut cluster = Cluster::new(9);
    // Node 5 is kept from confirming, so that the ceremony stays open.
    cluster.mischief = Box::new(|who, mut effects| {
        effects.retain(|effect| who.node() != node(5) || !matches!(effect, CeremonyEffect::Propose(Command::CeremonyConfirm(_))));
        effects
    });
    while !cluster.record(1).confirmed.contains(&node(3)) {
        cluster.tick();
    }
    cluster.restart(3);
    assert_eq!(cluster.step(3), Vec::new());
    cluster.mischief = Box::new(|_, effects| effects);
    cluster.run_until(1, CeremonyStep::Done);
    cluster.assert_signs([1, 3, 5]);
}

#[test]
fn nothing_is_asked_for_twice_before_its_interval_has_passed() {
    let mut cluster = Cluster::new(10);
    assert_eq!(cluster.step(1).len(), 1);
    assert!(cluster.step(1).is_empty());
    cluster.now = START.plus(PROPOSE_RETRY_MILLIS);
    assert_eq!(cluster.step(1).len(), 1);

    let mut cluster = Cluster::new(11);
    cluster.run_until(1, CeremonyStep::Round2);
    let sent = |effects: &[CeremonyEffect]| effects.iter().filter(|effect| matches!(effect, CeremonyEffect::SendRound2 { .. })).count();
    let first = cluster.step(1);
    assert_eq!((first.len(), sent(&first)), (5, 4));
    assert!(cluster.step(1).is_empty());
    cluster.site(1).dkg.round2_acknowledged(CEREMONY, 2, node(2));
    cluster.site(1).dkg.round2_acknowledged(CEREMONY, 1, node(2));
    cluster.now = cluster.now.plus(SEND_RETRY_MILLIS);
    assert_eq!(sent(&cluster.step(1)), 3);
}

#[test]
fn shares_are_asked_to_be_stored_again_with_each_confirmation() {
    let mut cluster = Cluster::new(12);
    cluster.mischief = Box::new(|_, mut effects| {
        // The disk is full: nothing after the failed effect is carried out.
        if let Some(place) = effects.iter().position(|effect| matches!(effect, CeremonyEffect::StorePending { .. })) {
            effects.truncate(place);
        }
        effects
    });
    cluster.run_until(1, CeremonyStep::Confirm);
    for _ in 0..20 {
        cluster.tick();
    }
    assert!(cluster.record(1).confirmed.is_empty());
    cluster.mischief = Box::new(|_, effects| effects);
    cluster.run_until(1, CeremonyStep::Done);
    cluster.assert_signs([1, 2, 3]);
}

#[test]
fn what_is_under_way_does_not_print_its_secrets() {
    let mut cluster = Cluster::new(13);
    cluster.run_until(1, CeremonyStep::Round2);
    let effects = cluster.step(1);
    assert!(format!("{effects:?} {:?}", cluster.site(1).dkg).contains("<redacted>"));
}

#[test]
fn what_is_under_way_goes_on_when_ceremonies_with_smaller_ids_are_opened() {
    let mut cluster = Cluster::new(14);
    cluster.run_until(1, CeremonyStep::Round2);
    let mut other = cluster.record(1);
    other.round1.clear();
    other.step = CeremonyStep::Round1;
    for number in 0..=u8::try_from(ATTEMPTS_MAX).unwrap() {
        cluster.put_ceremony(CeremonyId::new([number; 16]), &other);
    }
    cluster.tick();
    let begun = cluster.log.iter().filter(|bytes| match LogEntry::decode(bytes).unwrap().command {
        Command::CeremonyRound1(message) => message.node == node(1) && message.body.ceremony != CEREMONY,
        _ => false,
    });
    assert_eq!(begun.count(), CEREMONIES_BEGUN_MAX);
    cluster.run_until(1, CeremonyStep::Done);
    assert!(cluster.aborts().is_empty());
}
