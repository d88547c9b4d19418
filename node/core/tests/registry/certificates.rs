//! Which certificates are installed.

use rcgen::{CertificateParams, KeyUsagePurpose};
use warifu_core::registry::{Registry, table};
use warifu_protocol::limits::INTERMEDIATES_MAX;
use warifu_protocol::wire::CredentialState;
use warifu_protocol::{AnchorKind, Blob, OrderCommand, SubjectFields};

use crate::support::{Ca, Card, DAY, Holder, NOW, World, name, policies, reload, set_validity};

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
    unborn.credential = warifu_protocol::CredentialId::new([0x55; 16]);
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
