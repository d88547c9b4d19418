use ed25519_dalek::{Signer as _, SigningKey};
use warifu_protocol::limits::SIGNATURE_BYTES_MAX;
use warifu_protocol::wire::{CredentialState, NotYet, SignAnswer, SignItem, SignWork};
use warifu_protocol::{
    AuditEvent, AuthenticatorKind, Blob, CertificateHash, CredentialId, DocumentKind, Epoch, Refusal, SessionId, Sha256, SpkiHash,
    UnixMillis,
};

use super::fixture::{CERTIFICATE_ISSUER, CREDENTIAL, Fixture, HOUR, MONOTONIC, NOW, coordinator, holdings};
use crate::registry::{AuthenticatorRecord, PreviousEpoch, key, table};
use crate::signer::{CheckError, refused_event};

const SKEW: u64 = 30_000;

/// What node 1 says to the item that `change` makes out of a good one, in the state that it makes.
fn verdict_at(now: UnixMillis, change: impl FnOnce(&mut Fixture, &mut SignItem)) -> Result<(), CheckError> {
    let mut fixture = Fixture::new();
    let mut item = fixture.good_item();
    change(&mut fixture, &mut item);
    fixture.check_at(1, now, &item).map(|_| ())
}

fn verdict(change: impl FnOnce(&mut Fixture, &mut SignItem)) -> Result<(), CheckError> {
    verdict_at(NOW, change)
}

fn with_request(change: impl FnOnce(&mut warifu_protocol::Request)) -> Result<(), CheckError> {
    verdict(|fixture, item| {
        let request = fixture.request(change);
        let SignWork::Document { request: place, .. } = &mut item.work else { panic!("a document") };
        *place = request;
    })
}

fn set_signature(item: &mut SignItem, signature: Vec<u8>) {
    let SignWork::Document { request, .. } = &mut item.work else { panic!("a document") };
    request.signature = Blob(signature);
}

#[track_caller]
fn assert_refused(verdict: Result<(), CheckError>, refusal: Refusal) {
    assert_eq!(verdict, Err(CheckError::Refused(refusal)));
}

#[track_caller]
fn assert_behind(verdict: Result<(), CheckError>) {
    assert!(matches!(verdict, Err(CheckError::NotYet { reason: NotYet::StateBehind, retry_after_millis: 1.. })), "{verdict:?}");
}

#[test]
fn the_good_item_passes_on_each_of_its_signers() {
    let mut fixture = Fixture::new();
    let item = fixture.good_item();
    for number in [1, 3, 4] {
        fixture.check_at(number, NOW, &item).unwrap();
    }
}

#[test]
fn a_session_or_credential_that_is_not_known_may_only_be_late() {
    assert_behind(with_request(|request| request.session = SessionId::new([9; 32])));
    assert_behind(verdict(|fixture, _| fixture.put_session(|record| record.statement.credential = CredentialId::new([9; 16]))));
    assert_behind(verdict(|_, item| item.epoch = Epoch(3)));
}

/// Binds the session's card, which this CA issued, and loads the CA's list.
fn bind_card(fixture: &mut Fixture, issuer: SpkiHash) {
    fixture.put_credential(|record| {
        record.authenticators.push(AuthenticatorRecord {
            card: CertificateHash::new([2; 32]),
            kind: AuthenticatorKind::MyNumberCard,
            serial_digest: Sha256::new([3; 32]),
            spki: SpkiHash::new([4; 32]),
            issuer,
            suspended: false,
        });
    });
    fixture.put_list(issuer, NOW, None);
}

