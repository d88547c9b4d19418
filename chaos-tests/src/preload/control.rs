//! The file through which faults are asked for, and what the shim counts. Its layout is that of `struct control` in `preload/disk.c`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// An fsync says EIO, and what was written since the last one is lost.
    SyncFails,
    /// An fsync says EIO, and yet it is all on disk.
    SyncFailsKept,
    /// An fsync takes this many milliseconds.
    SyncSlow(u64),
    /// The process dies at an fsync that did not happen.
    CutBeforeSync,
    /// The process dies at an fsync that happened, without hearing of it.
    CutAfterSync,
    /// Writes say ENOSPC.
    WriteFull,
    /// A write says EIO and nothing of it is written.
    WriteFails,
    /// A write says EIO and half of it is written.
    WriteTorn,
}

/// Where a fault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occasion<'a> {
    /// At which fsync from now, from 1, or in the writes that lead to it.
    pub nth: u64,
    /// Only files whose path has this in it are counted and touched.
    pub file: Option<&'a str>,
    /// Not once, but from then on until [`super::Disk::disarm`].
    pub lasting: bool,
}

/// What happened under the shim so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Faults that were met.
    pub fired: u64,
    /// Fsyncs of files, failed ones too.
    pub syncs: u64,
    /// Writes.
    pub writes: u64,
    /// Shared mappings of files, through which changes go by unseen: with any of them nothing else here can be believed.
    pub unseen: u64,
    /// Fsyncs of files that the last occasion's `file` names.
    pub matched: u64,
}

/// The open control file.
#[derive(Debug)]
pub(super) struct Control(File);

impl Fault {
    const fn number(self) -> u64 {
        match self {
            Self::SyncFails => 1,
            Self::SyncFailsKept => 2,
            Self::SyncSlow(_) => 3,
            Self::CutBeforeSync => 4,
            Self::CutAfterSync => 5,
            Self::WriteFull => 6,
            Self::WriteFails => 7,
            Self::WriteTorn => 8,
        }
    }

    /// How long it holds an fsync up.
    #[must_use]
    pub const fn pause(self) -> Option<Duration> {
        match self {
            Self::SyncSlow(millis) => Some(Duration::from_millis(millis)),
            _ => None,
        }
    }
}

impl Control {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create_new(true).open(path)?;
        file.set_len(BYTES)?;
        Ok(Self(file))
    }

    pub(super) fn arm(&self, fault: Fault, occasion: &Occasion<'_>) -> io::Result<()> {
        self.disarm()?;
        let mut filter = [0; FILTER_BYTES];
        let name = occasion.file.unwrap_or_default().as_bytes();
        // One byte is left for the end.
        let place = filter.get_mut(..name.len()).filter(|place| place.len() < FILTER_BYTES);
        place.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the name of a file is too long"))?.copy_from_slice(name);
        self.0.write_all_at(&filter, FILTER)?;
        self.set(COUNTDOWN, occasion.nth.max(1))?;
        self.set(STICKY, u64::from(occasion.lasting))?;
        self.set(SLOW_MILLIS, fault.pause().map_or(0, |pause| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)))?;
        self.set(MATCHED, 0)?;
        // Last, since it is what the shim looks at first.
        self.set(FAULT, fault.number())
    }

    pub(super) fn disarm(&self) -> io::Result<()> {
        self.set(FAULT, 0)
    }

    pub(super) fn counts(&self) -> io::Result<Counts> {
        Ok(Counts {
            fired: self.get(FIRED)?,
            syncs: self.get(SYNCS)?,
            writes: self.get(WRITES)?,
            unseen: self.get(UNSEEN)?,
            matched: self.get(MATCHED)?,
        })
    }

    fn set(&self, place: u64, value: u64) -> io::Result<()> {
        self.0.write_all_at(&value.to_ne_bytes(), place)
    }

    fn get(&self, place: u64) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.0.read_exact_at(&mut bytes, place)?;
        Ok(u64::from_ne_bytes(bytes))
    }
}

const FILTER_BYTES: usize = 64;
const FAULT: u64 = 0;
const COUNTDOWN: u64 = 8;
const STICKY: u64 = 16;
const SLOW_MILLIS: u64 = 24;
const FILTER: u64 = 32;
const FIRED: u64 = 96;
const SYNCS: u64 = 104;
const WRITES: u64 = 112;
const UNSEEN: u64 = 120;
const MATCHED: u64 = 128;
/// A page, for the mapping of the other side.
const BYTES: u64 = 4096;
