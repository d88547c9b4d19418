//! A cluster of real processes with one physician who has logged in.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use tempfile::TempDir;
use warifu::card::CardAlgorithm;
use warifu::keys::{KeyKind, TerminalKey};
use warifu::local_cluster::{Holder, LocalCluster, LocalClusterOptions, NewHolder, OpenSession};
use warifu_protocol::limits::SESSION_SIGNATURES_MAX;
use warifu_protocol::{Policy, SubjectFields};

pub(crate) const NODES: u8 = 5;
pub(crate) const THRESHOLD: u8 = 3;
/// Elections and confirmations on a busy machine take some seconds.
const READY_DEADLINE: Duration = Duration::from_secs(30);
/// What the coordinator is told beside its usual configuration: its limit per client would be what is measured otherwise.
const UNLIMITED: &str = "\n[limits]\nrequests_per_second = 100000\nrequests_burst = 100000\n";

pub(crate) struct Scene {
    pub(crate) cluster: LocalCluster,
    doctor: Holder,
    sessions: u32,
}

/// The program whose daemons are started: the one that is given, or this one, which has their code in it.
pub(crate) fn program(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    given.map_or_else(|| std::env::current_exe().context("this program's own path"), |program| Ok(program.to_owned()))
}

/// A directory for a run, under `parent` if that is given; removed at the end.
pub(crate) fn working_directory(parent: Option<&Path>, prefix: &str) -> anyhow::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix);
    let Some(parent) = parent else { return Ok(builder.tempdir()?) };
    std::fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    Ok(builder.tempdir_in(parent)?)
}

impl Scene {
    /// Founds and starts the cluster; enrols, certifies and binds.
    pub(crate) async fn set(directory: &Path, program: &Path) -> anyhow::Result<Self> {
        let options = LocalClusterOptions {
            directory: directory.to_owned(),
            nodes: NODES,
            threshold: THRESHOLD,
            policy: Policy { session_signatures_max: SESSION_SIGNATURES_MAX, ..Policy::default() },
            program: program.to_owned(),
        };
        let mut cluster = tokio::task::spawn_blocking(move || anyhow::Ok(LocalCluster::found(&options)?)).await??;
        let config = directory.join("coordinator").join("config.toml");
        let mut file = OpenOptions::new().append(true).open(&config).with_context(|| format!("cannot open {}", config.display()))?;
        file.write_all(UNLIMITED.as_bytes())?;
        cluster.start()?;
        cluster.wait_ready(READY_DEADLINE).await?;
        cluster.publish_crls(1).await?;
        let terminal = TerminalKey::generate(KeyKind::Ed25519)?;
        cluster.enrol_facility(&LocalCluster::CLINIC.parse()?, terminal.terminal, terminal.public()).await?;
        let subject = SubjectFields::new("JP", None, "TRIAL Ishi", "TRIAL-0001")?;
        let credentials = cluster.enrol(&[NewHolder { holder: "trial-doctor".parse()?, subject }]).await?;
        let &[credential] = credentials.as_slice() else { anyhow::bail!("{} credentials for one holder", credentials.len()) };
        cluster.certify(credential, &["Medical Doctor"]).await?;
        let doctor = Holder::equip(
            &cluster,
            &directory.join("doctor"),
            credential,
            LocalCluster::CLINIC,
            LocalCluster::CLIENT_CLINIC,
            CardAlgorithm::RsaSha256,
            terminal,
        )?;
        cluster.bind(credential, &mut doctor.card()?, &doctor.pin()?).await?;
        Ok(Self { cluster, doctor, sessions: 0 })
    }

    /// A fresh session for as many documents as a session may sign.
    pub(crate) async fn log_in(&mut self) -> anyhow::Result<OpenSession> {
        self.sessions += 1;
        let file = self.cluster.directory().join("doctor").join(format!("session-{}.json", self.sessions));
        Ok(self.doctor.log_in(&self.cluster, &file, KeyKind::Ed25519, SESSION_SIGNATURES_MAX).await?)
    }
}

/// A random UUID of version 4.
pub(crate) fn document_id() -> String {
    let bits = rand::random::<u128>() & !(0xf << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        bits >> 96,
        bits >> 80 & 0xffff,
        bits >> 64 & 0xffff,
        bits >> 48 & 0xffff,
        bits & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn document_ids_are_random_uuids_of_version_4() {
        let id = document_id();
        let parts: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12], "{id}");
        assert_eq!(&id[14..15], "4", "{id}");
        assert!("89ab".contains(&id[19..20]), "{id}");
        assert_ne!(id, document_id());
    }
}
