use ed25519_dalek::{Signer as _, SigningKey};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use warifu_protocol::canonical::sha256;
use warifu_protocol::wire::{CredentialState, PacketAnswer};
use warifu_protocol::{
    Approval, Blob, CeremonyId, Command, CredentialChange, CredentialId, Enrolment, ImportConfirm, ImportPacket, KeyImport, OfficerEntry,
    OfficerRole, Order, OrderBody, OrderCommand, OrderId, Origin, PublicKey, SealingKey, Sha256, SubjectFields, seal_packet,
};

use super::cluster::{CLUSTER, Cluster, NODES, identity, node};
use crate::ceremony::CeremonyEffect;
use crate::import::{ImportSeed, packet_plaintext, prepare};
use crate::registry::{ImportRecord, ImportStep, Registry as _, encode, key, table};

const ORDER: OrderId = OrderId::new([0x1a; 16]);
const IMPORT: CeremonyId = CeremonyId::new([0x1a; 16]);
const CREDENTIAL: CredentialId = CredentialId::new([0x1c; 16]);
const OFFICERS: [(&str, u8); 2] = [("so-1", 0x51), ("so-2", 0x52)];

fn seed() -> ImportSeed {
    ImportSeed::parse(&sha256(b"a key that exists already")).unwrap()
}

/// A cluster with two security officers that has generated no key.
fn founded(seed: u64) -> Cluster {
    let mut cluster = Cluster::new(seed);
    for site in cluster.sites.values_mut() {
        let mut record = site.store.cluster().unwrap();
        record.officers = OFFICERS
            .iter()
            .map(|(id, byte)| OfficerEntry {
                id: id.parse().unwrap(),
                role: OfficerRole::SecurityOfficer,
                key: PublicKey::Ed25519(SigningKey::from_bytes(&[*byte; 32]).verifying_key().to_bytes()),
            })
            .collect();
        site.store.0.insert(key(table::CLUSTER, &[]), encode(&record));
    }
    cluster
}

fn made(cluster: &Cluster, order: OrderId) -> (KeyImport, Vec<ImportPacket>) {
    let record = cluster.sites[&node(1)].store.cluster().unwrap();
    let subject = SubjectFields::new("JP", None, "Hanako Iryo", "HPKI-9").unwrap();
    let enrolment = Enrolment { credential: CREDENTIAL, holder: "dr-9".parse().unwrap(), subject };
    prepare(&record, order, enrolment, &seed(), &mut ChaCha20Rng::seed_from_u64(7), seal_packet).unwrap()
}

fn order(cluster: &mut Cluster, id: OrderId, import: KeyImport) {
    let (not_after, object_version) = (cluster.now.plus(3_600_000), Default::default());
    let body = OrderBody { cluster: CLUSTER, id, not_after, object_version, order: OrderCommand::Import { import } };
    let message = body.message();
    let approve = |(id, byte): &(&str, u8)| Approval {
        officer: id.parse().unwrap(),
        signature: Blob(SigningKey::from_bytes(&[*byte; 32]).sign(&message).to_bytes().to_vec()),
    };
    let approvals = OFFICERS.iter().map(approve).collect();
    cluster.propose(Command::Order(Order { body, approvals, consents: Vec::new() }));
    (1..=NODES).for_each(|number| cluster.catch_up(number));
}

/// With an import that has just been ordered.
fn ordered(seed: u64) -> (Cluster, Vec<ImportPacket>) {
    let mut cluster = founded(seed);
    let (import, packets) = made(&cluster, ORDER);
    order(&mut cluster, ORDER, import);
    assert_eq!(record(&cluster, 1).step, ImportStep::Open);
    (cluster, packets)
}

fn record(cluster: &Cluster, number: u8) -> ImportRecord {
    cluster.sites[&node(number)].store.import(IMPORT).unwrap().unwrap()
}

fn give(cluster: &mut Cluster, number: u8, packet: &ImportPacket) -> PacketAnswer {
    let site = cluster.site(number);
    site.imports.handle(packet, &site.store).unwrap()
}

/// What a node's part in imports asks for.
fn step(cluster: &mut Cluster, number: u8) -> Vec<CeremonyEffect> {
    let now = cluster.now;
    let site = cluster.site(number);
    site.imports.step(now, &site.store).unwrap()
}

fn give_all(cluster: &mut Cluster, packets: &[ImportPacket]) {
    for packet in packets.iter().filter(|packet| cluster.sites[&packet.node].alive).cloned().collect::<Vec<_>>() {
        assert_eq!(give(cluster, packet.node.get(), &packet), PacketAnswer::Taken);
    }
}

#[track_caller]
fn run_until(cluster: &mut Cluster, step: ImportStep) {
    cluster.run_while(|cluster| cluster.sites.values().any(|site| site.alive && record(cluster, site.identity.node().get()).step != step));
}

