use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use warifu_protocol::{Blob, CeremonyId, Command, Epoch, EpochReceipt, EpochRetired, LogEntry, NodeId, Refusal};

use super::cluster::{CREDENTIALS, Cluster, identity, node};
use super::mischief::{node_2_lies_to_node_3, node_2_proposes};
use crate::ceremony::CeremonyEffect;
use crate::registry::{CeremonyRecord, CeremonyStep, Overlay, Registry as _, apply, table};

const REFRESH: CeremonyId = CeremonyId::new([0xfe; 16]);

/// A cluster with keys, of which a refresh has just been opened.
fn refreshing(seed: u64) -> Cluster {
    let mut cluster = Cluster::new(seed);
    cluster.run_until(1, CeremonyStep::Done);
    cluster.open_refresh(REFRESH);
    cluster
}

fn record(cluster: &Cluster, number: u8) -> CeremonyRecord {
    cluster.sites[&node(number)].store.ceremony(REFRESH).unwrap().unwrap()
}

#[track_caller]
fn run_until(cluster: &mut Cluster, step: CeremonyStep) {
    cluster.run_while(|cluster| cluster.sites.values().any(|site| site.alive && record(cluster, site.identity.node().get()).step != step));
}

fn verdict(cluster: &Cluster, command: Command) -> Result<(), Refusal> {
    let entry = LogEntry::new(cluster.now, command).encode().unwrap();
    apply(&mut Overlay::new(&cluster.sites[&node(1)].store), 10_000, &entry).unwrap().verdict.outcome.map(|_| ())
}

fn keep_receipts_back(cluster: &mut Cluster, number: u8) {
    cluster.mischief = Box::new(move |who, mut effects| {
        effects.retain(|effect| who.node() != node(number) || !matches!(effect, CeremonyEffect::Propose(Command::EpochReceived(_))));
        effects
    });
}

#[test]
fn a_refresh_makes_new_shares_of_the_same_key_and_both_epochs_sign_until_all_have_them() {
    let mut cluster = refreshing(100);
    let before = cluster.credential(1, CREDENTIALS[0]);
    keep_receipts_back(&mut cluster, 5);
    run_until(&mut cluster, CeremonyStep::Switch);
    for _ in 0..20 {
        cluster.tick();
    }
    let during = cluster.credential(1, CREDENTIALS[0]);
    assert_eq!((during.epoch, during.holders_of(Epoch(1)).is_some()), (Epoch(2), true));
    assert_eq!(during.version, before.version, "nothing that an order could have been written about has changed");
    let (old, new) = (before.key.unwrap(), during.key.unwrap());
    assert!(old.group_key == new.group_key && old.public_key_package != new.public_key_package);
    for epoch in [Epoch(1), Epoch(2)] {
        for credential in CREDENTIALS {
            assert_eq!(cluster.try_sign(credential, &[(1, epoch), (3, epoch), (5, epoch)]), Ok(()));
        }
    }
    let again = Command::EpochReceived(identity(1).sign(EpochReceipt { ceremony: REFRESH, attempt: 1 }));
    assert_eq!(verdict(&cluster, again), Err(Refusal::CeremonyDuplicate { node: node(1) }));
    let early = Command::EpochRetired(identity(1).sign(EpochRetired { ceremony: REFRESH, attempt: 1 }));
    assert_eq!(verdict(&cluster, early).map_err(|refusal| refusal.code()), Err("ceremony-not-overdue".to_owned()));
    cluster.mischief = Box::new(|_, effects| effects);
    run_until(&mut cluster, CeremonyStep::Done);
    let after = cluster.credential(1, CREDENTIALS[0]);
    assert_eq!((after.epoch, after.previous, after.holders.len()), (Epoch(2), None, 5));
    assert_eq!(cluster.sites[&node(1)].store.scan_table(table::CREDENTIAL_CEREMONY), 0);
    cluster.assert_signs([2, 4, 5]);
    assert_eq!(retired(&cluster), [node(1)], "the others would say no more than is known");
}

fn retired(cluster: &Cluster) -> Vec<NodeId> {
    let commands = cluster.log.iter().map(|bytes| LogEntry::decode(bytes).unwrap().command);
    commands.filter_map(|command| if let Command::EpochRetired(said) = command { Some(said.node) } else { None }).collect()
}

#[test]
fn the_old_epoch_ends_though_the_participant_whose_turn_it_is_says_nothing() {
    let mut cluster = refreshing(107);
    cluster.mischief = Box::new(|who, mut effects| {
        effects.retain(|effect| who.node() != node(1) || !matches!(effect, CeremonyEffect::Propose(Command::EpochRetired(_))));
        effects
    });
    run_until(&mut cluster, CeremonyStep::Done);
    assert_eq!(retired(&cluster), [node(2)]);
}

