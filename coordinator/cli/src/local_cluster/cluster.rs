//! The cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use serde::Serialize;
use warifu_api::{ApiClient, StatusAnswer};
use warifu_node::config::{BackgroundSection, ListenSection, LogSection, NodeConfig, NodeSection};
use warifu_node::keys::NodeKeys;
use warifu_protocol::{CoordinatorEntry, Genesis, Name, NodeEntry, NodeId, Policy, SpkiHash, Threshold};

use super::clients::{ClientFiles, ClientIdentity, create_server};
use super::coordinator::EXIT_WITH_STDIN;
use super::error::LocalClusterError;
use super::officers::Officers;
use super::ports::free_addresses;
use super::process::Process;
use super::{COORDINATOR_COMMAND, NODE_COMMAND};
use crate::clock::now;
use crate::files::{self, MODE_PUBLIC};
use crate::genesis::{Draft, liars_default, new_coordinator};
use crate::trial_pki::{TrialHpki, TrialJpki};

/// What to found.
#[derive(Clone, Debug)]
pub struct LocalClusterOptions {
    /// Where everything lies; absent or empty.
    pub directory: PathBuf,
    /// n
    pub nodes: u8,
    /// t
    pub threshold: u8,
    /// Terms; the defaults are those of a real cluster.
    pub policy: Policy,
    /// The `warifu` program, with its feature `embedded`.
    pub program: PathBuf,
}

/// A cluster on this machine with all that its operators have.
///
/// Every process is killed on drop.
#[derive(Debug)]
pub struct LocalCluster {
    directory: PathBuf,
    program: PathBuf,
    genesis: Genesis,
    /// The officers.
    pub officers: Officers,
    /// The trial CA that certifies holders' keys.
    pub hpki: TrialHpki,
    /// The trial CA of My Number Cards.
    pub jpki: TrialJpki,
    clients: Vec<ClientIdentity>,
    nodes: BTreeMap<NodeId, NodeProcess>,
    coordinators: Vec<CoordinatorProcess>,
}

/// One coordinator: where it is, and its process while it runs.
#[derive(Debug)]
struct CoordinatorProcess {
    directory: PathBuf,
    api: SocketAddr,
    ca: PathBuf,
    process: Option<Process>,
}

/// One node: its directory, and its process while it runs.
#[derive(Debug)]
struct NodeProcess {
    directory: PathBuf,
    http: SocketAddr,
    founded: bool,
    /// What its next start has in its environment beside what everybody has.
    environment: Vec<(OsString, OsString)>,
    /// The command that runs its program, if it is not run as it is.
    launcher: Vec<OsString>,
    process: Option<Process>,
}

impl NodeProcess {
    const fn new(directory: PathBuf, http: SocketAddr) -> Self {
        Self { directory, http, founded: false, environment: Vec::new(), launcher: Vec::new(), process: None }
    }
}

impl LocalCluster {
    /// The clinic at which doctors write.
    pub const CLINIC: &str = "1310000001";
    /// The pharmacy.
    pub const PHARMACY: &str = "1340000001";
    /// Client: the clinic's platform.
    pub const CLIENT_CLINIC: &str = "clinic";
    /// Client: the pharmacy's platform.
    pub const CLIENT_PHARMACY: &str = "pharmacy";
    /// Client: the CA's desk.
    pub const CLIENT_CA: &str = "ca-desk";
    /// Client: the operator.
    pub const CLIENT_OPERATIONS: &str = "operations";

    /// Makes keys, trial CAs, genesis and configurations. Nothing is started.
    ///
    /// # Errors
    /// See [`LocalClusterError`].
    pub fn found(options: &LocalClusterOptions) -> Result<Self, LocalClusterError> {
        Self::found_with_coordinators(options, 1)
    }

