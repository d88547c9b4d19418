//! Stops as a node judges them by itself, before the log has them.

use warifu_core::registry::{StopStanding, check_stop, is_stop_logged};
use warifu_protocol::limits::ORDER_MILLIS_MAX;
use warifu_protocol::{
    Approval, Blob, ClusterId, Command, CredentialId, Order, OrderCommand, SessionClosing, SessionId, StopCommand, closing_message,
};

use crate::support::{HOUR, NOW, Signer, World, name, session_key};

const HELD: Result<StopStanding, String> = Ok(StopStanding::Hold { known: true });
const APPLIED: Result<StopStanding, String> = Ok(StopStanding::Applied);

fn judge(world: &World, stop: &StopCommand) -> Result<StopStanding, String> {
    check_stop(&world.store, world.now, stop).unwrap().map_err(|refusal| refusal.code())
}

fn refused(code: &str) -> Result<StopStanding, String> {
    Err(code.to_owned())
}

#[test]
fn a_stop_is_held_if_its_authors_may_order_it_whatever_is_known_of_its_object() {
    let (mut world, [physician, _]) = World::ready();
    let credential = physician.credential;
    let session = world.must_open(credential, &physician.card);
    for order in [OrderCommand::Suspend { credential }, OrderCommand::Revoke { credential }, OrderCommand::CloseSession { session }] {
        let order = world.order(order);
        assert_eq!(judge(&world, &StopCommand::Order(order)), HELD);
    }
    let closing = SessionClosing { session, signature: session_key().sign(&closing_message(session)) };
    assert_eq!(judge(&world, &StopCommand::SessionClosing(closing)), HELD);
    let strange = OrderCommand::Suspend { credential: CredentialId::new([9; 16]) };
    let strange = world.order(strange);
    assert_eq!(judge(&world, &StopCommand::Order(strange)), Ok(StopStanding::Hold { known: false }), "this node may be behind");
}

#[test]
fn a_stop_that_the_log_would_refuse_is_not_held() {
    type Edit = fn(&mut Order);
    let (mut world, [physician, _]) = World::ready();
    let credential = physician.credential;
    let session = world.must_open(credential, &physician.card);
    fn approve(order: &mut Order, officer: &str, key: &Signer) {
        let signature = key.sign(&order.body.message());
        order.approvals.push(Approval { officer: name(officer), signature });
    }
    let cases: [(&str, &str, &[&str], Edit); 10] = [
        ("nobody's", "approvals-missing", &[], |_| {}),
        ("a stranger's", "officer-unknown", &[], |order| approve(order, "op-9", &Signer::ed25519(0x77))),
        ("with another's key", "signature-invalid", &[], |order| approve(order, "op-1", &Signer::ed25519(0x77))),
        ("a security officer's", "officer-role", &["so-1"], |_| {}),
        ("of one operator twice", "approval-duplicate", &["op-1", "op-1"], |_| {}),
        ("changed", "signature-invalid", &["op-1"], |order| order.body.not_after.0 += 1),
        ("another cluster's", "wrong-cluster", &["op-1"], |order| order.body.cluster = ClusterId::new([9; 32])),
        ("without a signature", "signature-invalid", &["op-1"], |order| order.approvals[0].signature = Blob::default()),
        ("of no stopping kind", "not-stopping", &["op-1", "op-2"], |order| {
            let OrderCommand::Suspend { credential } = order.body.order else { return };
            order.body.order = OrderCommand::Resume { credential };
        }),
        ("of a further kind", "not-stopping", &["op-1"], |order| {
            order.body.order = OrderCommand::EnrolFacility { facility: name("clinic-9") };
        }),
    ];
    for (case, code, officers, edit) in cases {
        let body = world.order_body(OrderCommand::Suspend { credential });
        let mut order = world.approve(body, officers);
        edit(&mut order);
        assert_eq!(judge(&world, &StopCommand::Order(order)), refused(code), "{case}");
    }
    for (case, code, not_after) in
        [("expired", "order-expired", NOW.minus(1)), ("of too long a life", "order-life-too-long", NOW.plus(ORDER_MILLIS_MAX + 1))]
    {
        let mut body = world.order_body(OrderCommand::Suspend { credential });
        body.not_after = not_after;
        let order = world.approve(body, &["op-1"]);
        assert_eq!(judge(&world, &StopCommand::Order(order)), refused(code), "{case}");
    }
    let closing = |session: SessionId, key: &Signer| {
        StopCommand::SessionClosing(SessionClosing { session, signature: key.sign(&closing_message(session)) })
    };
    assert_eq!(judge(&world, &closing(session, &Signer::ed25519(0x77))), refused("signature-invalid"));
    assert_eq!(judge(&world, &closing(SessionId::new([9; 32]), &session_key())), refused("session-unknown"));
}

#[test]
fn an_order_that_was_undone_stays_undone_however_often_it_is_sent() {
    let (mut world, [physician, _]) = World::ready();
    let credential = physician.credential;
    let order = world.order(OrderCommand::Suspend { credential });
    let stop = StopCommand::Order(order.clone());
    assert!(!is_stop_logged(&world.store, &stop).unwrap());
    world.must(Command::Order(order));
    assert!(is_stop_logged(&world.store, &stop).unwrap());
    assert_eq!(judge(&world, &stop), APPLIED);

    let second = world.order(OrderCommand::Suspend { credential });
    let second = StopCommand::Order(second);
    assert_eq!(judge(&world, &second), HELD, "a resume of the first suspension may be on its way");

    world.must_order(OrderCommand::Resume { credential });
    assert_eq!(judge(&world, &stop), refused("order-replayed"));
    world.must_order(OrderCommand::Revoke { credential });
    assert_eq!(judge(&world, &second), APPLIED, "nothing undoes a revocation");
    world.now = world.now.plus(2 * HOUR);
    assert_eq!(judge(&world, &stop), APPLIED, "nor does time");
}

#[test]
fn a_closed_session_needs_no_hold() {
    let (mut world, [physician, _]) = World::ready();
    let session = world.must_open(physician.credential, &physician.card);
    let closing = SessionClosing { session, signature: session_key().sign(&closing_message(session)) };
    world.must(Command::SessionClosed(closing.clone()));
    let order = world.order(OrderCommand::CloseSession { session });
    for stop in [StopCommand::SessionClosing(closing), StopCommand::Order(order)] {
        assert_eq!(judge(&world, &stop), APPLIED);
        assert!(is_stop_logged(&world.store, &stop).unwrap());
    }
}

#[test]
fn the_log_looks_at_who_orders_a_stop_before_it_looks_at_the_object() {
    let mut world = World::equipped();
    let credential = CredentialId::new([9; 16]);
    let body = world.order_body(OrderCommand::Suspend { credential });
    let order = world.approve(body, &[]);
    world.refuses("unapproved, of an unknown credential", "approvals-missing", Command::Order(order));
}
