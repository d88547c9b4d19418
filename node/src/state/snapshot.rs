//! Snapshots: the registry's pairs in key order, read from one consistent view while applying goes on. They hold no secret and no hash
//! tree: whoever installs one computes the tree from the pairs.

use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};
use warifu_core::registry::{self, ClusterRecord, MembershipPlans, Overlay, Pairs, Registry as _, StateStore as _, state_root, table};
use warifu_protocol::Order;

use super::store::{REGISTRY, StateView, WriteView};
use super::{APPLIED, MARKS, OUTCOMES, POSITION, StateDatabase, corrupt, mark};
use crate::store::StoreError;

/// First bytes of a snapshot, with its version.
const MAGIC: &[u8; 16] = b"warifu-snapsh-1\n";
/// Pairs read, sent and installed at once: bounds memory.
const PAGE: usize = 2048;
/// Largest key or value; a longer one means damage. The largest real one is a piece of a CRL.
const FIELD_BYTES_MAX: usize = 1 << 20;

/// Memory for cached pages while a snapshot is examined: as much as the inner pages of a large one.
const SCRATCH_CACHE_BYTES: usize = 32 * 1024 * 1024;

/// Orders that changed the cluster while a node was away, of which it reads so many out of a snapshot: their sender may be lying, and each may be
/// as large as a field. A node that has missed more is replaced on a new store.
const CHANGES_MAX: usize = 64;

/// Why a snapshot cannot be installed.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It cannot be read to its end.
    #[error("the snapshot cannot be read")]
    Io(#[from] std::io::Error),
    /// It is not a snapshot of this version, or was changed on its way.
    #[error("the snapshot is malformed: {reason}")]
    Malformed {
        /// What is wrong.
        reason: &'static str,
    },
    /// This node's store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a snapshot says, of which its sender is the only witness until others are asked.
#[derive(Debug)]
pub struct Examined {
    /// The state root that its content has.
    pub root: warifu_protocol::Sha256,
    /// Its cluster.
    pub cluster: ClusterRecord,
    /// Which nodes consensus should have by then.
    pub plans: MembershipPlans,
    /// The orders that changed the cluster after the revision that was asked for, as many as one snapshot may bring.
    pub orders: Vec<Order>,
}

/// A consistent view of the registry, kept while applying goes on.
pub struct FrozenState {
    view: StateView,
    position: Vec<u8>,
}

impl FrozenState {
    /// Consensus's position in this view.
    #[must_use]
    pub fn position(&self) -> &[u8] {
        &self.position
    }

    /// Writes the snapshot. Blocks.
    ///
    /// # Errors
    /// When reading or writing fails.
    pub fn write_to(&self, file: impl Write) -> Result<(), SnapshotError> {
        let mut out = Hashing { inner: BufWriter::new(file), hasher: Sha256::new() };
        out.write_all(MAGIC)?;
        let mut from = vec![table::HASHED_FROM];
        loop {
            let page = self.view.scan(&from, &[u8::MAX], PAGE).map_err(corrupt)?;
            let Some((last, _)) = page.last() else { break };
            from = [last.as_slice(), &[0]].concat();
            for (key, value) in &page {
                write_field(&mut out, key)?;
                write_field(&mut out, value)?;
            }
        }
        write_field(&mut out, &[])?;
        let digest = out.hasher.finalize();
        out.inner.write_all(&digest)?;
        out.inner.flush()?;
        Ok(())
    }
}

impl StateDatabase {
    /// Freezes a view for a snapshot.
    ///
    /// # Errors
    /// When the store fails.
    pub fn freeze(&self) -> Result<FrozenState, StoreError> {
        let transaction = self.database.begin_read()?;
        let position = transaction.open_table(POSITION)?.get(APPLIED)?.map(|bytes| bytes.value().to_vec()).unwrap_or_default();
        Ok(FrozenState { view: StateView::of(&transaction)?, position })
    }

    /// What a snapshot's content comes to, computed in `scratch`, a file of its own that is made anew and removed; the registry is not touched.
    /// Blocks. Orders are read from the revision `after` on. The cluster must be this one, with its threshold and number of liars, which nothing changes.
    ///
    /// # Errors
    /// When the snapshot is malformed or of another cluster, or a store fails.
    pub fn examine_snapshot(&self, content: impl Read, scratch: &Path, after: u64) -> Result<Examined, SnapshotError> {
        let cleared = || match std::fs::remove_file(scratch) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        };
        cleared()?;
        let engine = |error: redb::Error| SnapshotError::Store(error.into());
        let examined = {
            let database =
                redb::Builder::new().set_cache_size(SCRATCH_CACHE_BYTES).create(scratch).map_err(|error| engine(error.into()))?;
            let transaction = database.begin_write().map_err(|error| engine(error.into()))?;
            let view = WriteView::open(&transaction)?;
            load(&view, PairReader::new(content)?)?;
            self.check_cluster(&view)?;
            let examined = Examined {
                root: state_root::root(&view).map_err(corrupt)?,
                cluster: view.cluster().map_err(corrupt)?,
                plans: view.membership_plans().map_err(corrupt)?,
                orders: view.roster_orders(after, CHANGES_MAX).map_err(corrupt)?,
            };
            drop(view);
            // Never committed: only this was wanted.
            transaction.abort().map_err(|error| engine(error.into()))?;
            examined
        };
        cleared()?;
        Ok(examined)
    }

    fn check_cluster(&self, view: &WriteView<'_>) -> Result<(), SnapshotError> {
        let body = self.genesis.body();
        match view.get(&registry::key(table::CLUSTER, &[])).map_err(corrupt)? {
            Some(_) => {}
            None => return Err(SnapshotError::Malformed { reason: "it is of no cluster" }),
        }
        let found = view.cluster().map_err(corrupt)?;
        let ours = found.cluster == self.genesis.cluster() && found.threshold == body.threshold && found.liars == body.liars;
        if ours { Ok(()) } else { Err(SnapshotError::Malformed { reason: "it is of another cluster" }) }
    }

    /// Replaces the registry by a snapshot's, in one transaction. Blocks. The cluster must be this one. Whether the content is true is for the caller to
    /// have found out.
    ///
    /// # Errors
    /// When the snapshot is malformed or the store fails; then the registry is as before.
    pub fn install_snapshot<R: Read>(
        &self,
        open: impl Fn() -> std::io::Result<R> + Send + 'static,
        index: u64,
        position: Vec<u8>,
    ) -> Result<(), SnapshotError> {
        let this = self.clone();
        let result = self.database.write_blocking(move |transaction| {
            transaction.delete_table(REGISTRY)?;
            let view = WriteView::open(transaction)?;
            let loaded = open().map_err(SnapshotError::from).and_then(PairReader::new).and_then(|reader| load(&view, reader));
            loaded.and_then(|()| this.check_cluster(&view)).map_err(|error| match error {
                SnapshotError::Store(error) => error,
                SnapshotError::Io(_) | SnapshotError::Malformed { .. } => StoreError::declined(error.to_string()),
            })?;
            let root = state_root::root(&view).map_err(corrupt)?;
            transaction.open_table(POSITION)?.insert(APPLIED, position.as_slice())?;
            // What was known of earlier positions was another history's, as far as this node can tell.
            transaction.delete_table(MARKS)?;
            transaction.delete_table(OUTCOMES)?;
            transaction.open_table(OUTCOMES)?;
            transaction.open_table(MARKS)?.insert(index, mark(&position, root).as_bytes().as_slice())?;
            Ok(())
        });
        Ok(result?)
    }
}

