//! A PKCS#11 token in the place of the trial card: the commands that a person types.

use std::process::Command;

use anyhow::Context as _;
use der::Encode as _;
use rcgen::PublicKeyData as _;
use spki::SubjectPublicKeyInfoOwned;
use warifu::card::Card as _;
use warifu::local_cluster::LocalCluster;
use warifu::trial_pki::Validity;
use warifu::verify::{VerifyOptions, verify};
use warifu_core::pki::CertificateSerial;

use crate::softhsm::{SoftHsm, USER_PIN, must_make_rsa, must_store, pin, with_softhsm};
use crate::{Running, running};

#[test]
fn a_token_over_pkcs11_logs_in_and_its_prescription_verifies() {
    with_softhsm("token::a_token_over_pkcs11_logs_in_and_its_prescription_verifies", |hsm| {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(story(hsm)).expect("the story ends well");
    });
}

async fn story(hsm: &SoftHsm) -> anyhow::Result<()> {
    let run = running().await?;
    let credential = run.certified("doctor-with-a-token", "Medical Doctor").await?;
    make_card(hsm, &run)?;
    let mut card = hsm.open("JPKI")?;
    run.cluster.bind(credential, &mut card, &pin(USER_PIN)).await?;
    anyhow::ensure!(!card.describe().trial, "a token is no trial card");
    drop(card);

    let path = |file: &str| run.directory.path().join(file).display().to_string();
    let module = hsm.module.display().to_string();
    let login = |pin: &str| {
        let mut command = warifu(&run.cluster, LocalCluster::CLIENT_CLINIC);
        command.env("WARIFU_CARD_PIN", pin).args(["terminal", "login", "--credential", &credential.to_string()]);
        command.args(["--facility", LocalCluster::CLINIC, "--pkcs11-module", &module]);
        command.args(["--terminal-key", &run.clinic.display().to_string(), "--out", &path("session.json")]);
        command
    };
    let wrong = login("0000").output()?;
    anyhow::ensure!(wrong.status.code() == Some(1), "a wrong PIN is refused: {}", String::from_utf8_lossy(&wrong.stderr));
    anyhow::ensure!(String::from_utf8_lossy(&wrong.stderr).contains("PIN"), "and named: {}", String::from_utf8_lossy(&wrong.stderr));
    must_run(&mut login(USER_PIN))?;

    std::fs::write(path("prescription.xml"), warifu_coordinator::document::sample::prescription("1439e0c5-7c1d-4512-861d-263de48417bf"))?;
    let sign = || {
        let mut command = warifu(&run.cluster, LocalCluster::CLIENT_CLINIC);
        command.args(["terminal", "sign", &path("prescription.xml"), "--session", &path("session.json"), "--kind", "prescription"]);
        command.args(["--out", &path("signed.xml")]);
        command
    };
    must_run(&mut sign())?;
    let report = verify(&std::fs::read(path("signed.xml"))?, &VerifyOptions::default());
    anyhow::ensure!(report.valid, "{report}");

    must_run(warifu(&run.cluster, LocalCluster::CLIENT_CLINIC).args(["terminal", "logout", "--session", &path("session.json")]))?;
    std::fs::remove_file(path("signed.xml"))?;
    let after = sign().output()?;
    anyhow::ensure!(!after.status.success(), "nothing is signed after the logout");
    Ok(())
}

fn make_card(hsm: &SoftHsm, run: &Running) -> anyhow::Result<()> {
    let (_, session) = hsm.must_make_token("JPKI");
    let key = must_make_rsa(&session, 1, 2048);
    let spki = key.subject_public_key_info();
    let spki: SubjectPublicKeyInfoOwned = der::Decode::from_der(&spki).context("the token's key")?;
    let now = warifu::clock::now();
    let validity = Validity { not_before: now.minus(60_000), not_after: now.plus(24 * 60 * 60 * 1000) };
    let serial = CertificateSerial::new(&[7, 7, 7])?;
    let certificate = run.cluster.jpki.issue_card_certificate(&spki.to_der()?, &serial, validity)?;
    must_store(&session, 1, "User Authentication Certificate", &certificate);
    Ok(())
}

/// The `warifu` command with the genesis of this cluster and the connection of one of its clients.
pub(crate) fn warifu(cluster: &LocalCluster, client: &str) -> Command {
    let identity = cluster.identity(client);
    let mut command = Command::new(env!("CARGO_BIN_EXE_warifu"));
    command
        .env("WARIFU_API", cluster.url())
        .env("WARIFU_CA", cluster.ca_file())
        .env("WARIFU_CERT", &identity.files.certificate)
        .env("WARIFU_KEY", &identity.files.key)
        .env("WARIFU_GENESIS", cluster.genesis_file());
    command
}

/// What it printed.
pub(crate) fn must_run(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stdout));
    Ok(output.stdout)
}
