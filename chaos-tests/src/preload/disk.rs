//! One process's disk.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;
use serde::Serialize;

use super::control::{Control, Counts, Fault, Occasion};
use super::shim::Shim;
use super::{names, undo};

/// The files under a directory, as one process after the other uses them under the shim.
#[derive(Debug)]
pub struct Disk {
    library: PathBuf,
    root: PathBuf,
    journal: PathBuf,
    except: PathBuf,
    control: Control,
}

/// What a power cut takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// Everything that is not durable.
    All,
    /// Of what is not durable, the sectors that this seed draws; names only from some instant on.
    Pieces(u64),
}

/// What a power cut took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Lost {
    /// Files with changes that were not durable.
    pub files: u64,
    /// Such changes.
    pub changes: u64,
    /// How many of them were taken back, whole or in part.
    pub lost: u64,
    /// Names that were taken back.
    pub names: u64,
}

impl Disk {
    /// Watches everything under `root` but the file `except` in it, to which the process may print; `journal` is a new directory on the same file
    /// system, but not under the root.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new(shim: &Shim, root: &Path, except: &str, journal: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir(journal).with_context(|| format!("cannot create {}", journal.display()))?;
        let (root, journal) = (root.canonicalize()?, journal.canonicalize()?);
        ensure!(!journal.starts_with(&root), "the journal would watch itself");
        let control = Control::create(&journal.join("control"))?;
        Ok(Self { library: shim.library.clone(), except: root.join(except), root, journal, control })
    }

    /// What a process must have in its environment.
    #[must_use]
    pub fn environment(&self) -> Vec<(OsString, OsString)> {
        let set = |name: &str, value: &Path| (OsString::from(name), value.into());
        vec![
            set("LD_PRELOAD", &self.library),
            set("WARIFU_DISK_ROOT", &self.root),
            set("WARIFU_DISK_EXCEPT", &self.except),
            set("WARIFU_DISK_JOURNAL", &self.journal),
        ]
    }

    /// Asks for a fault, in the place of one that was asked for before.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn arm(&self, fault: Fault, occasion: &Occasion<'_>) -> io::Result<()> {
        self.control.arm(fault, occasion)
    }

    /// No fault from here on.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn disarm(&self) -> io::Result<()> {
        self.control.disarm()
    }

    /// What happened so far.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn counts(&self) -> io::Result<Counts> {
        self.control.counts()
    }

    /// Takes away what a power cut takes. No process may be using the disk.
    ///
    /// # Errors
    /// When the system refuses, or something went by the shim unseen.
    pub fn cut_power(&self, loss: Loss) -> anyhow::Result<Lost> {
        ensure!(self.counts()?.unseen == 0, "a file was written through a shared mapping, which the shim cannot see");
        let mut rng = match loss {
            Loss::All => None,
            Loss::Pieces(seed) => Some(ChaCha8Rng::seed_from_u64(seed)),
        };
        let mut lost = Lost::default();
        for (inode, path) in self.undo_files()? {
            let records = undo::parse(&std::fs::read(&path)?).with_context(|| format!("{}", path.display()))?;
            if !records.is_empty() {
                let file = File::options().read(true).write(true).open(self.link(inode))?;
                let undone = undo::take_back(&file, &records, rng.as_mut())?;
                lost.files += u64::from(undone.changes > 0);
                lost.changes += undone.changes;
                lost.lost += undone.lost;
                File::create(&path)?;
            }
        }
        let names = self.journal.join("names");
        if names.exists() {
            lost.names = names::take_back(&names::parse(&std::fs::read_to_string(&names)?)?, |inode| self.link(inode), rng.as_mut())?;
            File::create(&names)?;
        }
        Ok(lost)
    }

    fn link(&self, inode: u64) -> PathBuf {
        self.journal.join(format!("{inode}.data"))
    }

    /// Journals of files, in an order that does not depend on the file system's.
    fn undo_files(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.journal)? {
            let path = entry?.path();
            let inode = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            if let Some(inode) = inode
                && path.extension().is_some_and(|extension| extension == "undo")
            {
                found.push((inode, path));
            }
        }
        found.sort();
        Ok(found)
    }
}
