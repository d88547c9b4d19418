//! Memory of a process as Linux accounts for it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Resident memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// `VmRSS`: resident now, in bytes.
    pub rss_bytes: u64,
    /// `VmHWM`: the most that was ever resident, in bytes.
    pub peak_bytes: u64,
}

/// Why the memory of a process is not known.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The process is gone, or this is not Linux.
    #[error("cannot read {}", path.display())]
    Read {
        /// What was read.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file says nothing of it.
    #[error("{} has no line `{field}`", path.display())]
    Missing {
        /// What was read.
        path: PathBuf,
        /// What is missing.
        field: &'static str,
    },
}

impl Memory {
    /// Of this process.
    ///
    /// # Errors
    /// See [`MemoryError`].
    pub fn own() -> Result<Self, MemoryError> {
        Self::read("/proc/self/status".into())
    }

    /// Of another process.
    ///
    /// # Errors
    /// See [`MemoryError`].
    pub fn of(process: u32) -> Result<Self, MemoryError> {
        Self::read(format!("/proc/{process}/status").into())
    }

    fn read(path: PathBuf) -> Result<Self, MemoryError> {
        let status = match std::fs::read_to_string(&path) {
            Ok(status) => status,
            Err(source) => return Err(MemoryError::Read { path, source }),
        };
        let bytes = |field| field_bytes(&status, field).ok_or_else(|| MemoryError::Missing { path: path.clone(), field });
        Ok(Self { rss_bytes: bytes("VmRSS")?, peak_bytes: bytes("VmHWM")? })
    }
}

/// The value of a line such as `VmRSS: 1234 kB`, in bytes.
fn field_bytes(status: &str, field: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_by_their_whole_name() {
        let status = "VmPeak:\t  99 kB\nVmRSSx:\t 5 kB\nVmHWM:\t    2048 kB\nVmRSS:\t 1024 kB\n";
        assert_eq!(field_bytes(status, "VmRSS"), Some(1 << 20));
        assert_eq!(field_bytes(status, "VmHWM"), Some(2 << 20));
        assert_eq!(field_bytes(status, "VmSwap"), None);
    }

    #[test]
    fn memory_that_is_touched_is_seen() {
        let before = Memory::own().expect("a Linux machine");
        let block = vec![1u8; 64 << 20];
        let after = Memory::own().expect("a Linux machine");
        assert!(after.rss_bytes >= before.rss_bytes + (60 << 20), "{before:?} {after:?} {}", block.len());
        assert!(after.peak_bytes >= after.rss_bytes);
    }
}
