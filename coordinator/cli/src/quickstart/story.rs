//! From an empty directory to a signed dispensing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use warifu_coordinator::document::{DOCUMENT_BYTES_MAX, XmlDocument, sample};
use warifu_core::pki::Certificate;
use warifu_protocol::{CredentialId, DocumentKind, NodeId, SubjectFields};

use super::error::QuickstartError;
use super::load::{LoadSummary, RATE, SECONDS_MAX, document_id};
use super::outage::{self, Back};
use super::report::Recorder;
use crate::card::CardAlgorithm;
use crate::files::{self, MODE_PUBLIC};
use crate::keys::{KeyKind, TerminalKey};
use crate::local_cluster::{Holder, LocalCluster, LocalClusterError, LocalClusterOptions, NewHolder, OpenSession};
use crate::verify::{VerifyOptions, verify};

/// What is asked for.
pub(super) struct Plan {
    pub(super) options: LocalClusterOptions,
    /// The prescription to sign, with the file that it is from; the own sample if there is none.
    pub(super) document: Option<(PathBuf, String)>,
    /// Where the signed prescription goes; into the directory if nothing is said.
    pub(super) out: Option<PathBuf>,
}

/// A cluster after the story, still running.
pub(super) struct Told {
    pub(super) cluster: LocalCluster,
    pub(super) doctor: Holder,
    pub(super) pharmacist: Holder,
}

/// Reads a prescription to sign and refuses what the coordinator would.
pub(super) fn read_prescription(path: &Path) -> Result<String, QuickstartError> {
    let text = files::read_text(path, "prescription", DOCUMENT_BYTES_MAX)?;
    let refused = |source| QuickstartError::Document { path: path.to_owned(), source };
    let document = XmlDocument::parse(text.as_bytes()).map_err(refused)?;
    document.expect_kind(DocumentKind::Prescription).map_err(refused)?;
    document.document_id().map_err(refused)?;
    drop(document);
    Ok(text)
}

/// Tells the story, step by step.
pub(super) async fn tell(plan: Plan, recorder: &mut Recorder) -> Result<Told, QuickstartError> {
    let (n, t) = (plan.options.nodes, plan.options.threshold);
    let options = plan.options.clone();
    let found = async move { tokio::task::spawn_blocking(move || LocalCluster::found(&options)).await.expect("founding does not panic") };
    let mut cluster = recorder
        .step("make keys, trial CAs and genesis", found, |cluster: &LocalCluster| {
            format!("{t} of {n}, cluster {}…", &cluster.genesis().cluster().to_string()[..12])
        })
        .await?;
    recorder
        .step(
            "start the processes",
            async {
                cluster.start()?;
                cluster.wait_ready(READY_DEADLINE).await
            },
            |()| format!("{n} nodes and 1 coordinator, all confirmed"),
        )
        .await?;

    let terminals = (TerminalKey::generate(KeyKind::Ed25519), TerminalKey::generate(KeyKind::P256));
    let (clinic, pharmacy) = (terminals.0.map_err(LocalClusterError::from)?, terminals.1.map_err(LocalClusterError::from)?);
    recorder
        .step("bring in revocation lists, facilities and terminals", prepare(&cluster, &clinic, &pharmacy), |()| {
            "2 lists, 2 facilities, 2 terminals".to_owned()
        })
        .await?;
    let credentials = recorder
        .step("enrol a doctor and a pharmacist", enrol(&cluster), |credentials| {
            format!("{} keys made by {n} sites, whole nowhere", credentials.len())
        })
        .await?;
    let &[doctor, pharmacist] = credentials.as_slice() else { unreachable!("one credential for each holder") };
    recorder
        .step(
            "sign CSRs, certify and install",
            async {
                cluster.certify(doctor, &["Medical Doctor"]).await?;
                cluster.certify(pharmacist, &["Pharmacist"]).await
            },
            |()| "Medical Doctor, Pharmacist".to_owned(),
        )
        .await?;
    let (doctor, pharmacist) = recorder
        .step("make trial cards and bind them", bind(&cluster, doctor, pharmacist, clinic, pharmacy), |_| {
            "RSA-2048 and P-384, 2 operators each".to_owned()
        })
        .await?;
    let (mut writing, mut dispensing) =
        recorder.step("log in with the cards' PINs", log_in(&cluster, &doctor, &pharmacist), |_| "2 sessions".to_owned()).await?;

    let signed_directory = cluster.directory().join(SIGNED_DIRECTORY);
    files::make_directory(&signed_directory)?;
    let trust = signed_directory.join("trial-hpki-ca.pem");
    cluster.write_trust_anchor(&trust)?;
    recorder.report.trust = Some(trust);

    let xml = plan.document.as_ref().map_or_else(|| sample::prescription(&document_id()), |(_, xml)| xml.clone());
    let path = plan.out.clone().unwrap_or_else(|| signed_directory.join("prescription.xml"));
    let prescription = recorder
        .step("sign and verify the prescription", sign(&cluster, &mut writing, xml, DocumentKind::Prescription, &path), |(_, by)| {
            by.clone()
        })
        .await?
        .0;
    recorder.report.prescription = Some(path);
    let xml = sample::dispensing(&prescription, &document_id()).map_err(QuickstartError::Dispensing)?;
    let path = signed_directory.join("dispensing.xml");
    recorder
        .step("sign and verify the dispensing", sign(&cluster, &mut dispensing, xml, DocumentKind::Dispensing, &path), |(_, by)| by.clone())
        .await?;
    recorder.report.dispensing = Some(path);

    let suffer = recorder
        .step("kill the leader and more under load, restart", outage::run(&mut cluster, writing), |outage| {
            format!("killed {}", list(&outage.killed))
        })
        .await?;
    note_outage(recorder, suffer.summary, suffer.back)?;
    drop(suffer.session);
    Ok(Told { cluster, doctor, pharmacist })
}

