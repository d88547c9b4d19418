//! Who may order what, when and how often.

use warifu_core::registry::Registry;
use warifu_protocol::limits::{APPROVALS_MAX, ORDER_MILLIS_MAX};
use warifu_protocol::{Approval, Blob, ClusterId, Command, ObjectVersion, Order, OrderBody, OrderCommand, OrderId};

use crate::support::{DESK, HOUR, NOW, Signer, World, bytes16, name};

fn facility(text: &str) -> OrderCommand {
    OrderCommand::EnrolFacility { facility: name(text) }
}

#[test]
fn an_order_is_bound_to_its_cluster_its_time_and_its_object() {
    type Edit = fn(&mut OrderBody);
    let cases: [(&str, &str, Edit); 5] = [
        ("another cluster's", "wrong-cluster", |body| body.cluster = ClusterId::new([9; 32])),
        ("past its end", "order-expired", |body| body.not_after = NOW.plus(HOUR - 1)),
        ("of too long a life", "order-life-too-long", |body| body.not_after = NOW.plus(HOUR + ORDER_MILLIS_MAX + 1)),
        ("for a version that is not there", "object-version-moved", |body| body.object_version = ObjectVersion(1)),
        ("of an id in use", "order-replayed", |body| body.id = OrderId::new(bytes16(0xfeed))),
    ];
    let mut world = World::founded();
    let mut used = world.order_body(facility("clinic-0"));
    used.id = OrderId::new(bytes16(0xfeed));
    let used = world.approve(used, &["op-1"]);
    world.must(Command::Order(used));
    world.now = NOW.plus(HOUR);
    for (case, code, edit) in cases {
        let mut body = world.order_body(facility("clinic-1"));
        edit(&mut body);
        let order = world.approve(body, &["op-1"]);
        world.refuses(case, code, Command::Order(order));
    }
    let mut last = world.order_body(facility("clinic-1"));
    last.not_after = world.now.plus(ORDER_MILLIS_MAX);
    let last = world.approve(last, &["op-1"]);
    world.must(Command::Order(last));
}

#[test]
fn an_order_is_applied_once_even_after_its_record_was_cleared() {
    let mut world = World::founded();
    let order = world.order(facility("clinic-1"));
    world.must(Command::Order(order.clone()));
    world.refuses("again", "order-replayed", Command::Order(order.clone()));
    world.now = world.now.plus(2 * HOUR);
    world.must_order(facility("clinic-2"));
    world.refuses("after its record is gone", "order-expired", Command::Order(order));
}

#[test]
fn an_entry_with_an_old_time_does_not_bring_an_order_back() {
    let mut world = World::founded();
    let order = world.order(facility("clinic-1"));
    world.now = NOW.plus(2 * HOUR);
    world.must_order(facility("clinic-2"));
    world.now = NOW;
    world.refuses("the leader's clock went back", "order-expired", Command::Order(order));
    assert_eq!(world.store.time().unwrap(), NOW.plus(2 * HOUR));
}

#[test]
fn approvals_are_checked_one_by_one() {
    let stranger = Signer::ed25519(0x77);
    let approve = |order: &mut Order, officer: &str, key: &Signer| {
        let signature = key.sign(&order.body.message());
        order.approvals.push(Approval { officer: name(officer), signature });
    };
    let mut world = World::founded();
    let mut refuses = |case: &str, code: &str, officers: &[&str], edit: &dyn Fn(&mut Order)| {
        let body = world.order_body(facility("clinic-1"));
        let mut order = world.approve(body, officers);
        edit(&mut order);
        world.refuses(case, code, Command::Order(order));
    };
    refuses("nobody", "approvals-missing", &[], &|_| {});
    refuses("of a person without an office", "officer-unknown", &["op-1"], &|order| approve(order, "op-9", &stranger));
    refuses("of a security officer alone", "officer-role", &["so-1"], &|_| {});
    refuses("of a security officer beside an operator", "officer-role", &["op-1", "so-1"], &|_| {});
    refuses("of one operator twice", "approval-duplicate", &["op-1", "op-1"], &|_| {});
    refuses("with another's key", "signature-invalid", &[], &|order| approve(order, "op-1", &stranger));
    refuses("one good, one bad", "signature-invalid", &["op-1"], &|order| approve(order, "op-2", &stranger));
    refuses("for another body", "signature-invalid", &["op-1"], &|order| order.body.order = facility("clinic-2"));
    refuses("for a later end", "signature-invalid", &["op-1"], &|order| order.body.not_after.0 += 1);
    refuses("for another id", "signature-invalid", &["op-1"], &|order| order.body.id = OrderId::new([8; 16]));
    refuses("in another's name", "signature-invalid", &["op-1"], &|order| order.approvals[0].officer = name("op-2"));
    refuses("an empty signature", "signature-invalid", &["op-2"], &|order| order.approvals[0].signature = Blob::default());
    refuses("more than are read", "too-large", &["op-1"; APPROVALS_MAX + 1], &|_| {});
    for officer in ["op-1", "op-2", "op-3"] {
        let body = world.order_body(facility(officer));
        let order = world.approve(body, &[officer]);
        world.must(Command::Order(order));
    }
}

