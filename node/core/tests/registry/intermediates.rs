//! Lists, cards and certificates of CAs that are not pinned themselves.

use warifu_core::registry::Registry;
use warifu_protocol::wire::Applied;
use warifu_protocol::{AnchorKind, Blob, Command, OrderCommand, Refusal, SessionOpening};

use crate::support::{Ca, Card, DAY, Holder, NOW, World, set_validity};

/// Brings a list in with its CA's certificate and returns what came of it: the refusal of the announcement or of the last piece.
fn load(world: &mut World, der: &[u8], number: u64, issuer: &Blob) -> Result<Applied, Refusal> {
    let mut outcome = Ok(Applied::Done);
    for command in world.list_commands_of(der, number, Some(issuer.clone())) {
        outcome = world.apply(command).outcome;
        if outcome.is_err() {
            break;
        }
    }
    outcome
}

fn binding(world: &mut World, holder: &Holder, card: &Card, bound: Option<&Card>, ca: &Ca) -> OrderCommand {
    let mut order = world.binding(holder.credential, card, bound);
    let OrderCommand::BindAuthenticator { intermediates, .. } = &mut order else { panic!("a binding") };
    intermediates.push(ca.der.clone());
    order
}

fn opening(world: &mut World, holder: &Holder, card: &Card, ca: &Ca) -> Command {
    let statement = world.statement(holder.credential);
    let opening = world.opening(statement, card);
    Command::SessionOpened(SessionOpening { intermediates: vec![ca.der.clone()], ..opening })
}

#[test]
fn the_list_of_an_intermediate_ca_is_taken_with_its_certificate_and_lets_its_cards_in() {
    let (mut world, [holder, _]) = World::ready();
    let ca = world.card_ca.under(501, "Trial JPKI Sub CA", |_| {});
    let card = Card::p384(&ca, 502, |_| {});
    let order = binding(&mut world, &holder, &card, Some(&holder.card), &ca);
    world.refuses_order("without its CA's list", "crl-missing", order.clone());
    let list = ca.crl(1, world.now, &[]);
    let bare = world.list_commands(&list, 1);
    world.must(bare[0].clone());
    world.refuses("without its CA's certificate", "crl-refused", bare[1].clone());
    assert_eq!(load(&mut world, &list, 1, &ca.der), Ok(Applied::CrlActive));
    let vouched_by = |ca: &Ca| world.store.crls_of(ca.spki()).unwrap().pop().unwrap().1.vouched_by;
    assert_eq!((vouched_by(&ca), vouched_by(&world.card_ca)), (Some(world.card_ca.spki()), None));
    world.must_order(order);
    let command = opening(&mut world, &holder, &card, &ca);
    let Applied::SessionOpened(session) = world.must(command) else { panic!("a session") };

    // The CA revokes the card: its own list counts, and the card's session ends.
    let list = ca.crl(2, world.now, &[502]);
    assert_eq!(load(&mut world, &list, 2, &ca.der), Ok(Applied::CrlActive));
    assert!(world.session(session).closed);
}