/// Puts the figures into the report and holds them against what was promised: the documents first, then the nodes.
fn note_outage(recorder: &mut Recorder, summary: LoadSummary, back: Back) -> Result<(), QuickstartError> {
    let mut row = |step: &str, seconds: f64, result: String| {
        recorder.report.steps.push(super::report::Step { step: step.to_owned(), seconds, result });
    };
    row(
        &format!("  load of {} documents/s", summary.rate),
        summary.outage_seconds,
        format!(
            "attempted {}, failed {}, retried {}\nsigned during the outage {}, longest gap {:.0} ms\nlatency p50 {:.0} ms, p99 {:.0} ms",
            summary.attempted,
            summary.failed,
            summary.retried,
            summary.signed_during_outage,
            summary.longest_gap_millis,
            summary.latency_p50_millis,
            summary.latency_p99_millis
        ),
    );
    for (node, time) in back.times {
        row(&format!("  node {node} gives shares again"), super::report::rounded(time), "yes".to_owned());
    }
    recorder.report.outage = Some(summary.clone());
    if let Some(first) = summary.first_failure {
        return Err(QuickstartError::LoadFailed { failed: summary.failed, attempted: summary.attempted, first });
    }
    if summary.signed_during_outage == 0 {
        return Err(QuickstartError::NothingSigned);
    }
    back.failure.map_or(Ok(()), Err)
}

async fn prepare(cluster: &LocalCluster, clinic: &TerminalKey, pharmacy: &TerminalKey) -> Result<(), LocalClusterError> {
    cluster.publish_crls(1).await?;
    for (facility, terminal) in [(LocalCluster::CLINIC, clinic), (LocalCluster::PHARMACY, pharmacy)] {
        let facility = facility.parse().expect("the facilities' names are names");
        cluster.enrol_facility(&facility, terminal.terminal, terminal.public()).await?;
    }
    Ok(())
}

async fn enrol(cluster: &LocalCluster) -> Result<Vec<CredentialId>, LocalClusterError> {
    let holder = |id: &str, name: &str, number: &str| NewHolder {
        holder: id.parse().expect("the holders' identifiers are names"),
        subject: SubjectFields::new("JP", None, name, number).expect("the holders' subjects are subjects"),
    };
    cluster.enrol(&[holder("trial-doctor", "TRIAL Ishi", "TRIAL-0001"), holder("trial-pharmacist", "TRIAL Yakuzaishi", "TRIAL-0002")]).await
}

async fn bind(
    cluster: &LocalCluster,
    doctor: CredentialId,
    pharmacist: CredentialId,
    clinic: TerminalKey,
    pharmacy: TerminalKey,
) -> Result<(Holder, Holder), LocalClusterError> {
    let directory = |name: &str| cluster.directory().join(name);
    let (at_clinic, at_pharmacy) = (LocalCluster::CLINIC, LocalCluster::PHARMACY);
    let (rsa, ecdsa) = (CardAlgorithm::RsaSha256, CardAlgorithm::EcdsaP384Sha384);
    let doctor = Holder::equip(cluster, &directory("doctor"), doctor, at_clinic, LocalCluster::CLIENT_CLINIC, rsa, clinic)?;
    let pharmacist =
        Holder::equip(cluster, &directory("pharmacist"), pharmacist, at_pharmacy, LocalCluster::CLIENT_PHARMACY, ecdsa, pharmacy)?;
    for holder in [&doctor, &pharmacist] {
        cluster.bind(holder.credential, &mut holder.card()?, &holder.pin()?).await?;
    }
    Ok((doctor, pharmacist))
}

