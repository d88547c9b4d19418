//! The measured processes: what a node holds, and nothing else.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rand::Rng as _;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use tokio::runtime::Runtime;
use warifu_core::registry::Registry as _;
use warifu_core::signer::{ShareRecord, identifier};
use warifu_node::clock;
use warifu_node::config::StoreSection;
use warifu_node::gate::Gate;
use warifu_node::holds::Holds;
use warifu_node::local::LocalStore;
use warifu_node::metrics::NodeMetrics;
use warifu_node::raft::{AppliedEntry, AppliedPayload, LogPosition, ReplicatedState as _, StateSnapshot as _};
use warifu_node::replicated::NodeState;
use warifu_node::sealing::FileKek;
use warifu_node::standing::{OwnKeys, Standing};
use warifu_node::state::StateDatabase;
use warifu_node::store::DatabaseOptions;
use warifu_protocol::wire::Verdict;
use warifu_protocol::{Blob, Epoch, Genesis, NodeId};

use super::dealt::DealtKeys;
use super::feed::Feed;
use super::generator::credential_id;
use super::report::{HolderReport, Reads, StoreSizes};
use crate::measure::{Latencies, Memory};

/// Entries in one transaction: as many as the node's own adapter takes, when so many wait.
const ENTRIES_PER_APPLY: usize = 256;
/// Seed of the ids that are read: any, but the same each time.
const READ_SEED: u64 = 7;

pub(super) const GENESIS: &str = "genesis.toml";
const KEK: &str = "kek";
const STATE: &str = "state.redb";
const LOCAL: &str = "local.redb";
const SNAPSHOT: &str = "snapshot";
const INSTALLED: &str = "installed.redb";

/// Stores of one node, opened as its daemon opens them.
struct Holder {
    directory: PathBuf,
    database: StateDatabase,
    local: Arc<LocalStore>,
    node: NodeState,
    keys: DealtKeys,
    runtime: Runtime,
    index: u64,
}

/// Applies what is fed, reads, and writes a snapshot.
pub(super) fn load(directory: &Path, credentials: u64, reads: u64, input: &mut impl Read) -> anyhow::Result<HolderReport> {
    FileKek::init(&directory.join(KEK)).context("the key-encryption key")?;
    let mut holder = Holder::open(directory, STATE)?;
    let (empty, start) = (Memory::own()?, Instant::now());
    let mut applying = Duration::ZERO;
    loop {
        let feed = Feed::read_from(input)?;
        let since = Instant::now();
        match feed {
            Feed::Entries(entries) => holder.apply(entries)?,
            Feed::Shares { start, end } => holder.store_shares(start, end)?,
            Feed::End => break,
        }
        applying += since.elapsed();
    }
    let (loading, loaded) = (start.elapsed(), Memory::own()?);
    holder.check(credentials)?;
    let reads = holder.read(credentials, reads)?;
    let snapshot = holder.snapshot()?;
    Ok(HolderReport {
        empty: Some(empty),
        settled: loaded,
        end: Memory::own()?,
        seconds: loading.as_secs_f64(),
        busy_seconds: applying.as_secs_f64(),
        snapshot_seconds: Some(snapshot.as_secs_f64()),
        entries: holder.index,
        root: holder.database.root()?,
        reads: Some(reads),
        sizes: StoreSizes {
            state_bytes: size(&directory.join(STATE))?,
            local_bytes: size(&directory.join(LOCAL))?,
            snapshot_bytes: size(&directory.join(SNAPSHOT))?,
        },
    })
}

/// Opens stores that are there, and reads.
pub(super) fn reopen(directory: &Path, credentials: u64, reads: u64) -> anyhow::Result<HolderReport> {
    let start = Instant::now();
    let holder = Holder::open(directory, STATE)?;
    let (opening, opened) = (start.elapsed(), Memory::own()?);
    holder.check(credentials)?;
    let reads = holder.read(credentials, reads)?;
    holder.report(opening, opened, Some(reads))
}

/// Installs the snapshot into an empty registry.
pub(super) fn install(directory: &Path) -> anyhow::Result<HolderReport> {
    let holder = Holder::open(directory, INSTALLED)?;
    let source = directory.join(SNAPSHOT);
    let applied = {
        let stored = StateDatabase::open(&directory.join(STATE), state_options(), genesis(directory)?)?.position()?;
        postcard::from_bytes(&stored).context("the position of the stores")?
    };
    let start = Instant::now();
    let file = File::open(&source).with_context(|| format!("cannot open {}", source.display()))?;
    holder.runtime.block_on(holder.node.install(applied, Box::new(BufReader::new(file))))?;
    holder.report(start.elapsed(), Memory::own()?, None)
}

