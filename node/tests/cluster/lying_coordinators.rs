//! A coordinator that changes what holders asked for: no node gives a share of it, and what is sound still signs.

use warifu_protocol::wire::SignAnswer;
use warifu_protocol::{DocumentDigest, DocumentKind, Refusal, SignedRequest};

use crate::clinic::Clinic;
use crate::support::node_id;

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_changes_a_request_gets_no_share_and_an_honest_document_then_signs() -> anyhow::Result<()> {
    let clinic = Clinic::open().await?;
    let (physician, pharmacist) = (&clinic.physician, &clinic.pharmacist);
    let mine = clinic.log_in(physician, 1).await?;
    let other = clinic.log_in(physician, 2).await?;
    let foreign = clinic.log_in(pharmacist, 3).await?;
    let honest = mine.prescription(1, 1)?;
    let dispensing = foreign.sign(foreign.request(1, DocumentKind::Dispensing, 2)?);
    let changed = |change: fn(&mut SignedRequest)| {
        let mut request = honest.clone();
        change(&mut request);
        request
    };
    let mut swapped = honest.clone();
    swapped.request.session = other.statement.session();
    let mut taken_over = honest.clone();
    taken_over.request.session = foreign.statement.session();
    let mut impersonated = dispensing.clone();
    impersonated.request.session = mine.statement.session();

    let forged = Refusal::RequestSignatureInvalid;
    let nodes = [1, 2, 3].map(node_id);
    for (case, holder, request, refusal) in [
        ("another digest", physician, changed(|signed| signed.request.digest = DocumentDigest::new([9; 32])), forged.clone()),
        ("another number", physician, changed(|signed| signed.request.seq = 2), forged.clone()),
        ("another signing time", physician, changed(|signed| signed.request.signing_time.0 += 1000), forged.clone()),
        ("another session of the same holder", physician, swapped, forged.clone()),
        ("the session of another holder", pharmacist, taken_over, forged.clone()),
        ("another holder's request in this session", physician, impersonated, forged),
        ("another holder's request with this holder's certificate", physician, dispensing.clone(), Refusal::CertificateMoved),
        ("this holder's request with another one's certificate", pharmacist, honest.clone(), Refusal::CertificateMoved),
    ] {
        for (asked, beside) in [(nodes[0], nodes[1]), (nodes[1], nodes[2]), (nodes[2], nodes[0])] {
            let mut item = clinic.item(holder, &[asked, beside], &request).await?;
            item.signers.sort_by_key(|signer| signer.node);
            let answer = crate::signing::answer(&clinic.cluster, asked, &item).await?;
            assert_eq!(answer, SignAnswer::Refused(refusal.clone()), "{case}: node {asked}");
        }
    }
    clinic.must_sign(&[nodes[0], nodes[1]], &honest).await?;
    let share = clinic.ask(pharmacist, &[nodes[1], nodes[2]], &dispensing).await?;
    assert!(matches!(share, SignAnswer::Share(_)), "{share:?}");
    Ok(())
}