    /// As [`Self::found`], with several coordinators, which the same clients may use.
    ///
    /// # Errors
    /// See [`LocalClusterError`].
    pub fn found_with_coordinators(options: &LocalClusterOptions, coordinators: u8) -> Result<Self, LocalClusterError> {
        let directory = empty_directory(&options.directory)?;
        let ids: Vec<NodeId> = (1..=options.nodes).filter_map(NodeId::new).collect();
        let addresses = free_addresses(2 * ids.len() + 2 * usize::from(coordinators))?;
        let (quic, rest) = addresses.split_at(ids.len());
        let (http, coordinator_addresses) = rest.split_at(ids.len());

        let made = |name: &str| -> Result<PathBuf, LocalClusterError> {
            let path = directory.join(name);
            files::make_directory(&path)?;
            Ok(path)
        };
        let officers = Officers::create(&made("officers")?)?;
        let (hpki, jpki) = (TrialHpki::new(now())?, TrialJpki::new(now())?);
        hpki.save(&directory.join("trial-hpki"))?;
        jpki.save(&directory.join("trial-jpki"))?;
        let clients = make_clients(&made("clients")?)?;

        let (mut entries, mut nodes) = (Vec::new(), BTreeMap::new());
        for ((&id, quic), &http) in ids.iter().zip(quic).zip(http) {
            let node_directory = made(&format!("node-{id}"))?;
            entries.push(make_node(&node_directory, id, *quic, http, None)?);
            nodes.insert(id, NodeProcess::new(node_directory, http));
        }
        let (mut coordinator_entries, mut coordinator_processes) = (Vec::new(), Vec::new());
        for (number, addresses) in (1..=coordinators).zip(coordinator_addresses.chunks_exact(2)) {
            let &[api, metrics] = addresses else { unreachable!("chunks of two") };
            let (name, ca) = if number == 1 {
                ("coordinator".to_owned(), CA_FILE.to_owned())
            } else {
                (format!("coordinator-{number}"), format!("coordinator-{number}-{CA_FILE}"))
            };
            let process = CoordinatorProcess { directory: made(&name)?, api, ca: directory.join("clients").join(ca), process: None };
            coordinator_entries.push(make_coordinator(&process, number, metrics, &clients)?);
            coordinator_processes.push(process);
        }
        let document = Draft {
            name: "local-trial".parse().expect("a name"),
            created: now(),
            threshold: Threshold(options.threshold),
            liars: liars_default(ids.len()),
            minority_threshold: false,
            policy: options.policy.clone(),
            nodes: entries,
            coordinators: coordinator_entries,
            officers: officers.entries(),
            anchors: vec![hpki.anchor(), jpki.anchor()],
        }
        .into_document()?;
        let genesis = sign_genesis(document, &officers)?;
        files::write_new(&directory.join(GENESIS_FILE), genesis.document().to_toml().as_bytes(), MODE_PUBLIC)?;
        let program = options.program.clone();
        Ok(Self { directory, program, genesis, officers, hpki, jpki, clients, nodes, coordinators: coordinator_processes })
    }

    /// Starts every process that is not running.
    ///
    /// # Errors
    /// [`LocalClusterError::Spawn`].
    pub fn start(&mut self) -> Result<(), LocalClusterError> {
        let stopped: Vec<NodeId> = self.nodes.iter().filter(|(_, node)| node.process.is_none()).map(|(&id, _)| id).collect();
        for id in stopped {
            self.start_node(id)?;
        }
        (0..self.coordinators.len()).try_for_each(|place| self.start_coordinator(place))
    }

    /// Starts the coordinator at this place, from 0. Nothing happens to one that is running, and where there is none.
    ///
    /// # Errors
    /// [`LocalClusterError::Spawn`].
    pub fn start_coordinator(&mut self, place: usize) -> Result<(), LocalClusterError> {
        let Some(CoordinatorProcess { directory, process: None, .. }) = self.coordinators.get(place) else { return Ok(()) };
        let process = self.daemon(&format!("coordinator {}", place + 1), COORDINATOR_COMMAND, directory, &[], &[], &[])?;
        if let Some(coordinator) = self.coordinators.get_mut(place) {
            coordinator.process = Some(process);
        }
        Ok(())
    }

    /// Kills the coordinator at this place, from 0 (SIGKILL). Nothing happens to one that is not running.
    pub fn kill_coordinator(&mut self, place: usize) {
        if let Some(process) = self.coordinators.get_mut(place).and_then(|coordinator| coordinator.process.take()) {
            process.kill();
        }
    }

