//! A node's audit log as a Merkle tree (RFC 6962 section 2.1) and its checkpoints (C2SP `tlog-checkpoint` in a `signed-note`).
//!
//! Everything here is a function of hashes that the shell keeps: which of them to store is said by [`append`], and they are read back
//! through [`tlog_tiles::tlog::HashReader`].

mod note;
mod tree;

pub use note::{CheckpointError, CheckpointOrigin, NOTE_BYTES_MAX, checkpoint_note, verify_checkpoint};
pub use tree::{AuditTreeError, InclusionProof, append, consistency_proof, inclusion_proof, root, verify_consistency, verify_inclusion};
