use ed25519_dalek::VerifyingKey;
use warifu_protocol::limits::NONCE_LIFE_MILLIS;
use warifu_protocol::wire::{CredentialState, NotYet, SignAnswer, SignItem, SignWork};
use warifu_protocol::{AuditEvent, Epoch, NonceId, Refusal, RequestHash};

use super::fixture::{CREDENTIAL, Fixture, MONOTONIC, NOW, certificate_hash, coordinator, node};
use crate::signer::{MonotonicMillis, SignError, identifier};

fn must_share(answer: SignAnswer) -> [u8; 32] {
    match answer {
        SignAnswer::Share(share) => share,
        SignAnswer::NotYet { .. } | SignAnswer::Refused(_) => panic!("no share: {answer:?}"),
    }
}

fn must_sign(fixture: &mut Fixture, item: &SignItem) -> (Vec<u8>, [u8; 64]) {
    let message = fixture.check_at(1, NOW, item).unwrap().message().to_vec();
    let shares = [1, 3, 4].map(|number| (number, must_share(fixture.share(number, MONOTONIC, item))));
    let signature = fixture.aggregate(item, &message, &shares).unwrap();
    (message, signature.serialize().unwrap().try_into().unwrap())
}

fn group_key(fixture: &Fixture) -> VerifyingKey {
    VerifyingKey::from_bytes(&fixture.public.verifying_key().serialize().unwrap().try_into().unwrap()).unwrap()
}

#[test]
fn three_of_five_nodes_sign_a_prescription_that_verifies_strictly() {
    let mut fixture = Fixture::new();
    let item = fixture.good_item();
    let (message, signature) = must_sign(&mut fixture, &item);
    assert!(message.starts_with(b"<xs:SignedInfo "));
    group_key(&fixture).verify_strict(&message, &ed25519_dalek::Signature::from_bytes(&signature)).unwrap();
}

#[test]
fn the_first_signature_of_a_key_is_its_csr() {
    let mut fixture = Fixture::new();
    fixture.put_credential(|record| {
        record.state = CredentialState::Generated;
        record.certificate = None;
    });
    let signers = fixture.signers(&[1, 3, 4]);
    let item = SignItem { work: SignWork::Csr { credential: CREDENTIAL }, epoch: Epoch(2), signers };
    let (message, signature) = must_sign(&mut fixture, &item);
    let csr = crate::pki::assemble_csr(&message, &signature).unwrap();
    let (subject, key) = crate::pki::verify_csr(&csr).unwrap();
    assert_eq!(subject.common_name(), "Taro Shinryo");
    assert_eq!(key, *group_key(&fixture).as_bytes());
    assert_eq!(fixture.check_at(1, NOW, &item).unwrap().spend_key(), None);
}

#[test]
fn a_nonce_makes_one_share() {
    let mut fixture = Fixture::new();
    let item = fixture.good_item();
    must_share(fixture.share(1, MONOTONIC, &item));
    let again = fixture.share(1, MONOTONIC, &item);
    assert!(matches!(again, SignAnswer::NotYet { reason: NotYet::NonceUnknown, .. }), "{again:?}");
}

#[test]
fn an_expired_nonce_makes_no_share() {
    let mut fixture = Fixture::new();
    let item = fixture.good_item();
    let late = fixture.share(1, MonotonicMillis(MONOTONIC.0 + NONCE_LIFE_MILLIS + 1), &item);
    assert!(matches!(late, SignAnswer::NotYet { reason: NotYet::NonceUnknown, .. }), "{late:?}");
}

#[test]
fn another_coordinators_nonce_makes_no_share() {
    let mut fixture = Fixture::new();
    let item = fixture.good_item();
    let work = fixture.check_at(1, NOW, &item).unwrap();
    let other = "coordinator-2".parse().unwrap();
    assert!(fixture.pools.get_mut(&node(1)).unwrap().take(MONOTONIC, &other, work.own_nonce()).is_none());
}

#[test]
fn changed_commitments_of_a_node_are_refused_and_use_its_nonce_up() {
    let mut fixture = Fixture::new();
    let good = fixture.good_item();
    let mut changed = good.clone();
    changed.signers[0].commitments = fixture.signers(&[1]).remove(0).commitments;
    assert_eq!(fixture.share(1, MONOTONIC, &changed), SignAnswer::Refused(Refusal::CommitmentsChanged));
    let after = fixture.share(1, MONOTONIC, &good);
    assert!(matches!(after, SignAnswer::NotYet { reason: NotYet::NonceUnknown, .. }), "{after:?}");
}