#[test]
fn nothing_is_signed_on_lists_that_are_stale_by_the_nodes_own_clock() {
    // What the policy of the fixture says.
    const AGE: u64 = 72 * HOUR;
    let (of_certificate, of_card, anchor) = (CERTIFICATE_ISSUER, SpkiHash::new([0x16; 32]), SpkiHash::new([0x18; 32]));
    let stale = |issuer: SpkiHash| CheckError::Refused(Refusal::CrlStale { issuer: format!("CN={issuer}") });
    for issuer in [of_certificate, of_card] {
        // The list's age and, where its CA is not pinned, that of the list of the CA that vouches for it.
        let signs = |age: u64, of_anchor: Option<u64>| {
            verdict(|fixture, _| {
                // However young the list is by the log's time.
                fixture.put_time(NOW.minus(AGE));
                bind_card(fixture, of_card);
                fixture.put_list(issuer, NOW.minus(age), of_anchor.map(|_| anchor));
                if let Some(age) = of_anchor {
                    fixture.put_list(anchor, NOW.minus(age), None);
                }
            })
        };
        assert_eq!(signs(AGE, None), Ok(()));
        assert_eq!(signs(AGE + 1, None), Err(stale(issuer)));
        assert_eq!(signs(AGE, Some(AGE)), Ok(()));
        assert_eq!(signs(AGE + 1, Some(AGE)), Err(stale(issuer)));
        assert_eq!(signs(AGE, Some(AGE + 1)), Err(stale(anchor)));
        let none = verdict(|fixture, _| {
            bind_card(fixture, of_card);
            fixture.store.0.retain(|key, _| !key.starts_with(&[&[table::CRL], issuer.as_ref()].concat()));
        });
        assert_refused(none, Refusal::CrlMissing { issuer: format!("the CA with key {issuer}") });
        let none_above = verdict(|fixture, _| {
            bind_card(fixture, of_card);
            fixture.put_list(issuer, NOW, Some(anchor));
        });
        assert_refused(none_above, Refusal::CrlMissing { issuer: format!("the CA with key {issuer}") });
    }
}

#[test]
fn nothing_is_signed_once_an_intermediate_ca_of_card_or_certificate_is_revoked() {
    let revoke = |fixture: &mut Fixture, issuer: SpkiHash| {
        fixture.store.0.insert(key(table::AUTHORITY_REVOKED, &[issuer.as_ref()]), Vec::new());
    };
    let (of_certificate, of_card, other) = (CERTIFICATE_ISSUER, SpkiHash::new([0x16; 32]), SpkiHash::new([0x17; 32]));
    for (revoked, expected) in [(other, None), (of_certificate, Some(Refusal::CertificateRevoked)), (of_card, Some(Refusal::CardRevoked))] {
        let outcome = verdict(|fixture, _| {
            bind_card(fixture, of_card);
            revoke(fixture, revoked);
        });
        match expected {
            Some(refusal) => assert_refused(outcome, refusal),
            None => assert_eq!(outcome, Ok(())),
        }
    }
}

#[test]
fn a_request_is_signed_by_its_sessions_key() {
    let refusal = || Refusal::RequestSignatureInvalid;
    assert_refused(verdict(|_, item| set_signature(item, vec![0; 64])), refusal());
    assert_refused(verdict(|_, item| set_signature(item, Vec::new())), refusal());
    assert_refused(verdict(|_, item| set_signature(item, vec![0; 100_000])), refusal());
    assert_refused(
        verdict(|fixture, item| {
            let message = fixture.request(|_| {}).request.message();
            set_signature(item, SigningKey::from_bytes(&[66; 32]).sign(&message).to_bytes().to_vec());
        }),
        refusal(),
    );
    // A request of another holder, put under this session.
    assert_refused(
        verdict(|fixture, item| {
            let other = SessionId::new([9; 32]);
            let mut request = fixture.request(|request| request.session = other);
            request.request.session = fixture.session;
            let SignWork::Document { request: place, .. } = &mut item.work else { panic!("a document") };
            *place = request;
        }),
        refusal(),
    );
    // Another document under the same signature.
    assert_refused(
        verdict(|_, item| {
            let SignWork::Document { request, .. } = &mut item.work else { panic!("a document") };
            request.request.digest = [0; 32].into();
        }),
        refusal(),
    );
}

#[test]
fn the_sessions_of_a_retired_terminal_sign_nothing() {
    assert_refused(verdict(|fixture, _| fixture.put_terminal(true)), Refusal::SessionClosed);
}

