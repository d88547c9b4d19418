//! Programs of two versions in one cluster: either all nodes apply an entry or none does.

use warifu_core::registry::{ApplyError, Overlay, ProgramOutdated, Registry as _, apply, log_version};
use warifu_protocol::{BootId, Command, LOG_ENTRY_VERSION, LogEntry, NodeSigned, NodeStarted, OrderCommand, Refusal, StoreId};

use crate::support::{NODES, World, identity, node};

const NEXT: u16 = LOG_ENTRY_VERSION + 1;

/// The `boot`th start of a node whose program knows entries up to a version.
fn started(world: &World, number: u8, boot: u8, log_version: u16) -> NodeSigned<NodeStarted> {
    let body = NodeStarted {
        store: StoreId::new([number; 16]),
        incarnation: boot.into(),
        boot: BootId::new([boot; 16]),
        audit_size: 1,
        raft_index: 1,
        earlier: (1..boot).map(|earlier| BootId::new([earlier; 16])).collect(),
        log_version,
    };
    identity(world.cluster(), number).sign(body)
}

/// A sound entry of the next version, as far as a program of this one can make it.
fn of_next_version(world: &World, command: Command) -> Vec<u8> {
    LogEntry { version: NEXT, ..LogEntry::new(world.now, command) }.encode().unwrap()
}

/// Restarts a node with a program of the next version.
fn upgrade(world: &mut World, number: u8, boot: u8) {
    let command = Command::NodeStarted(started(world, number, boot, NEXT));
    world.must(command);
}

#[test]
fn a_newer_version_is_used_by_nobody_until_the_last_node_knows_it_and_then_stops_only_who_cannot_read_it() {
    let mut world = World::founded();
    for number in 1..=NODES {
        let command = Command::NodeStarted(started(&world, number, 1, LOG_ENTRY_VERSION));
        world.must(command);
    }
    for number in 1..NODES {
        upgrade(&mut world, number, 2);
        let entry = of_next_version(&world, Command::NodeStarted(started(&world, 1, 3, NEXT)));
        let refusal = world.refuses_bytes("not all nodes know it", "log-version-unused", entry, false);
        assert_eq!(refusal, Refusal::LogVersionUnused { found: NEXT, active: LOG_ENTRY_VERSION });
        // Entries of the version that all know go on being applied.
        assert_eq!(log_version(&world.store).unwrap(), LOG_ENTRY_VERSION);
    }
    assert_eq!(ProgramOutdated::look(&world.store).unwrap(), None);

    upgrade(&mut world, NODES, 2);
    assert_eq!(log_version(&world.store).unwrap(), NEXT);
    let outdated = ProgramOutdated { needs: NEXT, knows: LOG_ENTRY_VERSION };
    assert_eq!(ProgramOutdated::look(&world.store).unwrap(), Some(outdated), "this very program is now too old to start");
    let entry = of_next_version(&world, Command::NodeStarted(started(&world, 1, 3, NEXT)));
    let mut overlay = Overlay::new(&world.store);
    assert_eq!(apply(&mut overlay, 1000, &entry).unwrap_err(), ApplyError::Outdated(outdated));
    assert!(overlay.into_changes().is_empty(), "nothing of the entry is in the state");

    let older = Command::NodeStarted(started(&world, 2, 3, LOG_ENTRY_VERSION));
    world.refuses("back to the older program", "program-outdated", older);
    let beyond = LogEntry { version: NEXT + 1, ..LogEntry::new(world.now, Command::NodeStarted(started(&world, 2, 3, NEXT))) };
    world.refuses_bytes("a version that nobody spoke of", "log-version-unused", beyond.encode().unwrap(), false);
    let zero = LogEntry { version: 0, ..LogEntry::new(world.now, Command::NodeStarted(started(&world, 2, 3, NEXT))) };
    world.refuses_bytes("version 0", "log-version-unused", zero.encode().unwrap(), false);
}

#[test]
fn a_node_that_leaves_no_longer_holds_the_version_back_and_one_that_has_never_started_does() {
    let mut world = World::founded();
    for number in 1..NODES {
        let command = Command::NodeStarted(started(&world, number, 1, NEXT));
        world.must(command);
    }
    assert_eq!(log_version(&world.store).unwrap(), LOG_ENTRY_VERSION, "node {NODES} has never started");
    let last = Command::NodeStarted(started(&world, NODES, 1, LOG_ENTRY_VERSION));
    world.must(last);
    assert_eq!(log_version(&world.store).unwrap(), LOG_ENTRY_VERSION);
    let mut cluster = world.store.cluster().unwrap();
    cluster.nodes.retain(|entry| entry.id != node(NODES));
    let order = OrderCommand::UpdateRoster { nodes: cluster.nodes, coordinators: cluster.coordinators, officers: cluster.officers };
    world.must_order(order);
    assert_eq!(log_version(&world.store).unwrap(), NEXT);
}
