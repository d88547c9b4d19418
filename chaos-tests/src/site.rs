//! What happens to sites and to the keys that they hold: enrolled in bulk, a disk lost and replaced, shares repaired and refreshed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::time::Instant;
use warifu::local_cluster::{LocalCluster, NODE_COMMAND, NewHolder, Process};
use warifu_api::limits::CREDENTIALS_PAGE_MAX;
use warifu_api::{ApiClient, ApiError};
use warifu_node::admin::AdminReply;
use warifu_protocol::wire::{CredentialState, CredentialView};
use warifu_protocol::{CredentialId, Enrolment, Epoch, NodeId, OfficerRole, OrderCommand, SubjectFields};

use crate::command::Progress;
use crate::commands::{Commands, text};

/// How often bulk work is looked at.
const POLL: Duration = Duration::from_millis(200);
/// How often all credentials are listed, once a node has counted what it lacks, and before.
const LIST_PAUSE: Duration = Duration::from_secs(1);
const LIST_PAUSE_UNCOUNTED: Duration = Duration::from_secs(5);
/// How often progress is told.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
/// Time for one answer about credentials.
const ANSWER_DEADLINE: Duration = Duration::from_secs(15);
/// Ceremonies that are ordered before the first of them has ended: one computes while the messages of the other travel. More would wait and come to
/// their deadlines.
const ORDERED_MAX: usize = 2;
/// Time for consensus and all nodes to follow a changed roster.
pub(crate) const FOLLOW_DEADLINE: Duration = Duration::from_secs(120);
/// What a node's data and keys are called once they are lost.
const LOST: &str = "lost-data";

/// Whoever has bulk work done, and how long it may take.
pub(crate) struct Bulk<'a> {
    pub(crate) cluster: &'a LocalCluster,
    pub(crate) progress: Progress,
    /// Credentials in one ceremony.
    pub(crate) batch: usize,
    pub(crate) deadline: Duration,
}

