//! What is written down of the names of files, and how it is taken back.
//!
//! A name is durable when its directory was fsynced, or the file itself: file systems with a journal write the name of a new file with its first fsync.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rand_chacha::ChaCha8Rng;
use rand_core::RngCore as _;

/// One line of the shim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// A new name of a file.
    Created { inode: u64, path: PathBuf },
    /// A name that is gone.
    Removed { inode: u64, path: PathBuf },
    /// A name that became another, which may have been a file's before (0 if not).
    Renamed { inode: u64, replaced: u64, from: PathBuf, to: PathBuf },
    /// A directory was fsynced.
    DirectorySynced(PathBuf),
    /// A file was fsynced.
    FileSynced(u64),
}

/// Reads the lines. One that was begun when the process was killed is left out.
pub(super) fn parse(text: &str) -> io::Result<Vec<Line>> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let bad = |line: &str| io::Error::new(io::ErrorKind::InvalidData, format!("not a line of the shim: {line}"));
    whole.lines().map(|line| read(line).ok_or_else(|| bad(line))).collect()
}

fn read(line: &str) -> Option<Line> {
    let (kind, rest) = line.split_once(' ')?;
    Some(match kind {
        "C" | "U" => {
            let (inode, path) = rest.split_once(' ')?;
            let (inode, path) = (inode.parse().ok()?, path.into());
            if kind == "C" { Line::Created { inode, path } } else { Line::Removed { inode, path } }
        }
        "R" => {
            let (inode, rest) = rest.split_once(' ')?;
            let (replaced, rest) = rest.split_once(' ')?;
            let (from, to) = rest.split_once('\t')?;
            Line::Renamed { inode: inode.parse().ok()?, replaced: replaced.parse().ok()?, from: from.into(), to: to.into() }
        }
        "D" => Line::DirectorySynced(rest.into()),
        "F" => Line::FileSynced(rest.parse().ok()?),
        _ => return None,
    })
}

impl Line {
    /// The directory whose fsync makes it durable, for a change of a name.
    fn directory(&self) -> Option<&Path> {
        match self {
            Self::Created { path, .. } | Self::Removed { path, .. } | Self::Renamed { to: path, .. } => path.parent(),
            Self::DirectorySynced(_) | Self::FileSynced(_) => None,
        }
    }

    fn made_durable_by(&self, later: &Self) -> bool {
        match (self, later) {
            (_, Self::DirectorySynced(directory)) => self.directory() == Some(directory),
            (Self::Created { inode, .. } | Self::Renamed { inode, .. }, Self::FileSynced(synced)) => inode == synced,
            _ => false,
        }
    }
}

/// Takes back changes of names that are not durable, the latest first; with `pieces`, of each directory only those after some instant, since what
/// happens to names is written in order. `link` is where a file is found by its inode. Returns how many.
pub(super) fn take_back(lines: &[Line], link: impl Fn(u64) -> PathBuf, mut pieces: Option<&mut ChaCha8Rng>) -> io::Result<u64> {
    let open = lines
        .iter()
        .enumerate()
        .filter(|(place, line)| line.directory().is_some() && !lines.iter().skip(*place).any(|later| line.made_durable_by(later)));
    let mut by_directory: BTreeMap<&Path, Vec<&Line>> = BTreeMap::new();
    for (_, line) in open {
        by_directory.entry(line.directory().expect("filtered")).or_default().push(line);
    }
    let mut count = 0;
    for changes in by_directory.values() {
        let kept = pieces.as_deref_mut().map_or(0, |draw| draw.next_u32() as usize % (changes.len() + 1));
        for line in changes.iter().skip(kept).rev() {
            undo(line, &link)?;
            count += 1;
        }
    }
    Ok(count)
}

fn undo(line: &Line, link: &impl Fn(u64) -> PathBuf) -> io::Result<()> {
    let inode_of = |path: &Path| path.symlink_metadata().map(|found| found.ino()).ok();
    let restore = |inode: u64, path: &Path| if inode_of(path).is_none() { std::fs::hard_link(link(inode), path) } else { Ok(()) };
    let remove = |inode: u64, path: &Path| if inode_of(path) == Some(inode) { std::fs::remove_file(path) } else { Ok(()) };
    match line {
        Line::Created { inode, path } => remove(*inode, path),
        Line::Removed { inode, path } => restore(*inode, path),
        Line::Renamed { inode, replaced, from, to } => {
            remove(*inode, to)?;
            restore(*inode, from)?;
            if *replaced == 0 { Ok(()) } else { restore(*replaced, to) }
        }
        Line::DirectorySynced(_) | Line::FileSynced(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_back_unless_their_directory_or_file_was_synced() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (links, root) = (directory.path().join("links"), directory.path().join("root"));
        std::fs::create_dir(&links).expect("makes");
        std::fs::create_dir(&root).expect("makes");
        let at = |name: &str| root.join(name);
        let put = |name: &str| {
            std::fs::write(at(name), name).expect("writes");
            let inode = at(name).metadata().expect("is there").ino();
            std::fs::hard_link(at(name), links.join(inode.to_string())).expect("links");
            inode
        };
        let removed = put("removed");
        std::fs::remove_file(at("removed")).expect("removes");
        let (synced, made, moved, replaced) = (put("synced"), put("made"), put("moved"), put("target"));
        std::fs::rename(at("moved"), at("target")).expect("renames");
        let text = format!(
            "U {removed} {root}/removed\nC {synced} {root}/synced\nF {synced}\nC {made} {root}/made\nR {moved} {replaced} {root}/moved\t{root}/target\nC 1 {root}/beg",
            root = root.display()
        );
        let lines = parse(&text).expect("the shim's own words");
        assert_eq!(lines.len(), 5, "the last was begun only");
        assert_eq!(take_back(&lines, |inode| links.join(inode.to_string()), None).expect("links and removes"), 3);
        assert_eq!(std::fs::read_to_string(at("removed")).expect("is back"), "removed");
        assert!(at("synced").exists() && !at("made").exists());
        assert_eq!(std::fs::read_to_string(at("moved")).expect("is back"), "moved");
        assert_eq!(std::fs::read_to_string(at("target")).expect("is back"), "target");

        let durable = parse(&format!("{}D {}\n", &text[..=text.rfind('\n').expect("has five")], root.display())).expect("reads");
        assert_eq!(take_back(&durable, |inode| links.join(inode.to_string()), None).expect("does nothing"), 0);
    }
}