#[test]
fn the_old_epoch_stays_while_fewer_than_t_stores_are_known_to_have_the_new_one() {
    let mut cluster = refreshing(108);
    cluster.mischief = Box::new(|who, mut effects| {
        let is_quiet = [4, 5].map(node).contains(&who.node());
        effects.retain(|effect| !is_quiet || !matches!(effect, CeremonyEffect::Propose(Command::EpochReceived(_))));
        effects
    });
    run_until(&mut cluster, CeremonyStep::Switch);
    cluster.run_while(|cluster| record(cluster, 1).receipts != [1, 2, 3].map(node));
    cluster.replace_store(1);
    let deadline = record(&cluster, 2).deadline;
    cluster.run_while(|cluster| cluster.now < deadline);
    for _ in 0..50 {
        cluster.tick();
    }
    assert_eq!(retired(&cluster), [], "nobody asks for what would be refused");
    let end = Command::EpochRetired(identity(2).sign(EpochRetired { ceremony: REFRESH, attempt: 1 }));
    let refused = verdict(&cluster, end).map_err(|refusal| refusal.code());
    assert_eq!(refused, Err("shares-lost".to_owned()), "two stores would be left with shares, and three sign");
    assert_eq!(cluster.try_sign(CREDENTIALS[0], &[(2, Epoch(1)), (3, Epoch(1)), (4, Epoch(1))]), Ok(()));
    cluster.mischief = Box::new(|_, effects| effects);
    run_until(&mut cluster, CeremonyStep::Done);
    cluster.assert_signs([2, 3, 5]);
}

#[test]
fn a_stolen_share_of_an_old_epoch_and_t_minus_1_new_ones_cannot_sign() {
    let mut cluster = refreshing(101);
    run_until(&mut cluster, CeremonyStep::Done);
    for credential in CREDENTIALS {
        let (old, new) = (Epoch(1), Epoch(2));
        for mixed in [[(1, old), (2, new), (3, new)], [(1, old), (2, old), (3, new)]] {
            assert!(cluster.try_sign(credential, &mixed).is_err());
        }
        assert_eq!(cluster.try_sign(credential, &[(1, new), (2, new), (3, new)]), Ok(()));
    }
}

#[test]
fn a_package_of_another_threshold_names_its_sender_and_a_refresh_goes_on_without_it() {
    let other_degree = {
        let mut rng = ChaCha20Rng::seed_from_u64(5);
        let (_, package) = frost_ed25519::keys::refresh::refresh_dkg_part1(crate::signer::identifier(node(2)), 5, 2, &mut rng).unwrap();
        package.serialize().unwrap()
    };
    let with_constant = {
        let mut rng = ChaCha20Rng::seed_from_u64(5);
        let (_, package) = frost_ed25519::keys::dkg::part1(crate::signer::identifier(node(2)), 5, 3, &mut rng).unwrap();
        package.serialize().unwrap()
    };
    for bad in [other_degree, with_constant, Vec::new()] {
        let mut cluster = refreshing(102);
        cluster.mischief = node_2_proposes(Blob(bad));
        run_until(&mut cluster, CeremonyStep::Done);
        assert!(cluster.accusations().iter().any(|accusation| accusation.body.culprit == node(2)));
        assert_eq!(cluster.holders(1, CREDENTIALS[0]), [1, 3, 4, 5].map(node));
        cluster.assert_signs([1, 3, 5]);
    }
}

#[test]
fn a_lie_in_round_2_of_a_refresh_is_found_and_its_author_left_out() {
    let mut cluster = refreshing(103);
    cluster.mischief = Box::new(node_2_lies_to_node_3);
    run_until(&mut cluster, CeremonyStep::Done);
    assert!(cluster.accusations().iter().any(|accusation| (accusation.node, accusation.body.culprit) == (node(3), node(2))));
    assert_eq!(cluster.holders(1, CREDENTIALS[0]), [1, 3, 4, 5].map(node));
    cluster.assert_signs([1, 3, 4]);
}

#[test]
fn a_holder_that_is_away_is_left_out_and_repaired_into_the_new_epoch() {
    let mut cluster = refreshing(104);
    cluster.site(4).alive = false;
    run_until(&mut cluster, CeremonyStep::Done);
    assert_eq!(cluster.holders(1, CREDENTIALS[0]), [1, 2, 3, 5].map(node));
    cluster.site(4).alive = true;
    cluster.catch_up(4);
    let site = cluster.site(4);
    let command = site.repairs.ask(CREDENTIALS.to_vec(), &mut site.rng);
    cluster.propose(command);
    cluster.run_while(|cluster| cluster.holders(4, CREDENTIALS[1]).len() < 5);
    cluster.assert_signs([1, 4, 5]);
}

#[test]
fn a_participant_that_stays_away_in_the_switch_is_no_longer_waited_for_after_the_deadline() {
    let mut cluster = refreshing(105);
    keep_receipts_back(&mut cluster, 3);
    run_until(&mut cluster, CeremonyStep::Switch);
    let deadline = record(&cluster, 1).deadline;
    cluster.site(3).alive = false;
    run_until(&mut cluster, CeremonyStep::Done);
    assert!(cluster.now >= deadline);
    assert_eq!(cluster.holders(1, CREDENTIALS[0]), [1, 2, 4, 5].map(node));
    cluster.assert_signs([1, 2, 4]);
}

#[test]
fn a_crash_at_each_step_leaves_the_old_epoch_or_the_new() {
    for step in [CeremonyStep::Round1, CeremonyStep::Round2, CeremonyStep::Confirm, CeremonyStep::Switch] {
        let mut cluster = refreshing(106);
        keep_receipts_back(&mut cluster, 5);
        if step == CeremonyStep::Round1 {
            let effects = cluster.step(3);
            cluster.carry_out(3, effects);
        } else {
            run_until(&mut cluster, step);
        }
        cluster.restart(3);
        cluster.assert_signs([1, 2, 4]);
        cluster.mischief = Box::new(|_, effects| effects);
        run_until(&mut cluster, CeremonyStep::Done);
        assert_eq!(cluster.credential(1, CREDENTIALS[0]).epoch, Epoch(2), "at {step:?}");
        cluster.assert_signs([1, 2, 4]);
    }
}
