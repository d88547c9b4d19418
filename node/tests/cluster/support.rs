//! Whole nodes in one test process: real QUIC, real consensus, real stores in temporary directories.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use ed25519_dalek::{Signer as _, SigningKey};
use rand_core::RngCore as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use warifu_node::admin::{self, AdminReply, AdminRequest};
use warifu_node::config::NodeConfig;
use warifu_node::keys::NodeKeys;
use warifu_node::work::Work;
use warifu_node::{clock, daemon};
use warifu_protocol::transport::{PeerClient, PeerEntry, PeerId, PeerRoster, Role, TlsIdentity};
use warifu_protocol::wire::{NodeStatus, OrderCall, OrderReply, Verdict};
use warifu_protocol::{
    AnchorKind, Approval, Blob, Command, CoordinatorEntry, Genesis, GenesisBody, GenesisDocument, GenesisSignature, Name, NodeEntry,
    NodeId, ObjectVersion, OfficerEntry, OfficerRole, Order, OrderBody, OrderCommand, OrderId, Policy, PublicKey, Threshold,
};

#[path = "authorities.rs"]
mod authorities;

use authorities::Authority;

/// Time for one call of a test.
pub(crate) const CALL: Duration = Duration::from_secs(10);
/// Time for a cluster to get somewhere: several elections.
const PATIENCE: Duration = Duration::from_secs(30);

/// A cluster with the keys of its founders.
pub(crate) struct TestCluster {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) genesis: Arc<Genesis>,
    pub(crate) operators: Vec<(Name, SigningKey)>,
    pub(crate) security_officers: Vec<(Name, SigningKey)>,
    pub(crate) client: PeerClient,
    /// The pinned CA of the holders' certificates.
    pub(crate) holders_authority: Authority,
    /// The pinned CA of the cards.
    pub(crate) cards_authority: Authority,
    peers: Arc<PeerRoster>,
    configs: BTreeMap<NodeId, NodeConfig>,
    running: BTreeMap<NodeId, (watch::Sender<bool>, JoinHandle<anyhow::Result<()>>)>,
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().expect("a valid name")
}

pub(crate) fn node_id(number: u8) -> NodeId {
    NodeId::new(number).expect("1 to 15")
}

impl TestCluster {
    /// Founds a cluster and starts its nodes.
    pub(crate) async fn start(nodes: u8, threshold: u8) -> anyhow::Result<Self> {
        Self::start_with(nodes, threshold, |_| ()).await
    }

    /// Founds a cluster with another policy and starts its nodes.
    pub(crate) async fn start_with(nodes: u8, threshold: u8, change: impl Fn(&mut Policy)) -> anyhow::Result<Self> {
        let mut policy = Policy::default();
        change(&mut policy);
        let mut cluster = Self::found(nodes, threshold, policy)?;
        for id in 1..=nodes {
            cluster.start_node(node_id(id), true);
        }
        cluster.until_confirmed(&(1..=nodes).map(node_id).collect::<Vec<_>>()).await?;
        Ok(cluster)
    }

