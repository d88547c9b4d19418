//! What the cluster remembers of its nodes.

use warifu_core::registry::Registry;
use warifu_protocol::limits::EARLIER_BOOTS_MAX;
use warifu_protocol::{BootId, Checkpoint, Command, NodeSigned, NodeStarted, Sha256, StoreId};

use crate::support::{World, identity, node, rebuilt_root};

/// A start that comes after all others which the tests know of.
fn started(world: &World, number: u8, edit: impl FnOnce(&mut NodeStarted)) -> NodeSigned<NodeStarted> {
    let earlier = (1..=9).map(boot).collect();
    let mut body = NodeStarted {
        store: StoreId::new([1; 16]),
        incarnation: 3,
        boot: boot(3),
        earlier,
        audit_size: 10,
        raft_index: 20,
        log_version: 1,
    };
    edit(&mut body);
    identity(world.cluster(), number).sign(body)
}

const fn boot(number: u8) -> BootId {
    BootId::new([number; 16])
}

fn checkpoint(world: &World, number: u8, size: u64, root: u8) -> Command {
    Command::CheckpointWitnessed(identity(world.cluster(), number).sign(Checkpoint { size, root: Sha256::new([root; 32]) }))
}

#[test]
fn a_node_may_only_go_forward_from_what_is_remembered_of_it() {
    let mut world = World::founded();
    let first = started(&world, 1, |body| body.incarnation = 0);
    world.refuses("never started", "node-rolled-back", Command::NodeStarted(first));
    let good = started(&world, 1, |_| {});
    world.must(Command::NodeStarted(good.clone()));
    let mut forged = started(&world, 1, |body| body.incarnation = 4);
    forged.signature.0[5] ^= 1;
    let mut in_anothers_name = started(&world, 2, |body| body.incarnation = 4);
    in_anothers_name.node = node(1);
    let cases = [
        ("a forged signature", "signature-invalid", forged),
        ("another node's signature", "signature-invalid", in_anothers_name),
        ("from outside the roster", "node-unknown", started(&world, 9, |_| {})),
        ("said again", "node-rolled-back", good),
        ("a lower incarnation", "node-rolled-back", started(&world, 1, |body| body.incarnation = 2)),
        (
            "a smaller audit log",
            "node-rolled-back",
            started(&world, 1, |body| {
                body.incarnation = 4;
                body.audit_size = 9;
            }),
        ),
        (
            "a shorter raft log",
            "node-rolled-back",
            started(&world, 1, |body| {
                body.incarnation = 4;
                body.raft_index = 19;
            }),
        ),
        (
            "an older store",
            "node-rolled-back",
            started(&world, 1, |body| {
                body.incarnation = 9;
                body.earlier = vec![boot(1), boot(2)];
            }),
        ),
        (
            "too many starts",
            "too-large",
            started(&world, 1, |body| {
                body.incarnation = 9;
                body.earlier = vec![boot(3); EARLIER_BOOTS_MAX + 1];
            }),
        ),
        (
            "another store",
            "node-store-changed",
            started(&world, 1, |body| {
                body.store = StoreId::new([2; 16]);
                body.incarnation = 4;
            }),
        ),
    ];
    for (case, code, command) in cases {
        world.refuses(case, code, Command::NodeStarted(command));
    }
    let again = started(&world, 1, |body| {
        body.incarnation = 4;
        body.earlier = vec![boot(2), boot(3)];
    });
    let index = world.entries.len() as u64 + 1;
    world.must(Command::NodeStarted(again));
    assert_eq!(world.store.node(node(1)).unwrap().unwrap().started_at, index);
    let elsewhere = started(&world, 2, |body| body.store = StoreId::new([2; 16]));
    world.must(Command::NodeStarted(elsewhere));
}

#[test]
fn the_root_at_a_start_is_kept_for_whoever_asks_and_at_no_other_entry() {
    let mut world = World::founded();
    let command = Command::NodeStarted(started(&world, 1, |_| {}));
    world.must(command.clone());
    assert_eq!(world.store.root_at(1).unwrap(), Some(rebuilt_root(&world.store)));
    world.refuses("said again", "node-rolled-back", command);
    assert_eq!(world.store.root_at(2).unwrap(), None);
}

#[test]
fn a_checkpoint_grows_or_stays_the_same() {
    let mut world = World::founded();
    let early = checkpoint(&world, 1, 5, 5);
    world.refuses("before it started", "node-unknown", early);
    let start = started(&world, 1, |_| {});
    world.must(Command::NodeStarted(start));
    let good = checkpoint(&world, 1, 12, 1);
    world.must(good.clone());
    world.must(good);
    let mut forged = checkpoint(&world, 1, 13, 1);
    if let Command::CheckpointWitnessed(signed) = &mut forged {
        signed.body.root = Sha256::new([2; 32]);
    }
    for (case, code, command) in [
        ("fewer entries", "node-rolled-back", checkpoint(&world, 1, 11, 1)),
        ("another log of that size", "node-rolled-back", checkpoint(&world, 1, 12, 2)),
        ("forged", "signature-invalid", forged),
        ("from outside the roster", "node-unknown", checkpoint(&world, 9, 13, 1)),
    ] {
        world.refuses(case, code, command);
    }
    world.must(checkpoint(&world, 1, 13, 2));
    let record = world.store.node(node(1)).unwrap().unwrap();
    assert_eq!((record.audit_size, record.audit_root), (13, Some(Sha256::new([2; 32]))));
    let old = started(&world, 1, |body| {
        body.incarnation = 4;
        body.audit_size = 12;
    });
    world.refuses("a start behind its checkpoint", "node-rolled-back", Command::NodeStarted(old));
}

#[test]
fn the_first_checkpoint_after_a_start_may_be_of_the_size_that_the_start_named() {
    let mut world = World::founded();
    let start = started(&world, 1, |_| {});
    world.must(Command::NodeStarted(start));
    world.must(checkpoint(&world, 1, 12, 1));
    let again = started(&world, 1, |body| {
        body.incarnation = 4;
        body.audit_size = 15;
    });
    world.must(Command::NodeStarted(again));
    world.must(checkpoint(&world, 1, 15, 3));

    // A restart at the size of the checkpoint does not make the node forget it.
    let again = started(&world, 1, |body| {
        body.incarnation = 5;
        body.audit_size = 15;
    });
    world.must(Command::NodeStarted(again));
    let fork = checkpoint(&world, 1, 15, 4);
    world.refuses("another log of that size", "node-rolled-back", fork);
}
