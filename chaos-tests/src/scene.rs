//! A cluster of real processes with one physician who has logged in.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use warifu::card::CardAlgorithm;
use warifu::keys::{KeyKind, TerminalKey};
use warifu::local_cluster::{Holder, LocalCluster, LocalClusterOptions, NewHolder, OpenSession};
use warifu_protocol::limits::SESSION_SIGNATURES_MAX;
use warifu_protocol::{NodeId, OrderCommand, Policy, SubjectFields};

use crate::command::Progress;
use crate::site::Bulk;

pub(crate) const NODES: u8 = 5;
pub(crate) const THRESHOLD: u8 = 3;
/// Elections and confirmations on a busy machine take some seconds.
const READY_DEADLINE: Duration = Duration::from_secs(30);
/// Open sessions of one physician, below what the policy allows.
const SESSIONS_OF_ONE: u32 = 12;
/// What the coordinator is told beside its usual configuration: its limit per client would be what is measured otherwise.
const UNLIMITED: &str = "\n[limits]\nrequests_per_second = 100000\nrequests_burst = 100000\n";

/// Every node.
pub(crate) fn nodes() -> Vec<NodeId> {
    (1..=NODES).filter_map(NodeId::new).collect()
}

pub(crate) struct Scene {
    pub(crate) cluster: LocalCluster,
    doctor: Holder,
    sessions: u32,
    doctors: u32,
    /// Sessions of the present doctor.
    of_doctor: u32,
}

impl Scene {
    /// Founds and starts the cluster; enrols, certifies and binds.
    pub(crate) async fn set(directory: &Path, program: &Path) -> anyhow::Result<Self> {
        Self::open(Self::found(directory, program, 1).await?).await
    }

    /// Founds the cluster. Its configurations may be changed before [`Self::open`].
    pub(crate) async fn found(directory: &Path, program: &Path, coordinators: u8) -> anyhow::Result<LocalCluster> {
        Self::found_of(directory, program, coordinators, NODES, THRESHOLD).await
    }

    /// As [`Self::found`], with other n and t.
    pub(crate) async fn found_of(
        directory: &Path,
        program: &Path,
        coordinators: u8,
        nodes: u8,
        threshold: u8,
    ) -> anyhow::Result<LocalCluster> {
        let options = LocalClusterOptions {
            directory: directory.to_owned(),
            nodes,
            threshold,
            policy: Policy { session_signatures_max: SESSION_SIGNATURES_MAX, ..Policy::default() },
            program: program.to_owned(),
        };
        let cluster =
            tokio::task::spawn_blocking(move || anyhow::Ok(LocalCluster::found_with_coordinators(&options, coordinators)?)).await??;
        for directory in (0..coordinators.into()).filter_map(|place| cluster.coordinator_directory(place)) {
            append(&directory.join("config.toml"), UNLIMITED)?;
        }
        Ok(cluster)
    }

    /// Starts a founded cluster; enrols, certifies and binds.
    pub(crate) async fn open(mut cluster: LocalCluster) -> anyhow::Result<Self> {
        cluster.start()?;
        cluster.wait_ready(READY_DEADLINE).await?;
        cluster.publish_crls(1).await?;
        cluster.order(OrderCommand::EnrolFacility { facility: LocalCluster::CLINIC.parse()? }, None).await?;
        let doctor = physician(&cluster, "doctor").await?;
        Ok(Self { cluster, doctor, sessions: 0, doctors: 1, of_doctor: 0 })
    }

    /// A further physician of the same clinic, with a terminal and a card.
    pub(crate) async fn physician(&self, name: &str) -> anyhow::Result<Holder> {
        physician(&self.cluster, name).await
    }

    /// Several sessions, for a load that is longer than one.
    pub(crate) async fn log_in_often(&mut self, count: usize) -> anyhow::Result<Vec<OpenSession>> {
        let mut sessions = Vec::with_capacity(count);
        for _ in 0..count {
            sessions.push(self.log_in().await?);
        }
        Ok(sessions)
    }

    /// Bulk work on this cluster's keys.
    pub(crate) fn bulk(&self, progress: Progress, batch: u32, deadline: Duration) -> Bulk<'_> {
        Bulk { cluster: &self.cluster, progress, batch: batch as usize, deadline }
    }

    /// As [`Self::log_in`], by another physician once this one has had many sessions: the cluster allows one credential so many open ones.
    pub(crate) async fn log_in_anew(&mut self) -> anyhow::Result<OpenSession> {
        if self.of_doctor >= SESSIONS_OF_ONE {
            self.doctors += 1;
            self.doctor = physician(&self.cluster, &format!("doctor-{}", self.doctors)).await?;
            self.of_doctor = 0;
        }
        self.log_in().await
    }

    /// A fresh session for as many documents as a session may sign.
    pub(crate) async fn log_in(&mut self) -> anyhow::Result<OpenSession> {
        self.sessions += 1;
        self.of_doctor += 1;
        let file = self.cluster.directory().join("doctor").join(format!("session-{}.json", self.sessions));
        Ok(self.doctor.log_in(&self.cluster, &file, KeyKind::Ed25519, SESSION_SIGNATURES_MAX).await?)
    }
}

/// Adds to a configuration.
pub(crate) fn append(config: &Path, text: &str) -> anyhow::Result<()> {
    let mut file = OpenOptions::new().append(true).open(config).with_context(|| format!("cannot open {}", config.display()))?;
    Ok(file.write_all(text.as_bytes())?)
}

async fn physician(cluster: &LocalCluster, name: &str) -> anyhow::Result<Holder> {
    let terminal = TerminalKey::generate(KeyKind::Ed25519)?;
    let facility = LocalCluster::CLINIC.parse()?;
    cluster.order(OrderCommand::EnrolTerminal { terminal: terminal.terminal, facility, key: terminal.public() }, None).await?;
    let subject = SubjectFields::new("JP", None, "TRIAL Ishi", format!("TRIAL-{name}"))?;
    let credentials = cluster.enrol(&[NewHolder { holder: format!("trial-{name}").parse()?, subject }]).await?;
    let &[credential] = credentials.as_slice() else { anyhow::bail!("{} credentials for one holder", credentials.len()) };
    cluster.certify(credential, &["Medical Doctor"]).await?;
    let directory = cluster.directory().join(name);
    let (clinic, client) = (LocalCluster::CLINIC, LocalCluster::CLIENT_CLINIC);
    let holder = Holder::equip(cluster, &directory, credential, clinic, client, CardAlgorithm::RsaSha256, terminal)?;
    cluster.bind(credential, &mut holder.card()?, &holder.pin()?).await?;
    Ok(holder)
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
