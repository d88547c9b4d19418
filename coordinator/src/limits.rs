//! Bounds of the coordinator's shell. Those of the HTTP interface are in `warifu_api::limits`, those of a node's frame in the protocol.

use std::time::Duration;

/// Time for a node to answer a batch. Longer than a hedge takes, shorter than a document's deadline, so that a dead connection is found out.
pub const SIGN_CALL_DEADLINE: Duration = Duration::from_millis(3_000);
/// Time for a node to answer a call for commitments or for its status.
pub const UPKEEP_CALL_DEADLINE: Duration = Duration::from_millis(1_000);
/// How often each node's pool is looked at.
pub const UPKEEP_EVERY: Duration = Duration::from_millis(100);
/// How often a node that does not answer is tried.
pub const UPKEEP_EVERY_SILENT: Duration = Duration::from_millis(500);
/// How often each node is asked for its status.
pub const STATUS_EVERY: Duration = Duration::from_millis(1_000);
/// Items that wait for one node; a further one counts as a failure of that node, and another set is tried.
pub const NODE_QUEUE_MAX: usize = 1_024;
/// Calls with items to one node at the same time: one that is computed, one on the way, and two for bursts. More only makes smaller batches.
pub const NODE_CALLS_MAX: usize = 4;
/// While a call is out, further items wait this long for company, since a frame with many items costs the node one disk write.
pub const BATCH_WINDOW: Duration = Duration::from_millis(1);

/// Time for a node to answer a read.
pub const READ_CALL_DEADLINE: Duration = Duration::from_millis(1_000);
/// Time for nodes that disagree on a read to come to one state, as they do when an entry has reached all of them.
pub const READ_SETTLE: Duration = Duration::from_millis(500);
/// Pause between two readings while they disagree.
pub const READ_SETTLE_PAUSE: Duration = Duration::from_millis(30);
/// Once enough nodes agree, the others are waited for this long: they may know something newer.
pub const READ_GRACE: Duration = Duration::from_millis(50);

/// Time for a command to be applied, over all tries.
pub const PROPOSE_DEADLINE: Duration = Duration::from_millis(10_000);
/// Time for one node to bring a command into the log, a change of leader included.
pub const PROPOSE_CALL_DEADLINE: Duration = Duration::from_millis(4_000);
/// A command that one node has had for this long is given to another one too: longer than an election, and than a healthy log takes.
pub const PROPOSE_HEDGE: Duration = Duration::from_millis(1_500);
/// Nodes that have the same command at once.
pub const PROPOSE_CALLS_MAX: usize = 2;
/// Time for f + 1 nodes to have applied an order that one node says was applied.
pub const APPLIED_DEADLINE: Duration = Duration::from_millis(5_000);
/// Pause before they are asked again.
pub const APPLIED_PAUSE: Duration = Duration::from_millis(50);
/// Pause before the next node is tried when one failed at once.
pub const PROPOSE_PAUSE: Duration = Duration::from_millis(50);

/// Time for a node to obey a stop: its disk's write and a busy machine.
pub const STOP_CALL_DEADLINE: Duration = Duration::from_millis(2_000);
/// Time for a node to say what it keeps of a stop.
pub const RECEIPTS_CALL_DEADLINE: Duration = Duration::from_millis(1_000);
/// Time after which a stop is answered with the receipts that are there. It is pursued after that.
pub const STOP_ANSWER_DEADLINE: Duration = Duration::from_millis(3_000);
/// Once there are enough receipts, the others are waited for this long.
pub const STOP_GRACE: Duration = Duration::from_millis(100);
/// Time for the log after the receipts: stopping does not wait for a leader.
pub const STOP_LOG_DEADLINE: Duration = Duration::from_millis(2_000);
/// Pause before nodes that do not obey yet are sent the stop again.
pub const STOP_PURSUE_PAUSE: Duration = Duration::from_secs(2);
/// For how long they are: a node that is away longer hears of the stop from the log, before it may sign.
pub const STOP_PURSUED_FOR: Duration = Duration::from_secs(600);
/// Stops that are pursued at once; a further one is sent once, and again with each look at it.
pub const STOP_PURSUED_MAX: usize = 256;
/// Stops whose receipts are kept here, about 4 kilobytes each; those of others are asked for.
pub const STOP_CACHE_ENTRIES: u64 = 4_096;
/// For how long.
pub const STOP_CACHE_LIFE: Duration = Duration::from_secs(3_600);

/// Time for a node to open a packet of an import: it may be busy with a ceremony.
pub const PACKET_CALL_DEADLINE: Duration = Duration::from_millis(3_000);
/// Time after which packets are answered with what the nodes have said by then; whoever sent them sends them again.
pub const PACKETS_ANSWER_DEADLINE: Duration = Duration::from_millis(5_000);
/// Pause before a node that has not applied the order yet is tried again.
pub const PACKET_PAUSE: Duration = Duration::from_millis(200);

/// How often the nodes are asked whether an order has changed the cluster.
pub const ROSTER_EVERY: Duration = Duration::from_secs(2);

/// Sessions whose facts are kept, about 400 bytes each.
pub const SESSION_CACHE_ENTRIES: u64 = 100_000;
/// Credentials whose certificate and parsed key are kept, about 5 kilobytes each.
pub const CREDENTIAL_CACHE_ENTRIES: u64 = 10_000;
/// What is kept is read anew after this, whatever happens.
pub const CACHE_LIFE: Duration = Duration::from_secs(600);

/// Time for a client to finish its TLS handshake, and for the head of a request to arrive.
pub const CLIENT_HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// Time for the body of a request to arrive.
pub const CLIENT_BODY_DEADLINE: Duration = Duration::from_secs(30);
/// Bodies that are received or worked on at the same time; with the bound on one body this bounds the memory. Further callers wait for their turn
/// until their body deadline.
pub const BODIES_MAX: usize = 16;
/// How many of them one client may have, so that a slow one cannot keep the others out.
pub const BODIES_PER_CLIENT_MAX: usize = 4;
/// A body that is too large is read and dropped up to this many bytes, so that the caller hears of it instead of a broken connection.
pub const BODY_DROP_MAX: usize = 2 * warifu_api::limits::BODY_BYTES_MAX;

const _: () = assert!(BODIES_PER_CLIENT_MAX < BODIES_MAX);
