//! How revocation lists come into the log, and what they do there.

use der::asn1::ObjectIdentifier;
use warifu_core::registry::{Registry, crls_missing};
use warifu_protocol::canonical::sha256;
use warifu_protocol::limits::{CRL_BYTES_MAX, CRL_CHUNK_BYTES, CRL_UPLOAD_MILLIS_MAX, CRL_UPLOADS_MAX};
use warifu_protocol::wire::{Applied, CredentialState};
use warifu_protocol::{AnchorKind, Blob, Command, OrderCommand, OrderId, Sha256};

use crate::support::{Ca, Card, DAY, Holder, World};

/// A list with so many entries that it comes in several pieces.
fn large(ca: &Ca, world: &World, number: u64) -> Vec<u8> {
    let serials: Vec<u64> = (1_000_000..1_020_000).collect();
    let der = ca.crl(number, world.now, &serials);
    assert!(der.len() > 2 * CRL_CHUNK_BYTES, "{} bytes", der.len());
    der
}

#[test]
fn pieces_are_taken_in_order_and_in_full_and_only_with_the_last_does_anything_become_active() {
    let mut world = World::equipped();
    let der = large(&world.card_ca, &world, 2);
    let commands = world.list_commands(&der, 2);
    let piece = |index: usize| commands[index + 1].clone();
    let edited = |place: usize, edit: &dyn Fn(&mut u32, &mut Vec<u8>)| {
        let Command::CrlChunk { order, mut index, bytes: Blob(mut bytes) } = piece(place) else { panic!("a piece") };
        edit(&mut index, &mut bytes);
        Command::CrlChunk { order, index, bytes: Blob(bytes) }
    };
    let unexpected = "crl-chunk-unexpected";
    world.refuses("before the order", unexpected, piece(0));
    world.must(commands[0].clone());
    world.refuses("the second first", unexpected, piece(1));
    world.refuses("a short piece", unexpected, edited(0, &|_, bytes| bytes.truncate(CRL_CHUNK_BYTES - 1)));
    world.refuses("a long piece", unexpected, edited(0, &|_, bytes| bytes.push(0)));
    world.refuses("another piece of that length", "crl-refused", edited(0, &|_, bytes| bytes[7] ^= 1));
    world.refuses("an empty piece", unexpected, edited(0, &|_, bytes| bytes.clear()));
    world.refuses("a piece beyond the end", unexpected, edited(0, &|index, _| *index = u32::MAX));
    world.must(piece(0));
    world.refuses("the first again", unexpected, piece(0));
    let last = commands.len() - 2;
    for index in 1..last {
        world.must(piece(index));
    }
    let before = world.store.crls_of(world.card_ca.spki()).unwrap();
    world.refuses("a last piece that is changed", "crl-refused", edited(last, &|_, bytes| bytes[0] ^= 1));
    assert_eq!(world.store.crls_of(world.card_ca.spki()).unwrap(), before);
    assert_eq!(world.must(piece(last)), Applied::CrlActive);
    world.refuses("the last again", unexpected, piece(last));
    let active = world.store.crls_of(world.card_ca.spki()).unwrap();
    assert_eq!((active.len(), active[0].1.number, active[0].1.revoked), (1, 2, 20_000));
    assert!(!world.store.0.keys().any(|key| key[0] == warifu_core::registry::table::CRL_CHUNK), "pieces are not kept");
}

