//! Which certificates are installed.

use rcgen::{CertificateParams, KeyUsagePurpose};
use warifu_core::registry::{Registry, table};
use warifu_protocol::limits::INTERMEDIATES_MAX;
use warifu_protocol::wire::CredentialState;
use warifu_protocol::{
    AnchorKind, Blob, Command, CredentialChange, CredentialEvent, CredentialId, OrderCommand, SubjectFields, UnixMillis,
};

use crate::support::{Ca, Card, DAY, HOUR, Holder, NOW, World, name, policies, reload, set_validity};

fn install(holder: &Holder, certificate: Blob) -> OrderCommand {
    OrderCommand::InstallCertificate { credential: holder.credential, certificate, intermediates: Vec::new() }
}

#[test]
fn only_the_holders_own_valid_signing_certificate_is_installed() {
    let (mut world, [physician, pharmacist]) = World::generated();
    let stranger = Ca::new(AnchorKind::HpkiSigning, "Trial HPKI Signing CA");
    let key = world.group_key(physician.credential);
    let other_key = world.group_key(pharmacist.credential);
    let issue = |ca: &Ca, key: &[u8; 32], subject: &SubjectFields, edit: fn(&mut CertificateParams)| {
        install(&physician, ca.certify(2001, key, subject, physician.role, edit))
    };
    let subject = &physician.subject;
    let ca = &world.signing_ca;
    let cases = [
        ("for another key", issue(ca, &other_key, subject, |_| {})),
        ("for another subject", issue(ca, &key, &pharmacist.subject, |_| {})),
        ("without hcRole", issue(ca, &key, subject, |params| params.custom_extensions.truncate(1))),
        ("for authentication", issue(ca, &key, subject, |params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature])),
        ("for more than signing", issue(ca, &key, subject, |params| params.key_usages.push(KeyUsagePurpose::DigitalSignature))),
        ("without usage", issue(ca, &key, subject, |params| params.key_usages.clear())),
        ("under another policy", issue(ca, &key, subject, |params| params.custom_extensions[0] = policies("1.2.3.4"))),
        ("by a CA of the same name", issue(&stranger, &key, subject, |_| {})),
        ("by the CA of cards", issue(&world.hpki_card_ca, &key, subject, |_| {})),
        ("past its end", issue(ca, &key, subject, |params| set_validity(params, NOW.minus(9 * DAY), NOW.minus(DAY)))),
        ("before its time", issue(ca, &key, subject, |params| set_validity(params, NOW.plus(DAY), NOW.plus(9 * DAY)))),
        ("no certificate", install(&physician, Blob(vec![0x30, 0]))),
    ];
    for (case, order) in cases {
        world.refuses_order(case, "certificate-refused", order);
    }
    let good = world.installation(&physician, |_| {});
    let OrderCommand::InstallCertificate { certificate, .. } = &good else { panic!("an installation") };
    let intermediates = vec![world.signing_ca.der.clone(); INTERMEDIATES_MAX + 1];
    let crowded = OrderCommand::InstallCertificate { credential: physician.credential, certificate: certificate.clone(), intermediates };
    world.refuses_order("with too many intermediates", "too-large", crowded);
    world.must_order(good);
    let record = world.credential(physician.credential);
    assert_eq!((record.state, record.certificate.unwrap().roles), (CredentialState::Certified, vec!["Medical Doctor".to_owned()]));
}

#[test]
fn a_certificate_is_not_installed_before_there_is_a_key() {
    let (mut world, [physician, _]) = World::generated();
    let certificate = world.signing_ca.certify(2001, &world.group_key(physician.credential), &physician.subject, "Dentist", |_| {});
    let mut unborn = physician.enrolment();
    unborn.credential = CredentialId::new([0x55; 16]);
    unborn.holder = name("unborn");
    world.must_order(OrderCommand::Enrol { enrolments: vec![unborn.clone()] });
    let order = OrderCommand::InstallCertificate { credential: unborn.credential, certificate, intermediates: Vec::new() };
    world.refuses_order("generating", "credential-state", order);
}

#[test]
fn an_installation_waits_for_a_fresh_list_and_obeys_it() {
    let (mut world, [physician, _]) = World::generated();
    let good = world.installation(&physician, |_| {});

    // A cluster that has loaded no list.
    let lists = [table::CRL, table::CRL_ENTRY];
    let mut without = world.store.clone();
    without.0.retain(|key, _| !lists.contains(&key[0]));
    let with = std::mem::replace(&mut world.store, reload(&without));
    world.refuses_order("no list", "crl-missing", good.clone());
    world.store = with;

    let der = world.signing_ca.crl(2, world.now, &[physician.serial, 7]);
    world.must_load_list(&der, 2);
    world.refuses_order("revoked", "certificate-revoked", good);
    let other = Holder { serial: 4711, ..physician };
    let order = world.installation(&other, |_| {});
    world.now = world.now.plus(3 * DAY + 1);
    world.refuses_order("a stale list", "crl-stale", order.clone());
    let der = world.signing_ca.crl(3, world.now, &[7]);
    world.must_load_list(&der, 3);
    world.must_order(order);
}