    /// Starts a node that is not running.
    ///
    /// # Errors
    /// [`LocalClusterError::Spawn`] or [`LocalClusterError::NoNode`].
    pub fn start_node(&mut self, id: NodeId) -> Result<(), LocalClusterError> {
        let node = self.nodes.get(&id).ok_or(LocalClusterError::NoNode { node: id })?;
        // Only ever at the first start: a store that is missing later was lost.
        let found: &[&Path] = if node.founded { &[] } else { &[Path::new("--found")] };
        let process = self.daemon(&format!("node {id}"), NODE_COMMAND, &node.directory, found, &node.environment, &node.launcher)?;
        if let Some(node) = self.nodes.get_mut(&id) {
            node.founded = true;
            node.process = Some(process);
        }
        Ok(())
    }

    /// Kills every node at one instant, as a power cut would (SIGKILL).
    pub fn kill_all_nodes(&mut self) {
        Process::kill_together(self.nodes.values_mut().filter_map(|node| node.process.take()).collect());
    }

    /// Kills a node as a power cut would (SIGKILL). Nothing happens to one that is not running.
    pub fn kill_node(&mut self, id: NodeId) {
        if let Some(process) = self.nodes.get_mut(&id).and_then(|node| node.process.take()) {
            process.kill();
        }
    }

    /// Asks a node to stop in order, and kills it if it has not stopped after a while. Nothing happens to one that is not running.
    pub fn stop_node(&mut self, id: NodeId) {
        if let Some(mut process) = self.nodes.get_mut(&id).and_then(|node| node.process.take()) {
            process.ask_to_stop();
            process.wait_stopped(Instant::now() + STOP_DEADLINE);
        }
    }

    /// The process id of a node that is running.
    #[must_use]
    pub fn node_process(&self, id: NodeId) -> Option<u32> {
        Some(self.nodes.get(&id)?.process.as_ref()?.id())
    }

    /// The process id of a coordinator that is running, by its place from 0.
    #[must_use]
    pub fn coordinator_process(&self, place: usize) -> Option<u32> {
        Some(self.coordinators.get(place)?.process.as_ref()?.id())
    }

    /// Waits for the end of a node that somebody has told to stop, and kills it after `deadline`. Returns how it ended, if it ended by itself.
    pub fn node_ended(&mut self, id: NodeId, deadline: Duration) -> Option<ExitStatus> {
        self.nodes.get_mut(&id)?.process.take()?.wait_stopped(Instant::now() + deadline)
    }

    /// As [`Self::node_ended`], for the coordinator at this place, from 0.
    pub fn coordinator_ended(&mut self, place: usize, deadline: Duration) -> Option<ExitStatus> {
        self.coordinators.get_mut(place)?.process.take()?.wait_stopped(Instant::now() + deadline)
    }

