//! Which certificates chain to an anchor.

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P384_SHA384};
use warifu_protocol::{AnchorEntry, AnchorKind, Blob, UnixMillis};
use x509_cert::ext::Extension;

use super::support::{CARD_POLICY, Case, DAY, NOW, SIGNING_POLICY, TestCa, card_params, policies, remake, set_validity, signing_params};
use crate::pki::path::{AnchorError, INTERMEDIATES_MAX};
use crate::pki::{Certificate, PathError as E, TrustAnchor, verify_path};

const MNC: AnchorKind = AnchorKind::JpkiUserAuthentication;

fn card_key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap()
}

fn issue(ca: &TestCa, edit: impl FnOnce(&mut CertificateParams)) -> Certificate {
    let mut params = card_params();
    edit(&mut params);
    Certificate::parse(&ca.issue(&params, &card_key())).unwrap()
}

#[test]
fn a_card_chains_in_one_or_two_steps() {
    let root = TestCa::root("Root");
    let ca = root.under("CA", |params| params.custom_extensions = vec![policies(&[CARD_POLICY], true)]);
    let anchors = [root.anchor(MNC, &[CARD_POLICY])];
    let intermediates = [ca.certificate()];

    let direct = verify_path(&issue(&root, |_| {}), &[], &anchors, MNC, NOW).unwrap();
    assert_eq!((direct.issuer(), direct.intermediate()), (&anchors[0].certificate, None));
    let through = verify_path(&issue(&ca, |_| {}), &intermediates, &anchors, MNC, NOW).unwrap();
    assert_eq!((through.issuer(), through.anchor()), (&intermediates[0], &anchors[0]));
}

#[test]
fn generations_of_one_name_are_pinned_side_by_side() {
    let [old, new] = [TestCa::root("Card CA"), TestCa::root("Card CA")];
    let anchors = [old.anchor(MNC, &[CARD_POLICY]), new.anchor(MNC, &[CARD_POLICY])];
    for (generation, ca) in [&old, &new].into_iter().enumerate() {
        assert_eq!(verify_path(&issue(ca, |_| {}), &[], &anchors, MNC, NOW).unwrap().anchor(), &anchors[generation]);
        // Without an authorityKeyIdentifier every generation is tried.
        let plain = issue(ca, |params| params.use_authority_key_identifier_extension = false);
        assert_eq!(verify_path(&plain, &[], &anchors, MNC, NOW).unwrap().anchor(), &anchors[generation]);
    }
}

#[test]
fn validity_holds_to_the_second_for_every_certificate_of_the_path() {
    let root = TestCa::root_with("Root", |params| set_validity(params, NOW.minus(9 * DAY), NOW.plus(9 * DAY)));
    let ca = root.under("CA", |params| {
        set_validity(params, NOW.minus(6 * DAY), NOW.plus(6 * DAY));
        params.custom_extensions = vec![policies(&[CARD_POLICY], false)];
    });
    let (anchors, intermediates) = ([root.anchor(MNC, &[CARD_POLICY])], [ca.certificate()]);
    let check = |card: &Certificate, now: UnixMillis| verify_path(card, &intermediates, &anchors, MNC, now).map(|_| ());

    let short = issue(&ca, |params| set_validity(params, NOW.minus(3 * DAY), NOW.plus(3 * DAY)));
    let certificate = short.hash();
    let (not_before, not_after) = (short.not_before(), short.not_after());
    assert_eq!(check(&short, not_before), Ok(()));
    let now = not_before.minus(1);
    assert_eq!(check(&short, now), Err(E::NotYetValid { certificate, not_before, now }));
    assert_eq!(check(&short, not_after.plus(999)), Ok(()));
    let now = not_after.plus(1000);
    assert_eq!(check(&short, now), Err(E::Expired { certificate, not_after, now }));

    let long = issue(&ca, |params| set_validity(params, NOW.minus(30 * DAY), NOW.plus(30 * DAY)));
    for (offset, expired) in [(7, intermediates[0].hash()), (10, intermediates[0].hash())] {
        assert!(matches!(check(&long, NOW.plus(offset * DAY)), Err(E::Expired { certificate, .. }) if certificate == expired));
        assert!(matches!(check(&long, NOW.minus(offset * DAY)), Err(E::NotYetValid { certificate, .. }) if certificate == expired));
    }
    let direct = issue(&root, |params| set_validity(params, NOW.minus(30 * DAY), NOW.plus(30 * DAY)));
    let anchor = anchors[0].certificate.hash();
    assert!(matches!(check(&direct, NOW.plus(10 * DAY)), Err(E::Expired { certificate, .. }) if certificate == anchor));
}

