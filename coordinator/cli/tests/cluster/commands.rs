//! The commands that people type, as processes against real daemons.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use warifu::local_cluster::{LocalCluster, NODE_COMMAND};
use warifu_protocol::NodeId;

use crate::Running;

/// How a command ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    pub(crate) fn of(command: &mut Command) -> anyhow::Result<Self> {
        let Output { status, stdout, stderr } = command.output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Self { code: status.code(), out: text(&stdout), err: text(&stderr) })
    }

    /// Standard output as the one JSON value that it must be.
    pub(crate) fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.out).with_context(|| format!("not one JSON value: {}", self.out))
    }
}

/// Somebody at the CA's desk with all officers' keys at hand.
pub(crate) struct Desk<'a> {
    pub(crate) run: &'a Running,
}

impl Desk<'_> {
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.run.directory.path().join(file)
    }

    /// `warifu` with the desk's connection, genesis and passphrase, and these arguments.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let cluster = &self.run.cluster;
        let identity = cluster.identity(LocalCluster::CLIENT_CA);
        let mut command = Command::new(env!("CARGO_BIN_EXE_warifu"));
        command
            .current_dir(self.run.directory.path())
            .env("WARIFU_API", cluster.url())
            .env("WARIFU_CA", cluster.ca_file())
            .env("WARIFU_CERT", &identity.files.certificate)
            .env("WARIFU_KEY", &identity.files.key)
            .env("WARIFU_GENESIS", cluster.genesis_file())
            .args(arguments);
        command
    }

    /// Runs a command that must end with this exit code.
    pub(crate) fn ends(&self, code: i32, arguments: &[&str]) -> anyhow::Result<Ended> {
        let ended = Ended::of(&mut self.command(arguments))?;
        ensure!(ended.code == Some(code), "{arguments:?} ends with {:?}, not {code}: {}{}", ended.code, ended.out, ended.err);
        Ok(ended)
    }

    /// Runs a command with `--json` that must succeed.
    pub(crate) fn json(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        self.ends(0, &[arguments, &["--json"]].concat())?.json()
    }

    /// As [`Self::json`], approved at once by the first operators.
    pub(crate) fn approved(&self, operators: usize, arguments: &[&str]) -> anyhow::Result<Value> {
        let officers = &self.run.cluster.officers;
        let keys: Vec<String> = officers.files.iter().take(operators).map(|path| path.display().to_string()).collect();
        let passphrase = officers.passphrase_file.display().to_string();
        let mut all = arguments.to_vec();
        all.push("--approve-with");
        all.extend(keys.iter().map(String::as_str));
        all.extend(["--passphrase-file", &passphrase, "--yes"]);
        self.json(&all)
    }

    /// Approves the order in a file by the officers at these places: 0 and 1 are operators, 2 and 3 security officers.
    pub(crate) fn approve(&self, order: &str, officers: &[usize]) -> anyhow::Result<()> {
        for place in officers {
            let key = self.run.cluster.officers.files[*place].display().to_string();
            let passphrase = self.run.cluster.officers.passphrase_file.display().to_string();
            self.json(&["officer", "approve", "--order", order, "--key", &key, "--passphrase-file", &passphrase, "--yes"])?;
        }
        Ok(())
    }

    /// Consents to the order in a file at these sites' own nodes.
    pub(crate) fn consent(&self, order: &str, sites: &[u8]) -> anyhow::Result<()> {
        for site in sites {
            let node = NodeId::new(*site).context("1 to 15")?;
            let socket = self.run.cluster.admin_socket(node);
            let ended =
                Ended::of(self.command(&[NODE_COMMAND, "admin", "--socket"]).arg(socket).args(["consent", "--order", order, "--yes"]))?;
            ensure!(ended.code == Some(0), "site {site}: {}{}", ended.out, ended.err);
        }
        Ok(())
    }

    /// An order that changes the cluster, from its file to the roster that it makes.
    fn change(&self, name: &str, arguments: &[&str]) -> anyhow::Result<Value> {
        let order = format!("{name}.json");
        self.json(&[arguments, &["--order-out", &order]].concat())?;
        let refused = self.ends(1, &["officer", "submit", "--order", &order])?;
        ensure!(refused.err.contains("approval"), "without approvals: {}", refused.err);
        self.approve(&order, &[2, 3])?;
        let refused = self.ends(1, &["officer", "submit", "--order", &order])?;
        ensure!(refused.err.contains("consent"), "without consents: {}", refused.err);
        self.consent(&order, &[1, 2, 3])?;
        self.json(&["officer", "submit", "--order", &order])?;
        let again = self.ends(1, &["officer", "submit", "--order", &order])?;
        ensure!(!again.err.is_empty(), "an order is applied once");
        self.json(&["roster", "export", "--out", "roster.json"])
    }
}

