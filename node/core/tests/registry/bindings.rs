//! Which cards are bound to whom.

use warifu_core::registry::Registry;
use warifu_protocol::limits::AUTHENTICATORS_MAX;
use warifu_protocol::wire::CredentialState;
use warifu_protocol::{AuthenticatorKind, Blob, BoundCardApproval, ClusterId, Command, OrderCommand, SubjectFields};

use crate::support::{Ca, Card, DAY, NOW, World, set_validity, signing_params};

type Edit<'a> = &'a dyn Fn(&mut OrderCommand);

/// The fields of a binding order, to be changed.
macro_rules! bind {
    ($order:expr, $($field:ident),+) => {
        let OrderCommand::BindAuthenticator { $($field),+, .. } = $order else { panic!("a binding") };
    };
}

fn hpki_card(world: &World, serial: u64, subject: &SubjectFields) -> Card {
    let policy = world.hpki_card_ca.policy();
    let named = |params: &mut rcgen::CertificateParams| {
        params.distinguished_name = signing_params(subject, "Dentist", policy).distinguished_name;
    };
    Card::p384(&world.hpki_card_ca, serial, named).of_kind(AuthenticatorKind::HpkiCard)
}

#[test]
fn a_card_is_bound_only_with_its_own_signature_over_this_binding() {
    let (mut world, [physician, pharmacist]) = World::certified();
    let other = &pharmacist.card;
    let mut refuses = |case: &str, code: &str, edit: Edit<'_>| {
        let mut order = world.binding(physician.credential, &physician.card, None);
        edit(&mut order);
        world.refuses_order(case, code, order);
    };
    refuses("without a signature", "card-signature-invalid", &|order| {
        bind!(order, card_signature);
        *card_signature = Blob::default();
    });
    refuses("with another card's signature", "card-signature-invalid", &|order| {
        bind!(order, card_signature, binding);
        *card_signature = other.sign(&binding.message());
    });
    refuses("with a SHA-1 signature", "card-signature-invalid", &|order| {
        bind!(order, card_signature, binding);
        *card_signature = physician.card.sign_sha1(&binding.message());
    });
    refuses("with a signature that is too large", "too-large", &|order| {
        bind!(order, card_signature);
        *card_signature = Blob(vec![1; 513]);
    });
    refuses("with the signature for another credential", "card-signature-invalid", &|order| {
        bind!(order, binding);
        binding.credential = pharmacist.credential;
    });
    refuses("with a signature for another cluster", "wrong-cluster", &|order| {
        bind!(order, binding, card_signature);
        binding.cluster = ClusterId::new([9; 32]);
        *card_signature = physician.card.sign(&binding.message());
    });
    refuses("naming another card than it brings", "card-refused", &|order| {
        bind!(order, binding, card_signature);
        binding.card = other.hash();
        *card_signature = physician.card.sign(&binding.message());
    });
    refuses("bringing another card than it names", "card-signature-invalid", &|order| {
        bind!(order, certificate);
        *certificate = other.der.clone();
    });
    refuses("as a card of another kind", "card-refused", &|order| {
        bind!(order, binding, card_signature);
        binding.kind = AuthenticatorKind::HpkiCard;
        *card_signature = physician.card.sign(&binding.message());
    });
    refuses("with no certificate", "card-refused", &|order| {
        bind!(order, certificate);
        *certificate = Blob::default();
    });
    assert!(world.credential(physician.credential).authenticators.is_empty());
}

#[test]
fn two_operators_bind_a_card() {
    let (mut world, [physician, _]) = World::certified();
    let order = world.binding(physician.credential, &physician.card, None);
    for officers in [&["op-1"][..], &["op-2"], &["op-1", "op-1"], &["op-1", "so-1"]] {
        let body = world.order_body(order.clone());
        let code = match officers {
            [_] => "approvals-missing",
            [_, "so-1"] => "officer-role",
            _ => "approval-duplicate",
        };
        let order = world.approve(body, officers);
        world.refuses(&format!("{officers:?}"), code, Command::Order(order));
    }
    let body = world.order_body(order);
    let order = world.approve(body, &["op-3", "op-2"]);
    world.must(Command::Order(order));
}

#[test]
fn a_card_that_its_ca_no_longer_vouches_for_is_not_bound() {
    let (mut world, [physician, _]) = World::certified();
    let expired = Card::p384(&world.card_ca, 31, |params| set_validity(params, NOW.minus(9 * DAY), NOW.minus(DAY)));
    let unpinned = Ca::new(warifu_protocol::AnchorKind::JpkiUserAuthentication, "Trial JPKI CA");
    let forged = Card::p384(&unpinned, 32, |_| {});
    for (case, card) in [("expired", &expired), ("of a CA that is not pinned", &forged)] {
        let order = world.binding(physician.credential, card, None);
        world.refuses_order(case, "card-refused", order);
    }
    let der = world.card_ca.crl(2, world.now, &[physician.card.serial]);
    world.must_load_list(&der, 2);
    let order = world.binding(physician.credential, &physician.card, None);
    world.refuses_order("revoked", "card-revoked", order.clone());
    world.now = world.now.plus(3 * DAY + 1);
    world.refuses_order("on a stale list", "card-revoked", order);
    let good = Card::p384(&world.card_ca, 33, |_| {});
    let order = world.binding(physician.credential, &good, None);
    world.refuses_order("with a stale list", "crl-stale", order);
}

