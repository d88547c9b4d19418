//! A cluster in one process: real QUIC on loopback, real stores in temporary directories, and a state that keeps every command.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use rand_core::{OsRng, RngCore as _};
use redb::{ReadTransaction, ReadableTable, TableDefinition};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use warifu_protocol::transport::{
    BindError, BodyStream, PeerClient, PeerEntry, PeerId, PeerRoster, Role, RpcHandler, RpcRefusal, Server, TlsIdentity,
};
use warifu_protocol::{ClusterId, NodeId, Sha256};

use crate::raft::{
    AppliedEntry, AppliedPayload, AppliedState, InspectEntries, InspectRefusal, InspectedEntry, InspectedPayload, Proposed, RaftConfig,
    RaftHandle, RaftService, ReplicatedState, RosterNode, StateError, StateSnapshot,
};
use crate::store::{Database, DatabaseOptions, StoreError};

/// Generous, because test machines are busy.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

const COMMANDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("commands");
const APPLIED: TableDefinition<'_, (), &[u8]> = TableDefinition::new("applied");

/// Keeps every command under its index; the response is the command backwards.
pub(super) struct Ledger(Database);

pub(super) struct LedgerView(ReadTransaction, AppliedState);

impl Ledger {
    fn open(path: &std::path::Path) -> Self {
        let database = Database::open(path, DatabaseOptions { cache_bytes: 1024 * 1024 }).unwrap();
        database
            .write_blocking(|tx| {
                tx.open_table(COMMANDS)?;
                tx.open_table(APPLIED)?;
                Ok(())
            })
            .unwrap();
        Self(database)
    }

    pub(super) fn commands(&self) -> Vec<Vec<u8>> {
        self.0.read(|tx| Ok(tx.open_table(COMMANDS)?.iter()?.map(|row| row.unwrap().1.value().to_vec()).collect())).unwrap()
    }

    fn set_applied(tx: &redb::WriteTransaction, applied: &AppliedState) -> Result<(), StoreError> {
        tx.open_table(APPLIED)?.insert((), postcard::to_stdvec(applied).unwrap().as_slice())?;
        Ok(())
    }
}

fn read_applied(tx: &ReadTransaction) -> Result<AppliedState, StoreError> {
    Ok(tx.open_table(APPLIED)?.get(())?.map(|bytes| postcard::from_bytes(bytes.value()).unwrap()).unwrap_or_default())
}

fn failed(error: StoreError) -> StateError {
    StateError::new("using the ledger", error)
}

impl StateSnapshot for LedgerView {
    fn applied(&self) -> AppliedState {
        self.1.clone()
    }

    fn write_to(&self, out: &mut dyn Write) -> Result<(), StateError> {
        let rows = self.0.open_table(COMMANDS).unwrap();
        for row in rows.iter().unwrap() {
            let (index, command) = row.unwrap();
            out.write_all(&index.value().to_be_bytes()).unwrap();
            out.write_all(&u32::try_from(command.value().len()).unwrap().to_be_bytes()).unwrap();
            out.write_all(command.value()).unwrap();
        }
        Ok(())
    }
}

impl ReplicatedState for Ledger {
    type Snapshot = LedgerView;

    fn applied(&self) -> Result<AppliedState, StateError> {
        self.0.read(read_applied).map_err(failed)
    }

    async fn apply(&self, entries: Vec<AppliedEntry>) -> Result<Vec<Vec<u8>>, StateError> {
        let mut applied = self.applied()?;
        applied.position = entries.last().map(|entry| entry.position);
        let mut responses = Vec::new();
        for entry in &entries {
            responses.push(match &entry.payload {
                AppliedPayload::Command(command) => command.iter().rev().copied().collect(),
                AppliedPayload::Blank => Vec::new(),
                AppliedPayload::Membership(members) => {
                    applied.membership.clone_from(members);
                    Vec::new()
                }
            });
        }
        self.0
            .write(move |tx| {
                let mut table = tx.open_table(COMMANDS)?;
                for entry in &entries {
                    if let AppliedPayload::Command(command) = &entry.payload {
                        table.insert(entry.position.index, command.as_slice())?;
                    }
                }
                Self::set_applied(tx, &applied)
            })
            .await
            .map_err(failed)?;
        Ok(responses)
    }

    fn snapshot(&self) -> Result<LedgerView, StateError> {
        let view = self.0.begin_read().map_err(failed)?;
        let applied = read_applied(&view).map_err(failed)?;
        Ok(LedgerView(view, applied))
    }

    async fn judge(&self, _: NodeId, _: AppliedState, _: Box<dyn Read + Send>) -> Result<(), InspectRefusal> {
        Ok(())
    }