/// Fills an empty registry.
fn load<R: Read>(view: &WriteView<'_>, mut reader: PairReader<R>) -> Result<(), SnapshotError> {
    loop {
        let page = reader.page()?;
        if page.is_empty() {
            return Ok(());
        }
        let mut overlay = Overlay::new(view);
        state_root::load(&mut overlay, page).map_err(corrupt)?;
        let changes = overlay.into_changes();
        view.write(&changes)?;
    }
}

struct Hashing<W> {
    inner: W,
    hasher: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

fn write_field(out: &mut impl Write, field: &[u8]) -> std::io::Result<()> {
    out.write_all(&(field.len() as u32).to_be_bytes())?;
    out.write_all(field)
}

struct PairReader<R> {
    inner: BufReader<R>,
    hasher: Sha256,
    ended: bool,
    last: Vec<u8>,
}

impl<R: Read> PairReader<R> {
    fn new(file: R) -> Result<Self, SnapshotError> {
        let mut reader = Self { inner: BufReader::new(file), hasher: Sha256::new(), ended: false, last: Vec::new() };
        let mut magic = [0; MAGIC.len()];
        reader.read(&mut magic)?;
        if magic == *MAGIC { Ok(reader) } else { Err(SnapshotError::Malformed { reason: "it does not begin as this version's do" }) }
    }

    /// The next pairs; none at the end, whose hash has been checked then.
    fn page(&mut self) -> Result<Pairs, SnapshotError> {
        let mut page = Vec::new();
        while !self.ended && page.len() < PAGE {
            let key = self.field()?;
            if key.is_empty() {
                self.check_end()?;
                break;
            }
            if key <= self.last {
                return Err(SnapshotError::Malformed { reason: "its keys are not ascending" });
            }
            self.last.clone_from(&key);
            page.push((key, self.field()?));
        }
        Ok(page)
    }

    fn field(&mut self) -> Result<Vec<u8>, SnapshotError> {
        let mut length = [0; 4];
        self.read(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > FIELD_BYTES_MAX {
            return Err(SnapshotError::Malformed { reason: "it has a field that is too long" });
        }
        let mut field = vec![0; length];
        self.read(&mut field)?;
        Ok(field)
    }

    fn check_end(&mut self) -> Result<(), SnapshotError> {
        self.ended = true;
        let mut digest = [0; 32];
        self.inner.read_exact(&mut digest)?;
        if digest != <[u8; 32]>::from(self.hasher.clone().finalize()) {
            return Err(SnapshotError::Malformed { reason: "its hash is not that of its content" });
        }
        if self.inner.read(&mut [0])? == 0 { Ok(()) } else { Err(SnapshotError::Malformed { reason: "something follows its end" }) }
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<(), SnapshotError> {
        self.inner.read_exact(buffer)?;
        self.hasher.update(&*buffer);
        Ok(())
    }
}
