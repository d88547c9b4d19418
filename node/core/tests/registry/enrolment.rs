//! Which credentials can be created.

use warifu_core::registry::Registry;
use warifu_protocol::limits::CEREMONY_CREDENTIALS_MAX;
use warifu_protocol::wire::{Applied, CredentialState};
use warifu_protocol::{CeremonyId, Command, CredentialId, Enrolment, OrderCommand, SubjectFields};

use crate::support::{HOUR, World, bytes16, name};

fn enrolment(number: u64, holder: &str) -> Enrolment {
    let subject = SubjectFields::new("JP", None, "Jiro Shika", format!("TRIAL-{number}")).unwrap();
    Enrolment { credential: CredentialId::new(bytes16(0x1000 + number)), holder: name(holder), subject }
}

fn enrol(enrolments: Vec<Enrolment>) -> OrderCommand {
    OrderCommand::Enrol { enrolments }
}

#[test]
fn a_batch_is_enrolled_whole_or_not_at_all() {
    let many = |count: usize| (0..count as u64).map(|number| enrolment(number, &format!("holder-{number}"))).collect::<Vec<_>>();
    let mut world = World::founded();
    world.must_order(enrol(vec![enrolment(900, "there-already")]));
    let cases = [
        ("nobody", "too-large", enrol(Vec::new())),
        ("one too many", "too-large", enrol(many(CEREMONY_CREDENTIALS_MAX + 1))),
        ("a credential twice in the batch", "credential-exists", enrol(vec![enrolment(1, "a"), enrolment(1, "b")])),
        ("a credential that exists", "credential-exists", enrol(vec![enrolment(1, "a"), enrolment(900, "b")])),
        ("a holder twice in the batch", "holder-has-credential", enrol(vec![enrolment(1, "a"), enrolment(2, "a")])),
        ("a holder who has one", "holder-has-credential", enrol(vec![enrolment(1, "a"), enrolment(2, "there-already")])),
    ];
    for (case, code, order) in cases {
        world.refuses_order(case, code, order);
    }
    world.must_order(enrol(many(CEREMONY_CREDENTIALS_MAX)));
    let (_, last) = world.store.credentials(None, 1000).unwrap().pop().unwrap();
    assert_eq!(last.state, CredentialState::Generating);
}

#[test]
fn an_enrolment_is_known_by_holder_and_starts_a_ceremony_of_all_nodes() {
    let mut world = World::founded();
    let Applied::CeremonyStarted(ceremony) = world.must_order(enrol(vec![enrolment(1, "a"), enrolment(2, "b")])) else {
        panic!("no ceremony")
    };
    let record = world.store.ceremony(ceremony).unwrap().unwrap();
    assert_eq!(record.credentials, [enrolment(1, "a").credential, enrolment(2, "b").credential]);
    assert_eq!((record.attempt, record.participants.len()), (1, 5));
    assert_eq!(world.store.credential_of(&name("b")).unwrap(), Some(enrolment(2, "b").credential));
    assert_eq!(world.store.open_ceremonies(9).unwrap().len(), 1);
}

#[test]
fn an_order_with_the_id_of_a_forgotten_one_does_not_take_over_its_ceremony() {
    let mut world = World::founded();
    let first = world.order(enrol(vec![enrolment(1, "a")]));
    let id = first.body.id;
    world.must(Command::Order(first));
    let before = world.store.ceremony(CeremonyId::new(*id.as_bytes())).unwrap();
    world.now = world.now.plus(2 * HOUR);
    world.must_order(OrderCommand::EnrolFacility { facility: name("clinic-1") });
    let mut second = world.order_body(enrol(vec![enrolment(2, "b")]));
    second.id = id;
    let second = world.approve(second, &["op-1"]);
    world.refuses("an id of a ceremony", "order-replayed", Command::Order(second));
    assert_eq!(world.store.ceremony(CeremonyId::new(*id.as_bytes())).unwrap(), before);
}