impl Holder {
    fn open(directory: &Path, state: &str) -> anyhow::Result<Self> {
        let node = NodeId::new(1).context("a node id")?;
        let genesis = genesis(directory)?;
        let kek = Arc::new(FileKek::open(&directory.join(KEK)).context("the key-encryption key")?);
        let local_options = DatabaseOptions { cache_bytes: StoreSection::default().local_cache_bytes };
        let local = Arc::new(LocalStore::open(&directory.join(LOCAL), local_options, kek, node, genesis.cluster())?);
        let entry = genesis.node(node).context("node 1 is not in the genesis")?;
        let own = OwnKeys { node, tls_spki: entry.tls_spki, identity: entry.identity, store: local.meta().store };
        let database = StateDatabase::open(&directory.join(state), state_options(), genesis)?;
        let gate = Arc::new(Gate::new(local.meta().boot));
        let standing = Standing::open(&database.view()?, None, own, true, BTreeMap::new(), Arc::clone(&gate))?;
        let applied = NodeState::new(
            node,
            database.clone(),
            Arc::clone(&local),
            gate,
            Arc::new(Holds::new(Vec::new(), 0, clock::boot_millis())),
            NodeMetrics::new()?,
            Arc::new(standing),
            directory.to_owned(),
        );
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let keys = DealtKeys::deal(identifier(node))?;
        Ok(Self { directory: directory.to_owned(), database, local, node: applied, keys, runtime, index: 0 })
    }

    fn apply(&mut self, entries: Vec<Blob>) -> anyhow::Result<()> {
        let mut entries = entries.into_iter();
        loop {
            let batch: Vec<AppliedEntry> = entries
                .by_ref()
                .take(ENTRIES_PER_APPLY)
                .map(|entry| {
                    self.index += 1;
                    let position = LogPosition { term: 1, leader: 1, index: self.index };
                    AppliedEntry { position, payload: AppliedPayload::Command(entry.0) }
                })
                .collect();
            if batch.is_empty() {
                return Ok(());
            }
            for response in self.runtime.block_on(self.node.apply(batch))? {
                let verdict: Verdict = postcard::from_bytes(&response).context("a verdict")?;
                if let Err(refusal) = verdict.outcome {
                    bail!("entry {} was refused: {refusal}", verdict.index);
                }
            }
        }
    }

    fn store_shares(&self, start: u64, end: u64) -> anyhow::Result<()> {
        let records: Vec<ShareRecord> =
            (start..end).map(|number| ShareRecord::new(credential_id(number), Epoch(1), &self.keys.of(number).share)).collect();
        Ok(self.runtime.block_on(self.local.store_shares(&records))?)
    }

    /// That everything is there, so that no figure is of an empty store.
    fn check(&self, credentials: u64) -> anyhow::Result<()> {
        let shares = self.local.share_count()?;
        ensure!(shares == credentials, "{shares} shares are stored, not {credentials}");
        let view = self.database.view()?;
        for number in [0, credentials / 2, credentials - 1] {
            let record = view.credential(credential_id(number))?.with_context(|| format!("credential {number} is missing"))?;
            ensure!(record.certificate.is_some(), "credential {number} has no certificate");
        }
        Ok(())
    }

    fn read(&self, credentials: u64, count: u64) -> anyhow::Result<Reads> {
        let mut rng = ChaCha20Rng::seed_from_u64(READ_SEED);
        let (mut credential, mut share) = (Latencies::default(), Latencies::default());
        for _ in 0..count {
            let id = credential_id(rng.gen_range(0..credentials));
            let since = Instant::now();
            let record = self.database.view()?.credential(id)?;
            credential.record(since.elapsed());
            ensure!(record.is_some_and(|record| record.key.is_some()), "credential {id} has no key");
            let since = Instant::now();
            let opened = self.local.share(id, Epoch(1))?;
            share.record(since.elapsed());
            ensure!(opened.is_some(), "credential {id} has no share");
        }
        Ok(Reads { credential: credential.spread(), share: share.spread() })
    }

    fn snapshot(&self) -> anyhow::Result<Duration> {
        let start = Instant::now();
        let mut file = File::create(self.directory.join(SNAPSHOT))?;
        self.node.snapshot()?.write_to(&mut file)?;
        file.flush()?;
        file.sync_all()?;
        Ok(start.elapsed())
    }

    fn report(&self, time: Duration, settled: Memory, reads: Option<Reads>) -> anyhow::Result<HolderReport> {
        Ok(HolderReport {
            empty: None,
            settled,
            end: Memory::own()?,
            seconds: time.as_secs_f64(),
            busy_seconds: time.as_secs_f64(),
            snapshot_seconds: None,
            entries: 0,
            root: self.database.root()?,
            reads,
            sizes: StoreSizes::default(),
        })
    }
}

fn state_options() -> DatabaseOptions {
    DatabaseOptions { cache_bytes: StoreSection::default().state_cache_bytes }
}

fn genesis(directory: &Path) -> anyhow::Result<Arc<Genesis>> {
    let path = directory.join(GENESIS);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Arc::new(Genesis::from_toml(&text)?))
}

fn size(path: &Path) -> anyhow::Result<u64> {
    Ok(std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len())
}