    /// What a node has in its environment from its next start on, beside what this process has.
    pub fn set_node_environment(&mut self, id: NodeId, environment: Vec<(OsString, OsString)>) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.environment = environment;
        }
    }

    /// Says where a node's `/metrics` are once its configuration was changed, and which command runs its program from its next start on: that
    /// command's process must become the program's, as `ip netns exec` does it.
    pub fn move_node(&mut self, id: NodeId, http: SocketAddr, launcher: Vec<OsString>) {
        if let Some(node) = self.nodes.get_mut(&id) {
            (node.http, node.launcher) = (http, launcher);
        }
    }

    /// The nodes whose processes were started and not killed.
    pub fn running(&self) -> impl Iterator<Item = NodeId> {
        self.nodes.iter().filter(|(_, node)| node.process.is_some()).map(|(&id, _)| id)
    }

    /// Waits until the coordinator answers and every running node is confirmed and sees one leader.
    ///
    /// # Errors
    /// [`LocalClusterError::NotReady`] at `deadline`, [`LocalClusterError::Ended`] when a process does not stay up.
    pub async fn wait_ready(&mut self, deadline: Duration) -> Result<(), LocalClusterError> {
        let client = self.client(Self::CLIENT_OPERATIONS, POLL_DEADLINE)?;
        let end = Instant::now() + deadline;
        loop {
            self.check_processes()?;
            let missing = match client.status().await {
                Ok(status) => match self.missing(&status) {
                    None => self.outdated(&status).await,
                    missing => missing,
                },
                Err(error) => Some(error.to_string()),
            };
            let Some(reason) = missing else { return Ok(()) };
            if Instant::now() >= end {
                return Err(LocalClusterError::NotReady { deadline, reason, logs: self.directory.clone() });
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Refuses a node's process that has ended by itself, with the end of its log.
    ///
    /// # Errors
    /// [`LocalClusterError::Ended`], or [`LocalClusterError::NoNode`] for one that was not started or was killed.
    pub fn check_node(&mut self, id: NodeId) -> Result<(), LocalClusterError> {
        let process = self.nodes.get_mut(&id).and_then(|node| node.process.as_mut());
        process.ok_or(LocalClusterError::NoNode { node: id })?.check()
    }

    /// Refuses to go on when a process has ended by itself.
    ///
    /// # Errors
    /// [`LocalClusterError::Ended`].
    pub fn check_processes(&mut self) -> Result<(), LocalClusterError> {
        self.check_processes_but(&BTreeSet::new())
    }

    /// As [`Self::check_processes`], but these nodes may end.
    ///
    /// # Errors
    /// [`LocalClusterError::Ended`].
    pub fn check_processes_but(&mut self, but: &BTreeSet<NodeId>) -> Result<(), LocalClusterError> {
        let nodes = self.nodes.iter_mut().filter(|(id, _)| !but.contains(id)).filter_map(|(_, node)| node.process.as_mut());
        nodes.chain(self.coordinators.iter_mut().filter_map(|one| one.process.as_mut())).try_for_each(Process::check)
    }

    /// Asks every process to stop, and kills those that have not stopped after a while.
    pub fn stop(mut self) {
        let nodes = self.nodes.values_mut().filter_map(|node| node.process.take());
        let coordinators = self.coordinators.iter_mut().filter_map(|one| one.process.take());
        let mut processes: Vec<Process> = coordinators.chain(nodes).collect();
        processes.iter_mut().for_each(Process::ask_to_stop);
        let deadline = Instant::now() + STOP_DEADLINE;
        for process in processes {
            process.wait_stopped(deadline);
        }
    }

    /// A client of the coordinator under one of the names in this type's constants.
    ///
    /// # Errors
    /// [`LocalClusterError::File`] or [`LocalClusterError::Api`].
    ///
    /// # Panics
    /// For any other name.
    pub fn client(&self, name: &str, deadline: Duration) -> Result<ApiClient, LocalClusterError> {
        self.client_of(0, name, deadline)
    }

    /// As [`Self::client`], of the coordinator at this place, from 0.
    ///
    /// # Errors
    /// As [`Self::client`].
    ///
    /// # Panics
    /// For any other name, and where there is no coordinator.
    pub fn client_of(&self, coordinator: usize, name: &str, deadline: Duration) -> Result<ApiClient, LocalClusterError> {
        let coordinator = self.coordinators.get(coordinator).expect("one of the cluster's own coordinators");
        self.identity(name).connect(&format!("https://{}", coordinator.api), &coordinator.ca, deadline)
    }

    /// Files of a client.
    ///
    /// # Panics
    /// For a name that is none of this type's constants.
    #[must_use]
    pub fn identity(&self, name: &str) -> &ClientIdentity {
        self.clients.iter().find(|client| client.name == name).expect("one of the cluster's own clients")
    }

    /// Base URL of the first coordinator.
    #[must_use]
    pub fn url(&self) -> String {
        let api = self.coordinators.first().map(|coordinator| coordinator.api.to_string());
        format!("https://{}", api.unwrap_or_default())
    }

    /// PEM of the CA that certified the first coordinator.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.directory.join("clients").join(CA_FILE)
    }

    /// Where a coordinator has its configuration and identity, by its place from 0.
    #[must_use]
    pub fn coordinator_directory(&self, coordinator: usize) -> Option<&Path> {
        self.coordinators.get(coordinator).map(|coordinator| coordinator.directory.as_path())
    }

    /// Address of a node's `/metrics`, `/healthz` and `/readyz`.
    #[must_use]
    pub fn node_http(&self, id: NodeId) -> Option<SocketAddr> {
        self.nodes.get(&id).map(|node| node.http)
    }

    /// The signed genesis.
    #[must_use]
    pub const fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// The file of the signed genesis.
    #[must_use]
    pub fn genesis_file(&self) -> PathBuf {
        self.directory.join(GENESIS_FILE)
    }

    /// Where everything lies.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn insert_node(&mut self, id: NodeId, directory: PathBuf, http: SocketAddr) {
        self.nodes.insert(id, NodeProcess::new(directory, http));
    }

    pub(super) fn take_node(&mut self, id: NodeId) {
        self.nodes.remove(&id);
    }

    fn daemon(
        &self,
        name: &str,
        command: &str,
        directory: &Path,
        more: &[&Path],
        environment: &[(OsString, OsString)],
        launcher: &[OsString],
    ) -> Result<Process, LocalClusterError> {
        let config = directory.join(CONFIG_FILE);
        let mut line: Vec<&Path> = launcher.iter().map(Path::new).collect();
        line.extend([self.program.as_path(), Path::new(command), Path::new("--config"), &config, Path::new(EXIT_WITH_STDIN)]);
        line.extend(more);
        let (program, arguments) = line.split_first().expect("the program is in it");
        Process::start_in(name.to_owned(), program, arguments, &directory.join(LOG_FILE), environment)
    }

    /// What is not ready yet, if anything.
    fn missing(&self, status: &StatusAnswer) -> Option<String> {
        let mut leaders = Vec::new();
        for id in self.running() {
            let Some(report) = status.nodes.iter().find(|report| report.node == id) else {
                return Some(format!("the coordinator does not know node {id} yet"));
            };
            match &report.status {
                Some(node) if node.confirmed => leaders.extend(node.leader),
                Some(node) => return Some(format!("node {id} is not confirmed: {}", node.reasons.join("; "))),
                None => return Some(format!("node {id} does not answer: {}", report.unreachable.as_deref().unwrap_or("no answer"))),
            }
        }
        leaders.dedup();
        if leaders.len() == 1 { None } else { Some("the nodes do not agree on a leader".to_owned()) }
    }

    /// What the coordinator says of a process that has been replaced since says nothing about the one that runs.
    async fn outdated(&self, status: &StatusAnswer) -> Option<String> {
        for report in &status.nodes {
            let Some(told) = report.status.as_ref().filter(|_| self.node_process(report.node).is_some()) else { continue };
            if self.node_status(report.node).await.is_none_or(|own| own.boot != told.boot || !own.confirmed) {
                return Some(format!("node {} has not been asked since its start", report.node));
            }
        }
        None
    }
}