#[test]
fn a_session_signs_while_it_is_open_and_within_its_times() {
    assert_refused(verdict(|fixture, _| fixture.put_session(|record| record.closed = true)), Refusal::SessionClosed);
    let ends = |end: UnixMillis| verdict(|fixture, _| fixture.put_session(|record| record.statement.not_after = end));
    assert_eq!(ends(NOW), Ok(()));
    assert_refused(ends(NOW.minus(1)), Refusal::SessionNotValid);
    let begins = |start: UnixMillis| verdict(|fixture, _| fixture.put_session(|record| record.statement.not_before = start));
    assert_eq!(begins(NOW.plus(SKEW)), Ok(()));
    assert_refused(begins(NOW.plus(SKEW + 1)), Refusal::SessionNotValid);
}

#[test]
fn a_request_has_a_number_that_its_session_allows() {
    let refusal = || Refusal::SeqOutOfRange { limit: 100 };
    assert_refused(with_request(|request| request.seq = 0), refusal());
    assert_eq!(with_request(|request| request.seq = 100), Ok(()));
    assert_refused(with_request(|request| request.seq = 101), refusal());
}

#[test]
fn a_signing_time_is_in_whole_seconds_and_near() {
    assert_refused(with_request(|request| request.signing_time = NOW.plus(1)), Refusal::SigningTimeFraction);
    for near in [NOW.plus(SKEW), NOW.minus(SKEW)] {
        assert_eq!(with_request(|request| request.signing_time = near), Ok(()));
    }
    for far in [NOW.plus(SKEW + 1000), NOW.minus(SKEW + 1000), UnixMillis(0), UnixMillis(u64::MAX / 1000 * 1000)] {
        assert_refused(with_request(|request| request.signing_time = far), Refusal::SigningTimeSkew { limit_millis: SKEW });
    }
}

#[test]
fn only_an_active_credential_signs_documents() {
    for state in [
        CredentialState::Generating,
        CredentialState::Generated,
        CredentialState::Certified,
        CredentialState::Suspended,
        CredentialState::Revoked,
    ] {
        assert_refused(
            verdict(|fixture, _| fixture.put_credential(|record| record.state = state)),
            Refusal::CredentialState { state: state.to_string(), needs: "active".to_owned() },
        );
    }
    let active = "active".to_owned();
    assert_refused(
        verdict(|fixture, _| fixture.put_credential(|record| record.certificate = None)),
        Refusal::CredentialState { state: active.clone(), needs: "a certificate".to_owned() },
    );
    assert_refused(
        verdict(|fixture, _| fixture.put_credential(|record| record.key = None)),
        Refusal::CredentialState { state: active, needs: "a generated key".to_owned() },
    );
}

#[test]
fn the_certificate_is_the_credentials_and_valid_now() {
    assert_refused(
        verdict(|_, item| {
            let SignWork::Document { certificate, .. } = &mut item.work else { panic!("a document") };
            *certificate = CertificateHash::new([0; 32]);
        }),
        Refusal::CertificateMoved,
    );
    let valid = |from: UnixMillis, to: UnixMillis| {
        verdict(|fixture, _| {
            fixture.put_credential(|record| {
                let certificate = record.certificate.as_mut().unwrap();
                (certificate.not_before, certificate.not_after) = (from, to);
            });
        })
    };
    assert_eq!(valid(NOW, NOW), Ok(()));
    assert_refused(valid(NOW.minus(2), NOW.minus(1)), Refusal::CertificateNotValid);
    assert_refused(valid(NOW.plus(1), NOW.plus(2)), Refusal::CertificateNotValid);
}

