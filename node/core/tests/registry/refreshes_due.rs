//! Which keys are due for a refresh without an order of their own, and who may open one.

use warifu_core::registry::{Holding, Overlay, RefreshCause, RefreshRules, Registry, RepairRecord, encode, key, table};
use warifu_protocol::wire::Applied;
use warifu_protocol::{CeremonyId, Command, CredentialId, Epoch, NodeSigned, OrderCommand, RefreshStart, Refusal};

use crate::roster::{new_keys, policy, reach, replacement, roster, without};
use crate::support::{HOUR, World, identity, name, node};

fn start(world: &World, by: u8, ceremony: u8, credentials: &[CredentialId]) -> NodeSigned<RefreshStart> {
    let body = RefreshStart { ceremony: CeremonyId::new([ceremony; 16]), credentials: credentials.to_vec() };
    identity(world.cluster(), by).sign(body)
}

fn cause(world: &World, id: CredentialId) -> Option<RefreshCause> {
    RefreshRules::read(&world.store).unwrap().cause(&world.credential(id))
}

/// Two keys at five nodes that have all started.
fn generated() -> (World, [CredentialId; 2]) {
    let (mut world, holders) = World::generated();
    (1..=5).for_each(|number| world.must_start(number));
    let mut ids = holders.map(|holder| holder.credential);
    ids.sort_unstable();
    (world, ids)
}

#[test]
fn what_a_removed_node_was_given_is_due_and_nothing_else_can_be_refreshed_without_an_order() {
    let (mut world, [first, second]) = generated();
    assert!(RefreshRules::read(&world.store).unwrap().is_idle());
    let early = start(&world, 1, 1, &[first]);
    world.refuses("that is not due", "refresh-not-due", Command::RefreshStarted(early.clone()));
    // Of the second key, the node that goes was never given a share.
    let mut record = world.credential(second);
    record.epoch_made.given.retain(|given| *given != node(5));
    record.holders.retain(|holding| holding.node != node(5));
    world.put_credential(second, &record);
    let order = without(&world, 5);
    world.must_order(order);
    assert_eq!((cause(&world, first), cause(&world, second)), (Some(RefreshCause::HolderRemoved(node(5))), None));

    let with = |edit: &dyn Fn(&mut NodeSigned<RefreshStart>)| {
        let mut message = early.clone();
        edit(&mut message);
        Command::RefreshStarted(message)
    };
    world.refuses("with a forged signature", "signature-invalid", with(&|message| message.signature.0[3] ^= 1));
    world.refuses("in another's name", "signature-invalid", with(&|message| message.node = node(2)));
    for (case, code, command) in [
        ("by the removed node", "node-unknown", start(&world, 5, 1, &[first])),
        ("of nothing", "too-large", start(&world, 1, 1, &[])),
        ("of one twice", "too-large", start(&world, 1, 1, &[first, first])),
        ("of one that is not due beside one that is", "refresh-not-due", start(&world, 1, 1, &[first, second])),
        ("of one that is not there", "credential-unknown", start(&world, 1, 1, &[CredentialId::new([0xff; 16])])),
    ] {
        world.refuses(case, code, Command::RefreshStarted(command));
    }
    assert!(matches!(world.must(Command::RefreshStarted(early.clone())), Applied::CeremonyStarted(_)));
    let record = world.store.ceremony(early.body.ceremony).unwrap().unwrap();
    assert_eq!((record.opened_by, record.participants), (Some(node(1)), [1, 2, 3, 4].map(node).to_vec()));
    world.refuses("again", "ceremony-duplicate", Command::RefreshStarted(early));
    let other = start(&world, 2, 2, &[first]);
    world.refuses("of one that is being refreshed", "credential-in-ceremony", Command::RefreshStarted(other));
}

#[test]
fn what_a_lost_store_had_is_due_once_its_site_has_been_given_it_again_and_repairs_go_first() {
    let (mut world, [first, second]) = generated();
    // Of the second key, the lost store had no share.
    let mut record = world.credential(second);
    record.epoch_made.given.retain(|given| *given != node(5));
    world.put_credential(second, &record);
    world.must_order(replacement(5, 1));
    assert_eq!((cause(&world, first), cause(&world, second)), (None, None), "before the site has a share again");
    assert!(!RefreshRules::read(&world.store).unwrap().is_idle());

    let store_number = world.store.cluster().unwrap().store_number(node(5));
    for id in [first, second] {
        let mut record = world.credential(id);
        record.holders.retain(|holding| holding.node != node(5));
        record.holders.push(Holding { node: node(5), store_number });
        world.put_credential(id, &record);
    }
    let epoch = world.credential(second).epoch;
    let repair = RepairRecord {
        receiver: node(5),
        store_number,
        credentials: vec![(second, epoch)],
        candidates: [1, 2, 3, 4].map(node).to_vec(),
        demerits: vec![0; 4],
        attempt: 1,
        helpers: [1, 2, 3].map(node).to_vec(),
        committed: Vec::new(),
        deadline: world.now,
    };
    assert_eq!((cause(&world, first), cause(&world, second)), (Some(RefreshCause::StoreReplaced(node(5))), None));
    world.put(table::REPAIR, &[7; 16], encode(&repair));
    assert_eq!(cause(&world, first), None, "while the site is being given others");
    let mut ended = Overlay::new(&world.store);
    ended.delete(key(table::REPAIR, &[&[7; 16]]));
    let changes = ended.into_changes();
    world.store.write(&changes);
    assert_eq!(cause(&world, first), Some(RefreshCause::StoreReplaced(node(5))));
    let mut record = world.credential(first);
    record.epoch_made.index = world.entries.len() as u64 + 1;
    world.put_credential(first, &record);
    assert_eq!(cause(&world, first), None, "its shares were made after the store was lost");
}

