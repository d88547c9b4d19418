//! A holder's cards over the years: renewed, lost, found, replaced, and two at once.

use warifu_core::registry::{Registry, table};
use warifu_protocol::limits::AUTHENTICATORS_MAX;
use warifu_protocol::wire::CredentialState;
use warifu_protocol::{AuthenticatorKind, CertificateHash, Command, CredentialId, OrderCommand, Policy};

use crate::support::{Card, HOUR, Holder, World, signing_params};

fn suspend(credential: CredentialId, card: &Card) -> OrderCommand {
    OrderCommand::SuspendBinding { credential, card: card.hash() }
}

fn resume(credential: CredentialId, card: &Card) -> OrderCommand {
    OrderCommand::ResumeBinding { credential, card: card.hash() }
}

fn unbind(credential: CredentialId, card: &Card) -> OrderCommand {
    OrderCommand::UnbindAuthenticator { credential, card: card.hash() }
}

fn opens(world: &mut World, holder: &Holder, card: &Card) -> Command {
    let statement = world.statement(holder.credential);
    Command::SessionOpened(world.opening(statement, card))
}

/// Lets time pass, with lists that stay fresh.
fn wait(world: &mut World, millis: u64, number: u64) {
    world.now = world.now.plus(millis);
    world.renew_lists(number);
}

fn delay() -> u64 {
    Policy::default().binding_delay_millis
}

/// A holder with a My Number Card and an HPKI card bound.
fn with_two_cards() -> (World, Holder, Card) {
    let (mut world, [physician, _]) = World::ready();
    let policy = world.hpki_card_ca.policy();
    let subject = physician.subject.clone();
    let named = |params: &mut rcgen::CertificateParams| {
        params.distinguished_name = signing_params(&subject, "Medical Doctor", policy).distinguished_name;
    };
    let second = Card::p384(&world.hpki_card_ca, 81, named).of_kind(AuthenticatorKind::HpkiCard);
    let order = world.binding(physician.credential, &second, Some(&physician.card));
    world.must_order(order);
    (world, physician, second)
}

#[test]
fn a_lost_card_is_suspended_by_one_operator_and_ends_only_its_own_sessions() {
    let (mut world, holder, second) = with_two_cards();
    let lost = world.must_open(holder.credential, &holder.card);
    let kept = world.must_open(holder.credential, &second);
    let body = world.order_body(suspend(holder.credential, &holder.card));
    let order = world.approve(body, &["op-2"]);
    world.must(Command::Order(order));
    assert!(world.session(lost).closed);
    assert!(!world.session(kept).closed, "the other card goes on");
    assert_eq!(world.credential(holder.credential).state, CredentialState::Active);
    let opening = opens(&mut world, &holder, &holder.card);
    world.refuses("a suspended card", "card-suspended", opening);
    world.must_open(holder.credential, &second);

    let third = Card::p384(&world.card_ca, 82, |_| {});
    let order = world.binding(holder.credential, &third, Some(&holder.card));
    world.refuses_order("with a suspended card's word", "card-suspended", order);

    world.must_order(resume(holder.credential, &holder.card));
    world.must_open(holder.credential, &holder.card);
    assert!(world.session(lost).closed, "found again, but its old sessions stay ended");
}

#[test]
fn a_holder_whose_only_card_is_suspended_signs_nothing_until_it_is_found() {
    let (mut world, [holder, _]) = World::ready();
    world.must_order(suspend(holder.credential, &holder.card));
    assert_eq!(world.credential(holder.credential).state, CredentialState::Certified);
    let version = world.credential(holder.credential).version;
    world.must_order(suspend(holder.credential, &holder.card));
    assert_eq!(world.credential(holder.credential).version, version, "a second time changes nothing");
    let opening = opens(&mut world, &holder, &holder.card);
    world.refuses("a suspended card", "card-suspended", opening);
    let body = world.order_body(resume(holder.credential, &holder.card));
    let one = world.approve(body, &["op-1"]);
    world.refuses("resumed by one operator", "approvals-missing", Command::Order(one));
    world.must_order(resume(holder.credential, &holder.card));
    assert_eq!(world.credential(holder.credential).state, CredentialState::Active);
}

