//! What opens a session and what ends it.

use warifu_core::pki::{CertificateKey, SignatureAlgorithm};
use warifu_core::registry::Registry;
use warifu_protocol::limits::{SESSION_MILLIS_MAX, SESSIONS_OPEN_MAX, STATEMENT_AGE_MILLIS_MAX};
use warifu_protocol::wire::Applied;
use warifu_protocol::{
    Blob, Challenge, ClusterId, Command, CredentialId, LogEntry, OrderCommand, SessionClosing, SessionId, SessionOpening, Statement,
    TerminalId, closing_message,
};

use crate::support::{COUNTER, Card, DAY, HOUR, RETIRED, Signer, World, name, reload, session_key};

/// What policy grants by default; `Policy::default` says the same.
const SIGNATURES_MAX: u32 = 2_000;
const SKEW: u64 = 30_000;

#[test]
fn the_statement_must_hold_in_every_field() {
    let p384 = Signer::p384().public();
    let edit = |change: &'static dyn Fn(&mut Statement)| change;
    let (mut world, [physician, _]) = World::ready();
    let now = world.now;
    let times: [(&str, u64, u64); 6] = [
        ("longer than 18 hours", now.0, now.0 + SESSION_MILLIS_MAX + 1),
        ("ends before it begins", now.0 + 1000, now.0 + 999),
        ("ends as it begins", now.0, now.0),
        ("begins in the future", now.0 + SKEW + 1, now.0 + HOUR),
        ("is old", now.0 - STATEMENT_AGE_MILLIS_MAX - 1, now.0 + HOUR),
        ("has ended", now.0 - 60_000, now.0),
    ];
    for (case, from, to) in times {
        let mut statement = world.statement(physician.credential);
        (statement.not_before.0, statement.not_after.0) = (from, to);
        let opening = world.opening(statement, &physician.card);
        world.refuses(case, "statement-times", Command::SessionOpened(opening));
    }
    let fields = [
        ("another cluster's", "wrong-cluster", edit(&|statement| statement.cluster = ClusterId::new([9; 32]))),
        ("no signatures", "session-signatures", edit(&|statement| statement.max_signatures = 0)),
        ("too many signatures", "session-signatures", edit(&|statement| statement.max_signatures = SIGNATURES_MAX + 1)),
        ("an unknown credential", "credential-unknown", edit(&|statement| statement.credential = CredentialId::new([9; 16]))),
        ("an unknown facility", "facility-unknown", edit(&|statement| statement.facility = name("clinic-9"))),
        ("another facility's terminal", "terminal-unknown", edit(&|statement| statement.terminal = COUNTER)),
        ("the terminal's other facility", "terminal-unknown", edit(&|statement| statement.facility = name("pharmacy-1"))),
        ("a retired terminal", "terminal-unknown", edit(&|statement| statement.terminal = RETIRED)),
        ("an unknown terminal", "terminal-unknown", edit(&|statement| statement.terminal = TerminalId::new([9; 16]))),
    ];
    for (case, code, change) in fields {
        let mut statement = world.statement(physician.credential);
        change(&mut statement);
        let opening = world.opening(statement, &physician.card);
        world.refuses(case, code, Command::SessionOpened(opening));
    }
    let mut statement = world.statement(physician.credential);
    statement.session_key = p384;
    let opening = world.opening(statement, &physician.card);
    world.refuses("a P-384 session key", "key-algorithm", Command::SessionOpened(opening));
}

#[test]
fn the_bounds_of_a_statement_are_inclusive() {
    let (mut world, [physician, _]) = World::ready();
    let now = world.now.0;
    for (from, to, signatures) in
        [(now, now + SESSION_MILLIS_MAX, SIGNATURES_MAX), (now + SKEW, now + HOUR, 1), (now - STATEMENT_AGE_MILLIS_MAX, now + 1, 1)]
    {
        let mut statement = world.statement(physician.credential);
        (statement.not_before.0, statement.not_after.0, statement.max_signatures) = (from, to, signatures);
        let session = statement.session();
        let opening = world.opening(statement, &physician.card);
        assert_eq!(world.must(Command::SessionOpened(opening)), Applied::SessionOpened(session));
    }
}