#[test]
fn end_entities_outside_the_profile_of_a_card_are_refused() {
    let ca = TestCa::root("Card CA");
    let anchors = [ca.anchor(MNC, &[CARD_POLICY])];
    type Edit = fn(&mut CertificateParams);
    let cases: Vec<Case<Edit, E>> = vec![
        ("no keyUsage", |params| params.key_usages.clear(), |error| matches!(error, E::EndEntityUsage { .. })),
        (
            "nonRepudiation",
            |params| params.key_usages = vec![KeyUsagePurpose::ContentCommitment],
            |error| matches!(error, E::EndEntityUsage { .. }),
        ),
        (
            "digitalSignature and more",
            |params| params.key_usages.push(KeyUsagePurpose::ContentCommitment),
            |error| matches!(error, E::EndEntityUsage { .. }),
        ),
        ("a CA", |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained), |error| matches!(error, E::EndEntityIsCa { .. })),
        ("no policy", |params| params.custom_extensions.clear(), |error| matches!(error, E::Policy { .. })),
        (
            "another policy",
            |params| params.custom_extensions = vec![policies(&["1.2.392.200149.8.5.1.1.20"], true)],
            |error| matches!(error, E::Policy { .. }),
        ),
        (
            "anyPolicy",
            |params| params.custom_extensions = vec![policies(&["2.5.29.32.0"], true)],
            |error| matches!(error, E::Policy { .. }),
        ),
        (
            "for time stamps",
            |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::TimeStamping],
            |error| matches!(error, E::EndEntityPurpose { .. }),
        ),
    ];
    for (name, edit, expected) in cases {
        match verify_path(&issue(&ca, edit), &[], &anchors, MNC, NOW) {
            Err(error) => assert!(expected(&error), "{name}: {error:?}"),
            Ok(_) => panic!("{name} was accepted"),
        }
    }
    let fit: [Edit; 4] = [
        |params| params.custom_extensions = vec![policies(&[CARD_POLICY], false)],
        |params| params.custom_extensions = vec![policies(&["1.2.392.200149.8.5.1.3.31", CARD_POLICY], true)],
        |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
        |params| params.is_ca = IsCa::ExplicitNoCa,
    ];
    for (index, edit) in fit.into_iter().enumerate() {
        verify_path(&issue(&ca, edit), &[], &anchors, MNC, NOW).unwrap_or_else(|error| panic!("{index}: {error}"));
    }

    let key_usage = |extension: &&mut Extension| extension.extn_id.to_string() == "2.5.29.15";
    let der = ca.issue(&card_params(), &card_key());
    let lax = remake(&der, &ca.key, |parts| {
        parts.tbs_certificate.extensions.as_mut().unwrap().iter_mut().find(key_usage).unwrap().critical = false;
    });
    let lax = Certificate::parse(&lax).unwrap();
    assert!(matches!(verify_path(&lax, &[], &anchors, MNC, NOW), Err(E::EndEntityUsage { .. })), "keyUsage must be critical");
}

