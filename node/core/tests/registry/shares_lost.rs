//! A node says that it has shares no more, or again: they count as missing, or as there, and nobody else is touched by it.

use warifu_core::registry::Registry;
use warifu_protocol::{CeremonyId, Command, CredentialId, Epoch, NodeSigned, NodeStatement, RepairStart, SharesFound, SharesLost};

use crate::support::{World, identity, node};

/// The number of a node's next word.
fn next(world: &World, by: u8) -> u64 {
    world.store.node(node(by)).unwrap().map_or(0, |record| record.next_shares_word())
}

fn lost(world: &World, by: u8, shares: &[(CredentialId, Epoch)]) -> NodeSigned<SharesLost> {
    identity(world.cluster(), by).sign(SharesLost { number: next(world, by), shares: shares.to_vec() })
}

fn holders(world: &World, id: CredentialId) -> Vec<u8> {
    let stores = world.store.store_numbers().unwrap();
    stores.holders(&world.credential(id).holders).iter().map(|node| node.get()).collect()
}

/// What both statements have in common: who says it, and of what. `unfounded` is the code for shares that are none.
fn refuses_what_is_not_right<T: NodeStatement + Clone>(
    world: &mut World,
    [first, second]: [CredentialId; 2],
    unfounded: &str,
    statement: impl Fn(u64, Vec<(CredentialId, Epoch)>) -> T,
    command: impl Fn(NodeSigned<T>) -> Command,
) {
    let (cluster, number) = (world.cluster(), next(world, 2));
    let number_of = |by| if by == 2 { number } else { 0 };
    let say = |by, shares: &[(CredentialId, Epoch)]| identity(cluster, by).sign(statement(number_of(by), shares.to_vec()));
    let numbered = |number| identity(cluster, 2).sign(statement(number, vec![(first, Epoch(1))]));
    let good = say(2, &[(first, Epoch(1))]);
    let mut forged = good.clone();
    forged.signature.0[0] ^= 1;
    let mut in_anothers_name = good;
    in_anothers_name.node = node(3);
    for (case, code, message) in [
        ("a forged signature", "signature-invalid", forged),
        ("another's share", "signature-invalid", in_anothers_name),
        ("from outside the roster", "node-unknown", say(9, &[(first, Epoch(1))])),
        ("nothing", "too-large", say(2, &[])),
        ("one twice", "too-large", say(2, &[(first, Epoch(1)); 2])),
        ("descending", "too-large", say(2, &[(second, Epoch(1)), (first, Epoch(1))])),
        ("too many", "too-large", say(2, &[(first, Epoch(1)); 257])),
        ("an earlier number", "shares-word-number", numbered(number - 1)),
        ("a number that is not next", "shares-word-number", numbered(number + 1)),
        ("the last number", "shares-word-number", numbered(u64::MAX)),
        ("of an epoch that is not there", unfounded, say(2, &[(first, Epoch(7))])),
        ("of a key that is not there", unfounded, say(2, &[(CredentialId::new([0xff; 16]), Epoch(1))])),
    ] {
        world.refuses(case, code, command(message));
    }
}

#[test]
fn a_lost_share_counts_as_missing_and_is_repaired() {
    let (mut world, credentials) = World::generated();
    let mut ids = credentials.map(|holder| holder.credential);
    ids.sort_unstable();
    let [first, second] = ids;
    (1..=5).for_each(|number| world.must_start(number));
    let repair = RepairStart { ceremony: CeremonyId::new([1; 16]), credentials: vec![first] };
    let repair = Command::RepairStarted(identity(world.cluster(), 2).sign(repair));
    world.refuses("a repair of what is there", "share-not-missing", repair.clone());
    let version = world.credential(first).version;

    let good = lost(&world, 2, &[(first, Epoch(1))]);
    refuses_what_is_not_right(
        &mut world,
        [first, second],
        "share-not-held",
        |number, shares| SharesLost { number, shares },
        Command::SharesLost,
    );
    world.must(Command::SharesLost(good.clone()));
    assert_eq!((holders(&world, first), holders(&world, second)), (vec![1, 3, 4, 5], vec![1, 2, 3, 4, 5]));
    assert_eq!(world.credential(first).version, version, "nothing that an order could be about");
    assert!(world.credential(first).epoch_made.given.contains(&node(2)), "it was given one all the same");
    world.refuses("again", "shares-word-number", Command::SharesLost(good));
    let anew = lost(&world, 2, &[(first, Epoch(1))]);
    world.refuses("anew", "share-not-held", Command::SharesLost(anew));
    world.must(repair);
}

