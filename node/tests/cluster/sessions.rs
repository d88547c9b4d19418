//! Numbers of a session, across restarts.

use warifu_protocol::Refusal;
use warifu_protocol::wire::SignAnswer;

use crate::clinic::Clinic;
use crate::support::node_id;

#[tokio::test(flavor = "multi_thread")]
async fn a_used_number_signs_no_other_document_after_all_nodes_restarted_and_the_same_request_again() -> anyhow::Result<()> {
    let mut clinic = Clinic::open().await?;
    let session = clinic.log_in(&clinic.physician, 1).await?;
    let all = [1, 2, 3].map(node_id);
    let first = session.prescription(7, 1)?;
    clinic.must_sign(&[all[0], all[1]], &first).await?;
    clinic.must_sign(&[all[1], all[2]], &first).await?;

    for node in all {
        clinic.cluster.stop_node(node).await?;
    }
    for node in all {
        clinic.cluster.start_node(node, false);
    }
    clinic.cluster.until_confirmed(&all).await?;

    let second = session.prescription(7, 2)?;
    for signers in [[all[0], all[1]], [all[1], all[2]]] {
        let answer = clinic.ask(&clinic.physician, &signers, &second).await?;
        assert_eq!(answer, SignAnswer::Refused(Refusal::SeqUsed), "node {}", signers[0]);
    }
    clinic.must_sign(&[all[0], all[2]], &first).await?;
    clinic.must_sign(&[all[0], all[2]], &session.prescription(8, 2)?).await
}
