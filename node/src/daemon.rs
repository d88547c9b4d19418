//! A running node: opens the stores, joins consensus, gets confirmed, serves, and stops in order.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;
use warifu_protocol::cluster::ROSTER_FILE_BYTES_MAX;
use warifu_protocol::mutants::{Mutant, is_on};
use warifu_protocol::transport::{PeerClient, Role, Server};
use warifu_protocol::{AuditEntry, AuditEvent, Checkpoint, ClusterRecord, Command, Genesis, RosterFile};

use crate::admin::AdminService;
use crate::bulk::BulkThread;
use crate::clock::{self, ClockWatch};
use crate::config::NodeConfig;
use crate::consent::ConsentService;
use crate::custodian::Custodian;
use crate::fresh_term::{self, StaleEntries};
use crate::gate::Gate;
use crate::generation::GenerationWatch;
use crate::holds::Holds;
use crate::http::{self, Pages};
use crate::keys::NodeKeys;
use crate::local::{AuditWrite, LocalStore};
use crate::membership;
use crate::metrics::NodeMetrics;
use crate::pace::Pace;
use crate::raft::{RaftConfig, RaftHandle};
use crate::replicated::{Inspector, NodeRaft, NodeState, members};
use crate::service::{
    Background, CeremonyService, ConfirmService, DestroyService, NodeRpc, OrderService, Refusals, Retention, SignService, SnapshotJudge,
    StopService,
};
use crate::standing::{OwnKeys, Standing};
use crate::state::StateDatabase;
use crate::store::{Database, DatabaseOptions};
use warifu_core::identity::NodeIdentity;

/// How often clocks are compared and expired nonces dropped.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// How often the audit checkpoint is offered to the others, if the log has grown.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(60);
/// Time that everything together may take to stop.
pub const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// Runs a node until `stop` says so. `found` allows empty stores to be founded: only ever at a cluster's or a site's first start.
///
/// # Errors
/// When the node cannot start; the error says whose move it is.
pub async fn run(config: NodeConfig, found: bool, mut stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(&config.node.genesis)
        .with_context(|| format!("cannot read the genesis {}", config.node.genesis.display()))?;
    let genesis = Arc::new(Genesis::from_toml(&text).context("the genesis is refused")?);
    if warifu_protocol::versions::is_next() {
        tracing::warn!("this process is told to be the program of the next version: it is for tests");
    }
    let node = Node::open(config, Arc::clone(&genesis), found).await?;
    let served = node.serve(&mut stop).await;
    node.stop().await;
    served
}

/// Everything that runs.
struct Node {
    config: NodeConfig,
    standing: Arc<Standing>,
    gate: Arc<Gate>,
    local: Arc<LocalStore>,
    custodian: Arc<Custodian>,
    state: StateDatabase,
    metrics: NodeMetrics,
    raft: NodeRaft,
    stale: Arc<StaleEntries>,
    peers: PeerClient,
    orders: Arc<OrderService>,
    signing: Arc<SignService>,
    ceremonies: Arc<CeremonyService>,
    stops: Arc<StopService>,
    confirm: parking_lot::Mutex<Option<ConfirmService>>,
    generation: parking_lot::Mutex<Option<GenerationWatch>>,
    replicated: Arc<NodeState>,
    identity: NodeIdentity,
    server: parking_lot::Mutex<Option<Server>>,
    stopping: watch::Sender<bool>,
}

