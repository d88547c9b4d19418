//! What may be done with a credential in each of its states.

use warifu_core::registry::{HISTORY_MAX, Registry};
use warifu_protocol::wire::Applied;
use warifu_protocol::wire::CredentialState::{self, Active, Certified, Generated, Generating, Revoked, Suspended};
use warifu_protocol::{Command, CredentialChange, CredentialId, Enrolment, OrderCommand};

use crate::support::{Card, Holder, World, bytes16, name};

/// A world in which the physician's credential is in this state.
fn in_state(state: CredentialState) -> (World, Holder) {
    if state == Generating {
        let (mut world, [mut physician, _]) = World::generated();
        physician.credential = CredentialId::new(bytes16(0xbaba));
        let enrolment = Enrolment { holder: name("unborn"), ..physician.enrolment() };
        world.must_order(OrderCommand::Enrol { enrolments: vec![enrolment] });
        return (world, physician);
    }
    let (mut world, [physician, _]) = match state {
        Generated => World::generated(),
        Certified => World::certified(),
        _ => World::ready(),
    };
    let credential = physician.credential;
    match state {
        Suspended => assert_eq!(world.must_order(OrderCommand::Suspend { credential }), Applied::Done),
        Revoked => assert_eq!(world.must_order(OrderCommand::Revoke { credential }), Applied::Done),
        _ => {}
    }
    assert_eq!(world.credential(credential).state, state);
    (world, physician)
}

#[test]
fn each_state_allows_what_the_table_says() {
    type Make = fn(CredentialId) -> OrderCommand;
    let suspend: Make = |credential| OrderCommand::Suspend { credential };
    let resume: Make = |credential| OrderCommand::Resume { credential };
    let revoke: Make = |credential| OrderCommand::Revoke { credential };
    let refused = Err("credential-state");
    // Suspending and revoking twice is what a careful officer does: it is no error and changes nothing.
    let table = [
        (Generating, [refused, refused, refused]),
        (Generated, [refused, refused, Ok(Revoked)]),
        (Certified, [Ok(Suspended), refused, Ok(Revoked)]),
        (Active, [Ok(Suspended), refused, Ok(Revoked)]),
        (Suspended, [Ok(Suspended), Ok(Active), Ok(Revoked)]),
        (Revoked, [refused, refused, Ok(Revoked)]),
    ];
    for (state, row) in table {
        for ((what, make), expected) in [("suspend", suspend), ("resume", resume), ("revoke", revoke)].into_iter().zip(row) {
            let (mut world, holder) = in_state(state);
            let case = format!("{what} when {state}");
            let order = make(holder.credential);
            match expected {
                Ok(next) => {
                    let before = world.credential(holder.credential);
                    world.must_order(order);
                    let after = world.credential(holder.credential);
                    assert_eq!(after.state, next, "{case}");
                    assert_eq!(after.version.0 - before.version.0, u64::from(state != next), "{case}");
                }
                Err(code) => {
                    world.refuses_order(&case, code, order);
                }
            }
        }
    }
}

#[test]
fn cards_are_bound_and_certificates_installed_only_in_the_states_for_it() {
    for (state, may_install, may_bind) in [
        (Generating, false, false),
        (Generated, true, false),
        (Certified, true, true),
        (Active, true, true),
        (Suspended, true, false),
        (Revoked, false, false),
    ] {
        let (mut world, holder) = in_state(state);
        let card = Card::p384(&world.card_ca, 71, |_| {});
        let bound = (state == Active).then_some(&holder.card);
        let order = world.binding(holder.credential, &card, bound);
        if may_bind {
            world.must_order(order);
        } else {
            world.refuses_order(&format!("bind when {state}"), "credential-state", order);
        }
        if state == Generating {
            continue;
        }
        let order = world.installation(&Holder { serial: 2009, ..holder }, |_| {});
        if may_install {
            world.must_order(order);
        } else {
            world.refuses_order(&format!("install when {state}"), "credential-state", order);
        }
    }
}

#[test]
fn a_suspension_returns_to_the_state_before_it_even_when_that_has_changed_meanwhile() {
    let (mut world, holder) = in_state(Certified);
    let credential = holder.credential;
    world.must_order(OrderCommand::Suspend { credential });
    world.must_order(OrderCommand::Resume { credential });
    assert_eq!(world.credential(credential).state, Certified);

    let (mut world, holder) = in_state(Suspended);
    let credential = holder.credential;
    let order = world.installation(&Holder { serial: 2009, ..holder }, |_| {});
    world.must_order(order);
    let suspended = world.credential(credential);
    assert_eq!(suspended.state, Suspended, "a new certificate does not end an officer's suspension");
    world.must_order(OrderCommand::UnbindAuthenticator { credential, card: suspended.authenticators[0].card });
    world.must_order(OrderCommand::Resume { credential });
    assert_eq!(world.credential(credential).state, Certified, "its only card was unbound");
}

#[test]
fn suspension_and_revocation_end_every_session_of_the_credential_and_no_other() {
    for make in [
        |credential| OrderCommand::Suspend { credential },
        (|credential| OrderCommand::Revoke { credential }) as fn(CredentialId) -> OrderCommand,
    ] {
        let (mut world, [physician, pharmacist]) = World::ready();
        let sessions = [(); 2].map(|()| world.must_open(physician.credential, &physician.card));
        let other = world.must_open(pharmacist.credential, &pharmacist.card);
        world.must_order(make(physician.credential));
        assert!(sessions.iter().all(|session| world.session(*session).closed));
        assert!(!world.session(other).closed);
    }
}

