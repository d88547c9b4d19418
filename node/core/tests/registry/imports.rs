//! Imports of keys: what an order may import, who must confirm, and what is left of one that comes to nothing.

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use warifu_core::import::{ImportSeed, deal};
use warifu_core::registry::{ImportStep, Registry as _, table};
use warifu_protocol::canonical::sha256;
use warifu_protocol::limits::IMPORTS_OPEN_MAX;
use warifu_protocol::wire::{Applied, CredentialState};
use warifu_protocol::{
    CeremonyId, Command, CommandClass, CredentialChange, CredentialId, EncodedPoint, Enrolment, ImportAbort, ImportConfirm, ImportFailure,
    KeyImport, NodeId, OfficerRole, OrderCommand, OrderId, Origin, Refusal, Sha256, SubjectFields, Threshold,
};

use crate::support::{HOUR, NODES, World, bytes16, identity, name, node};

fn enrolment(number: u64) -> Enrolment {
    let subject = SubjectFields::new("JP", None, "Hanako Iryo", format!("HPKI-{number}")).unwrap();
    Enrolment { credential: CredentialId::new(bytes16(0x1000 + number)), holder: name(&format!("dr-{number}")), subject }
}

fn seed(number: u64) -> ImportSeed {
    ImportSeed::parse(&sha256(&number.to_be_bytes())).unwrap()
}

/// The key of a seed with this number, split for these nodes. The registry does not look into packets.
fn import_for(number: u64, threshold: u8, nodes: &[NodeId]) -> KeyImport {
    let dealt = deal(&seed(number), Threshold(threshold), nodes, &mut ChaCha20Rng::seed_from_u64(number)).unwrap();
    let packets = nodes.iter().map(|node| (*node, Sha256::new([node.get(); 32]))).collect();
    KeyImport { enrolment: enrolment(number), commitment: dealt.commitment, packets }
}

pub(crate) fn import(number: u64) -> KeyImport {
    import_for(number, 3, &nodes())
}

fn nodes() -> Vec<NodeId> {
    (1..=NODES).map(node).collect()
}

fn changed(number: u64, change: impl FnOnce(&mut KeyImport)) -> OrderCommand {
    let mut import = import(number);
    change(&mut import);
    OrderCommand::Import { import }
}

#[track_caller]
fn must_import(world: &mut World, import: &KeyImport) -> CeremonyId {
    let Applied::CeremonyStarted(ceremony) = world.must_order(OrderCommand::Import { import: import.clone() }) else {
        panic!("no ceremony")
    };
    ceremony
}

fn confirmation(world: &World, ceremony: CeremonyId, import: &KeyImport, number: u8) -> Command {
    let transcript = import.transcript(world.cluster(), ceremony);
    Command::ImportConfirmed(identity(world.cluster(), number).sign(ImportConfirm { ceremony, transcript }))
}

fn aborted(world: &World, ceremony: CeremonyId, number: u8, cause: ImportFailure) -> Command {
    Command::ImportAborted(identity(world.cluster(), number).sign(ImportAbort { ceremony, cause }))
}

#[track_caller]
fn must_finish(world: &mut World, ceremony: CeremonyId, import: &KeyImport) {
    for number in 1..=NODES {
        let command = confirmation(world, ceremony, import, number);
        world.must(command);
    }
    assert_eq!(world.store.import(ceremony).unwrap().unwrap().step, ImportStep::Done);
}

#[test]
fn an_import_is_a_credential_without_a_key_until_every_node_has_confirmed() {
    let mut world = World::equipped();
    let import = import(1);
    let ceremony = must_import(&mut world, &import);
    let id = import.enrolment.credential;
    for number in 1..=NODES {
        let credential = world.credential(id);
        assert_eq!((credential.state, credential.key), (CredentialState::Generating, None), "before node {number}");
        let command = confirmation(&world, ceremony, &import, number);
        world.must(command);
    }
    let credential = world.credential(id);
    assert_eq!(credential.state, CredentialState::Generated);
    assert_eq!(credential.key.clone().unwrap().group_key, seed(1).public_key());
    let Origin::Imported { officers, .. } = credential.origin.clone() else { panic!("{:?}", credential.origin) };
    assert_eq!(officers, [name("so-1"), name("so-2")]);
    let history = world.store.history(id).unwrap();
    assert_eq!(history.first().map(|event| event.officers.clone()), Some(officers.clone()));
    assert!(
        matches!(&history[1].change, CredentialChange::KeyImported { officers: said, holders, .. } if *said == officers && holders.len() == 5)
    );
    let view = credential.view(id, &world.store.store_numbers().unwrap());
    assert_eq!(view.origin, credential.origin);
    assert_eq!(world.store.import(ceremony).unwrap().unwrap().terms, None, "what was needed to check it is gone");
}