/// The old state: no credential, nobody's holder, nobody's key.
fn assert_forgotten(cluster: &Cluster) {
    for (number, site) in cluster.sites.iter().filter(|(_, site)| site.alive) {
        assert_eq!(site.store.credential(CREDENTIAL).unwrap(), None, "at node {number}");
        assert_eq!(site.store.credential_of(&"dr-9".parse().unwrap()).unwrap(), None);
        assert_eq!(site.store.credential_with_key(&seed().public_key()).unwrap(), None);
        assert!(site.store.history(CREDENTIAL).unwrap().is_empty());
        assert_eq!(record(cluster, number.get()).terms, None);
        assert_eq!(site.store.scan_table(table::IMPORT_OPEN), 0);
    }
}

/// The new state: a key that every site has a share of, and that signs under the public key that it always had.
fn assert_imported(cluster: &Cluster) {
    let credential = cluster.credential(1, CREDENTIAL);
    let officers = OFFICERS.map(|(id, _)| id.parse().unwrap()).to_vec();
    assert_eq!(credential.origin, Origin::Imported { order: ORDER, officers });
    assert_eq!(credential.key.clone().unwrap().group_key, seed().public_key());
    assert_eq!(cluster.holders(1, CREDENTIAL), [1, 2, 3, 4, 5].map(node));
    for signers in [[1, 2, 3], [2, 4, 5], [1, 3, 5]] {
        assert_eq!(cluster.try_sign(CREDENTIAL, &signers.map(|number| (number, credential.epoch))), Ok(()));
    }
}

#[test]
fn a_key_that_existed_before_signs_with_shares_under_the_public_key_that_it_had() {
    let (mut cluster, packets) = ordered(200);
    assert_eq!(cluster.credential(1, CREDENTIAL).state, CredentialState::Generating);
    give_all(&mut cluster, &packets);
    run_until(&mut cluster, ImportStep::Done);
    assert_imported(&cluster);
    assert_eq!(cluster.credential(1, CREDENTIAL).state, CredentialState::Generated);
    let site = &cluster.sites[&node(1)];
    let history: Vec<_> = site.store.history(CREDENTIAL).unwrap().into_iter().map(|event| event.change).collect();
    assert!(matches!(history.as_slice(), [CredentialChange::Enrolled, CredentialChange::KeyImported { order: ORDER, .. }]), "{history:?}");
    cluster.tick();
    let held = cluster.sites.values().map(|site| format!("{:?}", site.imports)).collect::<String>();
    assert!(!held.contains(", 1 packets"), "no share waits in memory any more: {held}");
    assert_eq!(give(&mut cluster, 3, &packets[2]), PacketAnswer::Taken, "again is no harm");
}

#[test]
fn an_imported_key_is_refreshed_and_repaired_like_any_other_and_says_imported_ever_after() {
    let (mut cluster, packets) = ordered(201);
    give_all(&mut cluster, &packets);
    run_until(&mut cluster, ImportStep::Done);
    let refresh = CeremonyId::new([0xfe; 16]);
    cluster.open_refresh_of(refresh, &[CREDENTIAL]);
    cluster.run_while(|cluster| cluster.credential(1, CREDENTIAL).epoch.0 < 2 || cluster.credential(1, CREDENTIAL).previous.is_some());
    assert_imported(&cluster);
    cluster.replace_store(4);
    let site = cluster.site(4);
    let command = site.repairs.ask(vec![CREDENTIAL], &mut site.rng);
    cluster.propose(command);
    cluster.run_while(|cluster| cluster.holders(1, CREDENTIAL).len() < 5);
    assert_imported(&cluster);
    let site = &cluster.sites[&node(2)];
    assert_eq!(
        site.store.credential(CREDENTIAL).unwrap().unwrap().view(CREDENTIAL, &site.store.store_numbers().unwrap()).origin.to_string(),
        "imported"
    );
}

#[test]
fn nothing_is_in_use_before_all_have_their_share_and_without_one_of_them_it_comes_to_nothing() {
    let (mut cluster, packets) = ordered(202);
    give_all(&mut cluster, &packets[..4]);
    let deadline = record(&cluster, 1).deadline;
    while cluster.now < deadline {
        assert_eq!(cluster.credential(2, CREDENTIAL).state, CredentialState::Generating);
        assert!(cluster.credential(2, CREDENTIAL).key.is_none());
        cluster.tick();
    }
    assert_eq!(record(&cluster, 1).confirmed, [1, 2, 3, 4].map(node));
    run_until(&mut cluster, ImportStep::Failed);
    assert_forgotten(&cluster);
    assert!(matches!(give(&mut cluster, 5, &packets[4]), PacketAnswer::Refused(_)), "too late");
    // The same key may be tried again, by another order.
    let again = OrderId::new([0x1b; 16]);
    let (import, packets) = made(&cluster, again);
    order(&mut cluster, again, import);
    give_all(&mut cluster, &packets);
    cluster.run_while(|cluster| cluster.credential(1, CREDENTIAL).key.is_none());
    let epoch = cluster.credential(1, CREDENTIAL).epoch;
    assert_eq!(cluster.try_sign(CREDENTIAL, &[(1, epoch), (4, epoch), (5, epoch)]), Ok(()));
}

