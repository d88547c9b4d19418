//! What a revocation leads to when the policy says so.

use warifu_core::describe;
use warifu_core::registry::{DESTROYED_PER_ENTRY_MAX, Registry};
use warifu_protocol::wire::{Applied, CredentialState};
use warifu_protocol::{CredentialChange, CredentialId, Enrolment, OrderCommand, Policy};

use crate::support::{HOUR, Holder, World, bytes16, name};

/// A world in which revoked credentials are destroyed after this many milliseconds, and a physician who may sign in it.
fn with_delay(delay: Option<u64>) -> (World, Holder) {
    let (mut world, [physician, _]) = World::ready();
    set_delay(&mut world, delay);
    (world, physician)
}

fn set_delay(world: &mut World, delay: Option<u64>) {
    let policy = Policy { destroy_after_revocation_millis: delay, ..Policy::default() };
    world.must_order(OrderCommand::UpdatePolicy { policy });
}

/// Something that has nothing to do with it is applied after a while.
fn pass(world: &mut World, millis: u64) {
    world.now = world.now.plus(millis);
    let facility = name(&format!("clinic-{}", world.now.0));
    world.must_order(OrderCommand::EnrolFacility { facility });
}

fn destroyed(world: &World) -> Vec<CredentialId> {
    world.store.destroyed_after(0, 1000).unwrap().into_iter().map(|(_, id)| id).collect()
}

#[test]
fn a_revocation_destroys_at_once_later_or_never_as_the_policy_says() {
    for (delay, waits) in [(None, [0, 400 * 24 * HOUR]), (Some(0), [0, 0]), (Some(2 * HOUR), [2 * HOUR - 1, 1])] {
        let (mut world, physician) = with_delay(delay);
        let credential = physician.credential;
        let session = world.must_open(credential, &physician.card);
        let revoked_at = world.now;
        world.must_order(OrderCommand::Revoke { credential });
        assert!(world.session(session).closed, "{delay:?}");
        let after = |world: &World| (world.credential(credential).state, destroyed(world).len());
        let gone = (CredentialState::Destroyed, 1);
        if delay == Some(0) {
            assert_eq!(after(&world), gone);
            assert_eq!(world.store.history(credential).unwrap().last().unwrap().officers, [name("op-1")], "who revoked it destroyed it");
            continue;
        }
        let at = delay.map(|delay| revoked_at.plus(delay));
        assert_eq!((after(&world), world.credential(credential).destroy_at), ((CredentialState::Revoked, 0), at));
        assert_eq!(world.store.pending_destructions(9).unwrap(), usize::from(delay.is_some()));
        assert_eq!(world.store.pending_bindings(9).unwrap(), 0);
        pass(&mut world, waits[0]);
        assert_eq!(after(&world).0, CredentialState::Revoked, "{delay:?}: not before its time");
        pass(&mut world, waits[1]);
        if delay.is_none() {
            assert_eq!(after(&world), (CredentialState::Revoked, 0), "only by order");
            continue;
        }
        assert_eq!(after(&world), gone);
        let record = world.credential(credential);
        assert!(record.holders.is_empty() && record.authenticators.is_empty() && record.destroy_at.is_none());
        assert_eq!(world.store.credential_of(&record.holder).unwrap(), None, "the holder may have another key");
        assert_eq!(world.store.pending_destructions(9).unwrap(), 0);
        let last = world.store.history(credential).unwrap().pop().unwrap();
        let state = CredentialChange::State { state: CredentialState::Destroyed };
        assert_eq!((last.change, last.order, last.officers.len()), (state, None, 0), "by itself");
    }
}