fn empty_directory(path: &Path) -> Result<PathBuf, LocalClusterError> {
    files::make_directory(path)?;
    if !files::is_empty_directory(path)? {
        return Err(LocalClusterError::NotEmpty { path: path.to_owned() });
    }
    Ok(files::absolute(path)?)
}

pub(super) fn make_node(
    directory: &Path,
    id: NodeId,
    quic: SocketAddr,
    http: SocketAddr,
    roster: Option<PathBuf>,
) -> Result<NodeEntry, LocalClusterError> {
    let keys = directory.join("keys");
    let entry = NodeKeys::init(&keys, id, &quic.to_string()).map_err(|source| LocalClusterError::NodeKeys { node: id, source })?;
    let config = NodeConfig {
        node: NodeSection {
            id,
            genesis: PathBuf::from("..").join(GENESIS_FILE),
            roster,
            keys: "keys".into(),
            vm_generation_id_file: None,
            data: "data".into(),
        },
        listen: ListenSection { quic, http, admin: None },
        peers: BTreeMap::new(),
        store: Default::default(),
        kek: Default::default(),
        raft: Default::default(),
        background: BackgroundSection::default(),
        log: LogSection { filter: NODE_LOG_FILTER.to_owned(), ..LogSection::default() },
    };
    write_toml(&directory.join(CONFIG_FILE), &config)?;
    Ok(entry)
}