impl Node {
    async fn open(config: NodeConfig, genesis: Arc<Genesis>, found: bool) -> anyhow::Result<Self> {
        let id = config.node.id;
        let keys = NodeKeys::load(&config.node.keys).context("the node's keys")?;
        let identity = keys.identity(id, genesis.cluster());
        let file = config.node.roster.as_deref().map(|path| read_roster(path, &genesis)).transpose()?;
        let founders_entry = genesis.node(id).filter(|entry| entry.identity == identity.public_key());
        let founder = file.is_none() && founders_entry.is_some();
        let data = config.node.data.clone();
        if !data.join("local.redb").exists() && !found {
            anyhow::bail!(
                "there is no store in {}: at the first start of a new site add --found; if a disk was lost, do NOT: the site must be repaired by order",
                data.display()
            );
        }
        std::fs::create_dir_all(&data).with_context(|| format!("cannot create {}", data.display()))?;
        let (state, local) = {
            let (config, genesis, data) = (config.clone(), Arc::clone(&genesis), data.clone());
            crate::blocking::run(move || open_stores(&config, genesis, &data)).await.context("opening the stores")??
        };
        let local = Arc::new(local);
        let own = OwnKeys { node: id, tls_spki: keys.tls.spki_hash(), identity: identity.public_key(), store: local.meta().store };
        let gate = Arc::new(Gate::new(local.meta().boot));
        let standing = {
            let (state, own, addresses, gate) = (state.clone(), own.clone(), config.peer_addresses(), Arc::clone(&gate));
            let open = move || -> anyhow::Result<Standing> {
                let view = state.view().context("the state store")?;
                Standing::open(&view, file, own, founder, addresses, gate).context("the state store")
            };
            Arc::new(crate::blocking::run(open).await.context("reading the roster")??)
        };
        check_own_entry(&standing, &own)?;
        if standing.cluster().node(id).is_some_and(|entry| entry.sealing_key != *keys.sealing.public()) {
            tracing::warn!("sealing.key is not the key that the roster names for this node: it will refuse its packets of imported keys");
        }
        record_start(&local).await?;
        let metrics = NodeMetrics::new().context("metrics")?;
        // Before the first nonce is made.
        let generation = GenerationWatch::start(config.node.vm_generation_id_file.clone())?;
        let source = config.kek_source().context("the key-encryption key")?;
        let custodian =
            Arc::new(Custodian::new(id, genesis.cluster(), source, config.kek.rotate_every_days, Arc::clone(&local), Arc::clone(&gate)));
        custodian.reach().await;
        let roster = standing.peers();
        let peers = PeerClient::new(&keys.tls, Arc::clone(&roster) as _).context("the QUIC client")?;
        let reader = Arc::clone(&local);
        let starts = crate::blocking::run(move || reader.starts()).await.context("reading the starts")??;
        gate.note_shut_out(&crate::admission::check(id, &standing.cluster(), &starts, &peers).await?);
        let rank = standing.cluster().nodes.iter().filter(|node| node.id < id).count() as u64;
        let (reader, started) = (Arc::clone(&local), clock::boot_millis());
        let held = crate::blocking::run(move || reader.open_holds()).await.context("reading the holds")??;
        let holds = Arc::new(Holds::new(held, rank, started));
        let judge = SnapshotJudge::new(id, state.clone(), Arc::clone(&local), metrics.clone(), peers.clone(), data.clone());
        let replicated = NodeState::new(
            id,
            state.clone(),
            Arc::clone(&local),
            Arc::clone(&gate),
            Arc::clone(&holds),
            metrics.clone(),
            Arc::clone(&standing),
            data.clone(),
        );
        let replicated = Arc::new(replicated.judged_by(judge));
        replicated.record_missing().await.context("the audit log")?;
        let raft_config = RaftConfig {
            cache_bytes: config.store.log_cache_bytes,
            election_min: config.raft.election_min,
            election_max: config.raft.election_max,
            heartbeat: config.raft.heartbeat,
            snapshot_every: config.raft.snapshot_entries,
            entries_kept: config.raft.snapshot_entries / 4,
            bootstrap: founder.then(|| members(&genesis)),
            ..RaftConfig::new(id, data.join("raft"))
        };
        let inspector = Arc::new(Inspector::new(Arc::clone(&standing)).trying_on(state.clone()));
        let stale = inspector.stale();
        let raft = RaftHandle::start(raft_config, peers.clone(), Arc::clone(&replicated), inspector).await.context("consensus")?;
        let pace = Arc::new(Pace::new(config.background.sign_latency_max));
        let signing = Arc::new(SignService::new(
            id,
            state.clone(),
            Arc::clone(&local),
            Arc::clone(&gate),
            Arc::clone(&holds),
            metrics.clone(),
            Arc::clone(&pace),
        ));
        let refusals = Arc::new(Refusals::new(Arc::clone(&local), metrics.clone()));
        let orders = Arc::new(OrderService::new(
            id,
            Arc::clone(&standing),
            state.clone(),
            Arc::clone(&local),
            Arc::clone(&gate),
            metrics.clone(),
            raft.clone(),
            Arc::clone(&refusals),
        ));
        let ceremonies = Arc::new(CeremonyService::new(
            identity.clone(),
            state.clone(),
            Arc::clone(&local),
            Arc::clone(&orders),
            peers.clone(),
            BulkThread::start().context("the thread for bulk work")?,
            Background { gate: Arc::clone(&gate), metrics: metrics.clone(), pace, batch: config.background.batch },
            keys.sealing,
        ));
        let stops = Arc::new(StopService::new(
            identity.clone(),
            state.clone(),
            Arc::clone(&local),
            Arc::clone(&gate),
            holds,
            Arc::clone(&orders),
            raft.clone(),
            metrics.clone(),
            Arc::clone(&refusals),
        ));
        let confirm = ConfirmService::new(
            identity.clone(),
            Arc::clone(&standing),
            state.clone(),
            Arc::clone(&local),
            Arc::clone(&gate),
            Arc::clone(&orders),
            Arc::clone(&signing),
            peers.clone(),
            Arc::clone(&replicated),
        );
        let rpc = NodeRpc {
            raft: raft.service(),
            signing: Arc::clone(&signing),
            orders: Arc::clone(&orders),
            stops: Arc::clone(&stops),
            ceremonies: Arc::clone(&ceremonies),
            refusals,
        };
        let server = Server::start(config.listen.quic, &keys.tls, roster, &Role::ALL, Arc::new(rpc)).context("the QUIC endpoint")?;
        tracing::info!(node = %id, quic = %server.local_addr(), cluster = %genesis.cluster(), "started");
        Ok(Self {
            config,
            standing,
            gate,
            local,
            custodian,
            state,
            metrics,
            raft,
            stale,
            peers,
            orders,
            signing,
            ceremonies,
            stops,
            confirm: parking_lot::Mutex::new(Some(confirm)),
            generation: parking_lot::Mutex::new(Some(generation)),
            replicated,
            identity,
            server: parking_lot::Mutex::new(Some(server)),
            stopping: watch::Sender::new(false),
        })
    }