impl Bulk<'_> {
    /// Enrols `count` holders, whose names continue after `first`, and waits until all have keys.
    pub(crate) async fn enrol(&self, first: u32, count: u32) -> anyhow::Result<Vec<CredentialId>> {
        let holders = (first..first + count).map(bulk_holder).collect::<anyhow::Result<Vec<_>>>()?;
        let batches = holders.chunks(self.batch).map(|batch| batch.iter().map(enrolment).collect::<Vec<_>>());
        let orders = batches.map(|enrolments| {
            let credentials: Vec<CredentialId> = enrolments.iter().map(|one| one.credential).collect();
            (credentials, OrderCommand::Enrol { enrolments })
        });
        self.ceremonies("keys generated", orders.collect(), |view| view.state != CredentialState::Generating).await
    }

    /// Waits until `sites` sites hold shares of a newer epoch than `before` of every credential in it.
    pub(crate) async fn until_refreshed(&self, before: &BTreeMap<CredentialId, Epoch>, sites: usize) -> anyhow::Result<u32> {
        let first = self.cluster.running().next().context("no node runs")?;
        let is_done =
            |view: &CredentialView| before.get(&view.credential).is_none_or(|epoch| view.epoch > *epoch && view.holders.len() >= sites);
        self.until_all("keys to be refreshed", first, "warifu_node_refreshes_due", is_done).await?;
        Ok(u32::try_from(before.len())?)
    }

    /// The epoch of every key that lives.
    pub(crate) async fn epochs(&self) -> anyhow::Result<BTreeMap<CredentialId, Epoch>> {
        let all = credentials(&self.client()?).await?;
        Ok(all.iter().filter(|view| needs_shares(view)).map(|view| (view.credential, view.epoch)).collect())
    }

    /// Orders ceremonies, a few at a time, and waits until the last credential of each is as it should be: all of one ceremony change at once.
    async fn ceremonies(
        &self,
        what: &str,
        orders: Vec<(Vec<CredentialId>, OrderCommand)>,
        is_done: impl Fn(&CredentialView) -> bool,
    ) -> anyhow::Result<Vec<CredentialId>> {
        let (client, end) = (self.client()?, Instant::now() + self.deadline);
        let total: usize = orders.iter().map(|(credentials, _)| credentials.len()).sum();
        let (mut waiting, mut running) = (VecDeque::from(orders), VecDeque::<Vec<CredentialId>>::new());
        let (mut done, mut told) = (Vec::with_capacity(total), Instant::now());
        while !(waiting.is_empty() && running.is_empty()) {
            if running.len() < ORDERED_MAX
                && let Some((credentials, command)) = waiting.pop_front()
            {
                self.cluster.order(command, None).await?;
                running.push_back(credentials);
                continue;
            }
            let mut still = VecDeque::new();
            for credentials in running {
                let last = *credentials.last().context("a ceremony of nothing")?;
                if is_done(&asked(&client, last, end).await?) { done.extend(credentials) } else { still.push_back(credentials) }
            }
            running = still;
            if told.elapsed() >= PROGRESS_INTERVAL {
                told = Instant::now();
                self.progress.tell(&format!("{what}: {} of {total}", done.len()))?;
            }
            ensure!(Instant::now() < end, "{what}: {} of {total} after {:?}", done.len(), self.deadline);
            if running.len() >= ORDERED_MAX || waiting.is_empty() {
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(done)
    }

    /// Waits until this node has been given a share of every key that lives.
    pub(crate) async fn until_repaired(&self, node: NodeId) -> anyhow::Result<u32> {
        self.until_all("shares that are missing", node, "warifu_node_shares_missing", |view| view.holders.contains(&node)).await
    }

    /// Waits until the log says of every key that lives that it is done. What a node counts is cheap to ask, and may be nothing because it has not
    /// counted yet; what the log says counts, and is dear.
    async fn until_all(&self, what: &str, node: NodeId, gauge: &str, is_done: impl Fn(&CredentialView) -> bool) -> anyhow::Result<u32> {
        let (client, end) = (self.client()?, Instant::now() + self.deadline);
        let (mut told, mut counted, mut listed) = (Instant::now(), false, None::<Instant>);
        loop {
            let left = metric(self.cluster, node, gauge).await.unwrap_or_default();
            counted |= left >= 1.0;
            let pause = if counted { LIST_PAUSE } else { LIST_PAUSE_UNCOUNTED };
            if left < 1.0 && listed.is_none_or(|at| at.elapsed() >= pause) {
                let living: Vec<CredentialView> = credentials(&client).await?.into_iter().filter(needs_shares).collect();
                if living.iter().all(&is_done) {
                    return Ok(u32::try_from(living.len())?);
                }
                listed = Some(Instant::now());
            }
            if told.elapsed() >= PROGRESS_INTERVAL {
                told = Instant::now();
                self.progress.tell(&format!("{what}: {left}"))?;
            }
            ensure!(Instant::now() < end, "{what}: {left} as node {node} counts them, after {:?}", self.deadline);
            tokio::time::sleep(POLL).await;
        }
    }

    fn client(&self) -> anyhow::Result<ApiClient> {
        Ok(self.cluster.client(LocalCluster::CLIENT_CA, ANSWER_DEADLINE)?)
    }
}

/// Kills a node and takes its disk and keys away. Where they are is returned.
pub(crate) fn lose_disk(cluster: &mut LocalCluster, node: NodeId) -> anyhow::Result<PathBuf> {
    cluster.kill_node(node);
    let directory = cluster.node_directory(node);
    let lost = directory.join(LOST);
    std::fs::rename(directory.join("data"), &lost)?;
    Ok(lost)
}

/// Brings a site that lost its disk back on an empty store with new keys, by order, with the commands that the runbook gives.
pub(crate) async fn replace_store(cluster: &mut LocalCluster, commands: &Commands, node: NodeId) -> anyhow::Result<()> {
    let directory = cluster.node_directory(node);
    let address = cluster.genesis().node(node).context("a founder")?.address.clone();
    let (data, keys, genesis, id) = (directory.join("data"), directory.join("keys-2"), cluster.genesis_file(), node.to_string());
    let init = ["init", "--replace", text(&data)?, "--genesis", text(&genesis)?, "--dir", text(&keys)?, "--id", &id, "--address", &address];
    let entry = commands.node(&init).await?.must(&init)?.out;
    let file = directory.join("replacement.toml");
    std::fs::write(&file, entry)?;
    commands.approved(OfficerRole::SecurityOfficer, &["roster", "replace-store", text(&file)?]).await?;
    export_roster(cluster, commands).await?;
    let (config, before) = (directory.join("config.toml"), directory.join("config-before.toml"));
    let text = std::fs::read_to_string(&config)?;
    std::fs::write(before, &text)?;
    let changed = text.replace("keys = \"keys\"", "keys = \"keys-2\"\nroster = \"../roster.json\"");
    ensure!(changed != text, "the configuration in {} is another than expected", config.display());
    std::fs::write(config, changed)?;
    cluster.start_node(node)?;
    Ok(())
}

/// Takes a further site in, with the consent of `t` others.
pub(crate) async fn add_site(cluster: &mut LocalCluster, commands: &Commands, node: NodeId, consenting: &[NodeId]) -> anyhow::Result<()> {
    let entry = cluster.add_site(node)?;
    let order = cluster.directory().join(format!("add-{node}.json"));
    let sockets: Vec<PathBuf> = consenting.iter().map(|site| cluster.admin_socket(*site)).collect();
    commands.consented(&["roster", "add-node", text(&entry)?], &order, &sockets).await?;
    export_roster(cluster, commands).await?;
    cluster.start_node(node)?;
    Ok(())
}

/// Takes a site out, with the consent of `t` others, and ends its process.
pub(crate) async fn remove_site(
    cluster: &mut LocalCluster,
    commands: &Commands,
    node: NodeId,
    consenting: &[NodeId],
) -> anyhow::Result<()> {
    let order = cluster.directory().join(format!("remove-{node}.json"));
    let sockets: Vec<PathBuf> = consenting.iter().map(|site| cluster.admin_socket(*site)).collect();
    commands.consented(&["roster", "remove-node", &node.to_string()], &order, &sockets).await?;
    cluster.forget_node(node);
    export_roster(cluster, commands).await
}

/// Orders that the holders of every key get new shares.
pub(crate) async fn order_refresh_of_all(commands: &Commands) -> anyhow::Result<()> {
    commands.approved(OfficerRole::SecurityOfficer, &["credential", "refresh-all"]).await?;
    Ok(())
}

pub(crate) async fn export_roster(cluster: &LocalCluster, commands: &Commands) -> anyhow::Result<()> {
    let file = cluster.roster_file();
    let arguments = ["roster", "export", "--out", text(&file)?];
    commands.warifu(&arguments).await?.must(&arguments)?;
    Ok(())
}

/// What became of a disk that was lost and found again.
#[derive(Debug)]
pub(crate) struct OldDisk {
    /// What the node said, in its own words.
    pub(crate) words: String,
    /// Whether the process ended by itself.
    pub(crate) ended: bool,
    /// Signature shares that it gave.
    pub(crate) shares_given: u64,
    /// Whether it ever was confirmed.
    pub(crate) confirmed: bool,
}

/// Starts a node on its old disk with its old keys, beside the cluster, and watches it for `time`.
pub(crate) async fn start_old_disk(
    cluster: &LocalCluster,
    commands: &Commands,
    program: &Path,
    node: NodeId,
    time: Duration,
) -> anyhow::Result<OldDisk> {
    let directory = cluster.node_directory(node);
    let before = std::fs::read_to_string(directory.join("config-before.toml"))?;
    let mut old = before.replace("data = \"data\"", &format!("data = \"{LOST}\""));
    for address in cluster_addresses(&before) {
        old = old.replace(&address, "127.0.0.1:0");
    }
    let (config, log) = (directory.join("config-old.toml"), directory.join("log-old"));
    std::fs::write(&config, old)?;
    let name = format!("node {node} on its old disk");
    let arguments = [NODE_COMMAND.as_ref(), "--config".as_ref(), config.as_path(), "--exit-with-stdin".as_ref()];
    let mut process = Process::start(name, program, &arguments, &log)?;
    let socket = directory.join(LOST).join("admin.sock");
    let status_arguments = ["admin", "--socket", text(&socket)?, "status"];
    let mut disk = OldDisk { words: String::new(), ended: false, shares_given: 0, confirmed: false };
    let end = Instant::now() + time;
    while Instant::now() < end {
        if let Err(ended) = process.check() {
            disk.ended = true;
            disk.words = ended.to_string();
            break;
        }
        let said = commands.node(&status_arguments).await?;
        if let Ok(AdminReply::Status(status)) = serde_json::from_str(&said.out) {
            disk.confirmed |= status.confirmed;
            disk.shares_given = disk.shares_given.max(status.shares_given);
            disk.words = status.reasons.join("; ");
        }
        tokio::time::sleep(POLL).await;
    }
    process.kill();
    Ok(disk)
}

/// The addresses on which a configuration listens.
fn cluster_addresses(config: &str) -> BTreeSet<String> {
    let values = config.lines().filter_map(|line| line.split_once(" = ")).filter(|(key, _)| matches!(*key, "quic" | "http"));
    values.map(|(_, value)| value.trim_matches('"').to_owned()).collect()
}

/// Every credential.
pub(crate) async fn credentials(client: &ApiClient) -> anyhow::Result<Vec<CredentialView>> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = client.credentials(after, CREDENTIALS_PAGE_MAX).await?;
        all.extend(page.credentials);
        after = page.next;
        if after.is_none() {
            return Ok(all);
        }
    }
}