#[test]
fn an_imported_credential_that_is_destroyed_says_imported_and_keeps_its_key_taken() {
    let mut world = World::equipped();
    let first = import(1);
    let ceremony = must_import(&mut world, &first);
    must_finish(&mut world, ceremony, &first);
    let id = first.enrolment.credential;
    world.must_order(OrderCommand::Destroy { credential: id });
    assert!(matches!(world.credential(id).origin, Origin::Imported { .. }));
    let mut again = import(1);
    again.enrolment = enrolment(2);
    let refusal = world.refuses_order("a destroyed key", "key-used", OrderCommand::Import { import: again });
    assert_eq!(refusal, Refusal::KeyUsed { credential: id });
}

#[test]
fn what_may_not_be_imported_is_refused_and_leaves_nothing() {
    let (mut world, holders) = World::generated();
    let other_holder = holders[0].enrolment();
    let generated = EncodedPoint::new(world.group_key(holders[0].credential));
    let point = |digits: &str| EncodedPoint::new(hex::decode(digits).unwrap().try_into().unwrap());
    let (zero, order_eight) = (format!("01{}", "00".repeat(31)), "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a");
    let published = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let cases = [
        ("no commitment", "import-refused", changed(1, |import| import.commitment.clear())),
        ("a degree below", "import-refused", changed(1, |import| import.commitment.truncate(2))),
        ("a degree above", "import-refused", changed(1, |import| import.commitment.push(generated))),
        ("another threshold", "import-refused", OrderCommand::Import { import: import_for(1, 2, &nodes()) }),
        ("a node left out", "import-refused", changed(1, |import| import.packets.truncate(4))),
        ("a stranger", "import-refused", changed(1, |import| import.packets.push((node(6), Sha256::new([6; 32]))))),
        ("another node", "import-refused", changed(1, |import| import.packets[4].0 = node(6))),
        ("a node twice", "import-refused", changed(1, |import| import.packets[1].0 = node(1))),
        ("descending", "import-refused", changed(1, |import| import.packets.reverse())),
        ("one packet twice", "import-refused", changed(1, |import| import.packets[1].1 = import.packets[0].1)),
        ("the zero of the group", "key-refused", changed(1, |import| import.commitment[0] = point(&zero))),
        ("a key of small order", "key-refused", changed(1, |import| import.commitment[0] = point(order_eight))),
        ("no point", "key-refused", changed(1, |import| import.commitment[0] = point(&"ff".repeat(32)))),
        ("a key that everybody has", "key-refused", changed(1, |import| import.commitment[0] = point(published))),
        ("a coefficient that is no point", "key-refused", changed(1, |import| import.commitment[2] = point(&"ff".repeat(32)))),
        ("a coefficient of small order", "key-refused", changed(1, |import| import.commitment[1] = point(order_eight))),
        ("a generated key", "key-used", changed(1, |import| import.commitment[0] = generated)),
        ("another's credential", "credential-exists", changed(1, |import| import.enrolment.credential = holders[0].credential)),
        ("a holder who has one", "holder-has-credential", changed(1, |import| import.enrolment.holder = other_holder.holder)),
    ];
    for (case, code, order) in cases {
        world.refuses_order(case, code, order);
    }
    let ceremony = must_import(&mut world, &import(1));
    let mut twin = import(1);
    twin.enrolment = enrolment(2);
    world.refuses_order("a key that is being imported", "key-used", OrderCommand::Import { import: twin });
    must_finish(&mut world, ceremony, &import(1));
}

#[test]
fn an_import_takes_two_security_officers() {
    let mut world = World::equipped();
    for (officers, expected) in [
        (&[][..], Refusal::ApprovalsMissing { role: OfficerRole::SecurityOfficer, needed: 2, present: 0 }),
        (&["so-1"], Refusal::ApprovalsMissing { role: OfficerRole::SecurityOfficer, needed: 2, present: 1 }),
        (&["so-1", "so-1"], Refusal::ApprovalDuplicate { officer: name("so-1") }),
        (&["so-1", "op-1"], Refusal::OfficerRole { officer: name("op-1"), needs: OfficerRole::SecurityOfficer }),
        (&["op-1", "op-2"], Refusal::OfficerRole { officer: name("op-1"), needs: OfficerRole::SecurityOfficer }),
    ] {
        let body = world.order_body(OrderCommand::Import { import: import(1) });
        let order = world.approve(body, officers);
        let refusal = world.refuses(&format!("{officers:?}"), &expected.code(), Command::Order(order));
        assert_eq!(refusal, expected);
    }
}