    async fn install(&self, applied: AppliedState, mut content: Box<dyn Read + Send>) -> Result<(), StateError> {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).unwrap();
        self.0
            .write(move |tx| {
                let mut table = tx.open_table(COMMANDS)?;
                table.retain(|_, _| false)?;
                let mut rest = bytes.as_slice();
                while let Some((index, tail)) = rest.split_first_chunk::<8>() {
                    let (len, tail) = tail.split_first_chunk::<4>().ok_or_else(|| StoreError::declined("cut off"))?;
                    let len = u32::from_be_bytes(*len) as usize;
                    let command = tail.get(..len).ok_or_else(|| StoreError::declined("cut off"))?;
                    table.insert(u64::from_be_bytes(*index), command)?;
                    rest = &tail[len..];
                }
                Self::set_applied(tx, &applied)
            })
            .await
            .map_err(failed)
    }
}

/// How long a leader at most says nothing about a command that begins with `STUCK` and ends with its own number.
const STUCK_MAX: Duration = Duration::from_secs(30);

/// Followers refuse commands that begin with `BAD`, leaders those that begin with `NO`, and each those that end with its own number; everyone refuses
/// members that are not of the test's roster.
pub(super) struct Gate {
    me: NodeId,
    stuck: Arc<Stuck>,
}

/// What a test and a leader that says nothing know of each other.
#[derive(Default)]
pub(super) struct Stuck {
    /// One is.
    pub(super) is_one: AtomicBool,
    /// It may go on.
    pub(super) may_go_on: AtomicBool,
}

impl InspectEntries for Gate {
    fn may_vote(&self) -> bool {
        true
    }