#[test]
fn a_ca_that_no_pinned_ca_vouches_for_brings_no_list() {
    let (mut world, _) = World::ready();
    let stranger = Ca::new(AnchorKind::JpkiUserAuthentication, "Trial JPKI CA");
    let below = world.card_ca.under(511, "Sub CA", |_| {});
    let cases = [
        ("of a CA of the same name", stranger.under(512, "Sub CA", |_| {})),
        ("of a CA below an intermediate one", below.under(513, "Sub Sub CA", |_| {})),
        ("of an expired CA", world.card_ca.under(514, "Sub CA", |params| set_validity(params, NOW.minus(9 * DAY), NOW.minus(DAY)))),
        ("of a CA of another policy", world.card_ca.under(515, "Sub CA", |params| params.custom_extensions.clear())),
        (
            "of something that is no CA",
            world.card_ca.under(517, "Sub CA", |params| {
                params.is_ca = rcgen::IsCa::NoCa;
            }),
        ),
    ];
    for (number, (case, ca)) in (1..).zip(cases) {
        let list = ca.crl(number, world.now, &[]);
        let refusal = load(&mut world, &list, number, &ca.der).unwrap_err();
        assert_eq!(refusal.code(), "crl-refused", "{case}: {refusal}");
        assert!(world.store.crls_of(ca.spki()).unwrap().is_empty(), "{case}");
    }
    let list = below.crl(1, world.now, &[]);
    let other = world.card_ca.under(518, "Other Sub CA", |_| {});
    for (case, issuer) in [("another CA's certificate", other.der), ("no certificate", Blob(vec![0x30, 0]))] {
        let refusal = load(&mut world, &list, 1, &issuer).unwrap_err();
        assert_eq!(refusal.code(), "crl-refused", "{case}: {refusal}");
    }
    world.now = world.now.plus(3 * DAY + 1);
    let list = below.crl(1, world.now, &[]);
    let refusal = load(&mut world, &list, 1, &below.der).unwrap_err();
    assert_eq!(refusal.code(), "crl-stale", "whether it is revoked is not known: {refusal}");
}

#[test]
fn what_a_revoked_intermediate_ca_issued_ends_at_once() {
    let (mut world, [holder, _]) = World::ready();
    let ca = world.card_ca.under(521, "Trial JPKI Sub CA", |_| {});
    let card = Card::p384(&ca, 522, |_| {});
    let list = ca.crl(1, world.now, &[]);
    assert_eq!(load(&mut world, &list, 1, &ca.der), Ok(Applied::CrlActive));
    let order = binding(&mut world, &holder, &card, Some(&holder.card), &ca);
    world.must_order(order);
    let command = opening(&mut world, &holder, &card, &ca);
    world.must(command);
    assert!(!world.store.authority_revoked(ca.spki()).unwrap());

    let roots = world.card_ca.crl(2, world.now, &[521]);
    world.must_load_list(&roots, 2);
    assert!(world.store.authority_revoked(ca.spki()).unwrap(), "nodes refuse its cards in open sessions");
    assert!(world.store.crls_of(ca.spki()).unwrap().is_empty());
    let command = opening(&mut world, &holder, &card, &ca);
    world.refuses("a login with its card", "card-refused", command);
    let list = ca.crl(2, world.now, &[]);
    let refusal = load(&mut world, &list, 2, &ca.der).unwrap_err();
    assert_eq!(refusal.code(), "crl-refused", "{refusal}");
    world.must_open(holder.credential, &holder.card);

    // The pinned CA takes it back: its lists count again once one is brought in.
    let roots = world.card_ca.crl(3, world.now, &[]);
    world.must_load_list(&roots, 3);
    assert!(world.store.authority_revoked(ca.spki()).unwrap());
    assert_eq!(load(&mut world, &list, 2, &ca.der), Ok(Applied::CrlActive));
    assert!(!world.store.authority_revoked(ca.spki()).unwrap());
}

#[test]
fn a_holders_certificate_of_an_intermediate_ca_is_installed_while_its_ca_is_good() {
    let (mut world, [holder, _]) = World::generated();
    let ca = world.signing_ca.under(531, "Trial HPKI Sub CA", |_| {});
    let certificate = ca.certify(holder.serial, &world.group_key(holder.credential), &holder.subject, holder.role, |_| {});
    let order = OrderCommand::InstallCertificate { credential: holder.credential, certificate, intermediates: vec![ca.der.clone()] };
    world.refuses_order("without its CA's list", "crl-missing", order.clone());
    let list = ca.crl(1, world.now, &[]);
    assert_eq!(load(&mut world, &list, 1, &ca.der), Ok(Applied::CrlActive));
    let roots = world.signing_ca.crl(2, world.now, &[531]);
    world.must_load_list(&roots, 2);
    world.refuses_order("with its CA revoked", "certificate-refused", order.clone());
    let roots = world.signing_ca.crl(3, world.now, &[]);
    world.must_load_list(&roots, 3);
    assert_eq!(load(&mut world, &list, 1, &ca.der), Ok(Applied::CrlActive));
    world.must_order(order);
}