#[test]
fn a_pair_of_another_name_is_refused() {
    let mut fixture = Fixture::new();
    let item = fixture.good_item();
    let work = fixture.check_at(1, NOW, &item).unwrap();
    let other = fixture.signers(&[1]).remove(0).nonce;
    let pair = fixture.pools.get_mut(&node(1)).unwrap().take(MONOTONIC, &coordinator(), other).unwrap();
    assert_eq!(work.take(pair).err(), Some(Refusal::CommitmentsChanged));
}

#[test]
fn made_up_commitments_of_the_others_give_a_share_that_is_good_for_nothing() {
    let mut fixture = Fixture::new();
    let honest = fixture.good_item();
    let mut lied = honest.clone();
    // The coordinator knows the nonces behind these, as if it were nodes 3 and 4.
    for (place, fake) in [1, 2].into_iter().zip(fixture.signers(&[3, 4])) {
        lied.signers[place].commitments = fake.commitments;
    }
    let stolen = must_share(fixture.share(1, MONOTONIC, &lied));
    let message = fixture.check_at(3, NOW, &honest).unwrap().message().to_vec();
    let shares =
        [(1, stolen), (3, must_share(fixture.share(3, MONOTONIC, &honest))), (4, must_share(fixture.share(4, MONOTONIC, &honest)))];
    assert!(fixture.aggregate(&honest, &message, &shares).is_err());
    assert!(fixture.aggregate(&lied, &message, &shares).is_err());
    let again = fixture.share(1, MONOTONIC, &honest);
    assert!(matches!(again, SignAnswer::NotYet { reason: NotYet::NonceUnknown, .. }), "{again:?}");
}

#[test]
fn a_share_of_another_key_or_node_or_threshold_is_not_used() {
    let mut fixture = Fixture::new();
    let mut other = Fixture::new();
    let (secrets, _) =
        frost_ed25519::keys::generate_with_dealer(5, 3, frost_ed25519::keys::IdentifierList::Default, &mut other.rng).unwrap();
    let foreign = frost_ed25519::keys::KeyPackage::try_from(secrets[&identifier(node(1))].clone()).unwrap();
    let own = fixture.shares[&node(1)].clone();
    let lower =
        frost_ed25519::keys::KeyPackage::new(*own.identifier(), *own.signing_share(), *own.verifying_share(), *own.verifying_key(), 2);
    for wrong in [foreign, fixture.shares[&node(3)].clone(), lower] {
        let item = fixture.good_item();
        let work = fixture.check_at(1, NOW, &item).unwrap();
        let pair = fixture.pools.get_mut(&node(1)).unwrap().take(MONOTONIC, &coordinator(), work.own_nonce()).unwrap();
        assert_eq!(work.take(pair).unwrap().sign(MONOTONIC, &wrong), Err(SignError::WrongShare));
    }
}

#[test]
fn work_that_waited_until_its_nonces_died_gives_no_share() {
    let mut fixture = Fixture::new();
    for (waited, share) in [(NONCE_LIFE_MILLIS, true), (NONCE_LIFE_MILLIS + 1, false)] {
        let item = fixture.good_item();
        let work = fixture.check_at(1, NOW, &item).unwrap();
        let pair = fixture.pools.get_mut(&node(1)).unwrap().take(MONOTONIC, &coordinator(), work.own_nonce()).unwrap();
        let later = MonotonicMillis(MONOTONIC.0 + waited);
        let outcome = work.take(pair).unwrap().sign(later, &fixture.shares[&node(1)]);
        assert_eq!(outcome.is_ok(), share, "{outcome:?}");
    }
}

#[test]
fn the_audit_event_names_what_will_be_signed() {
    let mut fixture = Fixture::new();
    let item = fixture.good_item();
    let work = fixture.check_at(1, NOW, &item).unwrap();
    let rendered = warifu_protocol::canonical::sha256(work.message()).into();
    let pair = fixture.pools.get_mut(&node(1)).unwrap().take(MONOTONIC, &coordinator(), work.own_nonce()).unwrap();
    let prepared = work.take(pair).unwrap();
    let SignWork::Document { request, .. } = &item.work else { panic!("a document") };
    let hash: RequestHash = request.request.hash();
    assert_eq!(prepared.spend_key(), Some((fixture.session, 1, hash)));
    let nonce: NonceId = item.signers[0].nonce;
    assert_eq!(
        prepared.audit_event(&coordinator()),
        AuditEvent::DocumentShare {
            request: request.clone(),
            credential: CREDENTIAL,
            epoch: Epoch(2),
            certificate: certificate_hash(),
            rendered,
            nonce,
            signers: vec![node(1), node(3), node(4)],
            coordinator: coordinator(),
        }
    );
    assert!(format!("{prepared:?}").contains("<redacted>"));
}