/// The coordinator's configuration file, as it reads it.
#[derive(Serialize)]
struct CoordinatorConfig<'a> {
    name: Name,
    genesis: PathBuf,
    metrics: SocketAddr,
    identity: TlsFiles,
    https: Https,
    clients: Vec<ClientEntry<'a>>,
}

#[derive(Serialize)]
struct TlsFiles {
    certificate: &'static str,
    key: &'static str,
}

#[derive(Serialize)]
struct Https {
    listen: SocketAddr,
    certificate: &'static str,
    key: &'static str,
}

#[derive(Serialize)]
struct ClientEntry<'a> {
    name: &'a str,
    role: &'a str,
    spki: SpkiHash,
    facilities: &'a [Name],
}

fn make_coordinator(
    coordinator: &CoordinatorProcess,
    number: u8,
    metrics: SocketAddr,
    clients: &[ClientIdentity],
) -> Result<CoordinatorEntry, LocalClusterError> {
    let CoordinatorProcess { directory, api, ca, process: _ } = coordinator;
    let entry = new_coordinator(directory, format!("coordinator-{number}").parse().expect("a name"))?;
    let server = ClientFiles { certificate: directory.join("https.pem"), key: directory.join("https.key") };
    create_server(ca, &server)?;
    let config = CoordinatorConfig {
        name: entry.id.clone(),
        genesis: PathBuf::from("..").join(GENESIS_FILE),
        metrics,
        identity: TlsFiles { certificate: "identity.pem", key: "identity.key" },
        https: Https { listen: *api, certificate: "https.pem", key: "https.key" },
        clients: clients
            .iter()
            .map(|client| ClientEntry { name: client.name, role: client.role, spki: client.spki, facilities: &client.facilities })
            .collect(),
    };
    write_toml(&directory.join(CONFIG_FILE), &config)?;
    Ok(entry)
}

fn make_clients(directory: &Path) -> Result<Vec<ClientIdentity>, LocalClusterError> {
    let facility = |name: &str| vec![name.parse().expect("the facilities' names are names")];
    Ok(vec![
        ClientIdentity::create(directory, LocalCluster::CLIENT_CLINIC, "platform", facility(LocalCluster::CLINIC))?,
        ClientIdentity::create(directory, LocalCluster::CLIENT_PHARMACY, "platform", facility(LocalCluster::PHARMACY))?,
        ClientIdentity::create(directory, LocalCluster::CLIENT_CA, "ca", Vec::new())?,
        ClientIdentity::create(directory, LocalCluster::CLIENT_OPERATIONS, "operations", Vec::new())?,
    ])
}

fn sign_genesis(mut document: warifu_protocol::GenesisDocument, officers: &Officers) -> Result<Genesis, LocalClusterError> {
    for key in &officers.keys {
        document.signatures.push(key.sign_genesis(&document.genesis)?);
    }
    Ok(Genesis::new(document)?)
}

pub(super) fn write_toml<T: Serialize>(path: &Path, value: &T) -> Result<(), LocalClusterError> {
    let text = toml::to_string_pretty(value).expect("configurations have only values that TOML can hold");
    Ok(files::write_new(path, text.as_bytes(), MODE_PUBLIC)?)
}

const GENESIS_FILE: &str = "genesis.toml";
const CONFIG_FILE: &str = "config.toml";
const LOG_FILE: &str = "log";
const CA_FILE: &str = "ca.pem";

/// The consensus library writes a line for every message at `info`.
const NODE_LOG_FILTER: &str = "info,openraft=warn";
/// How often a starting cluster is asked how it is.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How long one such answer is waited for.
const POLL_DEADLINE: Duration = Duration::from_secs(3);
/// Time that all processes together have to stop in order.
const STOP_DEADLINE: Duration = Duration::from_secs(5);