#[test]
fn a_card_that_is_not_bound_is_neither_suspended_nor_resumed() {
    let (mut world, [holder, other]) = World::ready();
    let unknown = CredentialId::new([9; 16]);
    for (case, code, order) in [
        ("another holder's card suspended", "card-unbound", suspend(holder.credential, &other.card)),
        ("another holder's card resumed", "card-unbound", resume(holder.credential, &other.card)),
        ("no card", "card-unbound", OrderCommand::SuspendBinding { credential: holder.credential, card: CertificateHash::new([0; 32]) }),
        ("of no credential", "credential-unknown", suspend(unknown, &holder.card)),
        ("resumed of no credential", "credential-unknown", resume(unknown, &holder.card)),
    ] {
        world.refuses_order(case, code, order);
    }
}

#[test]
fn a_stop_that_was_kept_back_still_stops_and_a_resumption_does_not_resume() {
    let (mut world, holder, second) = with_two_cards();
    let body = world.order_body(suspend(holder.credential, &second));
    let stop = world.approve(body, &["op-1"]);
    world.must_order(suspend(holder.credential, &holder.card));
    let body = world.order_body(resume(holder.credential, &holder.card));
    let late = world.approve(body, &["op-1", "op-2"]);
    world.must(Command::Order(stop));
    world.refuses("written before the other stop", "object-version-moved", Command::Order(late));
}

#[test]
fn a_renewed_card_takes_the_place_of_the_old_one_that_agreed_to_it() {
    let (mut world, [holder, _]) = World::ready();
    let renewed = Card::p384(&world.card_ca, 83, |_| {});
    let old_session = world.must_open(holder.credential, &holder.card);
    let order = world.binding(holder.credential, &renewed, Some(&holder.card));
    world.must_order(order);
    let new_session = world.must_open(holder.credential, &renewed);
    world.must_order(unbind(holder.credential, &holder.card));
    assert!(world.session(old_session).closed);
    assert!(!world.session(new_session).closed);
    let opening = opens(&mut world, &holder, &holder.card);
    world.refuses("the old card", "card-unbound", opening);
}

#[test]
fn after_its_cards_are_unbound_a_credential_gets_no_first_card_again() {
    let (mut world, [holder, _]) = World::ready();
    world.must_order(unbind(holder.credential, &holder.card));
    let thief = Card::p384(&world.card_ca, 84, |_| {});
    let order = world.binding(holder.credential, &thief, None);
    world.refuses_order("two operators", "bound-card-needed", order);
    let order = world.binding(holder.credential, &thief, Some(&holder.card));
    world.refuses_order("with the word of a card that was unbound", "card-unbound", order);
    let order = world.binding(holder.credential, &holder.card, None);
    world.refuses_order("even the same card", "bound-card-needed", order);
}

#[test]
fn a_card_without_a_bound_ones_word_needs_both_roles() {
    let (mut world, [holder, _]) = World::ready();
    let card = Card::p384(&world.card_ca, 85, |_| {});
    let order = world.binding_with_notice(holder.credential, &card);
    for (officers, code) in [
        (&["op-1", "op-2"][..], "approvals-missing"),
        (&["so-1", "so-2"], "approvals-missing"),
        (&["op-1", "so-1", "so-2"], "approvals-missing"),
        (&["op-1", "op-2", "so-1"], "approvals-missing"),
        (&["op-1", "op-2", "op-3", "so-1"], "approvals-missing"),
        (&["op-1", "op-2", "so-1", "so-1"], "approval-duplicate"),
        (&[], "approvals-missing"),
    ] {
        let body = world.order_body(order.clone());
        let order = world.approve(body, officers);
        world.refuses(&format!("{officers:?}"), code, Command::Order(order));
    }
    let mut unsigned = order.clone();
    if let OrderCommand::BindWithNotice { card_signature, .. } = &mut unsigned {
        card_signature.0[0] ^= 1;
    }
    world.refuses_order("without the card", "card-signature-invalid", unsigned);
    world.must_order(order);
    assert_eq!(world.store.pending_bindings(10).unwrap(), 1);
}

