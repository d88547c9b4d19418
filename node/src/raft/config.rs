//! Settings and bounds.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use warifu_protocol::NodeId;
use warifu_protocol::transport::Role;

use super::types::RosterNode;

/// Largest command in bytes. A chunk of a CRL or the round-1 packages of a batch of credentials fit; larger things are cut.
pub const ENTRY_BYTES_MAX: usize = 1024 * 1024;

/// Entries in one append request.
pub(super) const ENTRIES_PER_APPEND_MAX: usize = 256;

/// Bytes of entries in one append request; at least one entry goes however large it is.
pub(super) const APPEND_BYTES_MAX: usize = 4 * 1024 * 1024;

const _: () = assert!(APPEND_BYTES_MAX + 2 * ENTRY_BYTES_MAX < Role::Raft.frame_max());

/// Time for a follower to make a batch of entries durable. Longer than a heartbeat, because a slow fsync is no lost peer; heartbeats have their own deadline.
pub(super) const APPEND_DEADLINE: Duration = Duration::from_secs(2);

/// Time for a whole snapshot to be sent and installed: some gigabytes over 100 Mbit/s.
pub(super) const SNAPSHOT_DEADLINE: Duration = Duration::from_secs(600);

/// Largest snapshot that is accepted, in bytes: more than twice what a million credentials need. It is also what one lying member can make a node
/// store for [`SNAPSHOT_DEADLINE`].
pub(super) const SNAPSHOT_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// How far ahead of its own term a node follows. Elections raise terms one by one, about one a second at worst, so honest nodes are never this far apart; a
/// liar would otherwise use the terms up at once.
pub(super) const TERM_LEAD_MAX: u64 = 1 << 20;

/// Settings of a node's raft.
#[derive(Clone, Debug)]
pub struct RaftConfig {
    /// This node.
    pub node: NodeId,
    /// Directory of `raft.redb` and of the snapshots; made if missing.
    pub directory: PathBuf,
    /// Memory for cached pages of the log store, in bytes.
    pub cache_bytes: usize,
    /// Shortest time without a leader after which an election starts.
    pub election_min: Duration,
    /// Longest such time; each node draws between the two.
    pub election_max: Duration,
    /// Pause between a leader's heartbeats.
    pub heartbeat: Duration,
    /// Entries after which a snapshot is made and the log before it may be purged.
    pub snapshot_every: u64,
    /// Entries that are kept although a snapshot has them, so that a node that was away shortly needs none.
    pub entries_kept: u64,
    /// First members, when the cluster is new. All nodes give the same. A node that joins later, or on a new store, gives none: it waits to be added.
    pub bootstrap: Option<BTreeMap<NodeId, RosterNode>>,
}

impl RaftConfig {
    /// The usual settings for a node: election after 600 to 1200 ms, heartbeat each 150 ms, snapshot each 20,000 entries of which 5,000 are kept.
    #[must_use]
    pub fn new(node: NodeId, directory: PathBuf) -> Self {
        Self {
            node,
            directory,
            cache_bytes: 32 * 1024 * 1024,
            election_min: Duration::from_millis(600),
            election_max: Duration::from_millis(1200),
            heartbeat: Duration::from_millis(150),
            snapshot_every: 20_000,
            entries_kept: 5_000,
            bootstrap: None,
        }
    }

    pub(super) fn openraft(&self) -> Result<openraft::Config, openraft::ConfigError> {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        openraft::Config {
            cluster_name: "warifu".to_owned(),
            election_timeout_min: millis(self.election_min),
            election_timeout_max: millis(self.election_max),
            heartbeat_interval: millis(self.heartbeat),
            install_snapshot_timeout: millis(SNAPSHOT_DEADLINE),
            max_payload_entries: ENTRIES_PER_APPEND_MAX as u64,
            snapshot_policy: openraft::SnapshotPolicy::LogsSinceLast(self.snapshot_every),
            max_in_snapshot_log_to_keep: self.entries_kept,
            replication_lag_threshold: self.snapshot_every.saturating_add(self.entries_kept),
            enable_pre_vote: Some(true),
            // What a leader had sent and not yet written is gone after a power cut, but stands in logs of followers. If it led on in the same term it would
            // give other entries the same places in the same term, and no follower would know them apart.
            enable_leader_restore: Some(false),
            // Whether a follower that lost what it had acknowledged may vote is decided when it starts. The leader's part is to send it everything again:
            // it would otherwise offer such a follower the same entry for ever, and a debug build would stop.
            allow_log_reversion: Some(true),
            ..openraft::Config::default()
        }
        .validate()
    }
}