async fn log_in(cluster: &LocalCluster, doctor: &Holder, pharmacist: &Holder) -> Result<(OpenSession, OpenSession), LocalClusterError> {
    let file = |name: &str| cluster.directory().join(name).join("session.json");
    let writing = doctor.log_in(cluster, &file("doctor"), KeyKind::Ed25519, RATE * SECONDS_MAX + SPARE_SIGNATURES).await?;
    let dispensing = pharmacist.log_in(cluster, &file("pharmacist"), KeyKind::P256, SPARE_SIGNATURES).await?;
    Ok((writing, dispensing))
}

/// Signs, writes and verifies a document. Returns it with who signed it.
async fn sign(
    cluster: &LocalCluster,
    session: &mut OpenSession,
    xml: String,
    kind: DocumentKind,
    path: &Path,
) -> Result<(String, String), QuickstartError> {
    let signed = session.sign(xml, kind).await?;
    files::write_new(path, signed.xml.as_bytes(), MODE_PUBLIC)?;
    let anchor = Certificate::parse(cluster.hpki.certificate_der()).expect("the trial CA's own certificate is readable");
    let report = verify(signed.xml.as_bytes(), &VerifyOptions { anchors: vec![anchor], at: None });
    if !report.valid {
        let problems = report.signatures.iter().filter_map(|signature| signature.problem.clone());
        let problem = report.problem.into_iter().chain(problems).collect::<Vec<_>>().join("; ");
        return Err(QuickstartError::Invalid { kind, problem });
    }
    let roles = signed.certificate.hc_roles().unwrap_or_default().join(", ");
    let signer = signed.certificate.subject().to_string();
    Ok((signed.xml, format!("{} signature(s) valid, by {roles}\n{signer}", report.signatures.len())))
}

fn list(nodes: &[NodeId]) -> String {
    let names: Vec<String> =
        nodes.iter().enumerate().map(|(index, node)| if index == 0 { format!("{node} (leader)") } else { node.to_string() }).collect();
    names.join(", ")
}

/// Directory of the signed documents and the CA to check them with; it stays when the rest is removed.
pub(super) const SIGNED_DIRECTORY: &str = "signed";
/// Elections and confirmations on a busy machine take some seconds.
const READY_DEADLINE: Duration = Duration::from_secs(30);
/// Documents that a session may sign beside the load's: those of the story, and a person's own while the cluster is kept.
const SPARE_SIGNATURES: u32 = 200;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::console::Console;

    #[test]
    fn an_outage_in_which_a_document_failed_or_none_was_signed_or_a_node_stayed_away_fails_and_is_reported_all_the_same() {
        let good = LoadSummary { rate: RATE, attempted: 400, signed_during_outage: 1, ..LoadSummary::default() };
        let failed = LoadSummary { failed: 1, first_failure: Some("signers-unavailable".to_owned()), ..good };
        let idle = LoadSummary { signed_during_outage: 0, ..good.clone() };
        let (not_signed, none) =
            ("1 of 400 documents were not signed; the first: signers-unavailable", "no document was signed while nodes were down");
        let away = "node 3 was restarted but gave no signature share again: no route";
        let rows = [
            (good.clone(), false, None),
            (failed.clone(), false, Some(not_signed)),
            (idle, false, Some(none)),
            (good, true, Some(away)),
            // A document that failed is the worse of the two.
            (failed, true, Some(not_signed)),
        ];
        let node = |id| NodeId::new(id).expect("a node id");
        for (summary, stays_away, expected) in rows {
            let failure = stays_away.then(|| QuickstartError::NotBack { node: node(3), state: "no route".to_owned() });
            let back = Back { times: BTreeMap::from([(node(2), Duration::from_millis(1500))]), failure };
            let mut recorder = Recorder::new(Console::new(true));
            let outcome = note_outage(&mut recorder, summary.clone(), back).map_err(|error| error.to_string());
            assert_eq!(outcome.err().as_deref(), expected);
            let steps: Vec<(&str, f64)> = recorder.report.steps.iter().map(|step| (step.step.trim(), step.seconds)).collect();
            assert_eq!(steps, [("load of 25 documents/s", 0.0), ("node 2 gives shares again", 1.5)]);
            assert_eq!(recorder.report.outage, Some(summary));
        }
    }
}
