//! A clinic's terminal, used by the commands that a person types.

use std::process::Command;

use anyhow::ensure;
use serde_json::{Value, json};
use warifu::keys::TerminalKey;
use warifu::local_cluster::{Holder, LocalCluster};
use warifu::verify::{VerifyOptions, verify};
use warifu_coordinator::document::sample;
use warifu_core::pki::Certificate;

use crate::Running;
use crate::commands::{Desk, Ended};
use crate::token::warifu;

/// Exit code of a command that does not reach the cluster.
const UNREACHABLE: i32 = 3;

/// The clinic's terminal, in the run's directory.
struct Terminal<'a>(&'a Running);

impl Terminal<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = warifu(&self.0.cluster, LocalCluster::CLIENT_CLINIC);
        command.current_dir(self.0.directory.path()).arg("terminal").args(arguments);
        command
    }

    /// Runs a command with `--json` that must succeed.
    fn json(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let ended = Ended::of(self.command(arguments).arg("--json"))?;
        ensure!(ended.code == Some(0), "{arguments:?} ends with {:?}: {}{}", ended.code, ended.out, ended.err);
        ended.json()
    }

    fn log_in(&self, holder: &Holder, more: &[&str]) -> anyhow::Result<Value> {
        let text = |path: &std::path::Path| path.display().to_string();
        let (credential, terminal) = (holder.credential.to_string(), text(&holder.terminal_file));
        let (card, pin) = (text(&holder.card_file), text(&holder.pin_file));
        let who = ["--credential", &credential, "--facility", LocalCluster::CLINIC, "--terminal-key", &terminal];
        self.json(&[&["login"], who.as_slice(), &["--card", &card, "--pin-file", &pin, "--out", "session.json"], more].concat())
    }

    /// What the session's file holds.
    fn session(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_slice(&std::fs::read(self.0.directory.path().join("session.json"))?)?)
    }
}

/// The arguments that have `prescription.xml` signed to this file.
fn sign_to(out: &str) -> [&str; 8] {
    ["sign", "prescription.xml", "--session", "session.json", "--kind", "prescription", "--out", out]
}

/// A doctor with an HPKI card of the CA in `card-ca`, bound by two operators.
async fn with_hpki_card(run: &Running) -> anyhow::Result<Holder> {
    let desk = Desk { run };
    let credential = run.certified("doctor", "Medical Doctor").await?;
    let (card_file, pin_file) = (desk.path("hpki-card.json"), desk.path("hpki-pin"));
    warifu::files::write_new(&pin_file, b"471147", warifu::files::MODE_SECRET)?;
    let (card, pin) = (card_file.display().to_string(), pin_file.display().to_string());
    let subject = ["--common-name", "TRIAL doctor", "--serial-number", "doctor", "--role", "Medical Doctor"];
    let made = ["card", "new-trial", "--kind", "hpki_card", "--trial-ca", "card-ca", "--out", &card, "--pin-file", &pin];
    desk.json(&[made.as_slice(), &subject].concat())?;
    let bind = ["credential", "bind", &credential.to_string(), "--kind", "hpki_card", "--card", &card, "--pin-file", &pin];
    desk.approved(2, &bind)?;
    Ok(Holder {
        credential,
        facility: LocalCluster::CLINIC.parse()?,
        client: LocalCluster::CLIENT_CLINIC,
        terminal: TerminalKey::load(&run.clinic)?,
        terminal_file: run.clinic.clone(),
        card_file,
        pin_file,
    })
}

