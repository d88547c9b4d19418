//! What one durable write costs: the floor under everything that is on disk before it is spoken of.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Instant;

use super::latencies::{Latencies, Spread};

/// Bytes of one write: a page, about as much as an audit entry changes in a store's leaf.
const WRITE_BYTES: usize = 4096;

/// Appends pages to a new file in `directory`, each followed by an fsync of its data, `count` times, and removes the file.
///
/// # Errors
/// When the disk refuses.
pub fn durable_writes(directory: &Path, count: u32) -> io::Result<Spread> {
    let path = directory.join("durable-writes");
    let mut file = File::create_new(&path)?;
    let (page, mut latencies) = ([0x5a; WRITE_BYTES], Latencies::default());
    for _ in 0..count {
        let start = Instant::now();
        file.write_all(&page)?;
        file.sync_data()?;
        latencies.record(start.elapsed());
    }
    drop(file);
    std::fs::remove_file(path)?;
    Ok(latencies.spread())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_write_is_measured_and_nothing_is_left_behind() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        assert_eq!(durable_writes(directory.path(), 3).expect("a disk").count, 3);
        assert_eq!(std::fs::read_dir(directory.path()).expect("lists").count(), 0);
    }
}
