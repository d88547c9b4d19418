//! The steps.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use tokio::time::{Instant, sleep};
use warifu::keys::KeyKind;
use warifu::local_cluster::{Holder, LocalCluster};
use warifu_coordinator::document::sample;
use warifu_protocol::limits::CEREMONY_CREDENTIALS_MAX;
use warifu_protocol::{CredentialId, DocumentKind, Epoch, NodeId, OfficerRole};

use super::options::Options;
use super::report::{Report, Step};
use crate::command::Progress;
use crate::commands::{Commands, text};
use crate::measure::load_average;
use crate::open_loop::Load;
use crate::scene::{NODES, Scene, THRESHOLD, document_id};
use crate::site::{self, FOLLOW_DEADLINE};

/// Whose progress is told.
const PROGRESS: Progress = Progress("years");
/// Sessions of 10,000 documents, as many as one credential may have open: at 50 a second, almost an hour.
const SESSIONS: usize = 16;
/// Time for all bulk work of one kind.
const BULK_DEADLINE: Duration = Duration::from_secs(1_800);
/// Signing before the first step and after the last.
const QUIET: Duration = Duration::from_secs(5);
/// How often a change is looked for.
const POLL: Duration = Duration::from_millis(200);
/// The site that loses its disk, the one that goes for good, and the one that comes for it.
const LOSER: u8 = 5;
const LEAVER: u8 = 4;
const COMER: u8 = 6;

/// The run so far.
struct Years {
    scene: Scene,
    commands: Commands,
    program: std::path::PathBuf,
    steps: Vec<(Step, Instant, Instant)>,
}

/// What `warifu receipts verify --json` says.
#[derive(Debug, Deserialize)]
struct Proof {
    level: String,
    nodes: Vec<NodeId>,
    needed: usize,
    gone: Vec<NodeId>,
    not_gone: Vec<NodeId>,
}

/// Lives through the years.
///
/// # Errors
/// When the cluster cannot be set up. A step that does not hold is in the report.
pub async fn run(options: &Options) -> anyhow::Result<Report> {
    let (before, start) = (load_average(), Instant::now());
    let program = options.cluster.program()?;
    let directory = options.cluster.common.working_directory(PROGRESS)?;
    PROGRESS.tell("founding a cluster")?;
    let mut scene = Scene::set(&directory.path().join("cluster"), &program).await?;
    let condemned = scene.physician("condemned").await?;
    let sessions = scene.log_in_often(SESSIONS).await?;
    let commands = Commands::of(&scene.cluster, &program);
    let mut years = Years { scene, commands, program, steps: Vec::new() };
    let load = Load::start(sessions, options.rate);
    let started = Instant::now();
    sleep(QUIET).await;
    let told = years.tell(options, &condemned).await;
    sleep(QUIET).await;
    let ended = Instant::now();
    let spent = load.is_spent();
    let attempts = load.stop().await?;
    let Years { scene, steps, .. } = years;
    let mut steps: Vec<Step> =
        steps.into_iter().map(|(step, from, until)| Step { signing: Some(attempts.between(from, until)), ..step }).collect();
    if let Err(error) = told {
        PROGRESS.tell(&format!("FAILED: {error:#}"))?;
    }
    if spent {
        let result = "the sessions' numbers were spent before the end; take a lower --rate".to_owned();
        steps.push(Step { step: "sign all the while".to_owned(), seconds: 0.0, result, holds: false, signing: None });
    }
    tokio::task::spawn_blocking(move || scene.cluster.stop()).await?;
    Ok(Report {
        nodes: NODES,
        threshold: THRESHOLD,
        credentials: options.credentials,
        rate: options.rate,
        load_average: [before, load_average()],
        steps,
        signing: attempts.between(started, ended),
        seconds: start.elapsed().as_secs_f64(),
    })
}

impl Years {
    /// One step; the first that does not hold ends the run.
    async fn step(&mut self, name: &str, work: impl AsyncFnOnce(&mut Self) -> anyhow::Result<String>) -> anyhow::Result<()> {
        PROGRESS.tell(name)?;
        let from = Instant::now();
        let mut outcome = work(self).await;
        if outcome.is_ok()
            && let Err(error) = self.scene.cluster.check_processes()
        {
            outcome = Err(error.into());
        }
        let until = Instant::now();
        let holds = outcome.is_ok();
        let (result, error) = match outcome {
            Ok(result) => (result, None),
            Err(error) => (format!("{error:#}"), Some(error)),
        };
        PROGRESS.tell(&format!("  {} ({:.1} s)", result.lines().next().unwrap_or_default(), (until - from).as_secs_f64()))?;
        let step = Step { step: name.to_owned(), seconds: (until - from).as_secs_f64(), result, holds, signing: None };
        self.steps.push((step, from, until));
        error.map_or(Ok(()), Err)
    }