#[test]
fn issuers_that_may_not_issue_are_refused() {
    let with_policy = |params: &mut CertificateParams| params.custom_extensions = vec![policies(&[CARD_POLICY], true)];
    type Edit = fn(&mut CertificateParams);
    let root = TestCa::root("Root");
    let cases: Vec<Case<Edit, E>> = vec![
        ("an end entity", |params| params.is_ca = IsCa::ExplicitNoCa, |error| matches!(error, E::NotACa { .. })),
        ("no basicConstraints", |params| params.is_ca = IsCa::NoCa, |error| matches!(error, E::NotACa { .. })),
        ("no keyCertSign", |params| params.key_usages = vec![KeyUsagePurpose::CrlSign], |error| matches!(error, E::NotACa { .. })),
        ("no keyUsage", |params| params.key_usages.clear(), |error| matches!(error, E::NotACa { .. })),
        ("no policy", |params| params.custom_extensions.clear(), |error| matches!(error, E::Policy { .. })),
    ];
    for (name, edit, expected) in cases {
        let ca = root.under("CA", |params| {
            with_policy(params);
            edit(params);
        });
        let anchors = [root.anchor(MNC, &[CARD_POLICY])];
        match verify_path(&issue(&ca, |_| {}), &[ca.certificate()], &anchors, MNC, NOW) {
            Err(error) => assert!(expected(&error), "{name}: {error:?}"),
            Ok(_) => panic!("{name} was accepted"),
        }
    }
    let any_policy = root.under("CA", |params| params.custom_extensions = vec![policies(&["2.5.29.32.0"], true)]);
    let anchors = [root.anchor(MNC, &[CARD_POLICY])];
    assert!(verify_path(&issue(&any_policy, |_| {}), &[any_policy.certificate()], &anchors, MNC, NOW).is_ok());

    let narrow = TestCa::root_with("Narrow", |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let ca = narrow.under("CA", with_policy);
    let anchors = [narrow.anchor(MNC, &[CARD_POLICY])];
    assert!(verify_path(&issue(&narrow, |_| {}), &[], &anchors, MNC, NOW).is_ok());
    assert!(matches!(
        verify_path(&issue(&ca, |_| {}), &[ca.certificate()], &anchors, MNC, NOW),
        Err(E::PathLength { allowed: 0, below: 1, .. })
    ));
    let plain = TestCa::root_with("Plain", |params| params.is_ca = IsCa::NoCa);
    let anchors = [plain.anchor(MNC, &[CARD_POLICY])];
    assert!(matches!(verify_path(&issue(&plain, |_| {}), &[], &anchors, MNC, NOW), Err(E::NotACa { .. })), "the anchor is looked at too");
}

#[test]
fn nothing_chains_to_a_stranger() {
    let (ca, stranger) = (TestCa::root("Card CA"), TestCa::root("Other CA"));
    let impostor = TestCa::root_with("Card CA", |params| params.custom_extensions = vec![policies(&[CARD_POLICY], true)]);
    let card = issue(&ca, |_| {});
    let anchor = |ca: &TestCa, kind| [ca.anchor(kind, &[CARD_POLICY])];
    let no_anchor = |anchors: &[TrustAnchor]| matches!(verify_path(&card, &[], anchors, MNC, NOW), Err(E::NoAnchor { .. }));
    assert!(no_anchor(&[]));
    assert!(no_anchor(&anchor(&stranger, MNC)), "another name");
    assert!(no_anchor(&anchor(&impostor, MNC)), "another key identifier");
    assert!(no_anchor(&anchor(&ca, AnchorKind::HpkiAuthentication)), "another kind");

    // The same key under another name is another issuer.
    let mut renamed = ca.params.clone();
    renamed.distinguished_name.push(DnType::CommonName, "Renamed CA");
    let der = renamed.self_signed(&ca.key).unwrap().der().to_vec();
    let renamed = TrustAnchor { certificate: Certificate::parse(&der).unwrap(), ..ca.anchor(MNC, &[CARD_POLICY]) };
    assert!(no_anchor(&[renamed]));

    // Same name and no key identifier to tell them apart: the signature decides.
    let plain = issue(&ca, |params| params.use_authority_key_identifier_extension = false);
    assert!(matches!(verify_path(&plain, &[], &anchor(&impostor, MNC), MNC, NOW), Err(E::Signature { .. })));
    // An intermediate that calls itself by the anchor's name is not the anchor.
    let forged = issue(&impostor, |_| {});
    assert!(matches!(verify_path(&forged, &[impostor.certificate()], &anchor(&ca, MNC), MNC, NOW), Err(E::Signature { .. })));

    let many = vec![ca.certificate(); INTERMEDIATES_MAX + 1];
    assert_eq!(verify_path(&card, &many, &anchor(&ca, MNC), MNC, NOW), Err(E::TooManyIntermediates { given: many.len() }));
    // Four certificates are one too many.
    let second = ca.under("Second", |params| params.custom_extensions = vec![policies(&[CARD_POLICY], true)]);
    let third = second.under("Third", |params| params.custom_extensions = vec![policies(&[CARD_POLICY], true)]);
    let deep = issue(&third, |_| {});
    let between = [third.certificate(), second.certificate()];
    assert!(matches!(verify_path(&deep, &between, &anchor(&ca, MNC), MNC, NOW), Err(E::NoAnchor { .. })));
}

#[test]
fn cards_and_signing_certificates_are_not_taken_for_each_other() {
    let ca = TestCa::root("CA");
    let both = [SIGNING_POLICY, CARD_POLICY];
    let anchors = [ca.anchor(MNC, &both), ca.anchor(AnchorKind::HpkiSigning, &both), ca.anchor(AnchorKind::HpkiAuthentication, &both)];
    let card = issue(&ca, |_| {});
    let signing = Certificate::parse(&ca.issue(&signing_params(), &card_key())).unwrap();
    for (kind, card_holds) in [(MNC, true), (AnchorKind::HpkiAuthentication, true), (AnchorKind::HpkiSigning, false)] {
        assert_eq!(verify_path(&card, &[], &anchors, kind, NOW).is_ok(), card_holds, "{kind:?}");
        assert_eq!(verify_path(&signing, &[], &anchors, kind, NOW).is_ok(), !card_holds, "{kind:?}");
    }
}

#[test]
fn an_anchor_that_could_vouch_for_nothing_is_refused() {
    let ca = TestCa::root("CA");
    let entry = |certificate: &[u8], policies: &[&str]| AnchorEntry {
        kind: MNC,
        certificate: Blob::from(certificate),
        policies: policies.iter().map(|policy| (*policy).to_owned()).collect(),
    };
    assert_eq!(TrustAnchor::from_entry(&entry(&ca.der, &[CARD_POLICY])).unwrap(), ca.anchor(MNC, &[CARD_POLICY]));
    assert!(matches!(TrustAnchor::from_entry(&entry(&[], &[CARD_POLICY])), Err(AnchorError::Certificate { .. })));
    assert!(matches!(TrustAnchor::from_entry(&entry(&ca.der, &["1.2.x"])), Err(AnchorError::Policy { .. })));
    assert_eq!(TrustAnchor::from_entry(&entry(&ca.der, &[])), Err(AnchorError::NoPolicy));
    let card = issue(&ca, |_| {});
    assert_eq!(TrustAnchor::from_entry(&entry(card.der(), &[CARD_POLICY])), Err(AnchorError::NotACa));
}