    async fn serve(&self, stop: &mut watch::Receiver<bool>) -> anyhow::Result<()> {
        let pages = Arc::new(Pages {
            metrics: self.metrics.clone(),
            orders: Arc::clone(&self.orders),
            local: Arc::clone(&self.local),
            state: self.state.clone(),
            raft: self.raft.clone(),
            standing: Arc::clone(&self.standing),
        });
        let admin = Arc::new(AdminService {
            orders: Arc::clone(&self.orders),
            local: Arc::clone(&self.local),
            signing: Arc::clone(&self.signing),
            raft: self.raft.clone(),
            custodian: Arc::clone(&self.custodian),
            consent: ConsentService::new(self.identity.clone(), self.state.clone(), Arc::clone(&self.local), Arc::clone(&self.gate)),
        });
        let address = self.config.listen.http;
        let listener = tokio::net::TcpListener::bind(address).await.with_context(|| format!("cannot listen on TCP {address}"))?;
        let mut http_stop = self.stopping.subscribe();
        let http = axum::serve(listener, http::router(pages)).with_graceful_shutdown(async move {
            let _ = http_stop.wait_for(|stop| *stop).await;
        });
        tokio::spawn(Arc::clone(&self.ceremonies).run(self.replicated.progress(), self.stopping.subscribe()));
        tokio::spawn(Arc::clone(&self.stops).run(self.stopping.subscribe()));
        let destroy = DestroyService::new(self.identity.clone(), self.state.clone(), Arc::clone(&self.local), Arc::clone(&self.gate));
        tokio::spawn(Arc::new(destroy).run(self.stopping.subscribe()));
        let retention = Retention::new(self.state.clone(), Arc::clone(&self.local), Arc::clone(&self.gate), self.metrics.clone());
        tokio::spawn(Arc::new(retention).run(self.stopping.subscribe()));
        tokio::spawn(membership::run(self.raft.clone(), Arc::clone(&self.standing), self.stopping.subscribe()));
        tokio::spawn(fresh_term::run(self.raft.clone(), Arc::clone(&self.stale), self.stopping.subscribe()));
        if let Some(confirm) = self.confirm.lock().take() {
            tokio::spawn(confirm.run(self.replicated.progress(), self.stopping.subscribe()));
        }
        tokio::spawn(Arc::clone(&self.custodian).run(self.stopping.subscribe()));
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => Ok(()),
            served = http => served.context("serving HTTP"),
            served = admin.run(self.config.admin_socket(), self.stopping.subscribe()) => served.context("serving the administrator"),
            () = self.watch() => Ok(()),
            () = self.watch_generation() => Ok(()),
        }
    }

    /// Drops every nonce when this virtual machine goes on from an image: a copy of it may have them too.
    async fn watch_generation(&self) {
        let Some(mut generation) = self.generation.lock().take() else { return };
        loop {
            let sign = generation.changed().await.label();
            self.metrics.vm_generations.with_label_values(&[sign]).inc();
            tracing::warn!(sign, "this virtual machine is of another generation than before: all nonces are dropped");
            if !is_on(Mutant::KeepNoncesOverGeneration) {
                self.signing.drop_nonces();
            }
        }
    }

    /// Ages nonces, compares clocks, and offers checkpoints.
    async fn watch(&self) {
        let mut clocks = ClockWatch::start();
        let mut interval = tokio::time::interval(WATCH_INTERVAL);
        let mut offered = (tokio::time::Instant::now(), 0);
        loop {
            interval.tick().await;
            if clocks.jumped() {
                tracing::warn!("the clocks disagree on how long it has been: all nonces are dropped");
                self.signing.drop_nonces();
            }
            self.signing.tick();
            if let Err(error) = self.local.note_damaged_shares().await {
                tracing::error!(error = &error as &dyn std::error::Error, "damaged shares cannot be noted");
            }
            if offered.0.elapsed() >= CHECKPOINT_INTERVAL {
                offered.0 = tokio::time::Instant::now();
                let local = Arc::clone(&self.local);
                if let Ok(Ok(checkpoint)) = crate::blocking::run(move || local.checkpoint()).await
                    && checkpoint.size > offered.1
                    && self.gate.is_open()
                {
                    offered.1 = checkpoint.size;
                    self.offer(checkpoint);
                }
            }
        }
    }

    fn offer(&self, checkpoint: Checkpoint) {
        let (orders, command) = (Arc::clone(&self.orders), Command::CheckpointWitnessed(self.identity.sign(checkpoint)));
        tokio::spawn(async move { orders.propose(command).await });
    }

    async fn stop(self) {
        self.gate.stop();
        self.signing.drop_nonces();
        let _ = self.stopping.send(true);
        let server = self.server.lock().take();
        let ended = tokio::time::timeout(STOP_DEADLINE, async {
            if let Some(server) = server {
                server.shutdown().await;
            }
            self.raft.shutdown().await;
            self.peers.shutdown().await;
            let entry = AuditEntry::new(clock::now(), AuditEvent::Stopped);
            self.local.record(vec![AuditWrite::plain(entry)]).await
        });
        match ended.await {
            Ok(Ok(_)) => tracing::info!("stopped"),
            Ok(Err(error)) => tracing::error!(error = &error as &dyn std::error::Error, "stopped, but the audit log could not be ended"),
            Err(_) => tracing::error!("not everything stopped in time"),
        }
    }
}