    async fn tell(&mut self, options: &Options, condemned: &Holder) -> anyhow::Result<()> {
        let [loser, leaver, comer] = [LOSER, LEAVER, COMER].map(|id| NodeId::new(id).expect("a node id"));
        let consenting: Vec<NodeId> = (1..=THRESHOLD).filter_map(NodeId::new).collect();
        let (count, batch) = (options.credentials, CEREMONY_CREDENTIALS_MAX as u32);
        self.step(&format!("enrol {count} holders by batch key generation"), async |run: &mut Self| {
            let credentials = run.scene.bulk(PROGRESS, batch, BULK_DEADLINE).enrol(0, count).await?;
            Ok(format!("{} keys made by {NODES} sites, whole nowhere", credentials.len()))
        })
        .await?;
        let mut epochs = BTreeMap::new();
        self.step(&format!("site {loser} loses its disk under load"), async |run: &mut Self| {
            epochs = run.scene.bulk(PROGRESS, batch, BULK_DEADLINE).epochs().await?;
            let lost = site::lose_disk(&mut run.scene.cluster, loser)?;
            sleep(QUIET).await;
            Ok(format!("killed; {} is gone", lost.display()))
        })
        .await?;
        self.step(&format!("admit site {loser} on an empty store, by order of two security officers"), async |run: &mut Self| {
            site::replace_store(&mut run.scene.cluster, &run.commands, loser).await?;
            run.scene.cluster.wait_ready(FOLLOW_DEADLINE).await?;
            Ok("confirmed under new keys".to_owned())
        })
        .await?;
        self.step(&format!("repair the shares of site {loser}"), async |run: &mut Self| run.repaired(loser).await).await?;
        self.step(
            "the keys that the lost disk had are refreshed without an order, so that its shares are worth nothing",
            async |run: &mut Self| run.refreshed(&epochs, NODES.into()).await,
        )
        .await?;
        self.step("refresh every key, by one order of two security officers", async |run: &mut Self| {
            let epochs = run.scene.bulk(PROGRESS, batch, BULK_DEADLINE).epochs().await?;
            site::order_refresh_of_all(&run.commands).await?;
            run.refreshed(&epochs, NODES.into()).await
        })
        .await?;
        self.step(&format!("take site {leaver} out, with the consent of {THRESHOLD} sites"), async |run: &mut Self| {
            epochs = run.scene.bulk(PROGRESS, batch, BULK_DEADLINE).epochs().await?;
            site::remove_site(&mut run.scene.cluster, &run.commands, leaver, &consenting).await?;
            run.scene.cluster.wait_ready(FOLLOW_DEADLINE).await?;
            let ids = run.without(leaver).await?;
            Ok(format!("the sites are {}", ids.join(", ")))
        })
        .await?;
        self.step("the keys that it held are refreshed without an order, so that its shares are worth nothing", async |run: &mut Self| {
            run.refreshed(&epochs, usize::from(NODES) - 1).await
        })
        .await?;
        self.step(&format!("take site {comer} in, with the consent of {THRESHOLD} sites"), async |run: &mut Self| {
            site::add_site(&mut run.scene.cluster, &run.commands, comer, &consenting).await?;
            run.scene.cluster.wait_ready(FOLLOW_DEADLINE).await?;
            run.repaired(comer).await
        })
        .await?;
        self.step("revoke the key of a physician who is signing", async |run: &mut Self| run.revoke(condemned).await).await?;
        self.step("destroy it at every site", async |run: &mut Self| run.destroy(condemned).await).await?;
        let time = Duration::from_secs(options.old_disk);
        self.step(&format!("site {loser}'s lost disk is found and started"), async |run: &mut Self| run.find_old_disk(loser, time).await)
            .await
    }

