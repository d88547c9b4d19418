//! Cards behind a PKCS#11 module, with SoftHSM2 in the place of a real card. Each test is skipped, and says so, where SoftHSM2 is not installed.
//!
//! SoftHSM2 finds its tokens through an environment variable that a process cannot set for itself safely, so each test runs its body in a
//! child: this same program, told to run that one test with the variable set. SoftHSM2 never locks a PIN; that part is proven on the
//! software card and, for PKCS#11, on return values and flags.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its token has failed")]

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use warifu::card::{
    Card, CardAlgorithm, CardError, ObjectSelector, PinEntry, PinState, Pkcs11Card, Pkcs11Options, TokenSelector, TriesLeft,
};

#[path = "support/softhsm.rs"]
mod softhsm;

use softhsm::{USER_PIN, must_certify, must_make_p384, must_make_rsa, pin, with_softhsm};

const MESSAGE: &[u8] = b"warifu-session-v1{\"a\":\"statement\"}";

#[test]
fn an_rsa_card_signs_with_the_bare_mechanism_and_our_digest_info() {
    with_softhsm("an_rsa_card_signs_with_the_bare_mechanism_and_our_digest_info", |hsm| {
        let (_, session) = hsm.must_make_token("JPKI");
        let key = must_make_rsa(&session, 1, 2048);
        let certificate = must_certify(&session, 1, "User Authentication Certificate", &key);
        drop(session);
        let mut card = hsm.open("JPKI").unwrap();
        assert_eq!(card.certificate().unwrap(), certificate);
        assert_eq!(card.algorithm().unwrap(), CardAlgorithm::RsaSha256);
        let signature = card.sign(&pin(USER_PIN), MESSAGE).unwrap();
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.bits);
        assert!(key.verify(MESSAGE, &signature).is_ok());
        let again = card.sign(&pin(USER_PIN), b"another statement").unwrap();
        assert!(key.verify(b"another statement", &again).is_ok(), "one card signs more than once");
        let description = card.describe();
        assert!(!description.trial);
        assert_eq!((description.pin_state, description.pin_entry), (PinState::Fresh, PinEntry::Here));
    });
}

#[test]
fn a_p384_card_signs_raw_r_and_s() {
    with_softhsm("a_p384_card_signs_raw_r_and_s", |hsm| {
        let (_, session) = hsm.must_make_token("JPKI");
        let key = must_make_p384(&session, 1);
        must_certify(&session, 1, "User Authentication Certificate", &key);
        drop(session);
        let mut card = hsm.open("JPKI").unwrap();
        assert_eq!(card.algorithm().unwrap(), CardAlgorithm::EcdsaP384Sha384);
        let signature = card.sign(&pin(USER_PIN), MESSAGE).unwrap();
        assert_eq!(signature.len(), 96);
        assert!(UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, key.bits).verify(MESSAGE, &signature).is_ok());
    });
}

#[test]
fn a_wrong_pin_is_refused_and_counted_even_right_after_a_right_one() {
    with_softhsm("a_wrong_pin_is_refused_and_counted_even_right_after_a_right_one", |hsm| {
        let (_, session) = hsm.must_make_token("JPKI");
        let key = must_make_p384(&session, 1);
        must_certify(&session, 1, "User Authentication Certificate", &key);
        // The session stays open and logged in: another user of the same token in this process must not lend its login.
        let mut card = hsm.open("JPKI").unwrap();
        let wrong = card.sign(&pin("0000"), MESSAGE);
        assert!(matches!(wrong, Err(CardError::WrongPin { tries: TriesLeft::Few })), "{wrong:?}");
        assert_eq!(card.describe().pin_state, PinState::CountLow);
        assert!(card.sign(&pin(USER_PIN), MESSAGE).is_ok());
        let wrong = card.sign(&pin("0000"), MESSAGE);
        assert!(matches!(wrong, Err(CardError::WrongPin { .. })), "{wrong:?}");
        drop(session);
    });
}

#[test]
fn a_pin_too_short_for_the_token_is_not_tried() {
    with_softhsm("a_pin_too_short_for_the_token_is_not_tried", |hsm| {
        let (_, session) = hsm.must_make_token("JPKI");
        let key = must_make_p384(&session, 1);
        must_certify(&session, 1, "User Authentication Certificate", &key);
        drop(session);
        let mut card = hsm.open("JPKI").unwrap();
        let short = card.sign(&pin("471"), MESSAGE);
        assert!(matches!(short, Err(CardError::PinLength { min: 4, .. })), "{short:?}");
        assert_eq!(card.describe().pin_state, PinState::Fresh, "no try was used");
    });
}