#[test]
fn the_policy_of_the_revocation_counts_and_an_order_is_quicker() {
    let (mut world, physician) = with_delay(Some(2 * HOUR));
    let credential = physician.credential;
    world.must_order(OrderCommand::Revoke { credential });
    set_delay(&mut world, None);
    world.must_order(OrderCommand::Revoke { credential });
    pass(&mut world, 2 * HOUR);
    assert_eq!(world.credential(credential).state, CredentialState::Destroyed, "a later policy takes nothing back");

    let (mut world, physician) = with_delay(None);
    let credential = physician.credential;
    world.must_order(OrderCommand::Revoke { credential });
    set_delay(&mut world, Some(0));
    world.must_order(OrderCommand::Revoke { credential });
    pass(&mut world, HOUR);
    assert_eq!(world.credential(credential).state, CredentialState::Revoked, "nor does it reach back: that takes an order");
    world.must_order(OrderCommand::Destroy { credential });

    let (mut world, physician) = with_delay(Some(2 * HOUR));
    let credential = physician.credential;
    world.must_order(OrderCommand::Revoke { credential });
    world.must_order(OrderCommand::Destroy { credential });
    assert_eq!(world.store.pending_destructions(9).unwrap(), 0, "nothing is left to come due");
    pass(&mut world, 3 * HOUR);
    assert_eq!(destroyed(&world), [credential], "once is enough");
}

#[test]
fn a_list_of_the_ca_suspends_and_destroys_nothing() {
    let (mut world, physician) = with_delay(Some(0));
    let list = world.signing_ca.crl(7, world.now, &[physician.serial]);
    world.must_load_list(&list, 7);
    pass(&mut world, HOUR);
    assert_eq!(world.credential(physician.credential).state, CredentialState::Suspended);
    assert_eq!(destroyed(&world), []);
}

#[test]
fn many_that_come_due_together_are_destroyed_in_bounded_steps_and_none_is_skipped() {
    const HOLDERS: usize = 150;
    let (mut world, _) = with_delay(Some(HOUR));
    let ids: Vec<CredentialId> = (0..HOLDERS).map(|number| CredentialId::new(bytes16(0xd000 + number as u64))).collect();
    let (_, [template, _]) = World::generated();
    let enrolments = ids.iter().enumerate();
    let enrolments = enrolments.map(|(number, credential)| Enrolment {
        credential: *credential,
        holder: name(&format!("holder-d{number}")),
        ..template.enrolment()
    });
    let Applied::CeremonyStarted(ceremony) = world.must_order(OrderCommand::Enrol { enrolments: enrolments.collect() }) else {
        panic!("no ceremony")
    };
    world.run_ceremony(ceremony);
    for credential in &ids {
        world.must_order(OrderCommand::Revoke { credential: *credential });
    }
    world.now = world.now.plus(HOUR);
    let mut counts = Vec::new();
    while destroyed(&world).len() < HOLDERS {
        let before = destroyed(&world).len();
        pass(&mut world, 1);
        counts.push(destroyed(&world).len() - before);
    }
    assert!(counts.len() > 2 && counts.iter().all(|count| *count < DESTROYED_PER_ENTRY_MAX), "{counts:?}");

    // Whoever goes on from the last index of a page sees every one of them, wherever the page ends.
    for limit in DESTROYED_PER_ENTRY_MAX..DESTROYED_PER_ENTRY_MAX + 5 {
        let (mut through, mut seen) = (0, Vec::new());
        loop {
            let page = world.store.destroyed_after(through, limit).unwrap();
            let Some((last, _)) = page.last() else { break };
            through = *last;
            seen.extend(page.into_iter().map(|(_, id)| id));
        }
        seen.sort();
        assert_eq!(seen, ids, "pages of {limit}");
    }
}

#[test]
fn an_officer_who_may_only_revoke_is_told_what_the_policy_makes_of_it() {
    let mut world = World::founded();
    let mut words = |delay| {
        let policy = Policy { destroy_after_revocation_millis: delay, ..Policy::default() };
        describe::order(&world.order_body(OrderCommand::UpdatePolicy { policy })).join("\n")
    };
    assert!(words(None).contains("destroy_after_revocation_millis none: a revoked key is destroyed only by an order"));
    for delay in [0, HOUR] {
        let text = words(Some(delay));
        assert!(text.contains(&format!("destroy_after_revocation_millis {delay}: WHOEVER MAY REVOKE DESTROYS")), "{text}");
    }
    let too_long = Policy { destroy_after_revocation_millis: Some(367 * 24 * HOUR), ..Policy::default() };
    world.refuses_order("more than a year", "policy-refused", OrderCommand::UpdatePolicy { policy: too_long });
}
