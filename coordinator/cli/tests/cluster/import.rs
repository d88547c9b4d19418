//! A key that existed before is brought in by the commands that people type, and signs a prescription under the public key that it had.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::Context as _;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey as _;
use serde_json::Value;
use warifu::card::CardAlgorithm;
use warifu::keys::{KeyKind, TerminalKey};
use warifu::local_cluster::{Holder, LocalCluster};
use warifu_protocol::{CredentialId, DocumentKind, OfficerRole};

use crate::token::{must_run, warifu};
use crate::{Running, running};

const SEED: [u8; 32] = *b"\x8a\x01irregular as a die would have\xff";

#[tokio::test(flavor = "multi_thread")]
async fn an_imported_key_signs_a_prescription_under_its_own_public_key_and_says_imported_everywhere() -> anyhow::Result<()> {
    let run = running().await?;
    let key = SigningKey::from_bytes(&SEED);
    let path = |file: &str| run.directory.path().join(file);
    secret(&path("seed.pem"), pem::encode(&pem::Pem::new("PRIVATE KEY", key.to_pkcs8_der()?.as_bytes())).as_bytes())?;
    let written = must_run(&mut import(&run, "dr-old", "seed.pem", "import"))?;
    for file in ["import.json", "import.packets"] {
        let content = std::fs::read(path(file))?;
        must_not_hold_the_seed(file, &content);
    }
    must_not_hold_the_seed("what was printed", &written);
    let text = String::from_utf8(written)?;
    anyhow::ensure!(text.contains(&hex::encode(key.verifying_key())) && text.contains("EXISTED WHOLE BEFORE"), "{text}");

    // Nothing goes without both officers and the packets.
    let submit = |packets: bool| {
        let mut command = warifu(&run.cluster, LocalCluster::CLIENT_CA);
        command.args(["officer", "submit", "--json", "--order"]).arg(path("import.json"));
        if packets {
            command.arg("--packets").arg(path("import.packets"));
        }
        command
    };
    let alone = submit(false).output()?;
    anyhow::ensure!(alone.status.code() == Some(2) && said(&alone).contains("--packets"), "{}", said(&alone));
    let unapproved = submit(true).output()?;
    anyhow::ensure!(unapproved.status.code() == Some(1) && said(&unapproved).contains("approvals"), "{}", said(&unapproved));
    for officer in run.cluster.officers.files.iter().zip(&run.cluster.officers.keys) {
        if officer.1.officer().role == OfficerRole::SecurityOfficer {
            let mut command = warifu(&run.cluster, LocalCluster::CLIENT_CA);
            command.args(["officer", "approve", "--yes", "--order"]).arg(path("import.json")).arg("--key").arg(officer.0);
            must_run(command.arg("--passphrase-file").arg(&run.cluster.officers.passphrase_file))?;
        }
    }
    // Again is no harm: whoever does not know how it ended submits the same files again.
    for _ in 0..2 {
        let answer: Value = serde_json::from_slice(&must_run(&mut submit(true))?)?;
        anyhow::ensure!(answer["applied"]["CeremonyStarted"].is_string(), "{answer}");
    }

    let credential = listed(&run, "dr-old")?;
    run.cluster.certify(credential, &["Medical Doctor"]).await?;
    let client = run.cluster.client(LocalCluster::CLIENT_CA, std::time::Duration::from_secs(15))?;
    let view = client.credential(credential).await?;
    let certificate = view.certificate.context("certified")?;
    let own = key.verifying_key().to_bytes();
    anyhow::ensure!(certificate.as_slice().windows(own.len()).any(|window| window == own), "the certificate is over the key that it was");
    let (facility, platform) = (LocalCluster::CLINIC, LocalCluster::CLIENT_CLINIC);
    let (algorithm, terminal) = (CardAlgorithm::EcdsaP384Sha384, TerminalKey::load(&run.clinic)?);
    let holder = Holder::equip(&run.cluster, &path("dr-old"), credential, facility, platform, algorithm, terminal)?;
    run.cluster.bind(credential, &mut holder.card()?, &holder.pin()?).await?;
    let mut session = holder.log_in(&run.cluster, &path("session.json"), KeyKind::Ed25519, 3).await?;
    let document = warifu_coordinator::document::sample::prescription("1439e0c5-7c1d-4512-861d-263de48417bf");
    session.sign(document, DocumentKind::Prescription).await?;

    let mut show = warifu(&run.cluster, LocalCluster::CLIENT_CA);
    let story = String::from_utf8(must_run(show.args(["credential", "show", &credential.to_string()]))?)?;
    anyhow::ensure!(story.contains("IMPORTED by order") && story.contains("security-1, security-2"), "{story}");
    let mut list = warifu(&run.cluster, LocalCluster::CLIENT_CA);
    let table = String::from_utf8(must_run(list.args(["credential", "list"]))?)?;
    anyhow::ensure!(table.contains("imported"), "{table}");

    // The same key for somebody else, at once with both officers' keys.
    let mut twice = import(&run, "dr-new", "seed.pem", "again");
    twice.arg("--yes").arg("--passphrase-file").arg(&run.cluster.officers.passphrase_file).arg("--approve-with");
    let security = run.cluster.officers.files.iter().filter(|file| file.to_string_lossy().contains("security"));
    let twice = twice.args(security).output()?;
    anyhow::ensure!(twice.status.code() == Some(1) && said(&twice).contains(&credential.to_string()), "{}", said(&twice));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_seed_is_refused_before_anything_is_written() -> anyhow::Result<()> {
    let run = running().await?;
    let path = |file: &str| run.directory.path().join(file);
    secret(&path("zeros"), &[0; 32])?;
    secret(&path("short"), &SEED[1..])?;
    secret(&path("vector"), b"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60\n")?;
    secret(&path("exposed"), &SEED)?;
    std::fs::set_permissions(path("exposed"), Permissions::from_mode(0o644))?;
    let cases =
        [("zeros", "weak"), ("short", "32 bytes"), ("vector", "test vector"), ("exposed", "others can read"), ("absent", "cannot read")];
    for (file, says) in cases {
        let output = import(&run, "dr-1", file, "never").output()?;
        anyhow::ensure!(output.status.code() == Some(1) && said(&output).contains(says), "{file}: {}", said(&output));
        anyhow::ensure!(!path("never.json").exists() && !path("never.packets").exists(), "{file}: something was written");
    }
    // A terminal is asked; anything else must say where the seed is.
    let mut nobody = warifu(&run.cluster, LocalCluster::CLIENT_CA);
    nobody.args(["credential", "import", "--holder", "dr-1", "--common-name", "A B", "--serial-number", "1"]);
    let nobody = nobody.stdin(std::process::Stdio::null()).output()?;
    anyhow::ensure!(nobody.status.code() == Some(1) && said(&nobody).contains("--seed"), "{}", said(&nobody));
    Ok(())
}

/// `warifu credential import` with its files named `out.json` and `out.packets`; the order is written if nobody approves at once.
fn import(run: &Running, holder: &str, seed: &str, out: &str) -> Command {
    let path = |file: String| run.directory.path().join(file);
    let mut command = warifu(&run.cluster, LocalCluster::CLIENT_CA);
    command.args(["credential", "import", "--holder", holder, "--common-name", "TRIAL Hanako Iryo", "--serial-number", "OLD-1"]);
    command.arg("--seed").arg(path(seed.to_owned())).arg("--packets-out").arg(path(format!("{out}.packets")));
    if out != "again" {
        command.arg("--order-out").arg(path(format!("{out}.json")));
    }
    command
}

fn listed(run: &Running, holder: &str) -> anyhow::Result<CredentialId> {
    let mut list = warifu(&run.cluster, LocalCluster::CLIENT_CA);
    let page: Value = serde_json::from_slice(&must_run(list.args(["credential", "list", "--json"]))?)?;
    let found = page["credentials"].as_array().into_iter().flatten().find(|view| view["holder"] == holder).context("it is listed")?;
    anyhow::ensure!(found["origin"]["imported"]["officers"][0] == "security-1", "{found}");
    Ok(found["credential"].as_str().context("an id")?.parse()?)
}

fn secret(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    std::fs::write(path, content)?;
    Ok(std::fs::set_permissions(path, Permissions::from_mode(0o600))?)
}

#[track_caller]
fn must_not_hold_the_seed(what: &str, content: &[u8]) {
    use base64::Engine as _;
    let scalar = SigningKey::from_bytes(&SEED).to_scalar().to_bytes();
    for secret in [SEED, scalar] {
        let forms =
            [secret.to_vec(), hex::encode(secret).into_bytes(), base64::engine::general_purpose::STANDARD.encode(secret).into_bytes()];
        for form in forms {
            assert!(!content.windows(form.len()).any(|window| window == form), "{what} holds the key");
        }
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout))
}