#[test]
fn card_terminal_and_session_key_must_each_have_signed_this_statement() {
    let (mut world, [physician, pharmacist]) = World::ready();
    let stranger = Signer::ed25519(0x99);
    let unbound = Card::p384(&world.card_ca, 91, |_| {});
    let mut refuses = |case: &str, code: &str, edit: &dyn Fn(&mut SessionOpening)| {
        let statement = world.statement(physician.credential);
        let mut opening = world.opening(statement, &physician.card);
        edit(&mut opening);
        world.refuses(case, code, Command::SessionOpened(opening))
    };
    let card = &physician.card;
    refuses("the terminal's signature is another's", "signature-invalid", &|opening| {
        opening.terminal_signature = stranger.sign(&opening.statement.terminal_message());
    });
    refuses("the terminal signed the card's text", "signature-invalid", &|opening| {
        opening.terminal_signature = Signer::ed25519(0xd1).sign(&opening.statement.message());
    });
    refuses("the session key is not possessed", "signature-invalid", &|opening| {
        opening.possession = stranger.sign(&opening.statement.possession_message());
    });
    refuses("the session key signed the terminal's text", "signature-invalid", &|opening| {
        opening.possession = session_key().sign(&opening.statement.terminal_message());
    });
    refuses("no card signature", "card-signature-invalid", &|opening| opening.card_signature = Blob::default());
    refuses("a card signature too long", "too-large", &|opening| opening.card_signature = Blob(vec![0; 513]));
    refuses("a changed card signature", "card-signature-invalid", &|opening| opening.card_signature.0[99] ^= 1);
    refuses("a SHA-1 signature", "card-signature-invalid", &|opening| {
        opening.card_signature = card.sign_sha1(&opening.statement.message());
    });
    refuses("an RSA signature with SHA-384", "card-signature-invalid", &|opening| {
        opening.card_signature = card.sign_sha384(&opening.statement.message());
    });
    refuses("the card signed another statement", "card-signature-invalid", &|opening| {
        let other = Statement { nonce: Challenge::new([0xee; 32]), ..opening.statement.clone() };
        opening.card_signature = card.sign(&other.message());
    });
    for (case, other) in [("a card that is not bound", &unbound), ("another holder's card", &pharmacist.card)] {
        refuses(case, "card-unbound", &|opening| {
            opening.card_certificate = other.der.clone();
            opening.card_signature = other.sign(&opening.statement.message());
        });
    }
    refuses("a stapled OCSP response", "ocsp-unsupported", &|opening| opening.ocsp = Some(Blob(vec![1])));
    refuses("too many intermediates", "too-large", &|opening| opening.intermediates = vec![card.der.clone(); 3]);
    refuses("a broken intermediate", "card-refused", &|opening| opening.intermediates = vec![Blob(vec![0x30])]);
}

#[test]
fn the_sha1_signature_that_is_refused_is_a_valid_one() {
    let world = World::founded();
    let card = Card::rsa(&world.card_ca, 1, |_| {});
    let key = aws_lc_rs::signature::UnparsedPublicKey::new(
        &aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
        card.rsa_public(),
    );
    key.verify(b"statement", card.sign_sha1(b"statement").as_slice()).unwrap();
    let key = CertificateKey::Rsa { pkcs1: card.rsa_public(), bits: 2048 };
    assert!(key.verify(SignatureAlgorithm::RsaPkcs1Sha256, b"statement", card.sign(b"statement").as_slice()).is_ok());
}

#[test]
fn the_credential_must_be_active() {
    let (mut world, [physician, pharmacist]) = World::certified();
    let order = world.binding(pharmacist.credential, &pharmacist.card, None);
    world.must_order(order);
    let mut refuses = |case: &str, credential, card: &Card| {
        let statement = world.statement(credential);
        let opening = world.opening(statement, card);
        world.refuses(case, "credential-state", Command::SessionOpened(opening));
        world.must_order(OrderCommand::Suspend { credential: pharmacist.credential });
    };
    refuses("certified", physician.credential, &physician.card);
    refuses("suspended", pharmacist.credential, &pharmacist.card);
    world.must_order(OrderCommand::Revoke { credential: pharmacist.credential });
    let statement = world.statement(pharmacist.credential);
    let opening = world.opening(statement, &pharmacist.card);
    world.refuses("revoked", "credential-state", Command::SessionOpened(opening));
}

#[test]
fn a_revoked_card_or_a_stale_list_opens_nothing() {
    let (mut world, [physician, pharmacist]) = World::ready();
    let der = world.card_ca.crl(2, world.now, &[physician.card.serial]);
    world.must_load_list(&der, 2);
    let statement = world.statement(physician.credential);
    let opening = world.opening(statement, &physician.card);
    world.refuses("revoked", "card-revoked", Command::SessionOpened(opening));
    world.must_open(pharmacist.credential, &pharmacist.card);

    world.now = world.now.plus(3 * DAY);
    world.must_open(pharmacist.credential, &pharmacist.card);
    world.now = world.now.plus(1);
    let statement = world.statement(pharmacist.credential);
    let opening = world.opening(statement, &pharmacist.card);
    world.refuses("older than policy allows", "crl-stale", Command::SessionOpened(opening.clone()));
    world.store.0.retain(|key, _| key[0] != warifu_core::registry::table::CRL);
    world.store = reload(&world.store);
    world.refuses("no list at all", "crl-missing", Command::SessionOpened(opening));
}

