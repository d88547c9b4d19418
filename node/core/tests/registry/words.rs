//! What officers read before they approve.

use warifu_core::describe;
use warifu_protocol::{AuthenticatorKind, Blob, KeyImport, OrderCommand};

use crate::support::{Card, World, signing_params};

fn words(world: &mut World, order: OrderCommand) -> String {
    describe::order(&world.order_body(order)).join("\n")
}

#[test]
fn an_officer_reads_whose_certificate_is_installed_and_with_which_role() {
    let (mut world, [physician, _]) = World::generated();
    let order = world.installation(&physician, |_| {});
    let text = words(&mut world, order.clone());
    for fact in ["INSTALL", "Hanako Iryo", "TRIAL-0001", "Medical Doctor", "Trial HPKI Signing CA", "valid from 2025-12-02", "2027-01-01"] {
        assert!(text.contains(fact), "{fact} is missing:\n{text}");
    }
    assert!(text.starts_with("INSTALL"), "the headline stays first:\n{text}");

    let OrderCommand::InstallCertificate { credential, intermediates, .. } = order else { panic!("an installation") };
    let broken = OrderCommand::InstallCertificate { credential, certificate: Blob(vec![0x30]), intermediates };
    assert!(words(&mut world, broken).contains("UNREADABLE"));
}

#[test]
fn an_officer_reads_what_a_card_says_of_its_holder_and_that_a_my_number_card_says_nothing() {
    let (mut world, [physician, _]) = World::ready();
    let policy = world.hpki_card_ca.policy();
    let subject = physician.subject.clone();
    let named = |params: &mut rcgen::CertificateParams| {
        params.distinguished_name = signing_params(&subject, "Medical Doctor", policy).distinguished_name;
    };
    let card = Card::p384(&world.hpki_card_ca, 71, named).of_kind(AuthenticatorKind::HpkiCard);
    let order = world.binding(physician.credential, &card, Some(&physician.card));
    let text = words(&mut world, order);
    for fact in ["HPKI card", "Hanako Iryo", "Trial HPKI Authentication CA", "the bound card that agrees", "Trial JPKI CA"] {
        assert!(text.contains(fact), "{fact} is missing:\n{text}");
    }

    let card = Card::p384(&world.card_ca, 72, |_| {});
    let order = world.binding(physician.credential, &card, None);
    let text = words(&mut world, order);
    for fact in ["My Number Card", "carries no name", "Trial JPKI CA"] {
        assert!(text.contains(fact), "{fact} is missing:\n{text}");
    }
    assert!(!text.contains(&format!("{:032}", 72)), "the number in its subject is nobody's business:\n{text}");
}

#[test]
fn an_officer_reads_that_a_key_existed_whole_before_it_is_imported() {
    let mut world = World::equipped();
    let import = crate::imports::import(1);
    let key = import.group_key().unwrap().to_string();
    let text = words(&mut world, OrderCommand::Import { import: import.clone() });
    for fact in ["dr-1", "Hanako Iryo", "HPKI-1", &key, "sites 1 2 3 4 5, of which 3 sign", "a copy of it, can sign", "with your names"] {
        assert!(text.contains(fact), "{fact} is missing:\n{text}");
    }
    assert!(text.starts_with("IMPORT A KEY THAT EXISTED WHOLE BEFORE"), "{text}");
    let nothing = OrderCommand::Import { import: KeyImport { commitment: Vec::new(), ..import } };
    assert!(words(&mut world, nothing).contains("NONE: every node will refuse this"));
}
