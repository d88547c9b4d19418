//! Real processes: a coordinator and its nodes, used as platforms, holders and officers use them.

mod acknowledged;
mod censor;
mod commands;
mod coordinators;
mod hammer;
mod hoarder;
mod import;
mod lists;
mod partition;
mod refresh;
mod sessions;
mod stopping;
mod terminal;
mod token;
mod versions;

#[path = "../support/softhsm.rs"]
mod softhsm;

use std::path::PathBuf;
use std::time::Duration;

use warifu::card::CardAlgorithm;
use warifu::keys::{KeyKind, TerminalKey};
use warifu::local_cluster::{Holder, LocalCluster, LocalClusterOptions, NewHolder};
use warifu_protocol::{CredentialId, Policy, SubjectFields, Threshold};

/// Time for every process to start and be confirmed on a busy machine.
const READY: Duration = Duration::from_secs(90);
/// As far as a policy may let clocks lie apart: a request that is sent again is not too old for it on a busy machine.
const PATIENT_SKEW_MILLIS: u64 = 5 * 60 * 1000;
/// The cluster's t and n: small, since these tests are about the edges and not about losses.
const THRESHOLD: Threshold = Threshold(2);
const NODES: u8 = 3;

/// A running cluster with lists and both facilities' terminals enrolled.
struct Running {
    cluster: LocalCluster,
    directory: tempfile::TempDir,
    /// Files of the terminals' keys.
    clinic: PathBuf,
    pharmacy: PathBuf,
}

async fn running() -> anyhow::Result<Running> {
    running_under(Policy::default()).await
}

/// A policy under which a request may be sent again for a long time.
fn patient() -> Policy {
    Policy { clock_skew_millis_max: PATIENT_SKEW_MILLIS, ..Policy::default() }
}

async fn running_under(policy: Policy) -> anyhow::Result<Running> {
    let (directory, options) = Running::options(NODES, THRESHOLD.0)?;
    Running::start(LocalCluster::found(&LocalClusterOptions { policy, ..options })?, directory).await
}

impl Running {
    /// What a cluster is founded with, in a directory of its own.
    fn options(nodes: u8, threshold: u8) -> anyhow::Result<(tempfile::TempDir, LocalClusterOptions)> {
        let directory = tempfile::tempdir()?;
        let options = LocalClusterOptions {
            directory: directory.path().join("cluster"),
            nodes,
            threshold,
            policy: Policy::default(),
            program: PathBuf::from(env!("CARGO_BIN_EXE_warifu")),
        };
        Ok((directory, options))
    }

    /// Starts a founded cluster and brings lists and terminals in.
    async fn start(mut cluster: LocalCluster, directory: tempfile::TempDir) -> anyhow::Result<Self> {
        cluster.start()?;
        cluster.wait_ready(READY).await?;
        cluster.publish_crls(1).await?;
        let (clinic, pharmacy) = (directory.path().join("clinic-terminal.key"), directory.path().join("pharmacy-terminal.key"));
        for (facility, file, kind) in
            [(LocalCluster::CLINIC, &clinic, KeyKind::Ed25519), (LocalCluster::PHARMACY, &pharmacy, KeyKind::P256)]
        {
            let terminal = TerminalKey::generate(kind)?;
            terminal.save(file)?;
            cluster.enrol_facility(&facility.parse()?, terminal.terminal, terminal.public()).await?;
        }
        Ok(Self { cluster, directory, clinic, pharmacy })
    }

    /// Enrols and certifies one holder.
    async fn certified(&self, name: &str, role: &str) -> anyhow::Result<CredentialId> {
        let holder = NewHolder { holder: name.parse()?, subject: SubjectFields::new("JP", None, format!("TRIAL {name}"), name)? };
        let credentials = self.cluster.enrol(&[holder]).await?;
        self.cluster.certify(credentials[0], &[role]).await?;
        Ok(credentials[0])
    }

    /// Enrols, certifies and equips one holder with a bound trial card.
    async fn holder(&self, name: &str, role: &str) -> anyhow::Result<Holder> {
        let credential = self.certified(name, role).await?;
        let (facility, client, terminal) = match role {
            "Pharmacist" => (LocalCluster::PHARMACY, LocalCluster::CLIENT_PHARMACY, &self.pharmacy),
            _ => (LocalCluster::CLINIC, LocalCluster::CLIENT_CLINIC, &self.clinic),
        };
        let directory = self.directory.path().join(name);
        let (algorithm, terminal) = (CardAlgorithm::EcdsaP384Sha384, TerminalKey::load(terminal)?);
        let holder = Holder::equip(&self.cluster, &directory, credential, facility, client, algorithm, terminal)?;
        self.cluster.bind(credential, &mut holder.card()?, &holder.pin()?).await?;
        Ok(holder)
    }
}
