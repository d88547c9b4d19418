//! Every node that applies the same entries has the same state, however it groups them.

use std::sync::OnceLock;

use proptest::prelude::*;
use warifu_core::registry::{MemoryStore, Overlay, apply, found, state_root};
use warifu_protocol::wire::Verdict;
use warifu_protocol::{Command, Genesis, LogEntry, OrderCommand, SessionClosing, Sha256, closing_message};

use crate::support::{DAY, HOUR, World, identity, name, node, rebuilt_root, session_key};

/// A cluster's life in entries, good and refused ones.
struct Life {
    genesis: Genesis,
    entries: Vec<Vec<u8>>,
    root: Sha256,
}

fn life() -> &'static Life {
    static LIFE: OnceLock<Life> = OnceLock::new();
    LIFE.get_or_init(|| {
        let (mut world, [physician, pharmacist]) = World::ready();
        let cluster = world.cluster();
        for number in 1..=3 {
            let started = warifu_protocol::NodeStarted {
                store: warifu_protocol::StoreId::new([number; 16]),
                incarnation: 1,
                boot: warifu_protocol::BootId::new([number; 16]),
                earlier: Vec::new(),
                audit_size: 1,
                raft_index: 0,
                log_version: 1,
            };
            world.must(Command::NodeStarted(identity(cluster, number).sign(started)));
        }
        let session = world.must_open(physician.credential, &physician.card);
        let signature = session_key().sign(&closing_message(session));
        world.must(Command::SessionClosed(SessionClosing { session, signature }));
        world.must_open(physician.credential, &physician.card);
        world.now = world.now.plus(9 * HOUR);
        world.must_open(pharmacist.credential, &pharmacist.card);
        world.must_open(physician.credential, &physician.card);
        let der = world.card_ca.crl(2, world.now, &[physician.card.serial]);
        world.must_load_list(&der, 2);
        let der = world.signing_ca.crl(2, world.now, &[physician.serial]);
        world.must_load_list(&der, 2);
        world.must_order(OrderCommand::Suspend { credential: pharmacist.credential });
        world.must_order(OrderCommand::Resume { credential: pharmacist.credential });
        world.now = world.now.plus(DAY);
        world.must_order(OrderCommand::EnrolFacility { facility: name("clinic-2") });
        let root = rebuilt_root(&world.store);
        Life { genesis: world.genesis, entries: world.entries, root }
    })
}

/// A node that applies entries in batches of these sizes, in turn, and writes once for each batch.
fn node_applying<'a>(entries: impl Iterator<Item = &'a Vec<u8>>, batches: &[usize]) -> (MemoryStore, Vec<Verdict>, Vec<Sha256>) {
    let mut store = MemoryStore::default();
    let mut overlay = Overlay::new(&store);
    found(&mut overlay, &life().genesis).unwrap();
    let changes = overlay.into_changes();
    store.write(&changes);
    let (mut verdicts, mut roots) = (Vec::new(), Vec::new());
    let mut entries = entries.zip(1..).peekable();
    let mut sizes = batches.iter().cycle();
    while entries.peek().is_some() {
        let mut overlay = Overlay::new(&store);
        for (bytes, index) in entries.by_ref().take(*sizes.next().unwrap()) {
            let outcome = apply(&mut overlay, index, bytes).unwrap();
            verdicts.push(outcome.verdict);
            roots.push(outcome.root);
        }
        let changes = overlay.into_changes();
        store.write(&changes);
    }
    (store, verdicts, roots)
}

#[test]
fn the_size_of_a_batch_does_not_show_in_the_state() {
    let alone = node_applying(life().entries.iter(), &[1]);
    assert_eq!(alone.2.last(), Some(&life().root));
    assert_eq!(rebuilt_root(&alone.0), life().root);
    for batches in [&[2][..], &[3, 1, 7], &[usize::MAX]] {
        assert_eq!(node_applying(life().entries.iter(), batches), alone, "{batches:?}");
    }
}

#[test]
fn the_entries_of_another_cluster_change_nothing_here() {
    let mut store = World::founded().store;
    for (bytes, index) in life().entries.iter().zip(1..) {
        let command = LogEntry::decode(bytes).unwrap().command;
        let mut overlay = Overlay::new(&store);
        let outcome = apply(&mut overlay, index, bytes).unwrap();
        let changes = overlay.into_changes();
        store.write(&changes);
        assert!(outcome.verdict.outcome.is_err(), "{} was applied", command.kind());
    }
    assert_eq!(warifu_core::registry::Registry::node(&store, node(1)).unwrap(), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    /// Entries that come twice, late, or not at all are refused or applied alike everywhere.
    #[test]
    fn two_nodes_agree_on_any_log(
        jumps in proptest::collection::vec((any::<proptest::sample::Index>(), 0_usize..12), 1..16),
        batches in proptest::collection::vec(1_usize..20, 1..5),
    ) {
        // Mostly the true order, so that much of it is applied; with pieces repeated, left out and moved.
        let entries = &life().entries;
        let mut log: Vec<&Vec<u8>> = Vec::new();
        for (place, len) in &jumps {
            let place = place.index(entries.len());
            log.extend(entries.iter().take(place / 2));
            log.extend(entries.iter().skip(place).take(*len));
        }
        log.truncate(90);
        let alone = node_applying(log.iter().copied(), &[1]);
        let other = node_applying(log.iter().copied(), &batches);
        prop_assert_eq!(&alone, &other);
        prop_assert_eq!(state_root::root(&alone.0).unwrap(), rebuilt_root(&alone.0));
    }
}