#[test]
fn unbinding_a_card_ends_the_sessions_that_it_opened() {
    let (mut world, [physician, _]) = World::ready();
    let second = Card::p384(&world.card_ca, 81, |_| {});
    let order = world.binding(physician.credential, &second, Some(&physician.card));
    world.must_order(order);
    let first_session = world.must_open(physician.credential, &physician.card);
    let second_session = world.must_open(physician.credential, &second);
    world.must_order(OrderCommand::UnbindAuthenticator { credential: physician.credential, card: second.hash() });
    assert!(world.session(second_session).closed);
    assert!(!world.session(first_session).closed);
    assert_eq!(world.store.credential(physician.credential).unwrap().unwrap().state, Active);
}

#[test]
fn the_life_of_a_credential_can_be_told_from_its_history() {
    let (mut world, [physician, _]) = World::ready();
    let credential = physician.credential;
    world.must_order(OrderCommand::Suspend { credential });
    world.must_order(OrderCommand::Suspend { credential });
    let refused = world.order(OrderCommand::Resume { credential: CredentialId::new(bytes16(0xbeef)) });
    world.apply(Command::Order(refused)).outcome.unwrap_err();
    let resume = world.order(OrderCommand::Resume { credential });
    world.must(Command::Order(resume.clone()));
    world.must_order(OrderCommand::Revoke { credential });
    let history = world.store.history(credential).unwrap();
    let record = world.credential(credential);
    let said: Vec<CredentialChange> = history.iter().map(|event| event.change.clone()).collect();
    let state = |state| CredentialChange::State { state };
    let bound = record.authenticators.first().unwrap();
    let expected = vec![
        CredentialChange::Enrolled,
        CredentialChange::KeyMade { ceremony: record.ceremony, holders: record.holders.iter().map(|holding| holding.node).collect() },
        CredentialChange::Certified { certificate: record.certificate.as_ref().unwrap().hash },
        CredentialChange::Bound { card: bound.card, kind: bound.kind },
        state(Suspended),
        state(Active),
        state(Revoked),
    ];
    assert_eq!(said, expected, "the second suspension and the refused order changed nothing");
    assert!(history.is_sorted_by_key(|event| (event.at, event.index)));
    let resumed = history.iter().find(|event| event.change == state(Active)).unwrap();
    let officers: Vec<_> = resume.approvals.iter().map(|approval| approval.officer.clone()).collect();
    assert_eq!((resumed.order, &resumed.officers), (Some(resume.body.id), &officers));
    assert_eq!((history[1].order, history[1].officers.len()), (None, 0), "the sites made the key");

    // A long life keeps its beginning and its end.
    let (mut world, [physician, _]) = World::ready();
    let credential = physician.credential;
    let beginning = world.store.history(credential).unwrap();
    for _ in 0..HISTORY_MAX {
        world.must_order(OrderCommand::Suspend { credential });
        world.must_order(OrderCommand::Resume { credential });
    }
    let history = world.store.history(credential).unwrap();
    assert_eq!(history.len(), HISTORY_MAX);
    assert_eq!(history[..beginning.len()], beginning);
    assert_eq!(history.last().unwrap().change, state(Active));
}

#[test]
fn a_destroyed_credential_leaves_a_record_and_frees_its_holder_and_cards() {
    let (mut world, [physician, _]) = World::ready();
    let credential = physician.credential;
    let session = world.must_open(credential, &physician.card);
    let body = world.order_body(OrderCommand::Destroy { credential });
    for (case, code, officers) in [
        ("nobody's", "approvals-missing", &[][..]),
        ("one security officer's", "approvals-missing", &["so-1"]),
        ("operators'", "officer-role", &["op-1", "op-2"]),
    ] {
        let order = world.approve(body.clone(), officers);
        world.refuses(case, code, Command::Order(order));
    }
    world.must_order(OrderCommand::Destroy { credential });
    let record = world.credential(credential);
    assert_eq!(record.state, CredentialState::Destroyed);
    assert!(record.holders.is_empty() && record.authenticators.is_empty() && record.key.is_some());
    assert!(world.session(session).closed);
    assert_eq!(world.store.credential_of(&record.holder).unwrap(), None);
    assert_eq!(world.store.destroyed_after(0, 9).unwrap().iter().map(|(_, id)| *id).collect::<Vec<_>>(), [credential]);
    world.must_order(OrderCommand::Destroy { credential });
    assert_eq!(world.store.destroyed_after(0, 9).unwrap().len(), 1, "once is enough");
    for order in [OrderCommand::Resume { credential }, OrderCommand::Suspend { credential }, OrderCommand::Revoke { credential }] {
        world.refuses_order("of a destroyed one", "credential-state", order);
    }
    let again = Enrolment { credential: CredentialId::new(bytes16(0xbeef)), ..physician.enrolment() };
    world.must_order(OrderCommand::Enrol { enrolments: vec![again] });
    world.refuses_order(
        "a key that is being made",
        "credential-state",
        OrderCommand::Destroy { credential: CredentialId::new(bytes16(0xbeef)) },
    );
}
