//! Whether a store's file is what was written: every page is read and compared with its checksum, and nothing of the file is changed.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use redb::StorageBackend;

use super::database::{Database, DatabaseOptions};
use super::error::StoreError;

/// Memory for pages while a file is read through once; more would not help.
const CACHE_BYTES: usize = 8 * 1024 * 1024;

/// Reads all of a store's file and compares it with its checksums. A file that is missing or empty is sound: it is no store yet. The engine checks pages by
/// itself only after a crash, and would then put an older state in the place of a damaged one without a word.
///
/// # Errors
/// [`StoreError::Damaged`]; [`StoreError::Open`] if it cannot be read or another process has it.
pub fn verify(path: &Path) -> Result<(), StoreError> {
    let open = |source: redb::Error| StoreError::Open { path: path.to_owned(), source: Arc::new(source) };
    let file = match File::options().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(open(error.into())),
    };
    // As the engine does it: while a node runs, its file changes under the reader.
    file.try_lock().map_err(|_| open(redb::Error::DatabaseAlreadyOpen))?;
    if file.metadata().map_err(|error| open(error.into()))?.len() == 0 {
        return Ok(());
    }
    let damaged = |detail: String| StoreError::Damaged { path: path.to_owned(), detail };
    let overlay = Overlay::new(file).map_err(|error| open(error.into()))?;
    // What the engine does with bytes that it never wrote is not promised; a panic says as much as an error.
    let checked = catch_unwind(AssertUnwindSafe(|| {
        let mut database = redb::Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(overlay)?;
        database.check_integrity()
    }));
    match checked {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(damaged("a page does not have its checksum".to_owned())),
        Ok(Err(error)) => Err(damaged(error.to_string())),
        Err(_) => Err(damaged("it cannot be read at all".to_owned())),
    }
}

/// A store whose file is read and never changed: what is written to it is gone with it.
///
/// # Errors
/// [`StoreError::Open`].
pub fn open_unchanged(path: &Path) -> Result<Database, StoreError> {
    let open = |source: io::Error| StoreError::Open { path: path.to_owned(), source: Arc::new(source.into()) };
    let overlay = Overlay::new(File::open(path).map_err(open)?).map_err(open)?;
    Database::open_backend(overlay, DatabaseOptions { cache_bytes: CACHE_BYTES })
}

/// Bytes of one piece of the overlay.
const PIECE: u64 = 4096;

/// A file that can be written to without being changed.
#[derive(Debug)]
struct Overlay {
    file: File,
    inner: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    len: u64,
    /// How much of the file still shows.
    file_len: u64,
    pieces: BTreeMap<u64, Vec<u8>>,
}

impl Overlay {
    fn new(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Self { file, inner: Mutex::new(Written { len, file_len: len, pieces: BTreeMap::new() }) })
    }

    fn read_file(&self, file_len: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        out.fill(0);
        let there = usize::try_from(file_len.saturating_sub(offset)).unwrap_or(usize::MAX).min(out.len());
        self.file.read_exact_at(out.get_mut(..there).unwrap_or_default(), offset)
    }
}

/// Pieces that a range touches: index, offset in the piece, offset in the range, length.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
    let end = offset + len as u64;
    (offset / PIECE..end.div_ceil(PIECE)).map(move |index| {
        let (from, to) = (offset.max(index * PIECE), end.min((index + 1) * PIECE));
        let size = |bytes: u64| usize::try_from(bytes).expect("a piece is small");
        (index, size(from - index * PIECE), usize::try_from(from - offset).expect("within the range"), size(to - from))
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.inner.lock().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let inner = self.inner.lock();
        self.read_file(inner.file_len, offset, out)?;
        for (index, start, at, len) in pieces(offset, out.len()) {
            if let Some(piece) = inner.pieces.get(&index)
                && let (Some(to), Some(from)) = (out.get_mut(at..at + len), piece.get(start..start + len))
            {
                to.copy_from_slice(from);
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut inner = self.inner.lock();
        inner.len = len;
        inner.file_len = inner.file_len.min(len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut inner = self.inner.lock();
        let file_len = inner.file_len;
        for (index, start, at, len) in pieces(offset, data.len()) {
            let piece = match inner.pieces.entry(index) {
                Entry::Occupied(written) => written.into_mut(),
                Entry::Vacant(place) => {
                    let mut piece = vec![0; usize::try_from(PIECE).expect("a piece is small")];
                    self.read_file(file_len, index * PIECE, &mut piece)?;
                    place.insert(piece)
                }
            };
            if let (Some(to), Some(from)) = (piece.get_mut(start..start + len), data.get(at..at + len)) {
                to.copy_from_slice(from);
            }
        }
        inner.len = inner.len.max(offset + data.len() as u64);
        Ok(())
    }
}
