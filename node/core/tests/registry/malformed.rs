//! Bytes that are no log entry.

use proptest::prelude::*;
use warifu_core::registry::{EntryOutcome, MemoryStore, Overlay, apply, state_root};
use warifu_protocol::limits::LOG_ENTRY_BYTES_MAX;
use warifu_protocol::{Command, LogEntry, OrderCommand};

use crate::support::{World, name};

fn good_entry(world: &mut World) -> Vec<u8> {
    let order = world.order(OrderCommand::EnrolFacility { facility: name("clinic-1") });
    LogEntry::new(world.now, Command::Order(order)).encode().unwrap()
}

#[test]
fn bytes_that_are_no_entry_are_refused_and_change_nothing() {
    let mut world = World::founded();
    let good = good_entry(&mut world);
    let mut huge = good.clone();
    huge.resize(LOG_ENTRY_BYTES_MAX + 1, 0);
    let mut largest = good.clone();
    largest.resize(LOG_ENTRY_BYTES_MAX, 0);
    let unknown_command = [&good[..7], &[99]].concat();
    let cases = [
        ("nothing", Vec::new()),
        ("a trailing byte", [&good[..], &[0]].concat()),
        ("larger than an entry", huge),
        ("trailing up to the bound", largest),
        ("a command that does not exist", unknown_command),
        ("only ones", vec![0xff; 64]),
    ];
    for (case, bytes) in cases {
        world.refuses_bytes(case, "malformed", bytes, false);
    }
    for len in 0..good.len() {
        world.refuses_bytes(&format!("cut to {len} bytes"), "malformed", good[..len].to_vec(), false);
    }
    world.apply_bytes(good).verdict.outcome.unwrap();
}

fn apply_to(store: &mut MemoryStore, bytes: &[u8]) -> EntryOutcome {
    let mut overlay = Overlay::new(&*store);
    let outcome = apply(&mut overlay, 7, bytes).unwrap();
    let changes = overlay.into_changes();
    store.write(&changes);
    outcome
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_do_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..400), behind_a_version in any::<bool>()) {
        let bytes = if behind_a_version { [&[1], &bytes[..]].concat() } else { bytes };
        let mut store = world().store.clone();
        let before = store.clone();
        let outcome = apply_to(&mut store, &bytes);
        prop_assert!(outcome.verdict.outcome.is_err());
        prop_assert_eq!(outcome.root, state_root::root(&store).unwrap());
        if outcome.kind == "malformed" {
            prop_assert_eq!(store, before);
        }
    }

    #[test]
    fn an_order_with_any_byte_changed_is_refused(place in any::<proptest::sample::Index>(), flip in 1_u8..) {
        let mut bytes = signed_entry();
        // Version and time are the proposer's word; whatever stands behind them the officer has signed.
        let signed = 8..bytes.len();
        let place = signed.start + place.index(signed.len());
        bytes[place] ^= flip;
        let mut store = world().store.clone();
        let outcome = apply_to(&mut store, &bytes);
        prop_assert!(outcome.verdict.outcome.is_err(), "byte {} ^ {}: {:?}", place, flip, outcome);
    }
}

fn world() -> &'static World {
    static WORLD: std::sync::OnceLock<World> = std::sync::OnceLock::new();
    WORLD.get_or_init(World::founded)
}

fn signed_entry() -> Vec<u8> {
    let world = world();
    let body = warifu_protocol::OrderBody {
        cluster: world.cluster(),
        id: warifu_protocol::OrderId::new([5; 16]),
        not_after: world.now.plus(1000),
        object_version: warifu_protocol::ObjectVersion(0),
        order: OrderCommand::EnrolFacility { facility: name("clinic-1") },
    };
    let order = world.approve(body, &["op-1"]);
    LogEntry::new(world.now, Command::Order(order)).encode().unwrap()
}