#[test]
fn a_binding_with_notice_takes_effect_by_itself_and_only_after_the_delay() {
    let (mut world, [holder, other]) = World::ready();
    world.must_order(unbind(holder.credential, &holder.card));
    let card = Card::p384(&world.card_ca, 86, |_| {});
    let order = world.binding_with_notice(holder.credential, &card);
    world.must_order(order);
    let effective_at = world.now.plus(delay());
    let view = world.credential(holder.credential).view(holder.credential, &world.store.store_numbers().expect("a genesis"));
    assert_eq!((view.authenticators.len(), view.pending.len(), view.state), (0, 1, CredentialState::Certified));
    assert_eq!(view.pending[0].effective_at, effective_at);
    let order = world.binding(other.credential, &card, Some(&other.card));
    world.refuses_order("pending elsewhere", "card-bound-already", order);
    let order = world.binding_with_notice(holder.credential, &card);
    world.refuses_order("twice", "card-bound-already", order);

    wait(&mut world, delay() - 1, 2);
    let opening = opens(&mut world, &holder, &card);
    world.refuses("a millisecond early", "card-pending", opening);
    world.now = effective_at;
    world.must_open(holder.credential, &card);
    let record = world.credential(holder.credential);
    assert_eq!((record.authenticators.len(), record.pending.len(), record.state), (1, 0, CredentialState::Active));
    assert_eq!(world.store.pending_bindings(10).unwrap(), 0);
}

#[test]
fn time_alone_makes_it_effective_even_where_the_entry_is_refused() {
    let (mut world, [holder, _]) = World::ready();
    let card = Card::p384(&world.card_ca, 87, |_| {});
    let order = world.binding_with_notice(holder.credential, &card);
    world.must_order(order);
    world.now = world.now.plus(delay());
    let refused = world.order(OrderCommand::Resume { credential: holder.credential });
    assert!(world.apply(Command::Order(refused)).outcome.is_err());
    assert_eq!(world.credential(holder.credential).authenticators.len(), 2);
}

#[test]
fn whatever_stops_the_holder_or_the_card_ends_a_pending_binding() {
    type End = fn(&mut World, &Holder, &Card);
    let cases: [(&str, End); 5] = [
        ("one operator suspends the card", |world, holder, card| {
            let body = world.order_body(suspend(holder.credential, card));
            let order = world.approve(body, &["op-3"]);
            world.must(Command::Order(order));
        }),
        ("unbound", |world, holder, card| {
            world.must_order(unbind(holder.credential, card));
        }),
        ("the credential suspended", |world, holder, _| {
            world.must_order(OrderCommand::Suspend { credential: holder.credential });
        }),
        ("the credential revoked", |world, holder, _| {
            world.must_order(OrderCommand::Revoke { credential: holder.credential });
        }),
        ("the card revoked by its CA", |world, _, card| {
            let der = world.card_ca.crl(2, world.now, &[card.serial]);
            world.must_load_list(&der, 2);
        }),
    ];
    for (case, end) in cases {
        let (mut world, [holder, _]) = World::ready();
        let card = Card::p384(&world.card_ca, 88, |_| {});
        let order = world.binding_with_notice(holder.credential, &card);
        world.must_order(order);
        end(&mut world, &holder, &card);
        assert_eq!(world.store.pending_bindings(10).unwrap(), 0, "{case}");
        assert!(world.credential(holder.credential).pending.is_empty(), "{case}");
        assert!(!world.store.0.keys().any(|key| key[0] == table::DUE), "{case}");
        wait(&mut world, delay() + HOUR, 5);
        let bound: Vec<_> = world.credential(holder.credential).authenticators.iter().map(|bound| bound.card).collect();
        assert_eq!(bound, [holder.card.hash()], "{case}");
    }
}

#[test]
fn pending_cards_count_against_the_bound() {
    let (mut world, [holder, _]) = World::ready();
    for number in 1..AUTHENTICATORS_MAX as u64 {
        let card = Card::p384(&world.card_ca, 900 + number, |_| {});
        let order = world.binding_with_notice(holder.credential, &card);
        world.must_order(order);
    }
    let card = Card::p384(&world.card_ca, 950, |_| {});
    let order = world.binding_with_notice(holder.credential, &card);
    world.refuses_order("one more", "too-large", order);
    let order = world.binding(holder.credential, &card, Some(&holder.card));
    world.refuses_order("one more with a word", "too-large", order);
}