#[test]
fn a_key_that_is_stopped_for_good_is_not_due() {
    let (mut world, [first, _]) = generated();
    let order = without(&world, 5);
    world.must_order(order);
    world.must_order(OrderCommand::Revoke { credential: first });
    assert_eq!(cause(&world, first), None);
    let opened = start(&world, 1, 1, &[first]);
    world.refuses("of a revoked one", "refresh-not-due", Command::RefreshStarted(opened));
}

#[test]
fn no_more_refreshes_without_an_order_are_open_than_may_be() {
    let (mut world, ids) = generated();
    let third = CredentialId::new([0xee; 16]);
    let record = world.credential(ids[0]);
    world.put_credential(third, &record);
    let order = without(&world, 5);
    world.must_order(order);
    for (ceremony, id) in [(1, ids[0]), (2, ids[1])] {
        let opened = start(&world, 1, ceremony, &[id]);
        world.must(Command::RefreshStarted(opened));
    }
    let opened = start(&world, 2, 3, &[third]);
    world.refuses("a third", "too-large", Command::RefreshStarted(opened));
}

#[test]
fn an_order_for_all_keys_makes_those_due_that_are_older_and_one_for_a_nodes_keys_only_those() {
    let (mut world, [first, second]) = generated();
    let mut record = world.credential(second);
    record.epoch_made.given.retain(|given| *given != node(3));
    world.put_credential(second, &record);
    world.refuses_order("of a node that is not there", "node-unknown", OrderCommand::RefreshAll { held_by: Some(node(9)) });
    world.must_order(OrderCommand::RefreshAll { held_by: Some(node(3)) });
    assert_eq!((cause(&world, first), cause(&world, second)), (Some(RefreshCause::Ordered), None));
    world.must_order(OrderCommand::RefreshAll { held_by: None });
    assert_eq!(cause(&world, second), Some(RefreshCause::Ordered));
    for id in [first, second] {
        let mut record = world.credential(id);
        record.epoch_made.index = world.entries.len() as u64 + 1;
        world.put_credential(id, &record);
        assert_eq!(cause(&world, id), None, "its shares were made after the order");
    }
}

#[test]
fn shares_are_due_at_the_age_that_the_policy_names_and_a_policy_of_no_age_never_asks() {
    let (mut world, [first, _]) = generated();
    world.must_order(policy(|policy| policy.refresh_after_millis = HOUR));
    assert_eq!(cause(&world, first), None);
    world.now = world.credential(first).epoch_made.at.plus(HOUR - 1);
    world.must_order(OrderCommand::EnrolFacility { facility: name("clinic-8") });
    assert_eq!(cause(&world, first), None, "a millisecond before");
    world.now = world.now.plus(1);
    let opened = start(&world, 4, 1, &[first]);
    world.must(Command::RefreshStarted(opened));
    world.must_order(policy(|policy| policy.refresh_after_millis = 0));
    assert_eq!(cause(&world, first), None);
    for (case, millis) in [("in a blink", 999), ("never in a lifetime", u64::MAX)] {
        world.refuses_order(case, "policy-refused", policy(|policy| policy.refresh_after_millis = millis));
    }
}

#[test]
fn the_identifier_of_a_removed_node_comes_back_only_when_what_it_was_given_is_refreshed() {
    let (mut world, ids) = generated();
    let order = without(&world, 5);
    world.must_order(order);
    reach(&mut world);
    let order = roster(&world, |nodes| nodes.push(new_keys(5, 1)));
    let refusal = world.refuses_order("at once", "refresh-pending", order);
    assert_eq!(refusal, Refusal::RefreshPending { node: node(5), credential: ids[0] });
    for id in ids {
        let mut record = world.credential(id);
        record.epoch_made.given = [1, 2, 3, 4].map(node).to_vec();
        world.put_credential(id, &record);
    }
    let order = roster(&world, |nodes| nodes.push(new_keys(5, 1)));
    world.must_order(order);
}

#[test]
fn what_a_leaving_node_has_confirmed_in_a_ceremony_is_not_counted_as_held() {
    let (mut world, ids) = generated();
    let order = without(&world, 4);
    world.must_order(order);
    reach(&mut world);
    let opened = start(&world, 1, 1, &ids);
    world.must(Command::RefreshStarted(opened.clone()));
    // Its disk is lost in the middle of it: another store must not inherit what went to the old one, and three are too few to refresh.
    world.must_order(replacement(5, 1));
    assert_eq!(world.store.ceremony(opened.body.ceremony).unwrap(), None, "nothing of it counts");
    let stores = world.store.store_numbers().unwrap();
    for id in ids {
        let record = world.credential(id);
        assert_eq!((record.epoch, stores.holders(&record.holders)), (Epoch(1), [1, 2, 3].map(node).to_vec()));
        assert_eq!(world.store.ceremony_of(id).unwrap(), None, "a repair need not wait");
    }
}