/// A doctor with an HPKI card under CAs that `roster.json` pins and the genesis does not, where the roster's policy allows fewer signatures than
/// the genesis's.
pub(crate) async fn follows_policy_and_anchors(run: &Running) -> anyhow::Result<()> {
    let doctor = with_hpki_card(run).await?;
    let terminal = Terminal(run);
    std::fs::write(run.directory.path().join("prescription.xml"), sample::prescription("1439e0c5-7c1d-4512-861d-263de48417bf"))?;
    let refused = terminal.log_in(&doctor, &[]).err().map(|error| error.to_string()).unwrap_or_default();
    ensure!(refused.contains("signatures"), "as many as the genesis allows: {refused}");
    terminal.log_in(&doctor, &["--max", "5"])?;
    let unknown = Ended::of(&mut terminal.command(&sign_to("signed.xml")))?;
    ensure!(unknown.code == Some(1) && unknown.err.contains("--roster"), "the CA is not known: {}{}", unknown.out, unknown.err);
    let signed = terminal.json(&[sign_to("signed.xml").as_slice(), &["--roster", "roster.json"]].concat())?;
    ensure!(signed["seq"] == 1, "the number is not lost: {signed}");
    ensure!(terminal.json(&sign_to("again.xml"))?["seq"] == 2, "the session knows the CA from then on");
    terminal.json(&["logout", "--session", "session.json"])?;

    let opened = terminal.log_in(&doctor, &["--roster", "roster.json"])?;
    ensure!(opened["max_signatures"] == 77, "as many as the policy allows by now: {opened}");
    ensure!(terminal.json(&sign_to("later.xml"))?["seq"] == 1, "the session knows the CA from its login");
    terminal.json(&["logout", "--session", "session.json"])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_whose_answer_was_lost_is_signed_under_the_number_that_it_had() -> anyhow::Result<()> {
    let run = crate::running_under(crate::patient()).await?;
    let doctor = run.holder("doctor", "Medical Doctor").await?;
    let terminal = Terminal(&run);
    terminal.log_in(&doctor, &[])?;
    std::fs::write(run.directory.path().join("prescription.xml"), sample::prescription("1439e0c5-7c1d-4512-861d-263de48417bf"))?;

    let unsent = Ended::of(terminal.command(&sign_to("signed.xml")).env("WARIFU_API", "https://127.0.0.1:9"))?;
    ensure!(unsent.code == Some(UNREACHABLE), "{:?} {}", unsent.code, unsent.err);
    let pending = terminal.session()?["pending"][0].clone();
    ensure!(pending["request"]["seq"] == 1, "{pending}");
    // Signed by the cluster, and then there is nowhere to put it.
    let unkept = Ended::of(&mut terminal.command(&sign_to("nowhere/signed.xml")))?;
    ensure!(unkept.code == Some(1) && unkept.out.contains("Number 1 was sent"), "{}{}", unkept.out, unkept.err);
    ensure!(terminal.session()?["pending"] == json!([pending]), "it is not known to be signed");
    let signed = terminal.json(&sign_to("signed.xml"))?;
    ensure!(signed["seq"] == 1 && signed["signing_time"] == pending["request"]["signing_time"], "the same request: {signed}");
    let trusted = VerifyOptions { anchors: vec![Certificate::parse(run.cluster.hpki.certificate_der())?], at: None };
    let report = verify(&std::fs::read(run.directory.path().join("signed.xml"))?, &trusted);
    ensure!(report.valid, "{report}");

    let session = terminal.session()?;
    ensure!(session["next_seq"] == 2 && session["pending"] == json!([]), "one number is used, and nothing is pending");
    run.cluster.write_trust_anchor(&run.directory.path().join("ca.pem"))?;
    let over = |ca| [sign_to("again.xml").as_slice(), &["--intermediate", ca]].concat();
    let unread = Ended::of(&mut terminal.command(&over("prescription.xml")))?;
    ensure!(unread.code == Some(1) && unread.err.contains("neither DER nor PEM"), "{}", unread.err);
    ensure!(terminal.session()?["next_seq"] == 2, "no number is spent on it");
    ensure!(terminal.json(&over("ca.pem"))?["seq"] == 2, "a document with its answer may be signed again, as another one");
    terminal.json(&["logout", "--session", "session.json"])?;
    ensure!(!run.directory.path().join("session.json").exists(), "its key is gone");
    run.cluster.stop();
    Ok(())
}
