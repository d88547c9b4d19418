//! What chance has found, put together on purpose: it must not come back.

use std::collections::{BTreeMap, BTreeSet};

use warifu_core::registry::{Registry as _, table};
use warifu_protocol::{BootId, Command, CredentialId, Epoch, NodeId, OrderCommand, SharesLost};

use super::event::{Event, Place, Proposal};
use super::plan::{Faults, Plan, SAFETY_MILLIS};
use super::world::World;

/// Five honest sites, three of which sign, that were set up, went through a second without faults and are well.
fn quiet() -> World {
    let plan = Plan {
        nodes: 5,
        threshold: 3,
        liars: 1,
        coordinators: 1,
        focus: None,
        safety_millis: 1_000,
        corrupt: BTreeMap::new(),
        faults: Faults::none(),
        ..Plan::draw(1, SAFETY_MILLIS, None)
    };
    let mut world = World::found(plan, false).expect("a world");
    world.run();
    assert!(world.violations.is_empty() && world.is_well(), "{:?} {}", world.violations, world.why_not_well());
    world
}

#[test]
fn a_start_whose_root_others_lost_to_a_snapshot_is_logged_again_and_confirmed() {
    let mut world = quiet();
    let place = Place { node: NodeId::new(2).expect("a node"), copy: 0 };
    world.crash(place);
    world.after(100, Event::Start(place));
    let index = (0..20_000)
        .find_map(|_| {
            world.run_for(1);
            world.sites.get(&place)?.process.as_ref()?.gathers_at()
        })
        .expect("its start is logged");
    // What a snapshot of a later entry leaves: the state, and no root of those before. The others apply that entry only now.
    let root = [[table::ROOT].as_slice(), &index.to_be_bytes()].concat();
    for _ in 0..10_000 {
        for (_, site) in world.sites.iter_mut().filter(|(other, _)| **other != place) {
            site.disk.state.registry.write(&BTreeMap::from([(root.clone(), None)]));
        }
        world.run_for(1);
    }
    let is_open =
        |world: &World| world.sites.get(&place).and_then(|site| site.process.as_ref()).is_some_and(|process| process.gate.is_open());
    assert!(!is_open(&world), "nobody has the root at {index}");
    world.run_for(30_000);
    assert!(is_open(&world), "{}", world.why_not_well());
}

#[test]
fn a_site_that_is_not_confirmed_is_not_among_those_that_make_a_key() {
    let mut world = quiet();
    let places: Vec<Place> = world.reached.values().copied().collect();
    let place = *places.first().expect("a site");
    let shares = |world: &World, place: &Place| -> BTreeSet<(CredentialId, Epoch)> {
        world.sites.get(place).map(|site| site.disk.local.shares.keys().copied().collect()).unwrap_or_default()
    };
    let before = shares(&world, &place);
    let process = world.sites.get_mut(&place).and_then(|site| site.process.as_mut()).expect("it runs");
    process.keep_unconfirmed(BootId::new([9; 16]));
    world.order(None, OrderCommand::RefreshAll { held_by: None });
    world.run_for(30_000);
    assert!(world.violations.is_empty(), "{:?}", world.violations);
    for other in places.iter().filter(|other| **other != place) {
        assert!(!shares(&world, other).is_subset(&before), "site {} has shares of new epochs", other.node);
    }
    assert!(shares(&world, &place).is_subset(&before), "nothing new");
}

#[test]
fn sites_say_that_they_have_shares_that_the_log_takes_for_lost_and_no_old_word_of_theirs_changes_that() {
    let mut world = quiet();
    let places: Vec<Place> = world.reached.values().copied().collect();
    let holders = |world: &World, credential| world.truth().credential(credential).ok().flatten().map_or(0, |record| record.holders.len());
    let is_of_all = |key: &&(CredentialId, Epoch)| holders(&world, key.0) == places.len();
    let shares = places.first().and_then(|place| world.sites.get(place)).map(|site| &site.disk.local.shares).expect("a site");
    let (credential, epoch) = *shares.keys().find(is_of_all).expect("a key of all sites");
    let words: Vec<(Place, Command)> = places
        .iter()
        .skip(1)
        .map(|place| {
            let number = world.truth().node(place.node).ok().flatten().map_or(0, |record| record.next_shares_word());
            let identity = &world.sites.get(place).expect("a site").identity;
            (*place, Command::SharesLost(identity.sign(SharesLost { number, shares: vec![(credential, epoch)] })))
        })
        .collect();
    let fewest = |world: &mut World| {
        for (place, word) in &words {
            world.propose(*place, word.clone(), Proposal::Own);
        }
        let left = (0..2_000).map(|_| {
            world.run_for(1);
            holders(world, credential)
        });
        left.min()
    };
    let said = fewest(&mut world);
    assert!(said < Some(usize::from(world.plan.threshold)), "too few to repair it: {said:?}");
    world.run_for(10_000);
    assert_eq!(holders(&world, credential), places.len());
    assert_eq!(fewest(&mut world), Some(places.len()), "brought in again");
    assert!(world.violations.is_empty(), "{:?}", world.violations);
}

#[test]
fn no_more_sites_are_lost_before_there_is_a_key_than_leave_t_to_let_each_other_in() {
    let plan =
        Plan { nodes: 5, threshold: 4, liars: 1, corrupt: BTreeMap::new(), faults: Faults::none(), ..Plan::draw(1, SAFETY_MILLIS, None) };
    let mut world = World::found(plan, false).expect("a world");
    let [one, other] = [1, 2].map(|number| NodeId::new(number).expect("a node"));
    assert!(world.credentials.is_empty() && world.can_spare(one));
    world.suspects.insert(one);
    assert!(!world.can_spare(other), "three of five are a majority, and too few");
}