#[test]
fn an_import_that_comes_to_nothing_leaves_holder_and_key_free_and_its_order_used() {
    let mut world = World::equipped();
    let import = import(1);
    for cause in [ImportFailure::PacketUnusable, ImportFailure::Overdue] {
        let before = world.store.clone();
        let order = world.order(OrderCommand::Import { import: import.clone() });
        world.must(Command::Order(order.clone()));
        let ceremony = CeremonyId::new(*order.body.id.as_bytes());
        let first = confirmation(&world, ceremony, &import, 1);
        world.must(first);
        if cause == ImportFailure::Overdue {
            let early = aborted(&world, ceremony, 2, cause);
            world.refuses("before its deadline", "ceremony-not-overdue", early);
            world.now = world.store.import(ceremony).unwrap().unwrap().deadline;
        } else {
            let late = aborted(&world, ceremony, 1, cause);
            world.refuses("by one that has confirmed", "ceremony-duplicate", late);
        }
        let outsider = aborted(&world, ceremony, 9, cause);
        world.refuses("by an outsider", "node-unknown", outsider);
        let abort = aborted(&world, ceremony, 2, cause);
        world.must(abort.clone());
        assert_eq!(world.store.import(ceremony).unwrap().unwrap().step, ImportStep::Failed);
        assert_eq!(world.store.credential(import.enrolment.credential).unwrap(), None);
        let left = [table::CREDENTIAL, table::HOLDER, table::GROUP_KEY, table::IMPORT_OPEN, table::HISTORY];
        for table in left {
            let count = |store: &warifu_core::registry::MemoryStore| store.0.range(vec![table]..vec![table + 1]).count();
            assert_eq!(count(&world.store), count(&before), "table {table:#x}");
        }
        let again = confirmation(&world, ceremony, &import, 2);
        world.refuses("a confirmation after the end", "ceremony-step", again);
        world.refuses("an abort after the end", "ceremony-step", abort);
        world.refuses("its order again", "order-replayed", Command::Order(order));
    }
    let ceremony = must_import(&mut world, &import);
    must_finish(&mut world, ceremony, &import);
}

#[test]
fn only_participants_confirm_what_was_ordered_and_once() {
    let mut world = World::equipped();
    let (first, second) = (import(1), import(2));
    let ceremony = must_import(&mut world, &first);
    let other = must_import(&mut world, &second);
    let swapped = confirmation(&world, ceremony, &second, 1);
    world.refuses("another import's transcript", "malformed", swapped);
    let unknown = confirmation(&world, CeremonyId::new([9; 16]), &first, 1);
    world.refuses("an unknown import", "ceremony-unknown", unknown);
    let outsider = confirmation(&world, ceremony, &first, 9);
    world.refuses("an outsider", "node-unknown", outsider);
    let Command::ImportConfirmed(mut forged) = confirmation(&world, ceremony, &first, 1) else { panic!("a confirmation") };
    forged.node = node(2);
    world.refuses("another's name", "signature-invalid", Command::ImportConfirmed(forged));
    let honest = confirmation(&world, ceremony, &first, 1);
    world.must(honest.clone());
    world.refuses("twice", "ceremony-duplicate", honest);
    must_finish_rest(&mut world, ceremony, &first);
    must_finish(&mut world, other, &second);
}

#[track_caller]
fn must_finish_rest(world: &mut World, ceremony: CeremonyId, import: &KeyImport) {
    for number in 2..=NODES {
        let command = confirmation(world, ceremony, import, number);
        world.must(command);
    }
    assert_eq!(world.store.import(ceremony).unwrap().unwrap().step, ImportStep::Done);
}

#[test]
fn open_imports_are_bounded() {
    let mut world = World::equipped();
    for number in 0..IMPORTS_OPEN_MAX as u64 {
        must_import(&mut world, &import(number));
    }
    world.refuses_order("one more", "too-large", OrderCommand::Import { import: import(99) });
}

#[test]
fn the_identifier_of_an_import_begins_no_other_ceremony_even_when_its_order_is_forgotten() {
    let mut world = World::equipped();
    let first = import(1);
    let ceremony = must_import(&mut world, &first);
    must_finish(&mut world, ceremony, &first);
    world.now = world.now.plus(2 * HOUR);
    // Each order clears a few away.
    for facility in ["clinic-2", "clinic-3", "clinic-4"] {
        world.must_order(OrderCommand::EnrolFacility { facility: name(facility) });
    }
    let id = OrderId::new(*ceremony.as_bytes());
    assert!(!world.store.order_applied(id).unwrap(), "an order is forgotten after its end");
    for command in [OrderCommand::Import { import: import(2) }, OrderCommand::Enrol { enrolments: vec![enrolment(3)] }] {
        let mut body = world.order_body(command);
        body.id = id;
        let order = world.approve(body.clone(), if body.order.class() == CommandClass::Import { &["so-1", "so-2"] } else { &["op-1"] });
        world.refuses("under a used identifier", "order-replayed", Command::Order(order));
    }
}
