//! What is hashed and signed: a domain tag, a line feed, then one canonical encoding of the typed fields.
//!
//! Objects that people or other programs also read (statements, requests, orders, genesis) are encoded as compact JSON in the order of
//! the struct's fields; objects that only nodes make are encoded with postcard. A tag is never used with two encodings or two types.

use serde::Serialize;
use sha2::{Digest, Sha256};

/// The genesis body; its hash is the cluster id.
pub const TAG_GENESIS: &str = "warifu-genesis-v1";
/// The statement that a card signs to open a session.
pub const TAG_SESSION: &str = "warifu-session-v1";
/// The terminal's signature over a session statement.
pub const TAG_TERMINAL: &str = "warifu-terminal-v1";
/// The session key's proof of possession.
pub const TAG_POSSESSION: &str = "warifu-possession-v1";
/// The closing of a session by its session key.
pub const TAG_CLOSE: &str = "warifu-close-v1";
/// One document to sign.
pub const TAG_REQUEST: &str = "warifu-request-v1";
/// An officer's order.
pub const TAG_ORDER: &str = "warifu-order-v1";
/// The text that a card signs to be bound to a credential.
pub const TAG_BINDING: &str = "warifu-binding-v1";
/// A node's announcement of its start.
pub const TAG_NODE_STARTED: &str = "warifu-node-started-v1";
/// A node's signature over the state root that it has at an index.
pub const TAG_STATE_ROOT: &str = "warifu-state-root-v1";
/// A node's signature over the mark of its state at an index.
pub const TAG_STATE_MARK: &str = "warifu-state-mark-v1";
/// What the mark of a state at an index is the hash of.
pub const TAG_STATE_AT: &str = "warifu-state-at-v1";
/// A node's DKG round-1 packages.
pub const TAG_ROUND1: &str = "warifu-round1-v1";
/// A node's DKG round-2 packages for one other node.
pub const TAG_ROUND2: &str = "warifu-round2-v1";
/// The hashes of a node's round-2 packages.
pub const TAG_ROUND2_HASH: &str = "warifu-round2-hash-v1";
/// A node's confirmation of a ceremony's outcome.
pub const TAG_CEREMONY_CONFIRM: &str = "warifu-ceremony-confirm-v1";
/// A node's abort of a ceremony that it watched fail.
pub const TAG_CEREMONY_ABORT: &str = "warifu-ceremony-abort-v1";
/// A node's accusation of another participant of a ceremony.
pub const TAG_CEREMONY_ACCUSATION: &str = "warifu-ceremony-accusation-v1";
/// A node's statement that an attempt's deadline has passed.
pub const TAG_CEREMONY_OVERDUE: &str = "warifu-ceremony-overdue-v1";
/// A site administrator's consent to an order, given at the site's own node.
pub const TAG_CONSENT: &str = "warifu-consent-v1";
/// The checkpoint of a node's audit log, as it is logged.
pub const TAG_CHECKPOINT: &str = "warifu-checkpoint-v1";
/// A node's word that nothing of a destroyed credential's shares can be read again.
pub const TAG_GONE: &str = "warifu-gone-v1";
/// A node's receipt for a stop that it obeys.
pub const TAG_RECEIPT: &str = "warifu-receipt-v1";
/// A node's wish for the shares that it lacks.
pub const TAG_REPAIR_START: &str = "warifu-repair-start-v1";
/// A helper's commitments to its parts of a repair.
pub const TAG_REPAIR_COMMITMENTS: &str = "warifu-repair-commitments-v1";
/// The hashes of a helper's parts for one other node.
pub const TAG_REPAIR_PART: &str = "warifu-repair-part-v1";
/// A wrong part, shown by whoever was sent it.
pub const TAG_REPAIR_ACCUSATION: &str = "warifu-repair-accusation-v1";
/// A receiver's confirmation that it has its shares.
pub const TAG_REPAIR_CONFIRM: &str = "warifu-repair-confirm-v1";
/// The end of an attempt at a repair.
pub const TAG_REPAIR_ABORT: &str = "warifu-repair-abort-v1";
/// A participant's receipt for the switch to a new epoch of shares.
pub const TAG_EPOCH_RECEIPT: &str = "warifu-epoch-receipt-v1";
/// The end of the epoch before.
pub const TAG_EPOCH_RETIRED: &str = "warifu-epoch-retired-v1";
/// A node's start of a refresh that is due.
pub const TAG_REFRESH_START: &str = "warifu-refresh-start-v1";
/// A node's word that it has shares no more.
pub const TAG_SHARES_LOST: &str = "warifu-shares-lost-v1";
/// A node's word that it has shares again.
pub const TAG_SHARES_FOUND: &str = "warifu-shares-found-v1";
/// What the shares of an imported key are sealed for.
pub const TAG_IMPORT_PACKET: &str = "warifu-import-packet-v1";
/// What the participants of an import confirm the hash of.
pub const TAG_IMPORT_TRANSCRIPT: &str = "warifu-import-transcript-v1";
/// A participant's confirmation that it has its share of an imported key.
pub const TAG_IMPORT_CONFIRM: &str = "warifu-import-confirm-v1";
/// The end of an import that came to nothing.
pub const TAG_IMPORT_ABORT: &str = "warifu-import-abort-v1";
/// One bucket or inner node of the state root's hash tree.
pub const TAG_STATE_TREE: &str = "warifu-state-tree-v1";

/// The bytes to sign or hash for a JSON-encoded object.
///
/// # Panics
/// Never for this crate's types: they hold no map with non-text keys and no fallible serializer.
#[must_use]
pub fn json_message<T: Serialize>(tag: &str, value: &T) -> Vec<u8> {
    let mut message = prefix(tag);
    serde_json::to_writer(&mut message, value).expect("protocol types serialize to JSON");
    message
}

/// The bytes to sign or hash for a postcard-encoded object.
///
/// # Panics
/// Never for this crate's types: they have no unsized sequences.
#[must_use]
pub fn postcard_message<T: Serialize>(tag: &str, value: &T) -> Vec<u8> {
    postcard::to_extend(value, prefix(tag)).expect("protocol types serialize to postcard")
}

/// SHA-256.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn prefix(tag: &str) -> Vec<u8> {
    let mut message = Vec::with_capacity(tag.len() + 512);
    message.extend_from_slice(tag.as_bytes());
    message.push(b'\n');
    message
}