    fn inspect(&self, _: NodeId, entries: &[InspectedEntry<'_>]) -> Result<(), InspectRefusal> {
        for entry in entries {
            match &entry.payload {
                InspectedPayload::Command(command) if command.starts_with(b"BAD") => return Err(InspectRefusal::new("a bad command")),
                InspectedPayload::Membership(members) if members.nodes.values().any(|node| node.roster != roster_hash()) => {
                    return Err(InspectRefusal::new("members of another roster"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn admit(&self, from: NodeId, command: Vec<u8>) -> Result<Vec<u8>, InspectRefusal> {
        let is_for_it = command.last() == Some(&self.me.get());
        if is_for_it && command.starts_with(b"STUCK") {
            let start = Instant::now();
            self.stuck.is_one.store(true, Ordering::Relaxed);
            while !self.stuck.may_go_on.load(Ordering::Relaxed) && start.elapsed() < STUCK_MAX {
                std::thread::sleep(Duration::from_millis(20));
            }
            return Ok(command);
        }
        if command.starts_with(b"NO") || is_for_it { Err(InspectRefusal::new(format!("not from {from}"))) } else { Ok(command) }
    }
}

pub(super) const fn roster_hash() -> Sha256 {
    Sha256::new([9; 32])
}

struct Handler(OnceLock<RaftService<Ledger, Gate>>);

impl Handler {
    fn parts(&self, peer: &PeerId) -> Result<(NodeId, &RaftService<Ledger, Gate>), RpcRefusal> {
        let PeerId::Node(from) = peer else { return Err(RpcRefusal::unsupported("only nodes")) };
        Ok((*from, self.0.get().ok_or(RpcRefusal::Busy { retry_after_ms: 50 })?))
    }
}

impl RpcHandler for Handler {
    async fn handle(&self, peer: PeerId, _: Role, request: Bytes) -> Result<Vec<u8>, RpcRefusal> {
        let (from, service) = self.parts(&peer)?;
        service.handle(from, request).await
    }

    async fn handle_stream(&self, peer: PeerId, _: Role, head: Bytes, body: BodyStream) -> Result<Vec<u8>, RpcRefusal> {
        let (from, service) = self.parts(&peer)?;
        service.handle_snapshot(from, head, body).await
    }
}

pub(super) struct TestNode {
    pub(super) raft: RaftHandle<Ledger, Gate>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) client: PeerClient,
    server: Server,
}

/// A socket on a port below the ephemeral ones, from which another process could take it while the node is down.
fn quiet_socket() -> UdpSocket {
    let ports = std::iter::repeat_with(|| 20_000 + (OsRng.next_u32() % 12_000) as u16);
    ports.take(1_000).find_map(|port| UdpSocket::bind(("127.0.0.1", port)).ok()).unwrap()
}

pub(super) struct Cluster {
    pub(super) nodes: BTreeMap<NodeId, TestNode>,
    directory: TempDir,
    identities: BTreeMap<NodeId, TlsIdentity>,
    addresses: BTreeMap<NodeId, SocketAddr>,
    roster: Arc<PeerRoster>,
    tune: fn(&mut RaftConfig),
    pub(super) stuck: Arc<Stuck>,
}

pub(super) fn node(number: u8) -> NodeId {
    NodeId::new(number).unwrap()
}

impl Cluster {
    /// Three nodes that have a leader.
    pub(super) async fn start(tune: fn(&mut RaftConfig)) -> Self {
        let ids = [node(1), node(2), node(3)];
        let identities: BTreeMap<_, _> = ids.iter().map(|&id| (id, TlsIdentity::generate().unwrap())).collect();
        let sockets: Vec<_> = ids.iter().map(|&id| (id, quiet_socket())).collect();
        let addresses: BTreeMap<_, _> = sockets.iter().map(|(id, socket)| (*id, socket.local_addr().unwrap())).collect();
        drop(sockets);
        let entries =
            ids.iter().map(|id| (PeerId::Node(*id), PeerEntry { spki: identities[id].spki_hash(), address: addresses[id].to_string() }));
        let roster = Arc::new(PeerRoster::new(ClusterId::new([1; 32]), entries.collect()));
        let directory = TempDir::new().unwrap();
        let mut cluster = Self { nodes: BTreeMap::new(), directory, identities, addresses, roster, tune, stuck: Arc::default() };
        for id in ids {
            cluster.start_node(id, true).await;
        }
        cluster.leader().await;
        cluster
    }

    pub(super) async fn start_node(&mut self, id: NodeId, bootstrap: bool) {
        let directory = self.directory.path().join(id.to_string());
        let mut config = RaftConfig::new(id, directory.clone());
        if bootstrap {
            config.bootstrap = Some(
                self.identities
                    .iter()
                    .map(|(id, tls)| {
                        (*id, RosterNode { address: self.addresses[id].to_string(), spki: tls.spki_hash(), roster: roster_hash() })
                    })
                    .collect(),
            );
        }
        (self.tune)(&mut config);
        let open = move || {
            std::fs::create_dir_all(&directory).unwrap();
            Ledger::open(&directory.join("state.redb"))
        };
        let ledger = Arc::new(crate::blocking::run(open).await.unwrap());
        let client = PeerClient::new(&self.identities[&id], Arc::clone(&self.roster) as _).unwrap();
        let handler = Arc::new(Handler(OnceLock::new()));
        let server = self.server(id, &handler).await;
        let raft =
            RaftHandle::start(config, client.clone(), Arc::clone(&ledger), Arc::new(Gate { me: id, stuck: Arc::clone(&self.stuck) }))
                .await
                .unwrap();
        handler.0.set(raft.service()).unwrap();
        self.nodes.insert(id, TestNode { raft, ledger, client, server });
    }

    /// Serves at the node's port, which somebody else may be trying out at this moment.
    async fn server(&self, id: NodeId, handler: &Arc<Handler>) -> Server {
        let start = Instant::now();
        loop {
            let roster = Arc::clone(&self.roster) as _;
            match Server::start(self.addresses[&id], &self.identities[&id], roster, &[Role::Raft], Arc::clone(handler)) {
                Err(BindError::Socket { .. }) if start.elapsed() < PATIENCE => sleep(Duration::from_millis(50)).await,
                server => return server.unwrap(),
            }
        }
    }

    /// Stops a node as a clean shutdown would.
    pub(super) async fn stop_node(&mut self, id: NodeId) {
        let node = self.nodes.remove(&id).unwrap();
        node.raft.shutdown().await;
        node.server.shutdown().await;
        node.client.shutdown().await;
        // The store's file is free when the last reference to it is gone.
        drop((node.raft, node.ledger));
        sleep(Duration::from_millis(200)).await;
    }

    /// Forgets everything a stopped node had on disk.
    pub(super) fn wipe(&self, id: NodeId) {
        std::fs::remove_dir_all(self.directory.path().join(id.to_string())).unwrap();
    }

    /// Waits until a running node leads and all running nodes know it.
    pub(super) async fn leader(&self) -> NodeId {
        let mut leader = None;
        self.eventually("a leader that all know", || {
            let leaders: Vec<_> = self.nodes.values().map(|node| node.raft.status().leader).collect();
            leader = leaders[0].filter(|id| self.nodes.contains_key(id));
            leader.is_some() && leaders.iter().all(|other| *other == leader)
        })
        .await;
        leader.unwrap()
    }

    pub(super) fn follower_of(&self, leader: NodeId) -> NodeId {
        *self.nodes.keys().find(|id| **id != leader).unwrap()
    }

    pub(super) async fn must_propose(&self, at: NodeId, command: &[u8]) -> Proposed {
        self.nodes[&at].raft.propose(command.to_vec(), PATIENCE).await.unwrap()
    }

    /// Waits until all running nodes have applied exactly these commands, in one order.
    pub(super) async fn must_agree_on(&self, commands: usize) {
        self.eventually("all nodes have all commands", || self.nodes.values().all(|node| node.ledger.commands().len() == commands)).await;
        let mut all = self.nodes.values().map(|node| node.ledger.commands());
        let first = all.next().unwrap();
        assert!(all.all(|other| other == first));
    }

    pub(super) async fn eventually(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let start = Instant::now();
        while !holds() {
            assert!(
                start.elapsed() < PATIENCE,
                "never: {what}; {:#?}",
                self.nodes.values().map(|node| node.raft.status()).collect::<Vec<_>>()
            );
            sleep(Duration::from_millis(50)).await;
        }
    }
}