#[test]
fn a_list_that_is_not_what_was_announced_or_not_a_good_list_is_refused() {
    let mut world = World::equipped();
    let now = world.now;
    let stranger = Ca::new(AnchorKind::JpkiUserAuthentication, "Trial JPKI CA");
    let nobody = Ca::new(AnchorKind::JpkiUserAuthentication, "Another CA");
    let ca = &world.card_ca;
    let good = ca.crl(9, now, &[5]);
    let mut bent = good.clone();
    *bent.last_mut().unwrap() ^= 1;
    let sha1 = ca.resign_crl(&good, |list| {
        let oid = ObjectIdentifier::new("1.2.840.10045.4.1").unwrap();
        list.tbs_cert_list.signature.oid = oid;
        list.signature_algorithm.oid = oid;
    });
    let cases = [
        ("another number", "crl-refused", good.clone(), 8),
        ("a broken signature", "crl-refused", bent, 9),
        ("a SHA-1 signature", "crl-refused", sha1, 9),
        ("of a CA of the same name", "crl-refused", stranger.crl(9, now, &[]), 9),
        ("of a CA that is not pinned", "crl-refused", nobody.crl(9, now, &[]), 9),
        ("no list", "crl-refused", vec![0x30, 0], 9),
        ("from the future", "crl-refused", ca.crl(9, now.plus(2 * DAY), &[]), 9),
        ("stale", "crl-refused", ca.crl(9, now.minus(4 * DAY), &[]), 9),
        ("of the same number", "crl-older", ca.crl(1, now, &[5]), 1),
        ("of a lower number", "crl-older", ca.crl(0, now, &[5]), 0),
    ];
    for (case, code, der, number) in cases {
        let mut commands = world.list_commands(&der, number);
        let last = commands.pop().unwrap();
        for command in commands {
            world.must(command);
        }
        world.refuses(case, code, last);
        world.now = world.now.plus(CRL_UPLOAD_MILLIS_MAX + 1);
    }
    let mut announcement = world.list_commands(&good, 9);
    if let Command::Order(order) = &mut announcement[0] {
        let mut announced = OrderCommand::update_crl(&good, 9, None);
        let OrderCommand::UpdateCrl { hash, .. } = &mut announced else { panic!("an announcement") };
        *hash = Sha256::new(sha256(b"another list"));
        let body = world.order_body(announced);
        *order = world.approve(body, &["op-1"]);
        let id = order.body.id;
        world.must(announcement[0].clone());
        world.refuses("another hash", "crl-refused", Command::CrlChunk { order: id, index: 0, bytes: Blob(good.clone()) });
    }
    world.must_load_list(&good, 9);
}

#[test]
fn announcements_are_bounded_in_size_number_and_time() {
    let mut world = World::equipped();
    let update = |size: u64| {
        let pieces = vec![Sha256::new([1; 32]); usize::try_from(size).unwrap().div_ceil(CRL_CHUNK_BYTES)];
        OrderCommand::UpdateCrl { hash: Sha256::new([1; 32]), number: 2, size, pieces, issuer: None }
    };
    for wrong in [0, 1, 3] {
        let mut order = update(CRL_CHUNK_BYTES as u64 + 1);
        let OrderCommand::UpdateCrl { pieces, .. } = &mut order else { panic!("an announcement") };
        pieces.resize(wrong, Sha256::new([1; 32]));
        world.refuses_order(&format!("{wrong} pieces"), "crl-refused", order);
    }
    world.refuses_order("nothing", "too-large", update(0));
    world.refuses_order("too much", "too-large", update(CRL_BYTES_MAX + 1));
    let der = world.card_ca.crl(2, world.now, &[]);
    let waiting = world.list_commands(&der, 2);
    world.must(waiting[0].clone());
    for _ in 1..CRL_UPLOADS_MAX {
        world.must_order(update(CRL_BYTES_MAX));
    }
    world.refuses_order("one more", "too-large", update(9));
    world.now = world.now.plus(CRL_UPLOAD_MILLIS_MAX + 1);
    world.refuses("after its time", "crl-chunk-unexpected", waiting[1].clone());
    world.must_order(update(9));
    let uploads = world.store.0.keys().filter(|key| key[0] == warifu_core::registry::table::CRL_UPLOAD).count();
    assert_eq!(uploads, 1, "those that ran out are forgotten");
    let unknown = Command::CrlChunk { order: OrderId::new([9; 16]), index: 0, bytes: Blob(vec![1]) };
    world.refuses("of an unknown order", "crl-chunk-unexpected", unknown);
}

#[test]
fn a_revoked_certificate_suspends_its_credential_until_another_is_installed() {
    let (mut world, [physician, pharmacist]) = World::ready();
    let credential = physician.credential;
    let session = world.must_open(credential, &physician.card);
    let other = world.must_open(pharmacist.credential, &pharmacist.card);
    let der = world.signing_ca.crl(2, world.now, &[physician.serial]);
    world.must_load_list(&der, 2);
    assert_eq!(world.credential(credential).state, CredentialState::Suspended);
    assert!(world.session(session).closed);
    assert!(!world.session(other).closed);
    assert_eq!(world.credential(pharmacist.credential).state, CredentialState::Active);
    world.refuses_order("resume", "certificate-revoked", OrderCommand::Resume { credential });

    // Not even a list without it brings a revoked certificate back.
    let der = world.signing_ca.crl(3, world.now, &[]);
    world.must_load_list(&der, 3);
    world.refuses_order("resume", "certificate-revoked", OrderCommand::Resume { credential });
    let order = world.installation(&Holder { serial: 2009, ..physician }, |_| {});
    world.must_order(order);
    assert_eq!(world.credential(credential).state, CredentialState::Active);
}