#[test]
fn shares_that_are_lost_again_and_again_do_not_crowd_out_a_credentials_life() {
    let (mut world, [physician, _]) = World::generated();
    let id = physician.credential;
    (1..=5).for_each(|number| world.must_start(number));
    let before = world.store.history(id).unwrap();
    for number in 1..=5 {
        let message = lost(&world, number, &[(id, Epoch(1))]);
        world.must(Command::SharesLost(message));
    }
    let after = world.store.history(id).unwrap();
    assert_eq!((after.len(), &after[..before.len()]), (before.len() + 1, &before[..]));
    assert_eq!(holders(&world, id), Vec::<u8>::new());
}

fn found(world: &World, by: u8, shares: &[(CredentialId, Epoch)]) -> NodeSigned<SharesFound> {
    identity(world.cluster(), by).sign(SharesFound { number: next(world, by), shares: shares.to_vec() })
}

#[test]
fn a_share_that_a_backup_brought_back_counts_again_and_only_if_it_was_missing() {
    let (mut world, credentials) = World::generated();
    let mut ids = credentials.map(|holder| holder.credential);
    ids.sort_unstable();
    let [first, second] = ids;
    (1..=5).for_each(|number| world.must_start(number));
    world.refuses("what is not missing", "shares-not-wanted", Command::SharesFound(found(&world, 2, &[(first, Epoch(1))])));
    world.must(Command::SharesLost(lost(&world, 2, &[(first, Epoch(1)), (second, Epoch(1))])));

    let good = found(&world, 2, &[(first, Epoch(1))]);
    refuses_what_is_not_right(
        &mut world,
        [first, second],
        "shares-not-wanted",
        |number, shares| SharesFound { number, shares },
        Command::SharesFound,
    );
    world.must(Command::SharesFound(good.clone()));
    assert_eq!((holders(&world, first), holders(&world, second)), (vec![1, 2, 3, 4, 5], vec![1, 3, 4, 5]));
    world.refuses("again", "shares-word-number", Command::SharesFound(good));

    // What a repair is giving is left to the repair.
    let repair = RepairStart { ceremony: CeremonyId::new([1; 16]), credentials: vec![second] };
    world.must(Command::RepairStarted(identity(world.cluster(), 2).sign(repair)));
    world.refuses("in a ceremony", "shares-not-wanted", Command::SharesFound(found(&world, 2, &[(second, Epoch(1))])));
}

#[test]
fn a_word_about_shares_counts_once_and_never_after_a_later_one() {
    let (mut world, [physician, pharmacist]) = World::generated();
    let [one, other] = [physician, pharmacist].map(|holder| [(holder.credential, Epoch(1))]);
    (1..=5).for_each(|number| world.must_start(number));
    let record = world.store.node(node(2)).unwrap().expect("it has started");
    assert_eq!(record.shares_word, record.started_at, "no number comes twice under one identifier");

    let (kept_back, word) = (lost(&world, 2, &other), lost(&world, 2, &one));
    world.must(Command::SharesLost(word.clone()));
    let back = found(&world, 2, &one);
    world.must(Command::SharesFound(back.clone()));
    for (case, old) in [
        ("lost again", Command::SharesLost(word)),
        ("found again", Command::SharesFound(back)),
        ("one that was kept back", Command::SharesLost(kept_back)),
    ] {
        world.refuses(case, "shares-word-number", old);
    }
    for holder in [one, other] {
        assert_eq!(holders(&world, holder[0].0), vec![1, 2, 3, 4, 5]);
    }
}