#[test]
fn absent_modules_tokens_and_objects_are_named() {
    with_softhsm("absent_modules_tokens_and_objects_are_named", |hsm| {
        let none = hsm.open("JPKI").map(|_| ());
        assert!(matches!(&none, Err(CardError::NoToken { present, .. }) if present == "none"), "{none:?}");
        let (_, session) = hsm.must_make_token("HPKI");
        let other = hsm.open("JPKI").map(|_| ());
        assert!(matches!(&other, Err(CardError::NoToken { present, .. }) if present.contains("HPKI")), "{other:?}");
        let empty = hsm.open("HPKI").map(|_| ());
        assert!(matches!(empty, Err(CardError::NoObject { what: "certificate", .. })), "{empty:?}");
        let key = must_make_p384(&session, 2);
        must_certify(&session, 1, "without its key", &key);
        let mut keyless = hsm.open("HPKI").unwrap();
        let refused = keyless.sign(&pin(USER_PIN), MESSAGE);
        assert!(matches!(refused, Err(CardError::NoObject { what: "private key", .. })), "{refused:?}");
        must_certify(&session, 1, "the same id again", &key);
        let twice = hsm.open("HPKI").map(|_| ());
        assert!(matches!(twice, Err(CardError::SeveralObjects { .. })), "{twice:?}");
        for module in ["/nonexistent/module.so", "/etc/hostname"] {
            let options = Pkcs11Options { module: module.into(), ..hsm.options("HPKI") };
            let absent = Pkcs11Card::open(&options).map(|_| ());
            assert!(matches!(absent, Err(CardError::NoModule { .. })), "{module}: {absent:?}");
        }
    });
}

#[test]
fn of_several_matching_tokens_the_one_with_the_certificate_is_taken() {
    with_softhsm("of_several_matching_tokens_the_one_with_the_certificate_is_taken", |hsm| {
        let (_, authentication) = hsm.must_make_token("JPKI (User Authentication PIN)");
        let (signature_slot, signature) = hsm.must_make_token("JPKI (Digital Signature PIN)");
        let neither = hsm.open("JPKI").map(|_| ());
        assert!(matches!(neither, Err(CardError::SeveralTokens { .. })), "{neither:?}");
        let key = must_make_p384(&authentication, 1);
        let certificate = must_certify(&authentication, 1, "User Authentication Certificate", &key);
        let mut card = hsm.open("JPKI").unwrap();
        assert_eq!(card.certificate().unwrap(), certificate);
        assert!(card.sign(&pin(USER_PIN), MESSAGE).is_ok());
        let key = must_make_p384(&signature, 1);
        let second = must_certify(&signature, 1, "User Authentication Certificate", &key);
        let both = hsm.open("JPKI").map(|_| ());
        assert!(matches!(&both, Err(CardError::SeveralTokens { matching, .. }) if matching.contains("Digital")), "{both:?}");
        let serial = hsm.pkcs11.get_token_info(signature_slot).unwrap().serial_number().trim_end().to_owned();
        for token in [
            TokenSelector::Serial(serial),
            TokenSelector::Slot(signature_slot.id()),
            TokenSelector::Label("JPKI (Digital Signature PIN)".into()),
        ] {
            let options = Pkcs11Options { token, ..hsm.options("JPKI") };
            assert_eq!(Pkcs11Card::open(&options).unwrap().certificate().unwrap(), second, "{:?}", options.token);
        }
    });
}

#[test]
fn the_certificates_label_selects_its_key() {
    with_softhsm("the_certificates_label_selects_its_key", |hsm| {
        let (_, session) = hsm.must_make_token("HPKI");
        for (id, label) in [(1, "one"), (2, "two")] {
            let key = must_make_p384(&session, id);
            must_certify(&session, id, label, &key);
        }
        drop(session);
        let options = |object| Pkcs11Options { object, ..hsm.options("HPKI") };
        let mut by_label = Pkcs11Card::open(&options(ObjectSelector::Label("two".into()))).unwrap();
        let mut by_id = Pkcs11Card::open(&options(ObjectSelector::Id(vec![2]))).unwrap();
        assert_eq!(by_label.certificate().unwrap(), by_id.certificate().unwrap());
        assert!(by_label.sign(&pin(USER_PIN), MESSAGE).is_ok());
    });
}

#[test]
fn a_key_that_is_not_the_certificates_or_too_weak_is_refused() {
    with_softhsm("a_key_that_is_not_the_certificates_or_too_weak_is_refused", |hsm| {
        let (_, session) = hsm.must_make_token("HPKI");
        must_make_p384(&session, 1);
        let other = must_make_p384(&session, 2);
        must_certify(&session, 1, "for another key", &other);
        let weak = must_make_rsa(&session, 3, 1024);
        must_certify(&session, 3, "weak", &weak);
        drop(session);
        let mut card = hsm.open("HPKI").unwrap();
        let refused = card.sign(&pin(USER_PIN), MESSAGE);
        assert!(matches!(refused, Err(CardError::KeyMismatch)), "{refused:?}");
        let options = Pkcs11Options { object: ObjectSelector::Id(vec![3]), ..hsm.options("HPKI") };
        let refused = Pkcs11Card::open(&options).map(|_| ());
        assert!(matches!(refused, Err(CardError::UnsupportedKey { .. })), "{refused:?}");
    });
}