#[test]
fn physicians_and_dentists_prescribe_and_pharmacists_dispense() {
    let with = |kind: DocumentKind, roles: &'static [&'static str]| {
        verdict(|fixture, item| {
            fixture.put_credential(|record| {
                record.certificate.as_mut().unwrap().roles = roles.iter().map(|role| (*role).to_owned()).collect();
            });
            *item = {
                let request = fixture.request(|request| request.kind = kind);
                fixture.item(request)
            };
        })
    };
    let (prescription, dispensing) = (DocumentKind::Prescription, DocumentKind::Dispensing);
    for (kind, roles) in [
        (prescription, &["Medical Doctor"] as &[_]),
        (prescription, &["Dentist"]),
        (prescription, &["Pharmacist", "Medical Doctor"]),
        (dispensing, &["Pharmacist"]),
    ] {
        assert_eq!(with(kind, roles), Ok(()), "{kind} by {roles:?}");
    }
    for (kind, roles) in [
        (prescription, &["Pharmacist"] as &[_]),
        (prescription, &["Nurse"]),
        (prescription, &["medical doctor"]),
        (prescription, &[]),
        (dispensing, &["Medical Doctor", "Dentist"]),
    ] {
        assert_refused(with(kind, roles), Refusal::RoleMissing { kind });
    }
}

#[test]
fn a_node_signs_with_a_share_of_the_current_epoch_only() {
    assert_refused(verdict(|_, item| item.epoch = Epoch(1)), Refusal::ShareMissing);
    assert_refused(verdict(|fixture, _| fixture.put_credential(|record| record.holders = holdings(&[2, 3, 4]))), Refusal::ShareMissing);
    assert_refused(verdict(|fixture, _| fixture.put_new_store(1)), Refusal::ShareMissing);
}

#[test]
fn during_a_refresh_the_holders_of_either_epoch_sign_in_it_and_in_no_other() {
    let during = |epoch: u32, previous: &'static [u8]| {
        verdict(move |fixture, item| {
            let holders = holdings(previous);
            fixture.put_credential(|record| record.previous = Some(PreviousEpoch { epoch: Epoch(1), holders }));
            item.epoch = Epoch(epoch);
        })
    };
    assert_eq!(during(1, &[1, 2, 3, 4, 5]), Ok(()));
    assert_eq!(during(2, &[1, 2, 3, 4, 5]), Ok(()));
    assert_refused(during(0, &[1, 2, 3, 4, 5]), Refusal::ShareMissing);
    assert_refused(during(1, &[2, 3, 4, 5]), Refusal::ShareMissing);
    assert_refused(during(1, &[1, 2, 3, 5]), Refusal::SignerSet { threshold: 3 });
}

#[test]
fn an_epoch_is_over_once_only_a_later_one_signs() {
    Fixture::new().put_credential(|record| {
        assert_eq!([1, 2, 3].map(|epoch| record.is_over(Epoch(epoch))), [true, false, false], "3 is of a refresh under way");
        record.previous = Some(PreviousEpoch { epoch: Epoch(1), holders: holdings(&[1, 2, 3]) });
        assert!(!record.is_over(Epoch(1)), "both epochs sign");
    });
}

#[test]
fn the_signers_are_t_different_holders_with_this_node_among_them() {
    let refusal = || Refusal::SignerSet { threshold: 3 };
    for numbers in [&[] as &[u8], &[1], &[1, 3], &[1, 2, 3, 4], &[1, 1, 3], &[1, 4, 3], &[3, 1, 4], &[2, 3, 4]] {
        assert_refused(verdict(|fixture, item| item.signers = fixture.signers(numbers)), refusal());
    }
    // Of the cluster, but no holder.
    assert_refused(verdict(|fixture, _| fixture.put_credential(|record| record.holders = holdings(&[1, 3, 5]))), refusal());
    // Its share was lost with its store.
    assert_refused(verdict(|fixture, _| fixture.put_new_store(4)), refusal());
}