    pub(crate) fn found(nodes: u8, threshold: u8, policy: Policy) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut entries = Vec::new();
        let mut configs = BTreeMap::new();
        for id in 1..=nodes {
            let (entry, config) = prepare(directory.path().join(format!("node-{id}")), node_id(id))?;
            entries.push(entry);
            configs.insert(node_id(id), config);
        }
        let tls = TlsIdentity::generate()?;
        let identity = SigningKey::generate(&mut rand_core::OsRng);
        let officers = |ids: [&str; 2]| ids.map(|id| (name(id), SigningKey::generate(&mut rand_core::OsRng))).to_vec();
        let (operators, security_officers) = (officers(["alice", "bob"]), officers(["carol", "dave"]));
        let holders_authority = Authority::new(AnchorKind::HpkiSigning)?;
        let cards_authority = Authority::new(AnchorKind::JpkiUserAuthentication)?;
        let anchors = [&holders_authority, &cards_authority];
        let genesis = genesis(entries, threshold, policy, &tls, &identity, &operators, &security_officers, anchors)?;
        for config in configs.values() {
            std::fs::write(&config.node.genesis, genesis.document().to_toml())?;
        }
        let peers = Arc::new(PeerRoster::new(genesis.cluster(), peer_entries(&genesis.body().nodes)));
        let client = PeerClient::new(&tls, Arc::clone(&peers) as _)?;
        Ok(Self {
            directory,
            genesis: Arc::new(genesis),
            operators,
            security_officers,
            client,
            holders_authority,
            cards_authority,
            peers,
            configs,
            running: BTreeMap::new(),
        })
    }

    /// Makes the keys and the configuration of one more site.
    pub(crate) fn prepare_node(&mut self, id: NodeId) -> anyhow::Result<NodeEntry> {
        let (entry, config) = prepare(self.directory.path().join(format!("node-{id}")), id)?;
        std::fs::write(&config.node.genesis, self.genesis.document().to_toml())?;
        self.configs.insert(id, config);
        Ok(entry)
    }

    pub(crate) fn config_mut(&mut self, id: NodeId) -> &mut NodeConfig {
        self.configs.get_mut(&id).expect("a prepared node")
    }

    /// Lets the test's client call these nodes.
    pub(crate) fn know(&self, nodes: &[NodeEntry]) {
        self.peers.replace(peer_entries(nodes));
    }

    /// Changes the configuration of every node that is started later.
    pub(crate) fn configure(&mut self, change: impl Fn(&mut NodeConfig)) {
        self.configs.values_mut().for_each(change);
    }

    pub(crate) fn start_node(&mut self, id: NodeId, found: bool) {
        let (stop, stopped) = watch::channel(false);
        let config = self.configs[&id].clone();
        self.running.insert(id, (stop, tokio::spawn(daemon::run(config, found, stopped))));
    }

    pub(crate) async fn stop_node(&mut self, id: NodeId) -> anyhow::Result<()> {
        let (stop, task) = self.running.remove(&id).context("not running")?;
        stop.send(true)?;
        task.await??;
        // Requests that were abandoned keep the node's socket until they end by themselves; with a process of its own they would end with it.
        let (address, stopped) = (self.configs[&id].listen.quic, std::time::Instant::now());
        while let Err(error) = UdpSocket::bind(address) {
            anyhow::ensure!(stopped.elapsed() < PATIENCE, "{address} is not free: {error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Waits until a node ends by itself.
    pub(crate) async fn ended_node(&mut self, id: NodeId) -> anyhow::Result<()> {
        let (_stop, task) = self.running.remove(&id).context("not running")?;
        tokio::time::timeout(PATIENCE, task).await??
    }

    pub(crate) fn config(&self, id: NodeId) -> &NodeConfig {
        &self.configs[&id]
    }

    pub(crate) async fn call(&self, node: NodeId, call: &OrderCall) -> anyhow::Result<OrderReply> {
        let reply = self.client.call(node, Role::Order, &postcard::to_stdvec(call)?, CALL).await?;
        Ok(postcard::from_bytes(&reply)?)
    }

    pub(crate) async fn status(&self, node: NodeId) -> anyhow::Result<NodeStatus> {
        match self.call(node, &OrderCall::Status).await? {
            OrderReply::Status(status) => Ok(*status),
            other => bail!("not a status: {other:?}"),
        }
    }

    pub(crate) async fn work(&self, node: NodeId) -> anyhow::Result<Work> {
        match admin::ask(&self.configs[&node].admin_socket(), &AdminRequest::Work).await? {
            AdminReply::Work(work) => Ok(*work),
            other => bail!("not what is under way: {other:?}"),
        }
    }

    /// Waits until a node sees every member vote, in this plan of the membership or a later one. Whoever only looks at the voters may see
    /// those of long before: of an earlier plan, or of the part of the log that the node has read so far.
    pub(crate) async fn until_settled(&self, node: NodeId, plan: u64) -> anyhow::Result<()> {
        self.until_work(node, "the members are settled", |work| work.plan >= plan && work.is_settled()).await
    }

    /// Waits until a node sees consensus have this plan of the membership, or a later one.
    pub(crate) async fn until_reached(&self, node: NodeId, plan: u64) -> anyhow::Result<()> {
        self.until_work(node, "the plan is reached", |work| work.plan >= plan && work.plan_reached).await
    }

    async fn until_work(&self, node: NodeId, what: &str, reached: impl Fn(&Work) -> bool) -> anyhow::Result<()> {
        let started = std::time::Instant::now();
        loop {
            let last = self.work(node).await;
            if last.as_ref().is_ok_and(&reached) {
                return Ok(());
            }
            if started.elapsed() >= PATIENCE {
                bail!("not at node {node} that {what}; last seen: {last:?}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(crate) async fn propose(&self, node: NodeId, command: Command) -> anyhow::Result<Verdict> {
        match self.call(node, &OrderCall::Propose(Box::new(command))).await? {
            OrderReply::Verdict(verdict) => Ok(verdict),
            other => bail!("no verdict: {other:?}"),
        }
    }

    /// Proposes again until there is a verdict: a new leader may have to be found first.
    pub(crate) async fn until_proposed(&self, node: NodeId, command: Command) -> anyhow::Result<Verdict> {
        let started = std::time::Instant::now();
        loop {
            match self.propose(node, command.clone()).await {
                Err(error) if started.elapsed() >= PATIENCE => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                verdict => return verdict,
            }
        }
    }

    /// An order that changes the cluster: approved by the security officers and with the consents of these sites, each given at the site's own
    /// admin socket.
    pub(crate) async fn change(&self, id: u8, version: u64, command: OrderCommand, sites: &[u8]) -> anyhow::Result<Order> {
        let mut order = self.order_at(id, version, command, 2);
        for site in sites {
            let socket = self.configs[&node_id(*site)].admin_socket();
            match admin::ask(&socket, &AdminRequest::Consent { order: Box::new(order.clone()) }).await? {
                AdminReply::Consent(consent) => order.consents.push(*consent),
                other => bail!("no consent: {other:?}"),
            }
        }
        Ok(order)
    }

    /// An order for a new object, approved by the first `approvals` officers of the role that it needs.
    pub(crate) fn order(&self, id: u8, command: OrderCommand, approvals: usize) -> Order {
        self.order_at(id, 0, command, approvals)
    }

    pub(crate) fn order_at(&self, id: u8, version: u64, command: OrderCommand, approvals: usize) -> Order {
        let body = OrderBody {
            cluster: self.genesis.cluster(),
            id: OrderId::new([id; 16]),
            not_after: clock::now().plus(60_000),
            object_version: ObjectVersion(version),
            order: command,
        };
        let message = body.message();
        let approve = |(officer, key): &(Name, SigningKey)| Approval {
            officer: officer.clone(),
            signature: Blob(key.sign(&message).to_bytes().to_vec()),
        };
        let role = body.order.class().default_approvals().role;
        let officers = if role == OfficerRole::SecurityOfficer { &self.security_officers } else { &self.operators };
        let approvals = officers.iter().take(approvals).map(approve).collect();
        Order { body, approvals, consents: Vec::new() }
    }

    pub(crate) async fn until_confirmed(&self, nodes: &[NodeId]) -> anyhow::Result<()> {
        for node in nodes {
            self.until(*node, "confirmed", |status| status.confirmed).await?;
        }
        Ok(())
    }

    pub(crate) async fn until(&self, node: NodeId, what: &str, reached: impl Fn(&NodeStatus) -> bool) -> anyhow::Result<NodeStatus> {
        let started = std::time::Instant::now();
        let mut last = None;
        while started.elapsed() < PATIENCE {
            match self.status(node).await {
                Ok(status) if reached(&status) => return Ok(status),
                other => last = Some(other),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("node {node} is not {what} in time; last seen: {last:?}")
    }
}

/// A free port below the ephemeral ones, from which another process could take it while the node is down.
fn quiet_port() -> anyhow::Result<u16> {
    let ports = std::iter::repeat_with(|| 20_000 + (rand_core::OsRng.next_u32() % 12_000) as u16);
    ports.take(1_000).find(|port| UdpSocket::bind(("127.0.0.1", *port)).is_ok()).context("no free port")
}

fn peer_entries(nodes: &[NodeEntry]) -> BTreeMap<PeerId, PeerEntry> {
    nodes.iter().map(|node| (PeerId::Node(node.id), PeerEntry { spki: node.tls_spki, address: node.address.clone() })).collect()
}

fn prepare(directory: PathBuf, id: NodeId) -> anyhow::Result<(NodeEntry, NodeConfig)> {
    let port = quiet_port()?;
    let keys = directory.join("keys");
    let entry = NodeKeys::init(&keys, id, &format!("127.0.0.1:{port}"))?;
    let path = |file: &str| directory.join(file).display().to_string();
    let text = format!(
        "[node]\nid = {id}\ngenesis = {:?}\nkeys = {:?}\ndata = {:?}\n[listen]\nquic = \"127.0.0.1:{port}\"\nhttp = \"127.0.0.1:0\"\n",
        path("genesis.toml"),
        path("keys"),
        path("data"),
    );
    Ok((entry, NodeConfig::from_toml(&text)?))
}

fn genesis(
    nodes: Vec<NodeEntry>,
    threshold: u8,
    policy: Policy,
    coordinator: &TlsIdentity,
    coordinator_key: &SigningKey,
    operators: &[(Name, SigningKey)],
    security_officers: &[(Name, SigningKey)],
    anchors: [&Authority; 2],
) -> anyhow::Result<Genesis> {
    let public = |key: &SigningKey| PublicKey::Ed25519(key.verifying_key().to_bytes());
    let liars = u8::from(nodes.len() >= 5);
    let genesis = GenesisBody {
        format: 1,
        name: name("test"),
        created: clock::now().minus(1000),
        threshold: Threshold(threshold),
        liars,
        minority_threshold: false,
        policy,
        nodes,
        coordinators: vec![CoordinatorEntry {
            id: name("coordinator-1"),
            tls_spki: coordinator.spki_hash(),
            identity: public(coordinator_key),
        }],
        officers: operators
            .iter()
            .map(|officer| (officer, OfficerRole::Operator))
            .chain(security_officers.iter().map(|officer| (officer, OfficerRole::SecurityOfficer)))
            .map(|((id, key), role)| OfficerEntry { id: id.clone(), role, key: public(key) })
            .collect(),
        anchors: anchors.map(Authority::anchor).into(),
    };
    let message = genesis.message();
    let sign = |(officer, key): &(Name, SigningKey)| GenesisSignature {
        officer: officer.clone(),
        signature: Blob(key.sign(&message).to_bytes().to_vec()),
    };
    let signatures = operators.iter().chain(security_officers).map(sign).collect();
    Ok(Genesis::new(GenesisDocument { genesis, signatures })?)
}

/// What a monitoring system fetches: the status of a page and what stands on it.
pub(crate) async fn page(port: u16, path: &str) -> anyhow::Result<(u16, String)> {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok((status, body.to_owned()))
}
