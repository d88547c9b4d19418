//! Snapshot files.
//!
//! A file is `magic (8) | length of the meta data (4, big endian) | meta data in postcard | content`, and is sent as it stands. The newest one is kept
//! across restarts under a name of its own; everything else in the directory is left over and removed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tempfile::NamedTempFile;
use warifu_protocol::NodeId;

use super::types::SnapshotMeta;

const MAGIC: [u8; 8] = *b"WRFSNAP1";

/// Largest meta data: a membership of fifteen nodes is below 4 KiB.
const META_BYTES_MAX: usize = 64 * 1024;

const SUFFIX: &str = "snapshot";

/// A complete snapshot file. Removed when nothing refers to it, unless it is the kept one.
#[derive(Debug)]
pub(crate) struct SnapshotFile {
    path: PathBuf,
    keep: AtomicBool,
}

impl Drop for SnapshotFile {
    fn drop(&mut self) {
        if !self.keep.load(Ordering::Acquire)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a snapshot file; it is removed at the next start");
        }
    }
}

/// The directory of one node's snapshots.
#[derive(Debug)]
pub(super) struct SnapshotDirectory {
    path: PathBuf,
    current: Mutex<Option<(SnapshotMeta, Arc<SnapshotFile>)>>,
    receiving: Mutex<BTreeSet<NodeId>>,
}

/// That a snapshot of this sender is being received, until it is dropped.
#[derive(Debug)]
pub(super) struct Receiving<'a> {
    directory: &'a SnapshotDirectory,
    from: NodeId,
}

impl Drop for Receiving<'_> {
    fn drop(&mut self) {
        self.directory.receiving.lock().remove(&self.from);
    }
}

impl SnapshotDirectory {
    /// Opens the directory, keeps the newest sound snapshot and removes the rest.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&path)?;
        let mut newest: Option<(SnapshotMeta, Arc<SnapshotFile>)> = None;
        for entry in fs::read_dir(&path)? {
            // Owned at once, so that whatever does not become the kept one is removed.
            let file = Arc::new(SnapshotFile { path: entry?.path(), keep: AtomicBool::new(false) });
            if file.path.extension().is_some_and(|extension| extension == SUFFIX)
                && let Ok((meta, _)) = open_file(&file.path)
                && newest.as_ref().is_none_or(|(other, _)| other.last_log_id < meta.last_log_id)
            {
                newest = Some((meta, file));
            }
        }
        if let Some((_, file)) = &newest {
            file.keep.store(true, Ordering::Release);
        }
        Ok(Self { path, current: Mutex::new(newest), receiving: Mutex::default() })
    }

    /// The kept snapshot.
    pub(super) fn current(&self) -> Option<(SnapshotMeta, Arc<SnapshotFile>)> {
        self.current.lock().clone()
    }

    /// Begins to receive a snapshot of this sender; nothing while another one of it is under way.
    pub(super) fn receive(&self, from: NodeId) -> Option<Receiving<'_>> {
        // Made only when it is true: to drop one that is not would end the other.
        self.receiving.lock().insert(from).then(|| Receiving { directory: self, from })
    }

    /// An empty file to receive or write a snapshot into; removed unless it is adopted.
    pub(super) fn temporary(&self) -> io::Result<NamedTempFile> {
        tempfile::Builder::new().prefix("part-").tempfile_in(&self.path)
    }

    /// Makes a complete file a snapshot, which does not make it the kept one yet.
    pub(super) fn adopt(&self, file: NamedTempFile) -> io::Result<Arc<SnapshotFile>> {
        file.as_file().sync_all()?;
        let path = file.into_temp_path().keep().map_err(|error| error.error)?;
        Ok(Arc::new(SnapshotFile { path, keep: AtomicBool::new(false) }))
    }

    /// Keeps this snapshot in the place of the one before, also across restarts.
    pub(super) fn keep(&self, meta: &SnapshotMeta, file: &Arc<SnapshotFile>) -> io::Result<Arc<SnapshotFile>> {
        let mut current = self.current.lock();
        if let Some((_, kept)) = &*current
            && kept.path == file.path
        {
            return Ok(Arc::clone(kept));
        }
        let name = meta
            .last_log_id
            .map_or_else(|| "empty".to_owned(), |id| format!("{:020}-{}-{}", id.index, id.leader_id.term, id.leader_id.node_id));
        let path = self.path.join(name).with_extension(SUFFIX);
        // A link, for the receiver may still be reading under the old name.
        if !path.exists() {
            fs::hard_link(&file.path, &path)?;
        }
        File::open(&self.path)?.sync_all()?;
        let kept = Arc::new(SnapshotFile { path, keep: AtomicBool::new(true) });
        if let Some((_, old)) = current.replace((meta.clone(), Arc::clone(&kept))) {
            old.keep.store(old.path == kept.path, Ordering::Release);
        }
        Ok(kept)
    }

    /// Writes a whole file: header, then content.
    pub(super) fn write(
        &self,
        meta: &SnapshotMeta,
        content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<Arc<SnapshotFile>> {
        let file = self.temporary()?;
        let mut out = BufWriter::new(file.as_file());
        let bytes = postcard::to_stdvec(meta).map_err(io::Error::other)?;
        let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        out.write_all(&MAGIC)?;
        out.write_all(&len.to_be_bytes())?;
        out.write_all(&bytes)?;
        content(&mut out)?;
        out.flush()?;
        drop(out);
        self.adopt(file)
    }
}

impl SnapshotFile {
    /// Meta data, and a reader of the content.
    pub(super) fn open(&self) -> io::Result<(SnapshotMeta, BufReader<File>)> {
        open_file(&self.path)
    }

    /// The whole file, to be sent, and its length.
    pub(super) async fn open_raw(&self) -> io::Result<(tokio::fs::File, u64)> {
        let file = tokio::fs::File::open(&self.path).await?;
        let len = file.metadata().await?.len();
        Ok((file, len))
    }
}

fn open_file(path: &Path) -> io::Result<(SnapshotMeta, BufReader<File>)> {
    let bad = |detail: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {detail}", path.display()));
    let mut reader = BufReader::new(File::open(path)?);
    let (mut magic, mut len) = ([0; MAGIC.len()], [0; 4]);
    reader.read_exact(&mut magic)?;
    reader.read_exact(&mut len)?;
    let len = u32::from_be_bytes(len) as usize;
    if magic != MAGIC || len > META_BYTES_MAX {
        return Err(bad("not a snapshot"));
    }
    let mut meta = vec![0; len];
    reader.read_exact(&mut meta)?;
    let meta = postcard::from_bytes(&meta).map_err(|_| bad("meta data that cannot be read"))?;
    Ok((meta, reader))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_snapshot_of_each_sender_is_received_at_a_time() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let directory = SnapshotDirectory::open(place.path().join("snapshots")).expect("opens");
        let [one, two] = [1, 2].map(|number| NodeId::new(number).expect("a node number"));
        let first = directory.receive(one).expect("nothing is under way");
        assert!(directory.receive(one).is_none());
        assert!(directory.receive(two).is_some(), "another sender has its own place");
        drop(first);
        assert!(directory.receive(one).is_some());
    }
}