    /// Waits until the coordinator has followed a site's removal; the sites that are left.
    async fn without(&self, gone: NodeId) -> anyhow::Result<Vec<String>> {
        let client = self.scene.cluster.client(LocalCluster::CLIENT_OPERATIONS, FOLLOW_DEADLINE)?;
        let end = Instant::now() + FOLLOW_DEADLINE;
        loop {
            let nodes = client.status().await?.nodes;
            if nodes.iter().all(|report| report.node != gone) {
                return Ok(nodes.iter().map(|report| report.node.to_string()).collect());
            }
            ensure!(Instant::now() < end, "the coordinator still knows site {gone} after {FOLLOW_DEADLINE:?}");
            sleep(POLL).await;
        }
    }

    async fn repaired(&self, node: NodeId) -> anyhow::Result<String> {
        let start = Instant::now();
        let count = self.scene.bulk(PROGRESS, 1, BULK_DEADLINE).until_repaired(node).await?;
        let rate = f64::from(count) / start.elapsed().as_secs_f64();
        Ok(format!("site {node} holds its shares of all {count} keys: {rate:.1} a second"))
    }

    async fn refreshed(&self, epochs: &BTreeMap<CredentialId, Epoch>, sites: usize) -> anyhow::Result<String> {
        let start = Instant::now();
        let count = self.scene.bulk(PROGRESS, 1, BULK_DEADLINE).until_refreshed(epochs, sites).await?;
        let rate = f64::from(count) / start.elapsed().as_secs_f64();
        Ok(format!("{count} keys have new shares at {sites} sites: {rate:.1} a second"))
    }

    async fn revoke(&mut self, condemned: &Holder) -> anyhow::Result<String> {
        let cluster = &self.scene.cluster;
        let file = cluster.directory().join("condemned-session.json");
        let mut session = condemned.log_in(cluster, &file, KeyKind::Ed25519, 10).await?;
        let signed = session.sign(sample::prescription(&document_id()), DocumentKind::Prescription).await;
        signed.context("it signs before")?;
        let receipts = cluster.directory().join("revoked.json");
        let revoke = ["credential", "revoke", &condemned.credential.to_string(), "--receipts", text(&receipts)?];
        self.commands.approved(OfficerRole::Operator, &revoke).await?;
        let refused = session.sign(sample::prescription(&document_id()), DocumentKind::Prescription).await;
        let refusal = refused.err().context("it signed after its revocation was acknowledged")?;
        let proof = self.verified(&receipts).await?;
        ensure!(proof.nodes.len() >= proof.needed, "the receipts prove too little: {proof:?}");
        Ok(format!("{} of {} receipts that are needed, verified offline\nits next document: {refusal:#}", proof.nodes.len(), proof.needed))
    }

    async fn destroy(&mut self, condemned: &Holder) -> anyhow::Result<String> {
        let certificate = self.scene.cluster.directory().join("destroyed.json");
        let destroy = ["credential", "destroy", &condemned.credential.to_string(), "--receipts", text(&certificate)?];
        self.commands.approved(OfficerRole::SecurityOfficer, &destroy).await?;
        let proof = self.verified(&certificate).await?;
        ensure!(proof.not_gone.is_empty() && proof.gone.len() == usize::from(NODES), "the certificate proves too little: {proof:?}");
        Ok(format!("all {} sites say that nothing is left; certificate verified offline, level `{}`", proof.gone.len(), proof.level))
    }

    /// Verifies a file of receipts without the cluster: only the genesis and the exported roster are read.
    async fn verified(&self, receipts: &std::path::Path) -> anyhow::Result<Proof> {
        let (genesis, roster) = (self.scene.cluster.genesis_file(), self.scene.cluster.roster_file());
        let verify = ["receipts", "verify", text(receipts)?, "--genesis", text(&genesis)?, "--roster", text(&roster)?, "--json"];
        self.commands.warifu(&verify).await?.must(&verify)?.json()
    }

    async fn find_old_disk(&mut self, node: NodeId, time: Duration) -> anyhow::Result<String> {
        let disk = site::start_old_disk(&self.scene.cluster, &self.commands, &self.program, node, time).await?;
        ensure!(!disk.confirmed, "the node on its old disk was confirmed");
        ensure!(disk.shares_given == 0, "the node on its old disk gave {} signature shares", disk.shares_given);
        let is_told = disk.ended || disk.words.contains("do not let this node in");
        ensure!(is_told, "the node on its old disk does not say why it is refused: {}", disk.words);
        let end = if disk.ended { "it ended by itself" } else { "it stayed up, unconfirmed" };
        Ok(format!("no signature share; {end}: {}", disk.words))
    }
}
