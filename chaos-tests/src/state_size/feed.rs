//! What the maker of the log tells the holder, as frames over a pipe.

use std::io::{Read, Write};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use warifu_protocol::Blob;

/// Largest frame: a batch of entries as large as raft lets one append be, doubled.
const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One step.
#[derive(Debug, Serialize, Deserialize)]
pub enum Feed {
    /// Apply these encoded entries in one transaction.
    Entries(Vec<Blob>),
    /// Seal and store the shares of the credentials with these numbers, `start..end`.
    Shares {
        /// First.
        start: u64,
        /// One after the last.
        end: u64,
    },
    /// There is no more.
    End,
}

impl Feed {
    /// Writes one frame.
    ///
    /// # Errors
    /// When the other side is gone.
    pub fn write_to(&self, out: &mut impl Write) -> anyhow::Result<()> {
        let bytes = postcard::to_stdvec(self).context("encoding a frame")?;
        ensure!(bytes.len() <= FRAME_BYTES_MAX, "a frame of {} bytes", bytes.len());
        let length = u32::try_from(bytes.len()).context("a frame's length")?;
        out.write_all(&length.to_be_bytes())?;
        Ok(out.write_all(&bytes)?)
    }

    /// Reads one frame.
    ///
    /// # Errors
    /// When the other side is gone or sends something else.
    pub fn read_from(input: &mut impl Read) -> anyhow::Result<Self> {
        let mut length = [0; 4];
        input.read_exact(&mut length)?;
        let length = usize::try_from(u32::from_be_bytes(length)).context("a frame's length")?;
        ensure!(length <= FRAME_BYTES_MAX, "a frame of {length} bytes");
        let mut bytes = vec![0; length];
        input.read_exact(&mut bytes)?;
        postcard::from_bytes(&bytes).context("decoding a frame")
    }
}