#[test]
fn a_card_belongs_to_one_credential() {
    let (mut world, [physician, pharmacist]) = World::ready();
    let bound = &physician.card;
    let order = world.binding(pharmacist.credential, bound, Some(&pharmacist.card));
    world.refuses_order("bound elsewhere", "card-bound-already", order);
    let order = world.binding(physician.credential, bound, Some(bound));
    world.refuses_order("bound here", "card-bound-already", order);

    world.must_order(OrderCommand::UnbindAuthenticator { credential: physician.credential, card: bound.hash() });
    assert_eq!(world.credential(physician.credential).state, CredentialState::Certified);
    world.refuses_order(
        "unbound twice",
        "card-unbound",
        OrderCommand::UnbindAuthenticator { credential: physician.credential, card: bound.hash() },
    );
    let order = world.binding(pharmacist.credential, bound, Some(&pharmacist.card));
    world.must_order(order);
}

#[test]
fn a_further_card_needs_the_signature_of_a_bound_one() {
    let (mut world, [physician, pharmacist]) = World::ready();
    let second = Card::p384(&world.card_ca, 41, |_| {});
    let stolen = Card::p384(&world.card_ca, 42, |_| {});
    let order = world.binding(physician.credential, &second, None);
    world.refuses_order("nobody's", "bound-card-needed", order);
    for (case, approver) in [("its own", &second), ("another holder's", &pharmacist.card), ("an unbound card's", &stolen)] {
        let order = world.binding(physician.credential, &second, Some(approver));
        world.refuses_order(case, "card-unbound", order);
    }
    let mut order = world.binding(physician.credential, &second, Some(&physician.card));
    bind!(&mut order, bound_card, card_signature);
    *bound_card = Some(BoundCardApproval { certificate: physician.card.der.clone(), signature: card_signature.clone() });
    world.refuses_order("another card's in its name", "card-signature-invalid", order);
    let order = world.binding(physician.credential, &second, Some(&physician.card));
    let body = world.order_body(order.clone());
    let one = world.approve(body, &["op-1"]);
    world.refuses("one operator", "approvals-missing", Command::Order(one));
    world.must_order(order);

    for serial in 43.. {
        let card = Card::p384(&world.card_ca, serial, |_| {});
        let order = world.binding(physician.credential, &card, Some(&second));
        if world.credential(physician.credential).authenticators.len() == AUTHENTICATORS_MAX {
            world.refuses_order("one card more", "too-large", order);
            break;
        }
        world.must_order(order);
    }
}

#[test]
fn a_bound_card_that_was_revoked_or_has_ended_brings_no_further_card() {
    let (mut world, [physician, _]) = World::ready();
    let second = Card::p384(&world.card_ca, 51, |params| set_validity(params, NOW.minus(DAY), NOW.plus(DAY)));
    let order = world.binding(physician.credential, &second, Some(&physician.card));
    world.must_order(order);
    let der = world.card_ca.crl(2, world.now, &[physician.card.serial]);
    world.must_load_list(&der, 2);
    let third = Card::p384(&world.card_ca, 52, |_| {});
    let order = world.binding(physician.credential, &third, Some(&physician.card));
    world.refuses_order("a stolen card's", "card-revoked", order);
    world.now = world.now.plus(DAY + 1000);
    let order = world.binding(physician.credential, &third, Some(&second));
    world.refuses_order("an expired card's", "card-refused", order);
}

#[test]
fn an_hpki_card_is_bound_to_its_own_subject_only() {
    let (mut world, [physician, pharmacist]) = World::certified();
    let card = hpki_card(&world, 61, &pharmacist.subject);
    let order = world.binding(physician.credential, &card, None);
    world.refuses_order("another person's", "card-subject-mismatch", order);
    let nameless = Card::p384(&world.hpki_card_ca, 62, |_| {}).of_kind(AuthenticatorKind::HpkiCard);
    let order = world.binding(physician.credential, &nameless, None);
    world.refuses_order("nobody's", "card-subject-mismatch", order);
    let own = hpki_card(&world, 63, &physician.subject);
    let order = world.binding(physician.credential, &own, None);
    world.must_order(order);
    let session = world.must_open(physician.credential, &own);
    assert!(world.store.session(session).unwrap().is_some());
}