#[test]
fn commitments_are_two_points() {
    let length = "have the wrong length";
    let points = "are not two points";
    let spoiled = [
        (Vec::new(), length),
        (vec![0; 68], length),
        (vec![0; 70], length),
        (vec![0; 100_000], length),
        (vec![0; 69], points),
        (vec![0xff; 69], points),
    ];
    for (bytes, what) in spoiled {
        for (place, signer) in [1, 3, 4].into_iter().enumerate() {
            let reason = format!("those of node {signer} {what}");
            assert_refused(
                verdict(|_, item| item.signers[place].commitments = Blob(bytes.clone())),
                Refusal::CommitmentsInvalid { reason },
            );
        }
    }
    // The neutral element in place of the first point.
    let verdict = verdict(|_, item| {
        item.signers[1].commitments.0[5..37].fill(0);
        item.signers[1].commitments.0[5] = 1;
    });
    assert!(matches!(verdict, Err(CheckError::Refused(Refusal::CommitmentsInvalid { .. }))), "{verdict:?}");
}

#[test]
fn a_node_whose_clock_is_behind_the_log_signs_nothing() {
    assert_eq!(verdict(|fixture, _| fixture.put_time(NOW)), Ok(()));
    assert_refused(verdict(|fixture, _| fixture.put_time(NOW.plus(1))), Refusal::ClockBehind);
    let csr = |fixture: &mut Fixture, item: &mut SignItem| {
        fixture.put_time(NOW.plus(1));
        item.work = SignWork::Csr { credential: CREDENTIAL };
    };
    assert_refused(verdict(csr), Refusal::ClockBehind);
}

#[test]
fn a_csr_is_signed_once_the_key_is_there_and_until_it_is_certified() {
    let csr = |state: CredentialState, certified: bool| {
        verdict(|fixture, item| {
            fixture.put_credential(|record| {
                record.state = state;
                if !certified {
                    record.certificate = None;
                }
            });
            item.work = SignWork::Csr { credential: CREDENTIAL };
        })
    };
    assert_eq!(csr(CredentialState::Generated, false), Ok(()));
    assert_behind(csr(CredentialState::Generating, false));
    assert_behind(verdict(|_, item| item.work = SignWork::Csr { credential: CredentialId::new([9; 16]) }));
    for (state, certified) in [
        (CredentialState::Generated, true),
        (CredentialState::Certified, true),
        (CredentialState::Active, true),
        (CredentialState::Suspended, false),
        (CredentialState::Revoked, false),
    ] {
        let needs = "generated and without a certificate".to_owned();
        assert_refused(csr(state, certified), Refusal::CredentialState { state: state.to_string(), needs });
    }
}

#[test]
fn a_refused_item_uses_no_nonce_up() {
    let mut fixture = Fixture::new();
    let good = fixture.good_item();
    let mut bad = good.clone();
    set_signature(&mut bad, vec![0; 64]);
    assert_eq!(fixture.share(1, MONOTONIC, &bad), SignAnswer::Refused(Refusal::RequestSignatureInvalid));
    assert!(matches!(fixture.share(1, MONOTONIC, &good), SignAnswer::Share(_)));
}

#[test]
fn a_damaged_store_is_no_refusal() {
    let failed = verdict(|fixture, _| {
        fixture.store.0.insert(key(table::CREDENTIAL, &[CREDENTIAL.as_ref()]), vec![0xff]);
    });
    assert!(matches!(failed, Err(CheckError::Store(_))), "{failed:?}");
    assert!(matches!(SignAnswer::from(failed.unwrap_err()), SignAnswer::NotYet { reason: NotYet::Busy, .. }));
}

#[test]
fn a_refusal_is_recorded_without_bytes_that_the_coordinator_chose() {
    let mut fixture = Fixture::new();
    let mut item = fixture.good_item();
    let SignWork::Document { request, .. } = item.work.clone() else { panic!("a document") };
    let event = |item: &SignItem| refused_event(item, Refusal::SessionClosed, &coordinator());
    let expected =
        |request, credential| AuditEvent::ShareRefused { request, credential, refusal: Refusal::SessionClosed, coordinator: coordinator() };
    assert_eq!(event(&item), expected(Some(request), None));
    set_signature(&mut item, vec![0; SIGNATURE_BYTES_MAX + 1]);
    assert_eq!(event(&item), expected(None, None));
    item.work = SignWork::Csr { credential: CREDENTIAL };
    assert_eq!(event(&item), expected(None, Some(CREDENTIAL)));
}