#[test]
fn neither_officers_nor_a_new_certificate_end_the_others_suspension() {
    for officers_first in [true, false] {
        let (mut world, [physician, _]) = World::ready();
        let credential = physician.credential;
        if officers_first {
            world.must_order(OrderCommand::Suspend { credential });
        }
        let der = world.signing_ca.crl(2, world.now, &[physician.serial]);
        world.must_load_list(&der, 2);
        if !officers_first {
            world.must_order(OrderCommand::Suspend { credential });
        }
        let renewed = Holder { serial: 2009, ..physician };
        let order = world.installation(&renewed, |_| {});
        world.must_order(order);
        assert_eq!(world.credential(credential).state, CredentialState::Suspended, "a new certificate is no resumption");
        world.must_order(OrderCommand::Resume { credential });
        assert_eq!(world.credential(credential).state, CredentialState::Active);

        world.must_order(OrderCommand::Suspend { credential });
        let der = world.signing_ca.crl(3, world.now, &[2009]);
        world.must_load_list(&der, 3);
        world.must_order(OrderCommand::Resume { credential });
        assert_eq!(world.credential(credential).state, CredentialState::Suspended, "a resumption is no new certificate");
        world.refuses_order("resume", "certificate-revoked", OrderCommand::Resume { credential });
    }
}

#[test]
fn a_revoked_card_ends_the_sessions_that_it_opened_and_nothing_else() {
    let (mut world, [physician, pharmacist]) = World::ready();
    let second = Card::p384(&world.card_ca, 95, |_| {});
    let order = world.binding(physician.credential, &second, Some(&physician.card));
    world.must_order(order);
    let lost = world.must_open(physician.credential, &physician.card);
    let kept = [world.must_open(physician.credential, &second), world.must_open(pharmacist.credential, &pharmacist.card)];
    let der = world.card_ca.crl(2, world.now, &[physician.card.serial]);
    world.must_load_list(&der, 2);
    assert!(world.session(lost).closed);
    assert!(kept.iter().all(|session| !world.session(*session).closed));
    assert_eq!(world.credential(physician.credential).state, CredentialState::Active);
}

#[test]
fn every_list_that_covers_a_certificate_is_asked() {
    const POINT: &str = "http://crl.trial.invalid/cards.crl";
    let point = || rcgen::CrlDistributionPoint { uris: vec![POINT.to_owned()] };
    // A CA that goes over to a list of its own for each distribution point keeps the whole list for a while: either may know more.
    for (whole, of_point) in [(vec![], vec![96]), (vec![96], vec![])] {
        let (mut world, [physician, _]) = World::ready();
        let card = Card::p384(&world.card_ca, 96, |params| params.crl_distribution_points = vec![point()]);
        let order = world.binding(physician.credential, &card, Some(&physician.card));
        world.must_order(order);
        let session = world.must_open(physician.credential, &card);
        let der = world.card_ca.crl(2, world.now, &whole);
        world.must_load_list(&der, 2);
        let der = world.card_ca.crl_with(2, world.now, &of_point, |params| {
            params.issuing_distribution_point = Some(rcgen::CrlIssuingDistributionPoint { distribution_point: point(), scope: None });
        });
        world.must_load_list(&der, 2);
        assert_eq!(world.store.crls_of(world.card_ca.spki()).unwrap().len(), 2);
        assert!(world.session(session).closed);
        let statement = world.statement(physician.credential);
        let opening = world.opening(statement, &card);
        world.refuses("on one of two lists", "card-revoked", Command::SessionOpened(opening));
        // The whole list grows old and is not renewed; what it says still counts.
        world.now = world.now.plus(2 * DAY);
        let der = world.card_ca.crl_with(3, world.now, &of_point, |params| {
            params.issuing_distribution_point = Some(rcgen::CrlIssuingDistributionPoint { distribution_point: point(), scope: None });
        });
        world.must_load_list(&der, 3);
        world.now = world.now.plus(2 * DAY);
        let statement = world.statement(physician.credential);
        let opening = world.opening(statement, &card);
        world.refuses("on a list that is stale", "card-revoked", Command::SessionOpened(opening));
    }
}

#[test]
fn a_pinned_ca_without_a_list_is_named_until_its_first_list_is_active() {
    let mut world = World::founded();
    let missing = |world: &World| crls_missing(&world.store).unwrap().into_iter().collect::<Vec<_>>();
    let named = missing(&world);
    assert_eq!(named.len(), 3, "{named:?}");
    assert!(named.iter().any(|issuer| issuer.contains("Trial JPKI CA")), "{named:?}");
    let list = world.card_ca.crl(1, world.now, &[]);
    world.must_load_list(&list, 1);
    assert!(missing(&world).len() == 2 && !missing(&world).iter().any(|issuer| issuer.contains("JPKI")), "{:?}", missing(&world));
    world.renew_lists(2);
    assert_eq!(missing(&world), Vec::<String>::new());
}