#[test]
fn the_revocation_of_a_certificate_that_was_replaced_does_not_stop_its_successor() {
    let (mut world, [physician, _]) = World::ready();
    let session = world.must_open(physician.credential, &physician.card);
    let renewed = Holder { serial: 2003, card: Card::p384(&world.card_ca, 1, |_| {}), subject: physician.subject.clone(), ..physician };
    let order = world.installation(&renewed, |_| {});
    world.must_order(order);
    let before = world.credential(physician.credential);
    let der = world.signing_ca.crl(2, world.now, &[physician.serial]);
    world.must_load_list(&der, 2);
    assert_eq!(world.credential(physician.credential), before);
    assert!(!world.session(session).closed);

    let der = world.signing_ca.crl(3, world.now, &[physician.serial, renewed.serial]);
    world.must_load_list(&der, 3);
    assert_eq!(world.credential(physician.credential).state, CredentialState::Suspended);
    assert!(world.session(session).closed);
    assert!(world.store.credential(physician.credential).unwrap().unwrap().certificate_listed);
}

/// Installs a certificate that ends at this instant.
fn install_until(world: &mut World, holder: &Holder, serial: u64, end: UnixMillis) {
    let renewed = Holder { serial, card: Card::p384(&world.card_ca, serial, |_| {}), subject: holder.subject.clone(), ..*holder };
    let order = world.installation(&renewed, |params| set_validity(params, NOW.minus(DAY), end));
    world.must_order(order);
}

/// Something that has nothing to do with it is applied at this instant.
fn pass_to(world: &mut World, at: UnixMillis) {
    world.now = at;
    let facility = name(&format!("clinic-{}", at.0));
    world.must_order(OrderCommand::EnrolFacility { facility });
}

fn ends_waited_for(world: &World) -> usize {
    world.store.0.keys().filter(|key| key[0] == table::CERTIFICATE_END).count()
}

fn last_event(world: &World, credential: CredentialId) -> CredentialEvent {
    world.store.history(credential).unwrap().pop().unwrap()
}

#[test]
fn a_certificate_past_its_end_suspends_its_credential_until_another_is_installed() {
    let (mut world, [physician, pharmacist]) = World::ready();
    let credential = physician.credential;
    let end = world.now.plus(2 * HOUR);
    install_until(&mut world, &physician, 2009, end);
    assert_eq!(ends_waited_for(&world), 2, "one for each credential, whatever was installed before");
    let session = world.must_open(credential, &physician.card);
    let other = world.must_open(pharmacist.credential, &pharmacist.card);
    pass_to(&mut world, end);
    assert_eq!((world.credential(credential).state, world.session(session).closed), (CredentialState::Active, false), "not before its end");

    let before = world.credential(credential);
    pass_to(&mut world, end.plus(1));
    let after = world.credential(credential);
    assert_eq!((after.state, after.version.0), (CredentialState::Suspended, before.version.0 + 1));
    assert!(world.session(session).closed);
    assert!(!world.session(other).closed);
    let event = last_event(&world, credential);
    let state = CredentialChange::State { state: CredentialState::Suspended };
    assert_eq!((event.change, event.at, event.order, event.officers.len()), (state, end.plus(1), None, 0), "by itself");
    let view = after.view(credential, &world.store.store_numbers().unwrap());
    assert_eq!(view.state, CredentialState::Suspended);
    world.refuses_order("resume", "certificate-not-valid", OrderCommand::Resume { credential });
    let statement = world.statement(credential);
    let opening = world.opening(statement, &physician.card);
    world.refuses("a login", "certificate-not-valid", Command::SessionOpened(opening));

    install_until(&mut world, &physician, 2010, end.plus(DAY));
    assert_eq!((world.credential(credential).state, world.credential(credential).certificate_ended), (CredentialState::Active, false));
    world.must_open(credential, &physician.card);
    assert_eq!(ends_waited_for(&world), 2);
}

#[test]
fn no_session_is_opened_under_a_certificate_past_its_end_even_while_its_credential_waits_to_be_suspended() {
    let (mut world, [physician, _]) = World::ready();
    let mut record = world.credential(physician.credential);
    record.certificate.as_mut().unwrap().not_after = world.now.minus(1);
    world.put_credential(physician.credential, &record);
    let statement = world.statement(physician.credential);
    let opening = world.opening(statement, &physician.card);
    world.refuses("past its end", "certificate-not-valid", Command::SessionOpened(opening));
}

#[test]
fn the_end_of_a_certificate_counts_only_for_who_has_it_still() {
    let (mut world, [physician, pharmacist]) = World::ready();
    let end = world.now.plus(2 * HOUR);
    install_until(&mut world, &physician, 2009, end);
    install_until(&mut world, &physician, 2010, end.plus(DAY));
    install_until(&mut world, &pharmacist, 2011, end);
    world.must_order(OrderCommand::Suspend { credential: pharmacist.credential });
    pass_to(&mut world, end.plus(1));
    assert_eq!(world.credential(physician.credential).state, CredentialState::Active, "it has another");
    world.must_order(OrderCommand::Resume { credential: pharmacist.credential });
    assert_eq!(world.credential(pharmacist.credential).state, CredentialState::Suspended, "officers do not undo an end");
    world.must_order(OrderCommand::Destroy { credential: pharmacist.credential });
    world.must_order(OrderCommand::Revoke { credential: physician.credential });
    pass_to(&mut world, end.plus(DAY + 1));
    let states = [physician.credential, pharmacist.credential].map(|id| world.credential(id).state);
    assert_eq!(states, [CredentialState::Revoked, CredentialState::Destroyed]);
    assert_eq!(ends_waited_for(&world), 0);
}

#[test]
fn a_destroyed_credential_waits_for_no_end() {
    let (mut world, [physician, _]) = World::ready();
    world.must_order(OrderCommand::Destroy { credential: physician.credential });
    assert_eq!(ends_waited_for(&world), 1, "the pharmacist's");
}