#[test]
fn a_fast_clock_does_not_end_an_import_early() {
    let (mut cluster, packets) = ordered(203);
    cluster.ahead.insert(2, 10_000_000);
    for _ in 0..10 {
        cluster.tick();
    }
    assert_eq!(record(&cluster, 1).step, ImportStep::Open);
    give_all(&mut cluster, &packets);
    run_until(&mut cluster, ImportStep::Done);
    assert_imported(&cluster);
}

/// Where node 3 crashes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Arrow {
    BeforeItsPacket,
    PacketTaken,
    ShareStored,
    Confirmed,
}

const ARROWS: [Arrow; 4] = [Arrow::BeforeItsPacket, Arrow::PacketTaken, Arrow::ShareStored, Arrow::Confirmed];

/// An import in which node 3 has just crashed there and started again, and nobody else has its packet.
fn crashed(arrow: Arrow) -> (Cluster, Vec<ImportPacket>) {
    let (mut cluster, packets) = ordered(204);
    if arrow != Arrow::BeforeItsPacket {
        assert_eq!(give(&mut cluster, 3, &packets[2]), PacketAnswer::Taken);
    }
    if matches!(arrow, Arrow::ShareStored | Arrow::Confirmed) {
        let mut effects = step(&mut cluster, 3);
        assert!(matches!(effects.as_slice(), [CeremonyEffect::StorePending { .. }, CeremonyEffect::Propose(Command::ImportConfirmed(_))]));
        effects.truncate(if arrow == Arrow::Confirmed { 2 } else { 1 });
        cluster.carry_out(3, effects);
    }
    (1..=NODES).for_each(|number| cluster.catch_up(number));
    cluster.restart(3);
    (cluster, packets)
}

#[test]
fn a_crash_at_each_arrow_leaves_the_new_state_when_the_packets_are_brought_again() {
    for arrow in ARROWS {
        let (mut cluster, packets) = crashed(arrow);
        assert_eq!(record(&cluster, 1).confirmed.contains(&node(3)), arrow == Arrow::Confirmed, "{arrow:?}");
        give_all(&mut cluster, &packets);
        run_until(&mut cluster, ImportStep::Done);
        assert_imported(&cluster);
    }
}

#[test]
fn a_crash_at_each_arrow_leaves_the_old_state_when_the_packets_never_come_again() {
    for arrow in ARROWS {
        let (mut cluster, _) = crashed(arrow);
        run_until(&mut cluster, ImportStep::Failed);
        assert_forgotten(&cluster);
    }
}

#[test]
fn a_leader_that_loses_the_confirmation_is_asked_again() {
    let (mut cluster, packets) = ordered(205);
    let mut lost = 0;
    cluster.mischief = Box::new(move |who, mut effects| {
        if who.node() == node(3) && lost < 2 {
            let before = effects.len();
            effects.retain(|effect| !matches!(effect, CeremonyEffect::Propose(Command::ImportConfirmed(_))));
            lost += before - effects.len();
        }
        effects
    });
    give_all(&mut cluster, &packets);
    run_until(&mut cluster, ImportStep::Done);
    assert_imported(&cluster);
}

#[test]
fn a_packet_that_is_not_the_one_ordered_for_the_node_is_refused_and_changes_nothing() {
    let (mut cluster, packets) = ordered(206);
    let mut changed = packets[0].clone();
    changed.sealed.0[100] ^= 1;
    let mut large = packets[0].clone();
    large.sealed.0.resize(5000, 0);
    let mut empty = packets[0].clone();
    empty.sealed.0.clear();
    let mut others = packets[1].clone();
    others.node = node(1);
    let (_, fresh) = made(&cluster, ORDER);
    for (what, packet) in [
        ("changed", &changed),
        ("too large", &large),
        ("empty", &empty),
        ("node 2's", &others),
        ("sealed again", &fresh[0]),
        ("brought wrong", &packets[1]),
    ] {
        let answer = give(&mut cluster, 1, packet);
        let PacketAnswer::Refused(refusal) = &answer else { panic!("{what}: {answer:?}") };
        assert_eq!(refusal.code(), "packet-refused", "{what}");
    }
    let unknown = ImportPacket { order: OrderId::new([9; 16]), ..packets[0].clone() };
    assert_eq!(give(&mut cluster, 1, &unknown), PacketAnswer::NotYet, "its order may be on its way");
    assert_eq!(step(&mut cluster, 1), [], "nothing of this is told to anybody");
    give_all(&mut cluster, &packets);
    run_until(&mut cluster, ImportStep::Done);
    assert_imported(&cluster);
}