fn read(path: &Path) -> anyhow::Result<Value> {
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_officer_ends_a_key_and_anybody_verifies_it_offline() -> anyhow::Result<()> {
    let run = crate::running().await?;
    let doctor = run.holder("doctor", "Medical Doctor").await?;
    let session = doctor.log_in(&run.cluster, &run.directory.path().join("session.json"), warifu::keys::KeyKind::Ed25519, 5).await?;
    let desk = Desk { run: &run };
    let (credential, session) = (doctor.credential.to_string(), session.session().to_string());

    desk.approved(1, &["session", "close", &session, "--no-wait"])?;
    let suspended = desk.approved(1, &["credential", "suspend", &credential, "--no-wait"])?;
    ensure!(suspended["submitted"]["stop"]["state"] == "draining", "{suspended}");
    ensure!(desk.json(&["credential", "show", &credential])?["credential"]["state"] == "suspended");
    let one = desk.run.cluster.officers.files[0].display().to_string();
    let passphrase = desk.run.cluster.officers.passphrase_file.display().to_string();
    let refused =
        desk.ends(1, &["credential", "resume", &credential, "--approve-with", &one, "--passphrase-file", &passphrase, "--yes"])?;
    ensure!(refused.err.contains("approval"), "one operator resumes nothing: {}", refused.err);
    desk.approved(2, &["credential", "resume", &credential])?;

    let revoked = desk.approved(1, &["credential", "revoke", &credential, "--receipts", "revoked.json"])?;
    ensure!(revoked["submitted"]["stop"]["state"] == "done", "it waits until nothing can be completed: {revoked}");
    let proof = desk.json(&["receipts", "verify", "revoked.json"])?;
    ensure!(proof["level"] == "cannot-sign" && proof["revision"] == 0, "{proof}");
    let updated = desk.json(&["receipts", "update", "revoked.json"])?;
    ensure!(updated["receipts"].as_array().is_some_and(|receipts| receipts.len() == 3), "{updated}");

    let mut few = read(&desk.path("revoked.json"))?;
    few["receipts"].as_array_mut().context("receipts")?.truncate(1);
    std::fs::write(desk.path("few.json"), few.to_string())?;
    let unproved = desk.ends(1, &["receipts", "verify", "few.json", "--json"])?;
    ensure!(unproved.json()?["level"] == "nothing", "{}", unproved.out);
    few["receipts"][0]["body"]["held_since"] = Value::from(1);
    std::fs::write(desk.path("tampered.json"), few.to_string())?;
    let tampered = desk.ends(1, &["receipts", "verify", "tampered.json"])?;
    ensure!(tampered.err.contains("not signed by it"), "{}", tampered.err);
    desk.ends(2, &["receipts", "verify"])?;
    desk.ends(2, &["receipts", "verify", "revoked.json", "--revision", "1"])?;
    desk.ends(1, &["receipts", "verify", "nowhere.json"])?;

    desk.json(&["credential", "destroy", &credential, "--order-out", "destroy.json"])?;
    desk.approve("destroy.json", &[2])?;
    let refused = desk.ends(1, &["officer", "submit", "--order", "destroy.json", "--no-wait"])?;
    ensure!(refused.err.contains("approval"), "one security officer destroys nothing: {}", refused.err);
    desk.approve("destroy.json", &[3])?;
    desk.json(&["officer", "submit", "--order", "destroy.json", "--receipts", "destroyed.json"])?;
    let mut proof = desk.json(&["receipts", "verify", "destroyed.json"])?;
    for _ in 0..60 {
        if proof["level"] == "gone" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        desk.json(&["receipts", "update", "destroyed.json"])?;
        proof = desk.json(&["receipts", "verify", "destroyed.json"])?;
    }
    ensure!(proof["level"] == "gone", "a KEK in files cannot prove more: {proof}");
    let story = desk.json(&["credential", "show", &credential])?;
    ensure!(story["credential"]["state"] == "destroyed" && story["history"].as_array().is_some_and(|history| history.len() > 5), "{story}");

    let mut lost = desk.command(&["credential", "show", &credential]);
    let unreachable = Ended::of(lost.env("WARIFU_API", "https://127.0.0.1:9"))?;
    ensure!(unreachable.code == Some(3), "the cluster cannot be reached: {:?} {}", unreachable.code, unreachable.err);
    run.cluster.stop();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn security_officers_and_sites_change_policy_anchors_and_roster_and_terminals_follow() -> anyhow::Result<()> {
    // Of four sites, so that three are still a majority of five.
    let (directory, options) = Running::options(4, 3)?;
    let mut run = Running::start(LocalCluster::found(&options)?, directory).await?;
    let desk = Desk { run: &run };

    let policy = desk.ends(0, &["policy", "show"])?.out;
    let changed = |line: &&str| ["session_signatures_max", "clock_skew_millis_max"].iter().any(|field| line.starts_with(field));
    let kept: String = policy.lines().filter(|line| !changed(line)).map(|line| format!("{line}\n")).collect();
    let new = format!(
        "session_signatures_max = 77\nclock_skew_millis_max = {}\ndestroy_after_revocation_millis = 0\n",
        crate::PATIENT_SKEW_MILLIS
    );
    std::fs::write(desk.path("policy.toml"), format!("{new}{kept}"))?;
    let cluster = desk.change("policy", &["policy", "set", "policy.toml"])?;
    ensure!(cluster["policy"]["session_signatures_max"] == 77, "{cluster}");
    let shown = desk.json(&["policy", "show", "--roster", "roster.json"])?;
    ensure!(shown["session_signatures_max"] == 77 && shown["destroy_after_revocation_millis"] == 0, "{shown}");
    ensure!(desk.json(&["policy", "show"])?["session_signatures_max"] == 2000, "the genesis alone says what it said");

    let ca = warifu::trial_pki::TrialHpki::new(warifu::clock::now())?;
    std::fs::write(desk.path("new-ca.pem"), pem::encode(&pem::Pem::new("CERTIFICATE", ca.certificate_der())))?;
    let policy_oid = ca.anchor().policies.first().cloned().context("a policy")?;
    desk.ends(0, &["trial-ca", "new", "--kind", "hpki-authentication", "--dir", "card-ca"])?;
    let card_ca = warifu::trial_pki::TrialHpkiAuthentication::load(&desk.path("card-ca"))?;
    let card_policy_oid = card_ca.anchor().policies.first().cloned().context("a policy")?;
    let (new, new_card) =
        (format!("hpki-signing:{policy_oid}:new-ca.pem"), format!("hpki-authentication:{card_policy_oid}:card-ca/ca.crt"));
    let cluster = desk.change("anchors", &["anchors", "update", "--add", &new, "--add", &new_card])?;
    ensure!(cluster["anchors"].as_array().is_some_and(|anchors| anchors.len() == 4), "{cluster}");
    run.cluster.hpki = ca;
    run.cluster.publish_crls(2).await?;
    let (from, until) = (warifu::clock::now().minus(60_000), warifu::clock::now().plus(24 * 60 * 60 * 1000));
    let list = card_ca.crl(1, &[], from, until)?;
    run.cluster.order(warifu::credential::crl_command(&list, None)?, Some(&list)).await?;
    crate::terminal::follows_policy_and_anchors(&run).await?;
    let desk = Desk { run: &run };

    let made = Ended::of(&mut desk.command(&[NODE_COMMAND, "init", "--dir", "keys-5", "--id", "5", "--address", "127.0.0.1:19999"]))?;
    ensure!(made.code == Some(0), "{}", made.err);
    std::fs::write(desk.path("n5.toml"), made.out)?;
    let refused = desk.ends(1, &["roster", "add-node", "policy.toml", "--order-out", "no.json"])?;
    ensure!(refused.err.contains("node entry"), "{}", refused.err);
    let cluster = desk.change("add", &["roster", "add-node", "n5.toml"])?;
    ensure!(cluster["nodes"].as_array().is_some_and(|nodes| nodes.len() == 5), "{cluster}");
    let shown = desk.json(&["roster", "show", "--roster", "roster.json"])?;
    ensure!(shown == cluster, "what is exported is what is shown");
    run.cluster.stop();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_without_a_bound_cards_word_takes_four_officers_and_a_delay() -> anyhow::Result<()> {
    let run = crate::running().await?;
    let doctor = run.holder("doctor", "Medical Doctor").await?;
    let desk = Desk { run: &run };
    let credential = doctor.credential.to_string();
    std::fs::write(desk.path("pin-2"), "4711")?;
    std::fs::set_permissions(desk.path("pin-2"), std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let jpki = run.cluster.directory().join("trial-jpki").display().to_string();
    desk.ends(0, &["card", "new-trial", "--kind", "mnc", "--p384", "--trial-ca", &jpki, "--out", "card-2.json", "--pin-file", "pin-2"])?;
    let bind = ["credential", "bind", &credential, "--kind", "mnc", "--card", "card-2.json", "--pin-file", "pin-2", "--with-notice"];
    desk.json(&[bind.as_slice(), &["--order-out", "bind.json"]].concat())?;
    desk.approve("bind.json", &[0, 1, 2])?;
    let refused = desk.ends(1, &["officer", "submit", "--order", "bind.json"])?;
    ensure!(refused.err.contains("approval"), "three of four: {}", refused.err);
    desk.approve("bind.json", &[3])?;
    desk.json(&["officer", "submit", "--order", "bind.json"])?;
    let shown = desk.json(&["credential", "show", &credential])?;
    let pending = shown["credential"]["pending"].as_array().context("pending cards")?;
    ensure!(pending.len() == 1 && shown["credential"]["authenticators"].as_array().is_some_and(|bound| bound.len() == 1), "{shown}");
    let card = pending[0]["card"].as_str().context("its hash")?.to_owned();
    desk.approved(1, &["credential", "suspend-card", &credential, "--bound", &card, "--no-wait"])?;
    let shown = desk.json(&["credential", "show", &credential])?;
    ensure!(shown["credential"]["pending"].as_array().is_some_and(Vec::is_empty), "one operator ends it: {shown}");
    run.cluster.stop();
    Ok(())
}