/// One credential, however busy the cluster is.
async fn asked(client: &ApiClient, credential: CredentialId, end: Instant) -> anyhow::Result<CredentialView> {
    loop {
        match client.credential(credential).await {
            Ok(view) => return Ok(view),
            Err(error) if is_refused(&error) || Instant::now() >= end => bail!(error),
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

/// A problem of the caller's, which asking again does not mend.
fn is_refused(error: &ApiError) -> bool {
    error.problem().is_some_and(|problem| problem.status < 500)
}

fn needs_shares(view: &CredentialView) -> bool {
    !matches!(view.state, CredentialState::Generating | CredentialState::Revoked | CredentialState::Destroyed)
}

fn bulk_holder(number: u32) -> anyhow::Result<NewHolder> {
    let subject = SubjectFields::new("JP", None, "TRIAL Ishi", format!("BULK-{number:06}"))?;
    Ok(NewHolder { holder: format!("bulk-{number}").parse()?, subject })
}

fn enrolment(holder: &NewHolder) -> Enrolment {
    Enrolment { credential: CredentialId::new(rand::random()), holder: holder.holder.clone(), subject: holder.subject.clone() }
}

/// A gauge or counter of a node, if it answers.
pub(crate) async fn metric(cluster: &LocalCluster, node: NodeId, name: &str) -> Option<f64> {
    value_of(&page(cluster, node, "/metrics").await?, name)
}

/// What a node's HTTP address says under a path, headers too, if it answers.
pub(crate) async fn page(cluster: &LocalCluster, node: NodeId, path: &str) -> Option<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let read = async {
        let mut stream = tokio::net::TcpStream::connect(cluster.node_http(node)?).await.ok()?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").as_bytes()).await.ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        Some(text)
    };
    tokio::time::timeout(ANSWER_DEADLINE, read).await.ok().flatten()
}

fn value_of(metrics: &str, name: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_found_by_its_whole_name() {
        let text = "# HELP a b\nwarifu_x_total 3\nwarifu_x 7\nwarifu_y{a=\"b\"} 1\n";
        assert_eq!(value_of(text, "warifu_x"), Some(7.0));
        assert_eq!(value_of(text, "warifu_z"), None);
    }

    #[test]
    fn the_addresses_of_a_configuration_are_those_that_it_listens_on() {
        let text = "[node]\nid = 3\n[listen]\nquic = \"127.0.0.1:20001\"\nhttp = \"127.0.0.1:20002\"\n";
        assert_eq!(cluster_addresses(text), ["127.0.0.1:20001", "127.0.0.1:20002"].map(str::to_owned).into());
    }
}