fn open_stores(config: &NodeConfig, genesis: Arc<Genesis>, data: &Path) -> anyhow::Result<(StateDatabase, LocalStore)> {
    let options = |cache_bytes| DatabaseOptions { cache_bytes };
    let cluster = genesis.cluster();
    let database = Database::open(&data.join("local.redb"), options(config.store.local_cache_bytes)).context("the local store")?;
    let local = LocalStore::open_locked(database, config.node.id, cluster).context("the local store")?;
    let state =
        StateDatabase::open(&data.join("state.redb"), options(config.store.state_cache_bytes), genesis).context("the state store")?;
    let view = state.view().context("the state store")?;
    if let Some(outdated) = warifu_core::registry::ProgramOutdated::look(&view).context("the state store")? {
        return Err(outdated).context("this node's program was replaced by an older one");
    }
    Ok((state, local))
}

async fn record_start(local: &LocalStore) -> anyhow::Result<()> {
    let meta = local.meta();
    let event = AuditEvent::Started {
        store: meta.store,
        incarnation: meta.incarnation,
        boot: meta.boot,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let write = AuditWrite::plain(AuditEntry::new(clock::now(), event));
    local.record(vec![write]).await.context("the audit log cannot be written")?;
    Ok(())
}

fn read_roster(path: &Path, genesis: &Genesis) -> anyhow::Result<ClusterRecord> {
    let size = std::fs::metadata(path).with_context(|| format!("cannot read the roster {}", path.display()))?.len();
    anyhow::ensure!(size <= ROSTER_FILE_BYTES_MAX as u64, "the roster {} has {size} bytes, more than can be", path.display());
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the roster {}", path.display()))?;
    RosterFile::follow(&text, genesis).with_context(|| format!("the roster {} is refused", path.display()))
}

fn check_own_entry(standing: &Standing, own: &OwnKeys) -> anyhow::Result<()> {
    let (cluster, id) = (standing.cluster(), own.node);
    let hint = "if an order admitted it with these keys, give the current roster: `warifu roster export`, then `roster = FILE` in [node]";
    let entry = cluster.node(id).with_context(|| format!("node {id} is not in the roster that is known here; {hint}"))?;
    anyhow::ensure!(entry.identity == own.identity, "identity.key is not the key that the roster known here names for node {id}; {hint}");
    anyhow::ensure!(entry.tls_spki == own.tls_spki, "tls.crt is not the identity that the roster known here names for node {id}; {hint}");
    Ok(())
}