#[test]
fn a_class_that_needs_two_operators_is_not_content_with_one() {
    let (mut world, [physician, _]) = World::ready();
    world.must_order(OrderCommand::Suspend { credential: physician.credential });
    let card = physician.card.hash();
    let orders = [
        OrderCommand::Resume { credential: physician.credential },
        OrderCommand::UnbindAuthenticator { credential: physician.credential, card },
    ];
    for order in orders {
        let body = world.order_body(order);
        let order = world.approve(body, &["op-3"]);
        world.refuses("one operator", "approvals-missing", Command::Order(order));
    }
}

#[test]
fn an_order_that_was_withheld_does_not_undo_a_later_one() {
    let (mut world, [physician, _]) = World::ready();
    let credential = physician.credential;
    world.must_order(OrderCommand::Suspend { credential });
    let withheld = world.order(OrderCommand::Resume { credential });
    world.must_order(OrderCommand::Resume { credential });
    world.must_order(OrderCommand::Suspend { credential });
    world.refuses("resume of an earlier suspension", "object-version-moved", Command::Order(withheld));

    // A stop is not made useless by a change that comes before it.
    let stop = world.order(OrderCommand::Revoke { credential });
    world.must_order(OrderCommand::Resume { credential });
    world.must(Command::Order(stop));
}

#[test]
fn facilities_and_terminals_are_enrolled_once_and_with_keys_that_terminals_have() {
    let mut world = World::equipped();
    let terminal = warifu_protocol::TerminalId::new([0xd9; 16]);
    let key = Signer::ed25519(0xd9).public();
    let enrol = |terminal, facility: &str, key| OrderCommand::EnrolTerminal { terminal, facility: name(facility), key };
    let cases = [
        ("facility again", "facility-exists", facility("clinic-1")),
        ("terminal again", "terminal-exists", enrol(DESK, "clinic-1", key)),
        ("at no facility", "facility-unknown", enrol(terminal, "clinic-9", key)),
        ("with a P-384 key", "key-algorithm", enrol(terminal, "clinic-1", Signer::p384().public())),
        ("retire an unknown one", "terminal-unknown", OrderCommand::RetireTerminal { terminal }),
        ("close an unknown session", "session-unknown", OrderCommand::CloseSession { session: warifu_protocol::SessionId::new([1; 32]) }),
    ];
    for (case, code, order) in cases {
        world.refuses_order(case, code, order);
    }
    world.must_order(enrol(terminal, "clinic-1", Signer::p256().public()));
}

#[test]
fn an_unknown_credential_cannot_be_ordered_about() {
    let mut world = World::equipped();
    let credential = warifu_protocol::CredentialId::new([9; 16]);
    let orders = [
        OrderCommand::InstallCertificate { credential, certificate: Blob(vec![1]), intermediates: Vec::new() },
        OrderCommand::UnbindAuthenticator { credential, card: warifu_protocol::CertificateHash::new([1; 32]) },
        OrderCommand::Suspend { credential },
        OrderCommand::Resume { credential },
        OrderCommand::Revoke { credential },
    ];
    for order in orders {
        world.refuses_order("unknown", "credential-unknown", order);
    }
}