#[test]
fn a_packet_as_ordered_that_holds_no_share_of_the_commitment_ends_the_import_at_once() {
    let good = |cluster: &Cluster| {
        let (import, packets) = made(cluster, ORDER);
        let record = cluster.sites[&node(2)].store.cluster().unwrap();
        (import, packets, record)
    };
    let mut scalar = [0; 32];
    scalar[0] = 7;
    type Change = fn(Vec<u8>) -> Vec<u8>;
    // Of the very plaintext that is due: what is left of it, or added to it.
    let plaintexts: [(&str, Change); 7] = [
        ("another share", |_| packet_plaintext(&[&[7][..], &[0; 31]].concat().try_into().unwrap()).to_vec()),
        ("zero", |_| packet_plaintext(&[0; 32]).to_vec()),
        ("no scalar", |_| packet_plaintext(&[0xff; 32]).to_vec()),
        ("another version", |due| [&[9][..], &due[1..]].concat()),
        ("a byte less", |due| due[..due.len() - 1].to_vec()),
        ("a byte more", |due| [&due[..], &[0]].concat()),
        ("nothing", |_| Vec::new()),
    ];
    let mut cases = Vec::new();
    for (what, change) in plaintexts {
        let mut cluster = founded(207);
        let (mut import, mut packets, record) = good(&cluster);
        let context = import.packet_context(CLUSTER, ORDER, node(2));
        let [x25519, ml_kem] = &cluster.site(2).sealing;
        let due = SealingKey::from_secret(x25519, ml_kem).unwrap().open(&context, packets[1].sealed.as_slice()).unwrap();
        let plaintext = change(due.to_vec());
        packets[1].sealed = seal_packet(record.node(node(2)).unwrap().sealing_key.as_slice(), &context, &plaintext).unwrap();
        import.packets[1].1 = Sha256::new(sha256(packets[1].sealed.as_slice()));
        order(&mut cluster, ORDER, import);
        cases.push((what, cluster, packets));
    }
    // Sealed for another node's key, or another order's context.
    for (what, recipient, id) in [("another key", 3, ORDER), ("another order", 2, OrderId::new([3; 16])), ("another node", 2, ORDER)] {
        let mut cluster = founded(208);
        let (mut import, mut packets, record) = good(&cluster);
        let to = if what == "another node" { node(3) } else { node(2) };
        let context = import.packet_context(CLUSTER, id, to);
        packets[1].sealed =
            seal_packet(record.node(node(recipient)).unwrap().sealing_key.as_slice(), &context, &packet_plaintext(&scalar)).unwrap();
        import.packets[1].1 = Sha256::new(sha256(packets[1].sealed.as_slice()));
        order(&mut cluster, ORDER, import);
        cases.push((what, cluster, packets));
    }
    for (what, mut cluster, packets) in cases {
        for number in [1, 3, 4, 5] {
            assert_eq!(give(&mut cluster, number, &packets[usize::from(number) - 1]), PacketAnswer::Taken, "{what}");
        }
        let answer = give(&mut cluster, 2, &packets[1]);
        let PacketAnswer::Refused(refusal) = &answer else { panic!("{what}: {answer:?}") };
        assert_eq!(refusal.code(), "packet-refused", "{what}");
        let deadline = record(&cluster, 1).deadline;
        run_until(&mut cluster, ImportStep::Failed);
        assert!(cluster.now < deadline, "{what}: nobody waits for what cannot come");
        assert!(cluster.sites[&node(2)].shares.is_empty(), "{what}: a share was stored");
        assert_forgotten(&cluster);
    }
}

#[test]
fn a_site_that_lost_its_disk_after_it_confirmed_makes_the_import_come_to_nothing() {
    let (mut cluster, packets) = ordered(209);
    give_all(&mut cluster, &packets[..1]);
    cluster.run_while(|cluster| record(cluster, 1).confirmed.is_empty());
    cluster.replace_store(1);
    give_all(&mut cluster, &packets[1..]);
    run_until(&mut cluster, ImportStep::Failed);
    assert_forgotten(&cluster);
}

#[test]
fn a_confirmation_of_something_else_does_not_count() {
    let (mut cluster, _) = ordered(210);
    let forged = ImportConfirm { ceremony: IMPORT, transcript: Sha256::new([0; 32]) };
    cluster.propose(Command::ImportConfirmed(identity(1).sign(forged)));
    (1..=NODES).for_each(|number| cluster.catch_up(number));
    assert!(record(&cluster, 1).confirmed.is_empty());
}