#[test]
fn a_statement_opens_one_session_even_when_that_was_closed_or_cleared_away() {
    let (mut world, [physician, _]) = World::ready();
    let mut statement = world.statement(physician.credential);
    statement.not_after = world.now.plus(60_000);
    let session = statement.session();
    let opening = world.opening(statement, &physician.card);
    world.must(Command::SessionOpened(opening.clone()));
    world.refuses("open", "statement-used", Command::SessionOpened(opening.clone()));
    world.must_order(OrderCommand::CloseSession { session });
    world.refuses("closed", "statement-used", Command::SessionOpened(opening.clone()));
    let mut resigned = opening.clone();
    resigned.card_signature = physician.card.sign(&resigned.statement.message());
    resigned.terminal_signature = Signer::ed25519(0xd1).sign(&resigned.statement.terminal_message());
    world.refuses("signed anew", "statement-used", Command::SessionOpened(resigned));
    world.now = world.now.plus(60_001 + STATEMENT_AGE_MILLIS_MAX);
    world.must_open(physician.credential, &physician.card);
    assert!(world.store.session(session).unwrap().is_none(), "an ended session is cleared away");
    world.refuses("cleared away", "statement-times", Command::SessionOpened(opening));
}

#[test]
fn a_credential_has_a_bounded_number_of_sessions_that_have_not_ended() {
    let (mut world, [physician, pharmacist]) = World::ready();
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS_OPEN_MAX {
        sessions.push(world.must_open(physician.credential, &physician.card));
    }
    let statement = world.statement(physician.credential);
    let opening = world.opening(statement, &physician.card);
    world.refuses("one more", "sessions-too-many", Command::SessionOpened(opening.clone()));
    world.must_open(pharmacist.credential, &pharmacist.card);
    world.must_order(OrderCommand::CloseSession { session: sessions[3] });
    world.must(Command::SessionOpened(opening));

    // Sessions that have run out make room before they are cleared away.
    world.now = world.now.plus(8 * HOUR);
    for _ in 0..SESSIONS_OPEN_MAX {
        sessions.push(world.must_open(physician.credential, &physician.card));
    }
    world.must_order(OrderCommand::Suspend { credential: physician.credential });
    assert!(sessions[SESSIONS_OPEN_MAX..].iter().all(|session| world.session(*session).closed));
}

#[test]
fn a_session_is_closed_by_its_own_key_once_or_twice() {
    let (mut world, [physician, pharmacist]) = World::ready();
    let session = world.must_open(physician.credential, &physician.card);
    let other = world.must_open(pharmacist.credential, &pharmacist.card);
    let closing =
        |session: SessionId, message: &[u8], key: &Signer| Command::SessionClosed(SessionClosing { session, signature: key.sign(message) });
    let right = closing_message(session);
    let unknown = SessionId::new([9; 32]);
    for (case, code, command) in [
        ("another key", "signature-invalid", closing(session, &right, &Signer::ed25519(0x99))),
        ("the closing of another session", "signature-invalid", closing(session, &closing_message(other), &session_key())),
        ("an unknown session", "session-unknown", closing(unknown, &closing_message(unknown), &session_key())),
    ] {
        world.refuses(case, code, command);
    }
    assert!(!world.session(session).closed);
    world.must(closing(session, &right, &session_key()));
    let closed = world.store.clone();
    world.must(closing(session, &right, &session_key()));
    assert_eq!(world.store, closed, "closing again changes nothing");
    assert!(!world.session(other).closed);
}

#[test]
fn a_p256_session_key_and_terminal_will_do() {
    let (mut world, [physician, _]) = World::ready();
    let (terminal, key) = (Signer::p256(), Signer::p256());
    let id = TerminalId::new([0xda; 16]);
    world.must_order(OrderCommand::EnrolTerminal { terminal: id, facility: name("clinic-1"), key: terminal.public() });
    let mut statement = world.statement(physician.credential);
    (statement.terminal, statement.session_key) = (id, key.public());
    let mut opening = world.opening(statement, &physician.card);
    opening.terminal_signature = terminal.sign(&opening.statement.terminal_message());
    opening.possession = key.sign(&opening.statement.possession_message());
    world.must(Command::SessionOpened(opening));
}

#[test]
fn a_purpose_that_is_not_known_cannot_even_be_read() {
    let (mut world, [physician, _]) = World::ready();
    let statement = world.statement(physician.credential);
    let opening = world.opening(statement, &physician.card);
    let json = serde_json::to_string(&opening).unwrap();
    assert_eq!(serde_json::from_str::<SessionOpening>(&json).unwrap(), opening);
    for wrong in [json.replace("e-prescription", "anything"), json.replace("\"purpose\":\"e-prescription\",", "")] {
        assert_ne!(wrong, json);
        assert!(serde_json::from_str::<SessionOpening>(&wrong).is_err(), "{wrong}");
    }
    // In the log the purpose is the byte behind the terminal's id.
    let mut bytes = LogEntry::new(world.now, Command::SessionOpened(opening)).encode().unwrap();
    let terminal = bytes.windows(16).position(|window| window == [0xd1; 16]).unwrap();
    assert_eq!(bytes[terminal + 16], 0);
    bytes[terminal + 16] = 1;
    world.refuses_bytes("purpose 1", "malformed", bytes, false);
}
