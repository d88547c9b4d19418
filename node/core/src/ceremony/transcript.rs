//! What binds the messages of a ceremony together.

use sha2::{Digest as _, Sha256 as Hasher};
use warifu_protocol::canonical::{postcard_message, sha256};
use warifu_protocol::{Blob, NodeId, NodeSigned, Round1, Round2Hashes, Sha256};

/// Domain tag of the transcript.
const TAG_TRANSCRIPT: &str = "warifu-transcript-v1";

/// The hash of one recipient's round-2 packages, as [`Round2Hashes`] names it: SHA-256 of their number and of each with its length
/// before it, both as 32-bit big-endian numbers.
///
/// The packages are hashed where they lie, since a second encoding of them would be a second copy of secrets.
///
/// # Panics
/// When there are 2³² packages or bytes.
#[must_use]
pub fn round2_hash(packages: &[Blob]) -> Sha256 {
    let length = |length: usize| u32::try_from(length).expect("packages are bounded far below 4 GiB").to_be_bytes();
    let mut hasher = Hasher::new();
    hasher.update(length(packages.len()));
    for package in packages {
        hasher.update(length(package.len()));
        hasher.update(package.as_slice());
    }
    Sha256::new(hasher.finalize().into())
}

/// The hash of everything that an attempt has in the log before its confirmations: all round-1 messages, then all round-2 hashes, each
/// in the order of the nodes. Participants that confirm the same one have seen the same broadcast.
#[must_use]
pub fn transcript(round1: &[NodeSigned<Round1>], hashes: &[NodeSigned<Round2Hashes>]) -> Sha256 {
    let round1: Vec<(NodeId, &Round1)> = round1.iter().map(|message| (message.node, &message.body)).collect();
    let hashes: Vec<(NodeId, &Round2Hashes)> = hashes.iter().map(|message| (message.node, &message.body)).collect();
    Sha256::new(sha256(&postcard_message(TAG_TRANSCRIPT, &(round1, hashes))))
}
